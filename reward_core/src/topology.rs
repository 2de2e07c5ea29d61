//! Euler number and Betti numbers of a mask: foreground 8-connected, background 4-connected.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::components::{self, Forest};
use crate::simd;
use crate::strips::{Strips, MARGIN};

/// What a mask is made of, up to bending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// β0: 8-connected components.
    pub components: u64,
    /// β1: holes, the 4-connected background components that do not reach the outside.
    pub holes: u64,
}

impl Topology {
    /// Counts components and holes; one labelling, since β1 = β0 − χ.
    #[must_use]
    pub fn of(strips: &Strips, forest: &mut Forest) -> Self {
        let components = components::count(strips, forest);
        let holes = (components.cast_signed() - euler_number(strips)).cast_unsigned();
        Self { components, holes }
    }

    /// Euler number β0 − β1.
    #[must_use]
    pub fn euler(self) -> i64 {
        self.components.cast_signed() - self.holes.cast_signed()
    }

    /// |Δβ0| + |Δβ1| between two masks.
    #[must_use]
    pub fn distance(self, other: Self) -> u64 {
        self.components.abs_diff(other.components) + self.holes.abs_diff(other.holes)
    }
}

/// Euler number χ = components − holes.
///
/// Counted as vertices − edges + faces of the pixels seen as closed squares, for which touching at a corner
/// is touching: V = pixels of the mask dilated by 2×2, E = dilated by 1×2 and by 2×1, F = the mask.
#[must_use]
pub fn euler_number(strips: &Strips) -> i64 {
    simd::euler_number(strips)
}

/// The loop behind [`euler_number`], compiled once for each instruction set.
#[inline(always)]
pub(crate) fn euler_body(strips: &Strips) -> i64 {
    let stride = strips.stride();
    let words = strips.words();
    let (mut plus, mut minus) = (0u64, 0u64);
    // From the row above the foreground to the one below it.
    let rows = strips.rows();
    let rows = MARGIN + rows.start - 1..=MARGIN + rows.end;
    // The strip of zeros on the right is included: the east edge of the last pixel lies in it.
    for (west, here) in words
        .chunks_exact(stride)
        .zip(words.chunks_exact(stride).skip(1))
    {
        let (west, here) = (&west[rows.clone()], &here[rows.clone()]);
        // Rows 0..n and the rows below them, in both strips.
        let n = here.len() - 1;
        let pairs = west[..n]
            .iter()
            .zip(&west[1..])
            .zip(here[..n].iter().zip(&here[1..]));
        for ((&west_above, &west), (&above, &pixel)) in pairs {
            let left = pixel << 1 | west >> 63;
            let above_left = above << 1 | west_above >> 63;
            let vertices = pixel | left | above | above_left;
            plus += u64::from(vertices.count_ones() + pixel.count_ones());
            minus += u64::from((pixel | left).count_ones() + (pixel | above).count_ones());
        }
    }
    plus.cast_signed() - minus.cast_signed()
}
