//! Python functions over batches of masks.

#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use crate::masks::{self, References};
use crate::measures::{MaskError, Measure, Prepared, Trait};
use crate::simd::{self, Level};
use crate::strips::{f16_above, Plane};
use crate::threads;
use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use numpy::{
    IntoPyArray, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyReadwriteArray2,
    PyReadwriteArray3, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// One mask as Python holds it.
#[derive(FromPyObject)]
enum Image<'py> {
    U8(PyReadonlyArray2<'py, u8>),
    F32(PyReadonlyArray2<'py, f32>),
    F64(PyReadonlyArray2<'py, f64>),
    F16(PyReadonlyArray2<'py, u16>),
}

/// A batch of masks as Python holds it: one array, or a list of arrays of any shapes.
#[derive(FromPyObject)]
enum Batch<'py> {
    U8(PyReadonlyArray3<'py, u8>),
    F32(PyReadonlyArray3<'py, f32>),
    F64(PyReadonlyArray3<'py, f64>),
    /// Half floats by their bits.
    F16(PyReadonlyArray3<'py, u16>),
    List(Vec<Image<'py>>),
}

impl Batch<'_> {
    /// Views of the masks; bytes above 0 or `threshold`, floats above 0.5 or `threshold`, are foreground.
    fn planes(&self, threshold: Option<f64>) -> PyResult<Vec<Plane<'_>>> {
        let limit = threshold.unwrap_or(0.0);
        if !limit.is_finite() || limit < 0.0 {
            return Err(PyValueError::new_err(format!(
                "threshold is {limit}: expected a number ≥ 0"
            )));
        }
        #[allow(clippy::cast_sign_loss)] // checked above
        let byte = limit as u8; // bytes are whole: above 127.5 is above 127; casts stop at 255
        let float = threshold.unwrap_or(0.5);
        let planes = match self {
            Self::U8(batch) => slices(&batch.as_array())
                .map(|view| Plane::U8(view, byte))
                .collect(),
            Self::F32(batch) => slices(&batch.as_array())
                .map(|view| Plane::F32(view, float as f32))
                .collect(),
            Self::F64(batch) => slices(&batch.as_array())
                .map(|view| Plane::F64(view, float))
                .collect(),
            Self::F16(batch) => slices(&batch.as_array())
                .map(|view| Plane::F16(view, f16_above(float)))
                .collect(),
            Self::List(images) => images
                .iter()
                .map(|image| match image {
                    Image::U8(view) => Plane::U8(view.as_array(), byte),
                    Image::F32(view) => Plane::F32(view.as_array(), float as f32),
                    Image::F64(view) => Plane::F64(view.as_array(), float),
                    Image::F16(view) => Plane::F16(view.as_array(), f16_above(float)),
                })
                .collect(),
        };
        Ok(planes)
    }
}

/// The masks of a batch, one after the other.
fn slices<'a, T>(
    batch: &ArrayView3<'a, T>,
) -> impl Iterator<Item = ArrayView2<'a, T>> + use<'a, T> {
    let batch = *batch;
    (0..batch.len_of(Axis(0))).map(move |index| batch.index_axis_move(Axis(0), index))
}

/// Where results go: one array, or a list of arrays.
#[derive(FromPyObject)]
enum Output<'py> {
    Stack(PyReadwriteArray3<'py, u8>),
    List(Vec<PyReadwriteArray2<'py, u8>>),
}

/// Masks whose packed form, skeleton and topology are worked out once and used for many predictions.
#[pyclass(frozen, module = "medgrpo._reward_core")]
struct PreparedMasks {
    masks: Vec<Prepared>,
}

#[pymethods]
impl PreparedMasks {
    #[new]
    #[pyo3(signature = (masks, fov=None, threshold=None))]
    fn new(
        py: Python<'_>,
        masks: Batch<'_>,
        fov: Option<Batch<'_>>,
        threshold: Option<f64>,
    ) -> PyResult<Self> {
        let planes = masks.planes(threshold)?;
        let fov = fov.as_ref().map(|fov| fov.planes(threshold)).transpose()?;
        let masks = py
            .detach(|| masks::prepare(&planes, fov.as_deref()))
            .map_err(refuse)?;
        Ok(Self { masks })
    }

    fn __len__(&self) -> usize {
        self.masks.len()
    }

    /// Height and width of each mask, (masks, 2).
    fn shapes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<i64>> {
        let shapes = self
            .masks
            .iter()
            .flat_map(|one| <[usize; 2]>::from(one.mask.shape()));
        #[allow(clippy::cast_possible_wrap)] // lengths of masks in memory
        let values = shapes.map(|length| length as i64).collect();
        Array2::from_shape_vec((self.masks.len(), 2), values)
            .expect("two a mask")
            .into_pyarray(py)
    }

    /// Area, skeleton length, components and holes of each mask, (masks, 4).
    fn counts<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<i64>> {
        let counts = self.masks.iter().flat_map(|one| {
            [
                one.area,
                one.length,
                one.topology.components,
                one.topology.holes,
            ]
            .map(u64::cast_signed)
        });
        Array2::from_shape_vec((self.masks.len(), 4), counts.collect())
            .expect("four a mask")
            .into_pyarray(py)
    }
}

/// References as Python gives them.
#[derive(FromPyObject)]
enum ReferenceMasks<'py> {
    Prepared(Bound<'py, PreparedMasks>),
    Masks(Batch<'py>),
}

fn refuse(error: MaskError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn unknown(kind: &str, name: &str, known: &[&str]) -> PyErr {
    PyValueError::new_err(format!(
        "no {kind} called '{name}': expected one of {}",
        known.join(", ")
    ))
}

fn table(
    py: Python<'_>,
    rows: usize,
    columns: usize,
    values: Vec<f64>,
) -> Bound<'_, PyArray2<f64>> {
    Array2::from_shape_vec((rows, columns), values)
        .expect("rows × columns values")
        .into_pyarray(py)
}

/// Each named measure of each prediction with its reference, (predictions, names).
#[pyfunction]
#[pyo3(signature = (predictions, references, names, fov=None, threshold=None, spacing=(1.0, 1.0)))]
fn measure_masks<'py>(
    py: Python<'py>,
    predictions: Batch<'py>,
    references: ReferenceMasks<'py>,
    names: Vec<String>,
    fov: Option<Batch<'py>>,
    threshold: Option<f64>,
    spacing: (f64, f64),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let measures = names
        .iter()
        .map(|name| {
            Measure::named(name)
                .ok_or_else(|| unknown("measure", name, &Measure::ALL.map(Measure::name)))
        })
        .collect::<PyResult<Vec<_>>>()?;
    let spacing = <[f64; 2]>::from(spacing);
    // Beyond these their squares leave the range of floats.
    if !spacing
        .iter()
        .all(|length| (1e-100..=1e100).contains(length))
    {
        return Err(PyValueError::new_err(format!(
            "spacing is {spacing:?}: expected two lengths above 0, from 1e-100 to 1e100"
        )));
    }
    let predictions = predictions.planes(threshold)?;
    let fov = fov.as_ref().map(|fov| fov.planes(threshold)).transpose()?;
    let planes;
    let references = match &references {
        ReferenceMasks::Prepared(prepared) => References::Prepared(&prepared.get().masks),
        ReferenceMasks::Masks(batch) => {
            planes = batch.planes(threshold)?;
            References::Planes(&planes)
        }
    };
    let mut values = vec![0.0; predictions.len() * measures.len()];
    py.detach(|| {
        masks::measure(
            &predictions,
            references,
            fov.as_deref(),
            &measures,
            spacing,
            &mut values,
        )
    })
    .map_err(refuse)?;
    Ok(table(py, predictions.len(), measures.len(), values))
}

/// Each named trait of each mask, (masks, names).
#[pyfunction]
#[pyo3(signature = (masks, names, threshold=None))]
fn describe_masks<'py>(
    py: Python<'py>,
    masks: Batch<'py>,
    names: Vec<String>,
    threshold: Option<f64>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let traits = names
        .iter()
        .map(|name| {
            Trait::named(name).ok_or_else(|| unknown("trait", name, &Trait::ALL.map(Trait::name)))
        })
        .collect::<PyResult<Vec<_>>>()?;
    let planes = masks.planes(threshold)?;
    let mut values = vec![0.0; planes.len() * traits.len()];
    py.detach(|| masks::describe(&planes, &traits, &mut values));
    Ok(table(py, planes.len(), traits.len(), values))
}

/// Writes the skeleton of each mask to `out` as 0 and 1: C-contiguous uint8 of the same shapes.
#[pyfunction]
#[pyo3(signature = (masks, out, threshold=None))]
fn skeletonize_masks(
    py: Python<'_>,
    masks: Batch<'_>,
    out: Output<'_>,
    threshold: Option<f64>,
) -> PyResult<()> {
    let planes = masks.planes(threshold)?;
    let not_contiguous = || PyTypeError::new_err("out is not C-contiguous");
    let mut out = out;
    let bytes: Vec<&mut [u8]> = match &mut out {
        Output::Stack(stack) => {
            let size = stack.shape()[1] * stack.shape()[2];
            let count = stack.shape()[0];
            let all = stack.as_slice_mut().map_err(|_| not_contiguous())?;
            if size == 0 {
                (0..count).map(|_| <&mut [u8]>::default()).collect()
            } else {
                all.chunks_exact_mut(size).collect()
            }
        }
        Output::List(images) => images
            .iter_mut()
            .map(|image| image.as_slice_mut().map_err(|_| not_contiguous()))
            .collect::<PyResult<_>>()?,
    };
    let fits =
        |(plane, bytes): (&Plane<'_>, &&mut [u8])| plane.shape().0 * plane.shape().1 == bytes.len();
    if planes.len() != bytes.len() || !planes.iter().zip(&bytes).all(fits) {
        return Err(PyValueError::new_err("out differs from the masks in shape"));
    }
    py.detach(|| masks::skeletonize(&planes, bytes));
    Ok(())
}

/// Uses so many threads from now on; 0 means `MEDGRPO_NUM_THREADS`, or else every processor.
#[pyfunction]
fn set_num_threads(threads: usize) {
    threads::set_num_threads(threads);
}

/// Threads that batches are shared among.
#[pyfunction]
fn num_threads() -> usize {
    threads::num_threads()
}

/// Uses the loops compiled for an instruction set (portable, sse2, avx2, avx512), or the best there is where
/// the processor lacks it; returns the name of the one now in use.
#[pyfunction]
fn set_instruction_set(name: &str) -> PyResult<&'static str> {
    let level = Level::named(name)
        .ok_or_else(|| unknown("instruction set", name, &Level::ALL.map(Level::name)))?;
    Ok(simd::set_level(level).name())
}

/// The instruction set in use.
#[pyfunction]
fn instruction_set() -> &'static str {
    simd::level().name()
}

/// Adds this file's functions to the compiled module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PreparedMasks>()?;
    module.add_function(wrap_pyfunction!(measure_masks, module)?)?;
    module.add_function(wrap_pyfunction!(describe_masks, module)?)?;
    module.add_function(wrap_pyfunction!(skeletonize_masks, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_instruction_set, module)?)?;
    module.add_function(wrap_pyfunction!(instruction_set, module)?)
}
