//! Python functions over batches of boxes.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
#![allow(clippy::cast_possible_wrap)] // indices of boxes are far below 2^63

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::prelude::*;

use super::completions::Text;
use super::precision::ExtraViews;
use crate::boxes::assignment::maximise;
use crate::boxes::matching::Target;
use crate::boxes::parse::parse;
use crate::boxes::{folded_label, score, Corners, Labelled};

/// Batches below this size are not worth spreading over threads.
const PARALLEL_FROM: usize = 256;

type Parts = (Vec<[f64; 4]>, Vec<Option<String>>, Vec<Option<f64>>);

/// The boxes in each text as (corners, labels, scores); None where it holds no list of boxes.
#[pyfunction]
fn parse_boxes(py: Python<'_>, texts: Vec<Text>) -> Vec<Option<Parts>> {
    py.detach(|| {
        let parts = |text: &Text| {
            parse(text).map(|boxes| {
                let corners =
                    |b: &Labelled| [b.corners.x1, b.corners.y1, b.corners.x2, b.corners.y2];
                (
                    boxes.iter().map(corners).collect(),
                    boxes.iter().map(|b| b.label.clone()).collect(),
                    boxes.iter().map(|b| b.score).collect(),
                )
            })
        };
        texts.iter().map(parts).collect()
    })
}

/// Intersection over union of each pair of boxes.
#[pyfunction]
fn iou_matrix<'py>(
    py: Python<'py>,
    predicted: PyReadonlyArray2<'py, f64>,
    references: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let predicted = corners(&predicted, "predicted")?;
    let references = corners(&references, "references")?;
    let mut ious = numpy::ndarray::Array2::zeros((predicted.len(), references.len()));
    py.detach(|| {
        for (row, prediction) in predicted.iter().enumerate() {
            for (column, reference) in references.iter().enumerate() {
                ious[[row, column]] = prediction.iou(*reference);
            }
        }
    });
    Ok(ious.into_pyarray(py))
}

type Pairs<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Rows and columns of a one-to-one matching of maximal sum.
#[pyfunction]
fn assign<'py>(py: Python<'py>, gains: PyReadonlyArray2<'py, f64>) -> Pairs<'py> {
    let view = gains.as_array();
    let (rows, columns) = view.dim();
    let view = view.as_standard_layout();
    let values = view.as_slice().expect("standard layout");
    let pairs = py.detach(|| maximise(values, rows, columns));
    let (rows, columns): (Vec<i64>, Vec<i64>) =
        pairs.iter().map(|&(r, c)| (r as i64, c as i64)).unzip();
    (rows.into_pyarray(py), columns.into_pyarray(py))
}

/// Predictions and references of a batch, brought to the same pixels.
pub struct Batch {
    pub predicted: Vec<Option<Vec<Labelled>>>,
    pub references: Vec<Vec<Labelled>>,
    /// What average precision asks of each reference; empty where nothing was given besides the boxes.
    pub targets: Vec<Vec<Target>>,
}

/// References of all rows one after the other: corners, label, and row of each.
pub type References<'py> = (
    PyReadonlyArray2<'py, f64>,
    Vec<Option<String>>,
    PyReadonlyArray1<'py, i64>,
);

/// Reads the texts and sorts the references by row.
pub fn batch(
    py: Python<'_>,
    texts: &[Text],
    references: &References<'_>,
    extras: Option<&ExtraViews>,
    scale: &PyReadonlyArray2<'_, f64>,
    frame: &PyReadonlyArray2<'_, f64>,
) -> PyResult<Batch> {
    let count = texts.len();
    for (name, array) in [("scale", scale), ("frame", frame)] {
        if array.as_array().dim() != (count, 2) {
            return Err(PyValueError::new_err(format!(
                "{name} must have the shape ({count}, 2)"
            )));
        }
    }
    let (scale, frame) = (scale.as_array(), frame.as_array());
    let (reference_corners, labels, rows) = references;
    let flat = corners(reference_corners, "references")?;
    let rows = rows.as_array();
    if flat.len() != rows.len() || flat.len() != labels.len() {
        return Err(PyValueError::new_err(
            "references need as many corners as labels and rows",
        ));
    }
    let mut by_row: Vec<Vec<Labelled>> = vec![Vec::new(); count];
    let mut targets: Vec<Vec<Target>> = vec![Vec::new(); count];
    for (index, ((&row, &corners), label)) in rows.iter().zip(&flat).zip(labels).enumerate() {
        let row = usize::try_from(row).ok().filter(|&row| row < count);
        let Some(row) = row else {
            return Err(PyValueError::new_err(format!(
                "a reference belongs to none of the {count} rows"
            )));
        };
        let corners = corners.ordered().clipped(frame[[row, 0]], frame[[row, 1]]);
        if corners.is_valid() {
            let label = label.as_deref().and_then(folded_label);
            targets[row].extend(extras.map(|extras| extras.target(index, corners)));
            by_row[row].push(Labelled {
                corners,
                label,
                score: None,
            });
        }
    }
    let read = |row: usize| {
        let mut boxes = parse(&texts[row])?;
        for found in &mut boxes {
            let scaled = found.corners.scaled(scale[[row, 0]], scale[[row, 1]]);
            found.corners = scaled.clipped(frame[[row, 0]], frame[[row, 1]]);
        }
        Some(boxes)
    };
    let predicted = py.detach(|| spread(count, read));
    Ok(Batch {
        predicted,
        references: by_row,
        targets,
    })
}

fn spread<T: Send>(count: usize, judge: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if count < PARALLEL_FROM || rayon::current_num_threads() == 1 {
        (0..count).map(judge).collect()
    } else {
        (0..count)
            .into_par_iter()
            .with_min_len(64)
            .map(judge)
            .collect()
    }
}

/// (n, 4): matched `IoU`, F1, average precision and count agreement of each text's boxes.
#[pyfunction]
#[pyo3(signature = (texts, references, scale, frame, threshold, use_labels))]
fn box_scores<'py>(
    py: Python<'py>,
    texts: Vec<Text>,
    references: References<'py>,
    scale: PyReadonlyArray2<'py, f64>,
    frame: PyReadonlyArray2<'py, f64>,
    threshold: f64,
    use_labels: bool,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let batch = batch(py, &texts, &references, None, &scale, &frame)?;
    let scores = py.detach(|| {
        spread(texts.len(), |row| {
            let scores = score(
                batch.predicted[row].as_deref(),
                &batch.references[row],
                threshold,
                use_labels,
            );
            [scores.iou, scores.f1, scores.ap, scores.count]
        })
    });
    let flat: Vec<f64> = scores.into_iter().flatten().collect();
    let table = numpy::ndarray::Array2::from_shape_vec((texts.len(), 4), flat)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(table.into_pyarray(py))
}

/// Rows of four numbers.
pub fn corners(array: &PyReadonlyArray2<'_, f64>, name: &str) -> PyResult<Vec<Corners>> {
    let view = array.as_array();
    if view.ncols() != 4 {
        return Err(PyValueError::new_err(format!(
            "{name} must have the shape (n, 4), not (n, {})",
            view.ncols()
        )));
    }
    Ok(view
        .outer_iter()
        .map(|row| Corners::new([row[0], row[1], row[2], row[3]]))
        .collect())
}

/// Adds this file's functions to the compiled module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_boxes, module)?)?;
    module.add_function(wrap_pyfunction!(iou_matrix, module)?)?;
    module.add_function(wrap_pyfunction!(assign, module)?)?;
    module.add_function(wrap_pyfunction!(box_scores, module)?)
}
