//! How much two masks share: Dice, `IoU`, recall, precision and the ratio of areas.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do

use crate::simd;
use crate::strips::{Plane, Strips, F16_INFINITY};
use ndarray::ArrayView2;

/// Foreground pixels of a prediction, of its reference, and of both at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// |P|
    pub prediction: u64,
    /// |R|
    pub reference: u64,
    /// |P∩R|
    pub intersection: u64,
}

impl Overlap {
    /// Counts packed masks of the same shape.
    #[must_use]
    pub fn of(prediction: &Strips, reference: &Strips) -> Self {
        Self {
            prediction: prediction.count(),
            reference: reference.count(),
            intersection: prediction.count_both(reference),
        }
    }

    /// Counts two masks of the same shape without packing them, where both are of one type and lie in memory without
    /// gaps and in the same order.
    #[must_use]
    pub fn of_unpacked(prediction: &Plane<'_>, reference: &Plane<'_>) -> Option<Self> {
        let [prediction, reference, intersection] = match (prediction, reference) {
            (Plane::U8(p, above_p), Plane::U8(r, above_r)) => {
                let (p, r) = values(p, r)?;
                simd::overlap_bytes(p, r, (*above_p, *above_r))
            }
            (Plane::F32(p, above_p), Plane::F32(r, above_r)) => {
                let (p, r) = values(p, r)?;
                simd::overlap_f32(p, r, [*above_p, *above_r])
            }
            (Plane::F64(p, above_p), Plane::F64(r, above_r)) => {
                let (p, r) = values(p, r)?;
                simd::overlap_f64(p, r, [*above_p, *above_r])
            }
            (Plane::F16(p, first_p), Plane::F16(r, first_r))
                if *first_p.max(first_r) <= F16_INFINITY =>
            {
                let (p, r) = values(p, r)?;
                simd::overlap_u16(p, r, [*first_p, *first_r], F16_INFINITY)
            }
            _ => return None,
        };
        Some(Self {
            prediction,
            reference,
            intersection,
        })
    }

    /// Dice coefficient 2|P∩R| / (|P|+|R|), in [0, 1]; 1 when both masks are empty.
    ///
    /// Source: Dice 1945, doi:10.2307/1932409.
    #[must_use]
    pub fn dice(self) -> f64 {
        match self.prediction + self.reference {
            0 => 1.0,
            total => 2.0 * self.intersection as f64 / total as f64,
        }
    }

    /// Jaccard index |P∩R| / |P∪R|, in [0, 1]; 1 when both masks are empty.
    #[must_use]
    pub fn iou(self) -> f64 {
        match self.prediction + self.reference - self.intersection {
            0 => 1.0,
            union => self.intersection as f64 / union as f64,
        }
    }

    /// Recall |P∩R| / |R|; where the reference is empty, 1 if the prediction is too, else 0.
    #[must_use]
    pub fn recall(self) -> f64 {
        share(self.intersection, self.reference, self.prediction)
    }

    /// Precision |P∩R| / |P|; where the prediction is empty, 1 if the reference is too, else 0.
    #[must_use]
    pub fn precision(self) -> f64 {
        share(self.intersection, self.prediction, self.reference)
    }

    /// |P| / |R|; 1 where both are empty, infinite where only the reference is.
    #[must_use]
    pub fn area_ratio(self) -> f64 {
        match (self.prediction, self.reference) {
            (0, 0) => 1.0,
            (p, r) => p as f64 / r as f64,
        }
    }
}

/// part / whole; where the whole is 0: 1 if the other side is empty as well, else 0.
#[must_use]
pub fn share(part: u64, whole: u64, other: u64) -> f64 {
    match (whole, other) {
        (0, 0) => 1.0,
        (0, _) => 0.0,
        _ => part as f64 / whole as f64,
    }
}

/// The values of two views in the order of memory, where that is one order without gaps.
fn values<'a, T>(a: &'a ArrayView2<'_, T>, b: &'a ArrayView2<'_, T>) -> Option<(&'a [T], &'a [T])> {
    if a.strides() != b.strides() {
        return None;
    }
    Some((a.as_slice_memory_order()?, b.as_slice_memory_order()?))
}

/// Number of bits set.
#[inline(always)]
pub(crate) fn count_bits(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Number of bits set in both.
#[inline(always)]
pub(crate) fn count_common_bits(a: &[u64], b: &[u64]) -> u64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| u64::from((x & y).count_ones()))
        .sum()
}
