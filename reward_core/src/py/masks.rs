//! Python functions over batches of masks.

#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use crate::masks::{self, References};
use crate::measures::{MaskError, Measure, Prepared, Trait};
use crate::simd::{self, Level};
use crate::strips::{f16_above, Plane};
use crate::threads;
use ndarray::{Array2, ArrayView2, ArrayView3, Axis, Dimension, Ix2, Ix3};
use numpy::{
    IntoPyArray, PyArray2, PyArrayDescrMethods, PyReadonlyArray, PyReadwriteArray2,
    PyReadwriteArray3, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Masks in one array, by the type of its values.
enum Pixels<'py, D: Dimension> {
    U8(PyReadonlyArray<'py, u8, D>),
    F32(PyReadonlyArray<'py, f32, D>),
    F64(PyReadonlyArray<'py, f64, D>),
    /// Half floats by their bits.
    F16(PyReadonlyArray<'py, u16, D>),
}

impl<'a, 'py, D: Dimension + 'a> FromPyObject<'a, 'py> for Pixels<'py, D> {
    type Error = PyErr;

    /// By the array's type: to try one type after the other makes an error for each, which takes longer than the masks.
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let kind = object.cast::<PyUntypedArray>()?.dtype();
        match (kind.kind(), kind.itemsize()) {
            (b'u', 1) => object.extract().map(Self::U8),
            (b'f', 4) => object.extract().map(Self::F32),
            (b'f', 8) => object.extract().map(Self::F64),
            (b'u', 2) => object.extract().map(Self::F16),
            _ => Err(PyTypeError::new_err(format!(
                "masks of type {kind}: expected uint8, float32, float64, or half floats as uint16"
            ))),
        }
    }
}

/// A batch of masks as Python holds it: one array, or a list of arrays of any shapes.
enum Batch<'py> {
    Stack(Pixels<'py, Ix3>),
    List(Vec<Pixels<'py, Ix2>>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Batch<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.cast::<PyUntypedArray>().is_ok() {
            object.extract().map(Self::Stack)
        } else {
            object.extract().map(Self::List)
        }
    }
}

/// The values above which a pixel is foreground, of each type.
struct Thresholds {
    byte: u8,
    float: f64,
}

impl Thresholds {
    /// Bytes above 0 or `threshold`, floats above 0.5 or `threshold`.
    fn of(threshold: Option<f64>) -> PyResult<Self> {
        let limit = threshold.unwrap_or(0.0);
        if !limit.is_finite() || limit < 0.0 {
            return Err(PyValueError::new_err(format!(
                "threshold is {limit}: expected a number ≥ 0"
            )));
        }
        #[allow(clippy::cast_sign_loss)] // checked above
        let byte = limit as u8; // bytes are whole: above 127.5 is above 127; casts stop at 255
        Ok(Self {
            byte,
            float: threshold.unwrap_or(0.5),
        })
    }

    fn u8<'a>(&self, view: ArrayView2<'a, u8>) -> Plane<'a> {
        Plane::U8(view, self.byte)
    }

    fn f32<'a>(&self, view: ArrayView2<'a, f32>) -> Plane<'a> {
        Plane::F32(view, self.float as f32)
    }

    fn f64<'a>(&self, view: ArrayView2<'a, f64>) -> Plane<'a> {
        Plane::F64(view, self.float)
    }

    fn f16<'a>(&self, view: ArrayView2<'a, u16>) -> Plane<'a> {
        Plane::F16(view, f16_above(self.float))
    }
}

impl Batch<'_> {
    /// Views of the masks, see [`Thresholds::of`].
    fn planes(&self, threshold: Option<f64>) -> PyResult<Vec<Plane<'_>>> {
        let above = Thresholds::of(threshold)?;
        let planes = match self {
            Self::Stack(Pixels::U8(batch)) => slices(&batch.as_array())
                .map(|view| above.u8(view))
                .collect(),
            Self::Stack(Pixels::F32(batch)) => slices(&batch.as_array())
                .map(|view| above.f32(view))
                .collect(),
            Self::Stack(Pixels::F64(batch)) => slices(&batch.as_array())
                .map(|view| above.f64(view))
                .collect(),
            Self::Stack(Pixels::F16(batch)) => slices(&batch.as_array())
                .map(|view| above.f16(view))
                .collect(),
            Self::List(images) => images
                .iter()
                .map(|image| match image {
                    Pixels::U8(image) => above.u8(image.as_array()),
                    Pixels::F32(image) => above.f32(image.as_array()),
                    Pixels::F64(image) => above.f64(image.as_array()),
                    Pixels::F16(image) => above.f16(image.as_array()),
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
enum Output<'py> {
    Stack(PyReadwriteArray3<'py, u8>),
    List(Vec<PyReadwriteArray2<'py, u8>>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Output<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.cast::<PyUntypedArray>().is_ok() {
            object.extract().map(Self::Stack)
        } else {
            object.extract().map(Self::List)
        }
    }
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
enum ReferenceMasks<'py> {
    Prepared(Bound<'py, PreparedMasks>),
    Masks(Batch<'py>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for ReferenceMasks<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PreparedMasks>() {
            Ok(prepared) => Ok(Self::Prepared(prepared.to_owned())),
            Err(_) => object.extract().map(Self::Masks),
        }
    }
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
