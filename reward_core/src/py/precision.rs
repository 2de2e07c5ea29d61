//! Average precision for Python: a dataset matched once, read many times.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::boxes::{batch, corners, References};
use super::completions::Text;
use crate::boxes::matching::{
    Category, Detection, Rules, Scenes, Settings, Target, MAX_THRESHOLDS,
};
use crate::boxes::precision::{add_picture, label_names, Interpolation, Reading};

/// Thresholds, ranges of areas, and whether the rules are VOC's.
type Asked = (Vec<f64>, Vec<[f64; 2]>, bool);

/// Precision and recall, (thresholds, categories), and counted references, (categories,).
type Read<'py> = (
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray1<i64>>,
);

/// Detections of a dataset, each matched with its reference at every threshold and in every range of areas.
#[pyclass(frozen, module = "medgrpo._reward_core")]
pub struct BoxMatches {
    categories: Vec<Category>,
    labels: Vec<Option<String>>,
    settings: Settings,
    pictures: usize,
}

fn settings((thresholds, ranges, is_voc): Asked) -> PyResult<Settings> {
    if thresholds.is_empty() || thresholds.len() > MAX_THRESHOLDS || ranges.is_empty() {
        return Err(PyValueError::new_err(format!(
            "expected 1 to {MAX_THRESHOLDS} thresholds and at least one range of areas"
        )));
    }
    Ok(Settings {
        thresholds,
        ranges,
        rules: if is_voc { Rules::Voc } else { Rules::Coco },
        is_strict: false,
    })
}

fn count(number: usize) -> PyResult<u32> {
    u32::try_from(number).map_err(|_| PyValueError::new_err("too many pictures or categories"))
}

#[pymethods]
impl BoxMatches {
    /// From the boxes in texts; `extras` holds crowd, ignored and area of each reference (NaN: of its box).
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // Python's keywords
    #[pyo3(signature = (texts, references, extras, scale, frame, asked, use_labels))]
    fn of_texts(
        py: Python<'_>,
        texts: Vec<Text>,
        references: References<'_>,
        extras: Extras<'_>,
        scale: PyReadonlyArray2<'_, f64>,
        frame: PyReadonlyArray2<'_, f64>,
        asked: Asked,
        use_labels: bool,
    ) -> PyResult<Self> {
        let settings = settings(asked)?;
        count(texts.len())?;
        let extras = extras.views(references.1.len())?;
        let batch = batch(py, &texts, &references, Some(&extras), &scale, &frame)?;
        Ok(py.detach(|| {
            let labels = batch.references.iter().flatten();
            let names = label_names(labels.map(|one| one.label.as_deref()), use_labels);
            let mut scenes = Scenes::default();
            for (picture, references) in batch.references.iter().enumerate() {
                let predicted = batch.predicted[picture].as_deref().unwrap_or(&[]);
                let targets = &batch.targets[picture];
                add_picture(
                    &mut scenes,
                    &names,
                    picture as u32,
                    predicted,
                    references,
                    targets,
                );
            }
            Self {
                categories: scenes.matched(names.len(), &settings),
                labels: names.names().to_vec(),
                settings,
                pictures: batch.references.len(),
            }
        }))
    }

    /// From arrays; categories and pictures by number, a detection below 0 belongs to no category.
    #[staticmethod]
    #[pyo3(signature = (detections, references, extras, pictures, categories, asked))]
    fn of_boxes(
        py: Python<'_>,
        detections: Located<'_>,
        references: Located<'_>,
        extras: Extras<'_>,
        pictures: usize,
        categories: usize,
        asked: Asked,
    ) -> PyResult<Self> {
        let settings = settings(asked)?;
        count(pictures)?;
        count(categories)?;
        let (detections, references) = (
            detections.read("detections", pictures, categories)?,
            references.read("references", pictures, categories)?,
        );
        let extras = extras.views(references.len())?;
        let categories = py.detach(|| {
            let mut scenes = Scenes::default();
            for (index, (place, corners, _)) in references.iter().enumerate() {
                if let Some((category, picture)) = *place {
                    let target = extras.target(index, *corners);
                    scenes.at(category, picture).targets.push(target);
                }
            }
            for (place, corners, score) in detections {
                if let Some((category, picture)) = place {
                    let score = if score.is_nan() { 1.0 } else { score };
                    let detection = Detection { corners, score };
                    scenes.at(category, picture).detections.push(detection);
                }
            }
            scenes.matched(categories, &settings)
        });
        Ok(Self {
            labels: Vec::new(),
            categories,
            settings,
            pictures,
        })
    }

    /// The label of each category; None: references without a label, or all of them.
    fn labels(&self) -> Vec<Option<String>> {
        self.labels.clone()
    }

    /// Average precision and recall of each category at each threshold, and its counted references.
    #[pyo3(signature = (range, most=None, every_point=false, kept=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        range: usize,
        most: Option<u32>,
        every_point: bool,
        kept: Option<PyReadonlyArray1<'py, bool>>,
    ) -> PyResult<Read<'py>> {
        let kept = kept.map(|kept| kept.as_array().to_vec());
        if kept
            .as_ref()
            .is_some_and(|kept| kept.len() != self.pictures)
        {
            return Err(PyValueError::new_err(format!(
                "kept must have one entry for each of the {} pictures",
                self.pictures
            )));
        }
        if range >= self.settings.ranges.len() {
            return Err(PyValueError::new_err("no such range of areas"));
        }
        let reading = Reading {
            range,
            most,
            interpolation: if every_point {
                Interpolation::EveryPoint
            } else {
                Interpolation::Points101
            },
            kept: kept.as_deref(),
        };
        let (thresholds, ranges) = (self.settings.thresholds.len(), self.settings.ranges.len());
        let shape = (thresholds, self.categories.len());
        let (mut precision, mut recall) = (Array2::zeros(shape), Array2::zeros(shape));
        let mut references = Vec::with_capacity(self.categories.len());
        py.detach(|| {
            for (column, category) in self.categories.iter().enumerate() {
                let curve = category.read(thresholds, ranges, &reading);
                for row in 0..thresholds {
                    precision[[row, column]] = curve.precision[row];
                    recall[[row, column]] = curve.recall[row];
                }
                references.push(curve.references.cast_signed());
            }
        });
        Ok((
            precision.into_pyarray(py),
            recall.into_pyarray(py),
            references.into_pyarray(py),
        ))
    }
}

/// Boxes with their category and picture: corners (n, 4), scores, categories and pictures, (n,) each.
#[derive(FromPyObject)]
pub struct Located<'py>(
    PyReadonlyArray2<'py, f64>,
    PyReadonlyArray1<'py, f64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
);

type Placed = (Option<(u32, u32)>, crate::boxes::Corners, f64);

impl Located<'_> {
    fn read(&self, name: &str, pictures: usize, categories: usize) -> PyResult<Vec<Placed>> {
        let corners = corners(&self.0, name)?;
        let (scores, labels, rows) = (self.1.as_array(), self.2.as_array(), self.3.as_array());
        if [scores.len(), labels.len(), rows.len()] != [corners.len(); 3] {
            return Err(PyValueError::new_err(format!(
                "{name} need as many scores, labels and pictures as boxes"
            )));
        }
        let within = |number: i64, end: usize| {
            usize::try_from(number)
                .ok()
                .filter(|&number| number < end)
                .map(|number| number as u32)
        };
        let one = |index: usize| {
            let picture = within(rows[index], pictures).ok_or_else(|| {
                PyValueError::new_err(format!("{name} {index} belongs to no picture"))
            })?;
            let category = within(labels[index], categories);
            let place = category.map(|category| (category, picture));
            Ok((place, corners[index], scores[index]))
        };
        (0..corners.len()).map(one).collect()
    }
}

/// What a reference carries besides its box: crowd, ignored, area.
#[derive(FromPyObject)]
pub struct Extras<'py>(
    PyReadonlyArray1<'py, bool>,
    PyReadonlyArray1<'py, bool>,
    PyReadonlyArray1<'py, f64>,
);

/// The same as plain lists.
pub struct ExtraViews {
    crowd: Vec<bool>,
    ignored: Vec<bool>,
    area: Vec<f64>,
}

impl Extras<'_> {
    fn views(&self, references: usize) -> PyResult<ExtraViews> {
        let views = ExtraViews {
            crowd: self.0.as_array().to_vec(),
            ignored: self.1.as_array().to_vec(),
            area: self.2.as_array().to_vec(),
        };
        if [views.crowd.len(), views.ignored.len(), views.area.len()] != [references; 3] {
            return Err(PyValueError::new_err(
                "crowd, ignored and area need an entry for each reference",
            ));
        }
        Ok(views)
    }
}

impl ExtraViews {
    /// The reference of that number.
    pub fn target(&self, index: usize, corners: crate::boxes::Corners) -> Target {
        let area = self.area[index];
        Target {
            corners,
            area: if area.is_nan() {
                corners.signed_area()
            } else {
                area
            },
            is_crowd: self.crowd[index],
            is_ignored: self.ignored[index],
        }
    }
}

/// Adds this file's class to the compiled module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<BoxMatches>()
}
