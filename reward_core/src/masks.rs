//! Batches of masks: check shapes, share the work among threads.

use crate::measures::{Findings, MaskError, Measure, Needs, Prepared, Tools, Trait};
use crate::strips::{Plane, Strips};
use crate::{thinning, threads};
use std::cell::RefCell;

/// Below this many pixels a batch is worked on by one thread: waking others would cost more.
const SMALL_BATCH_PX: usize = 1 << 16;

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Memory of one thread, so that no mask allocates.
#[derive(Default)]
struct Workspace {
    prediction: Prepared,
    reference: Prepared,
    fov: Strips,
    tools: Tools,
}

/// The reference masks of a batch, as they come in or prepared before.
#[derive(Clone, Copy, Debug)]
pub enum References<'a> {
    /// Masks.
    Planes(&'a [Plane<'a>]),
    /// Prepared masks, each for as many consecutive predictions as there are per reference.
    Prepared(&'a [Prepared]),
}

impl References<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Planes(planes) => planes.len(),
            Self::Prepared(prepared) => prepared.len(),
        }
    }

    fn shape(&self, index: usize) -> (usize, usize) {
        match self {
            Self::Planes(planes) => planes[index].shape(),
            Self::Prepared(prepared) => prepared[index].mask.shape(),
        }
    }
}

/// Which of `others` belongs to each of `predictions`: others repeat for groups of consecutive predictions.
fn group(predictions: usize, with: &'static str, others: usize) -> Result<usize, MaskError> {
    match predictions {
        0 if others == 0 => Ok(1),
        _ if others > 0 && predictions > 0 && predictions.is_multiple_of(others) => {
            Ok(predictions / others)
        }
        _ => Err(MaskError::Batch {
            predictions,
            with,
            others,
        }),
    }
}

fn check_shapes(
    predictions: &[Plane<'_>],
    with: &'static str,
    group: usize,
    shape: impl Fn(usize) -> (usize, usize),
) -> Result<(), MaskError> {
    for (row, plane) in predictions.iter().enumerate() {
        let (prediction, other) = (plane.shape(), shape(row / group));
        if prediction != other {
            return Err(MaskError::Shape {
                row,
                prediction,
                with,
                other,
            });
        }
    }
    Ok(())
}

fn is_large(planes: &[Plane<'_>]) -> bool {
    let pixels = planes.iter().map(|plane| plane.shape().0 * plane.shape().1);
    pixels.sum::<usize>() >= SMALL_BATCH_PX
}

/// Measures every prediction against its reference, inside the field of view where one is given.
///
/// Writes `measures.len()` values per prediction to `out`.
///
/// # Errors
/// When numbers or shapes of predictions, references and fields of view do not fit.
pub fn measure(
    predictions: &[Plane<'_>],
    references: References<'_>,
    fov: Option<&[Plane<'_>]>,
    measures: &[Measure],
    spacing: [f64; 2],
    out: &mut [f64],
) -> Result<(), MaskError> {
    let per_reference = group(predictions.len(), "reference", references.len())?;
    check_shapes(predictions, "reference", per_reference, |index| {
        references.shape(index)
    })?;
    let per_fov = match fov {
        Some(fov) => {
            let per_fov = group(predictions.len(), "field of view", fov.len())?;
            check_shapes(predictions, "field of view", per_fov, |index| {
                fov[index].shape()
            })?;
            per_fov
        }
        None => 1,
    };
    let needs = Needs::of(measures);
    let rows: Vec<_> = out.chunks_exact_mut(measures.len().max(1)).collect();
    threads::for_each(rows, is_large(predictions), |index, row| {
        let prediction = &predictions[index];
        let findings = WORKSPACE.with_borrow_mut(|workspace| {
            if let (References::Planes(planes), true, None) =
                (references, needs.overlap_only(), fov)
            {
                if let Some(findings) =
                    Findings::of_unpacked(prediction, &planes[index / per_reference])
                {
                    return findings;
                }
            }
            let Workspace {
                prediction: mine,
                reference: its,
                fov: view,
                tools,
            } = workspace;
            let view = fov.map(|fov| {
                view.pack(&fov[index / per_fov]);
                &*view
            });
            mine.prepare(prediction, view, needs, tools);
            let its = match references {
                References::Planes(planes) => {
                    its.prepare(&planes[index / per_reference], view, needs, tools);
                    &*its
                }
                References::Prepared(prepared) => &prepared[index / per_reference],
            };
            Findings::of(mine, its, needs, spacing, tools)
        });
        for (value, &measure) in row.iter_mut().zip(measures) {
            *value = findings.value(measure);
        }
    });
    Ok(())
}

/// Prepares reference masks for many predictions.
///
/// # Errors
/// When number or shape of masks and fields of view do not fit.
pub fn prepare(
    planes: &[Plane<'_>],
    fov: Option<&[Plane<'_>]>,
) -> Result<Vec<Prepared>, MaskError> {
    if let Some(fov) = fov {
        let per_fov = group(planes.len(), "field of view", fov.len())?;
        check_shapes(planes, "field of view", per_fov, |index| fov[index].shape())?;
    }
    let mut prepared = vec![Prepared::default(); planes.len()];
    let needs = Needs {
        skeleton: true,
        topology: true,
        surface: false,
    };
    let per_fov = fov.map_or(1, |fov| planes.len() / fov.len().max(1));
    threads::for_each(
        prepared.iter_mut().collect(),
        is_large(planes),
        |index, one| {
            WORKSPACE.with_borrow_mut(
                |Workspace {
                     fov: view, tools, ..
                 }| {
                    let view = fov.map(|fov| {
                        view.pack(&fov[index / per_fov]);
                        &*view
                    });
                    one.prepare(&planes[index], view, needs, tools);
                },
            );
        },
    );
    Ok(prepared)
}

/// Thins every mask into its array of bytes 0 and 1, row by row.
///
/// # Panics
/// When an output is not as long as its mask has pixels.
pub fn skeletonize(planes: &[Plane<'_>], out: Vec<&mut [u8]>) {
    assert_eq!(planes.len(), out.len());
    threads::for_each(out, is_large(planes), |index, bytes| {
        WORKSPACE.with_borrow_mut(
            |Workspace {
                 prediction, tools, ..
             }| {
                prediction.skeleton.pack(&planes[index]);
                thinning::thin(&mut prediction.skeleton, &mut tools.scratch);
                prediction.skeleton.unpack(bytes);
            },
        );
    });
}

/// Measures every mask by itself; writes `traits.len()` values per mask to `out`.
pub fn describe(planes: &[Plane<'_>], traits: &[Trait], out: &mut [f64]) {
    let rows: Vec<_> = out.chunks_exact_mut(traits.len().max(1)).collect();
    threads::for_each(rows, is_large(planes), |index, row| {
        WORKSPACE.with_borrow_mut(
            |Workspace {
                 prediction, tools, ..
             }| {
                prediction.mask.pack(&planes[index]);
                Trait::measure(traits, &mut prediction.mask, tools, row);
            },
        );
    });
}
