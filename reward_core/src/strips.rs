//! A binary image as bits: 64-pixel-wide strips, the rows of a strip next to each other.
//!
//! Pixel (row, column) is bit `column % 64` of word `(column / 64 + 1) * stride + MARGIN + row`. A strip of
//! zeros stands on either side and [`MARGIN`] rows of zeros above and below, so a pixel's northern and southern
//! neighbours are one word away, its eastern and western ones a shift away, and no code asks for the border.
//! Eight consecutive words are one tile of 64×8 pixels: one AVX-512 register.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::simd;
use ndarray::ArrayView2;
use std::cell::RefCell;
use std::ops::Range;

/// Rows of zeros above and below the image; also the rows of a tile.
pub const MARGIN: usize = 8;

/// One mask as it comes in, and what counts as foreground in it.
#[derive(Clone, Copy, Debug)]
pub enum Plane<'a> {
    /// Foreground: any value above the threshold (0: any value that is not zero).
    U8(ArrayView2<'a, u8>, u8),
    /// Foreground: any value above the threshold; NaN is background.
    F32(ArrayView2<'a, f32>, f32),
    /// Foreground: any value above the threshold; NaN is background.
    F64(ArrayView2<'a, f64>, f64),
    /// Half floats by their bits, and the least bits that are foreground; NaN is background.
    F16(ArrayView2<'a, u16>, u16),
}

/// Bits of the half float infinity: what lies above is NaN or negative.
pub(crate) const F16_INFINITY: u16 = 0x7c00;

/// The bits of the least half float above a threshold of 0 or more; beyond infinity where there is none.
#[must_use]
pub fn f16_above(threshold: f64) -> u16 {
    // Put together from bits: a power computed by `powi` need not be exact.
    let value = |bits: u16| -> f64 {
        let (exponent, fraction) = (u64::from(bits >> 10), u64::from(bits & 0x3ff));
        match exponent {
            0 => fraction as f64 / f64::from(1 << 24),
            31 => f64::INFINITY,
            _ => f64::from_bits((exponent + 1023 - 15) << 52 | fraction << 42),
        }
    };
    // Half floats from 0 on rise with their bits.
    let (mut low, mut high) = (0, F16_INFINITY + 1);
    while low < high {
        let middle = u16::midpoint(low, high);
        if value(middle) > threshold {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl Plane<'_> {
    /// (height, width) in pixels.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::U8(view, _) => view.dim(),
            Self::F32(view, _) => view.dim(),
            Self::F64(view, _) => view.dim(),
            Self::F16(view, _) => view.dim(),
        }
    }
}

/// A packed binary image.
#[derive(Debug, Default)]
pub struct Strips {
    /// The words, from `first` on: tiles then begin where cache lines do.
    memory: Vec<u64>,
    first: usize,
    height: usize,
    width: usize,
    stride: usize,
    /// Rows that may hold foreground.
    rows: Range<usize>,
}

impl Clone for Strips {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.copy_from(self);
        copy
    }
}

impl Strips {
    /// An image of background.
    #[must_use]
    pub fn new(height: usize, width: usize) -> Self {
        let mut strips = Self::default();
        strips.reset(height, width);
        strips
    }

    /// Takes the given shape; the content is undefined inside the image and zero around it.
    pub fn reset(&mut self, height: usize, width: usize) {
        if (self.height, self.width) == (height, width) && !self.memory.is_empty() {
            return;
        }
        self.height = height;
        self.width = width;
        self.stride = height.div_ceil(MARGIN) * MARGIN + 2 * MARGIN;
        self.memory.clear();
        self.memory.resize(self.len() + MARGIN, 0);
        self.rows = 0..0;
        // An offset of more than a tile would only mean that nothing is known about the address.
        self.first = self.memory.as_ptr().align_offset(64).min(MARGIN);
    }

    /// Number of words.
    fn len(&self) -> usize {
        (self.columns() + 2) * self.stride
    }

    /// Packs a mask; keeps the allocation where the shape is the same.
    pub fn pack(&mut self, plane: &Plane<'_>) {
        match plane {
            Plane::U8(view, threshold) => {
                self.pack_view(view, |view, out| simd::pack_u8(view, *threshold, out));
            }
            Plane::F32(view, threshold) => {
                self.pack_view(view, |view, out| simd::pack_f32(view, *threshold, out));
            }
            Plane::F64(view, threshold) => {
                self.pack_view(view, |view, out| simd::pack_f64(view, *threshold, out));
            }
            Plane::F16(view, first) if *first > F16_INFINITY => {
                self.reset(view.nrows(), view.ncols());
                self.clear();
            }
            Plane::F16(view, first) => {
                let range = [*first, F16_INFINITY];
                self.pack_view(view, |view, out| simd::pack_u16(view, range, out));
            }
        }
    }

    /// Packs a view; one whose columns lie in memory one after the other is packed turned, and the bits turned back.
    fn pack_view<T: Copy>(
        &mut self,
        view: &ArrayView2<'_, T>,
        pack: impl Fn(&ArrayView2<'_, T>, &mut Self),
    ) {
        let (height, width) = view.dim();
        self.reset(height, width);
        let strides = view.strides();
        if strides[0] != 1 || strides[1] == 1 || width < 2 {
            return pack(view, self);
        }
        TURNED.with_borrow_mut(|turned| {
            turned.reset(width, height);
            pack(&view.t(), turned);
            simd::transpose(turned, self);
        });
    }

    /// Copies another image, keeping the allocation where the shape is the same.
    pub fn copy_from(&mut self, other: &Self) {
        if other.memory.is_empty() {
            *self = Self::default(); // has no margins to copy either
            return;
        }
        self.reset(other.height, other.width);
        self.rewrite_rows(other.rows());
        let rows = other.rows();
        for strip in 0..self.columns() {
            self.part_mut(strip, &rows)
                .copy_from_slice(other.part(strip, &rows));
        }
    }

    /// Clears every pixel that is background in `other`, an image of the same shape.
    pub fn intersect(&mut self, other: &Self) {
        debug_assert_eq!(self.shape(), other.shape());
        let rows = self.rows();
        for strip in 0..self.columns() {
            let words = self.part_mut(strip, &rows).iter_mut();
            for (word, &keep) in words.zip(other.part(strip, &rows)) {
                *word &= keep;
            }
        }
    }

    /// (height, width) in pixels.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Strips that hold pixels.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.width.div_ceil(64)
    }

    /// Words from one strip to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All words, the zeros around the image included.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.memory[self.first..][..self.len()]
    }

    /// All words; whoever writes keeps the zeros around the image. Every row may hold foreground afterwards.
    pub fn words_mut(&mut self) -> &mut [u64] {
        self.rows = 0..self.height;
        self.words_within_rows()
    }

    /// All words, to write to no other rows than [`Self::rows`], or to such whose foreground is told afterwards.
    pub(crate) fn words_within_rows(&mut self) -> &mut [u64] {
        let len = self.len();
        &mut self.memory[self.first..][..len]
    }

    /// Rows that may hold foreground: there is none in the others.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Says that no other row holds foreground.
    pub(crate) fn set_rows(&mut self, rows: Range<usize>) {
        debug_assert!(rows.end <= self.height);
        self.rows = rows;
    }

    /// Announces that the given rows are written next, all of their words, and that no other holds foreground.
    pub(crate) fn rewrite_rows(&mut self, rows: Range<usize>) {
        let old = self.rows();
        for stale in [
            old.start..old.end.min(rows.start),
            old.start.max(rows.end)..old.end,
        ] {
            if !stale.is_empty() {
                for strip in 0..self.columns() {
                    self.part_mut(strip, &stale).fill(0);
                }
            }
        }
        self.set_rows(rows);
    }

    /// Turns every pixel into background.
    fn clear(&mut self) {
        self.rewrite_rows(0..0);
    }

    /// Some rows of a strip.
    fn part(&self, strip: usize, rows: &Range<usize>) -> &[u64] {
        &self.words()[self.start(strip)..][rows.clone()]
    }

    /// Some rows of a strip, to write.
    fn part_mut(&mut self, strip: usize, rows: &Range<usize>) -> &mut [u64] {
        let start = self.start(strip);
        &mut self.words_within_rows()[start..][rows.clone()]
    }

    /// Address of a strip's first row.
    #[must_use]
    pub fn start(&self, strip: usize) -> usize {
        (strip + 1) * self.stride + MARGIN
    }

    /// 64 pixels of one row.
    #[must_use]
    pub fn word(&self, strip: usize, row: usize) -> u64 {
        self.words()[self.start(strip) + row]
    }

    /// 64 pixels of one row, to write.
    pub fn word_mut(&mut self, strip: usize, row: usize) -> &mut u64 {
        let address = self.start(strip) + row;
        &mut self.words_mut()[address]
    }

    /// Foreground pixels.
    #[must_use]
    pub fn count(&self) -> u64 {
        let rows = self.rows();
        (0..self.columns())
            .map(|strip| simd::count(self.part(strip, &rows)))
            .sum()
    }

    /// Foreground pixels that both images have; the shapes are the same.
    #[must_use]
    pub fn count_both(&self, other: &Self) -> u64 {
        debug_assert_eq!(self.shape(), other.shape());
        let rows = common(&self.rows(), &other.rows());
        (0..self.columns())
            .map(|strip| simd::count_both(self.part(strip, &rows), other.part(strip, &rows)))
            .sum()
    }

    /// Whether a pixel is foreground.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> bool {
        self.word(column / 64, row) >> (column % 64) & 1 == 1
    }

    /// Writes the image as bytes 0 and 1, row by row.
    ///
    /// # Panics
    /// When `out` is not height × width long.
    pub fn unpack(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.height * self.width);
        simd::unpack(self, out);
    }
}

/// What two ranges have in common; empty, and not reversed, where they have nothing.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

thread_local! {
    /// A mask as it lies in memory, before it is turned.
    static TURNED: RefCell<Strips> = RefCell::default();
}

/// Turns an image around its main diagonal, 64×64 pixels at a time. Compiled once for each instruction set.
#[inline(always)]
pub(crate) fn transpose_body(from: &Strips, to: &mut Strips) {
    let (height, _) = from.shape();
    for strip in 0..from.columns() {
        for first in (0..height).step_by(64) {
            let mut block = [0u64; 64];
            let rows = (height - first).min(64);
            block[..rows].copy_from_slice(&from.words()[from.start(strip) + first..][..rows]);
            transpose_block(&mut block);
            let (target_strip, target_row) = (first / 64, strip * 64);
            let rows = (to.shape().0 - target_row).min(64);
            let start = to.start(target_strip) + target_row;
            to.words_mut()[start..][..rows].copy_from_slice(&block[..rows]);
        }
    }
}

/// Swaps halves, quarters, … of a 64×64 block across its diagonal.
#[inline(always)]
fn transpose_block(block: &mut [u64; 64]) {
    let mut mask = u64::MAX >> 32;
    let mut half = 32;
    while half > 0 {
        for group in (0..64).step_by(2 * half) {
            for row in group..group + half {
                let swapped = (block[row] >> half ^ block[row + half]) & mask;
                block[row + half] ^= swapped;
                block[row] ^= swapped << half;
            }
        }
        half /= 2;
        mask ^= mask << half;
    }
}
