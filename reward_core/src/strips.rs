//! A binary image as bits: 64-pixel-wide strips, the rows of a strip next to each other.
//!
//! Pixel (row, column) is bit `column % 64` of word `(column / 64 + 1) * stride + MARGIN + row`. A strip of
//! zeros stands on either side and [`MARGIN`] rows of zeros above and below, so a pixel's northern and southern
//! neighbours are one word away, its eastern and western ones a shift away, and no code asks for the border.
//! Eight consecutive words are one tile of 64×8 pixels: one AVX-512 register.

#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::simd;
use ndarray::ArrayView2;

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
}

impl Plane<'_> {
    /// (height, width) in pixels.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::U8(view, _) => view.dim(),
            Self::F32(view, _) => view.dim(),
            Self::F64(view, _) => view.dim(),
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
        // An offset of more than a tile would only mean that nothing is known about the address.
        self.first = self.memory.as_ptr().align_offset(64).min(MARGIN);
    }

    /// Number of words.
    fn len(&self) -> usize {
        (self.columns() + 2) * self.stride
    }

    /// Packs a mask; keeps the allocation where the shape is the same.
    pub fn pack(&mut self, plane: &Plane<'_>) {
        let (height, width) = plane.shape();
        self.reset(height, width);
        match plane {
            Plane::U8(view, threshold) => simd::pack_u8(view, *threshold, self),
            Plane::F32(view, threshold) => self.pack_by(view, |value| value > *threshold),
            Plane::F64(view, threshold) => self.pack_by(view, |value| value > *threshold),
        }
    }

    /// Packs any array by a test on its values.
    fn pack_by<T: Copy>(&mut self, view: &ArrayView2<'_, T>, is_set: impl Fn(T) -> bool) {
        for (row, values) in view.outer_iter().enumerate() {
            let mut values = values.iter();
            for strip in 0..self.columns() {
                let mut bytes = [0; 64];
                for (byte, &value) in bytes.iter_mut().zip(values.by_ref()) {
                    *byte = u8::from(is_set(value));
                }
                *self.word_mut(strip, row) = simd::scalar_mask(&bytes, 0);
            }
        }
    }

    /// Copies another image, keeping the allocation where the shape is the same.
    pub fn copy_from(&mut self, other: &Self) {
        if other.memory.is_empty() {
            *self = Self::default(); // has no margins to copy either
            return;
        }
        self.reset(other.height, other.width);
        self.words_mut().copy_from_slice(other.words());
    }

    /// Clears every pixel that is background in `other`, an image of the same shape.
    pub fn intersect(&mut self, other: &Self) {
        debug_assert_eq!(self.shape(), other.shape());
        for (word, &keep) in self.words_mut().iter_mut().zip(other.words()) {
            *word &= keep;
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

    /// All words; whoever writes keeps the zeros around the image.
    pub fn words_mut(&mut self) -> &mut [u64] {
        let len = self.len();
        &mut self.memory[self.first..][..len]
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
        simd::count(self.words())
    }

    /// Foreground pixels that both images have; the shapes are the same.
    #[must_use]
    pub fn count_both(&self, other: &Self) -> u64 {
        debug_assert_eq!(self.shape(), other.shape());
        simd::count_both(self.words(), other.words())
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
