//! The loops of this crate compiled for the instruction sets of x86-64.

#![allow(clippy::inline_always)] // only inlined code is compiled with the caller's instructions
#![allow(clippy::redundant_closure)] // a closure is compiled with the caller's instructions, a path is not
#![allow(clippy::cast_sign_loss)] // masks of lanes are bits, not numbers
#![allow(clippy::wildcard_imports)] // intrinsics

use std::arch::x86_64::{__cpuid, _mm_prefetch, _MM_HINT_T0, _MM_HINT_T1};
use std::sync::OnceLock;

/// Every loop, compiled with the instructions of an instruction set; its module has `nonzero`, `above`,
/// `above_f32`, `above_f64`, `within_u16`, `spread` and `Hands`.
macro_rules! loops {
    ($(#[$features:meta])?) => {
        /// Packs bytes above a threshold into bits.
        $(#[$features])?
        pub fn pack_u8(view: &ArrayView2<'_, u8>, threshold: u8, out: &mut Strips) {
            if threshold == 0 {
                pack_rows(view, out, |bytes| nonzero(bytes), |bytes| none_above(bytes, 0));
            } else {
                pack_rows(
                    view,
                    out,
                    |bytes| above(bytes, threshold),
                    |bytes| none_above(bytes, threshold),
                );
            }
        }

        /// Writes bits as bytes 0 and 1.
        $(#[$features])?
        pub fn unpack(strips: &Strips, out: &mut [u8]) {
            unpack_rows(strips, out, |word, bytes| spread(word, bytes));
        }

        /// Number of bits set.
        $(#[$features])?
        pub fn count(words: &[u64]) -> u64 {
            overlap::count_bits(words)
        }

        /// Number of bits set in both.
        $(#[$features])?
        pub fn count_both(a: &[u64], b: &[u64]) -> u64 {
            overlap::count_common_bits(a, b)
        }

        /// Foreground of a, of b, and of both.
        $(#[$features])?
        pub fn overlap_bytes(a: &[u8], b: &[u8], thresholds: (u8, u8)) -> [u64; 3] {
            if thresholds == (0, 0) {
                return overlap_rows(a, b, |bytes| nonzero(bytes), |bytes| nonzero(bytes));
            }
            overlap_rows(
                a,
                b,
                |bytes| above(bytes, thresholds.0),
                |bytes| above(bytes, thresholds.1),
            )
        }

        /// See `thinning::thin`.
        $(#[$features])?
        pub fn thin(strips: &mut Strips, scratch: &mut thinning::Scratch) {
            thinning::thin_body::<Hands>(strips, scratch);
        }

        /// See `components::count`.
        $(#[$features])?
        pub fn count_components(strips: &Strips, forest: &mut components::Forest) -> u64 {
            components::count_body(strips, forest)
        }

        /// See `topology::euler_number`.
        $(#[$features])?
        pub fn euler_number(strips: &Strips) -> i64 {
            topology::euler_body(strips)
        }

        /// See `surface::outline_body`.
        $(#[$features])?
        pub fn outline(mask: &Strips, outline: &mut Strips) -> u64 {
            surface::outline_body(mask, outline)
        }

        /// See `surface::rings_body`.
        $(#[$features])?
        pub fn rings(
            from: &Strips,
            to: &Strips,
            rings: &surface::Rings,
            counts: &mut [u64],
            left: &mut Vec<surface::Pixel>,
        ) {
            surface::rings_body(from, to, rings, counts, left);
        }

        /// See `assignment::assign_body`.
        $(#[$features])?
        pub fn assign(gains: &[f64], rows: usize, columns: usize) -> Vec<usize> {
            assignment::assign_body(gains, rows, columns)
        }

        /// Packs floats above a threshold into bits.
        $(#[$features])?
        pub fn pack_f32(view: &ArrayView2<'_, f32>, threshold: f32, out: &mut Strips) {
            pack_rows(
                view,
                out,
                |values| above_f32(values, threshold),
                |values| none_where(values, |v| v > threshold),
            );
        }

        /// Packs floats above a threshold into bits.
        $(#[$features])?
        pub fn pack_f64(view: &ArrayView2<'_, f64>, threshold: f64, out: &mut Strips) {
            pack_rows(
                view,
                out,
                |values| above_f64(values, threshold),
                |values| none_where(values, |v| v > threshold),
            );
        }

        /// Packs numbers from `first` on, `span` more at most, into bits.
        $(#[$features])?
        pub fn pack_u16(view: &ArrayView2<'_, u16>, first: u16, span: u16, out: &mut Strips) {
            pack_rows(
                view,
                out,
                |values| within_u16(values, first, span),
                |values| none_where(values, |v| v.wrapping_sub(first) <= span),
            );
        }

        /// Foreground of a, of b, and of both.
        $(#[$features])?
        pub fn overlap_f32(a: &[f32], b: &[f32], thresholds: [f32; 2]) -> [u64; 3] {
            let [above_a, above_b] = thresholds;
            overlap_lanes::<f32, u32>(a, b, |x| x > above_a, |x| x > above_b)
        }

        /// Foreground of a, of b, and of both.
        $(#[$features])?
        pub fn overlap_f64(a: &[f64], b: &[f64], thresholds: [f64; 2]) -> [u64; 3] {
            let [above_a, above_b] = thresholds;
            overlap_lanes::<f64, u64>(a, b, |x| x > above_a, |x| x > above_b)
        }

        /// Numbers from `first` on, `span` more at most, of a, of b, and of both.
        $(#[$features])?
        pub fn overlap_u16(a: &[u16], b: &[u16], first: [u16; 2], span: [u16; 2]) -> [u64; 3] {
            overlap_lanes::<u16, u16>(
                a,
                b,
                |x| x.wrapping_sub(first[0]) <= span[0],
                |x| x.wrapping_sub(first[1]) <= span[1],
            )
        }

        /// See `strips::transpose_body`.
        $(#[$features])?
        pub fn transpose(from: &Strips, to: &mut Strips) {
            strips::transpose_body(from, to);
        }
    };
}

/// Whether this is a processor of Intel.
pub fn is_intel() -> bool {
    static INTEL: OnceLock<bool> = OnceLock::new();
    *INTEL.get_or_init(|| {
        // Leaf 0 holds the vendor's name in three registers.
        let vendor = __cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx]
            .map(u32::to_le_bytes)
            .concat()
            == b"GenuineIntel"
    })
}

/// Asks for what lies some rows behind these values; farther where there is little else to do.
#[inline(always)]
pub fn ask_ahead<T>(values: &[T], is_blank: bool) {
    let start = values.as_ptr().cast::<i8>();
    for line in (0..size_of_val(values)).step_by(64) {
        let at = start.wrapping_add(line);
        // SAFETY: SSE is part of x86-64; a prefetch reads nothing that the program sees, and may ask for any address.
        unsafe {
            if is_blank {
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(16_384));
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(1024));
            } else {
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(4096));
            }
        }
    }
}

/// A bit for each of 64 values, from the bits of `N` at a time.
#[inline(always)]
fn word_of<T, const N: usize>(values: &[T; 64], bits: impl Fn(&[T; N]) -> u64) -> u64 {
    let mut word = 0;
    for (part, some) in values.as_chunks::<N>().0.iter().enumerate() {
        word |= bits(some) << (N * part);
    }
    word
}

/// Every x86-64 processor.
pub mod sse2 {
    use super::super::{
        none_above, none_where, overlap_lanes, overlap_rows, pack_rows, unpack_rows,
    };
    use super::word_of;
    use crate::boxes::assignment;
    use crate::strips::{self, Strips};
    use crate::{components, overlap, surface, thinning, topology};
    use ndarray::ArrayView2;
    use std::arch::x86_64::*;

    /// Which of 64 bytes are not zero.
    fn nonzero(bytes: &[u8; 64]) -> u64 {
        above(bytes, 0)
    }

    /// Which of 64 bytes are above the threshold.
    fn above(bytes: &[u8; 64], threshold: u8) -> u64 {
        word_of(bytes, |sixteen: &[u8; 16]| {
            // SAFETY: SSE2 is part of x86-64; the load reads the 16 bytes of `sixteen`, unaligned.
            let not_above = unsafe {
                let loaded = _mm_loadu_si128(sixteen.as_ptr().cast());
                let excess = _mm_subs_epu8(loaded, _mm_set1_epi8(threshold.cast_signed()));
                _mm_movemask_epi8(_mm_cmpeq_epi8(excess, _mm_setzero_si128()))
            };
            u64::from(!not_above as u16)
        })
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    fn above_f32(values: &[f32; 64], threshold: f32) -> u64 {
        word_of(values, |four: &[f32; 4]| {
            // SAFETY: SSE2 is part of x86-64; the load reads the 16 bytes of `four`, unaligned.
            let set = unsafe {
                let loaded = _mm_loadu_ps(four.as_ptr());
                _mm_movemask_ps(_mm_cmpgt_ps(loaded, _mm_set1_ps(threshold)))
            };
            u64::from(set.cast_unsigned())
        })
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    fn above_f64(values: &[f64; 64], threshold: f64) -> u64 {
        word_of(values, |two: &[f64; 2]| {
            // SAFETY: as in `above_f32`, of `two`.
            let set = unsafe {
                let loaded = _mm_loadu_pd(two.as_ptr());
                _mm_movemask_pd(_mm_cmpgt_pd(loaded, _mm_set1_pd(threshold)))
            };
            u64::from(set.cast_unsigned())
        })
    }

    /// Which of 64 numbers are `first` or up to `span` more.
    fn within_u16(values: &[u16; 64], first: u16, span: u16) -> u64 {
        word_of(values, |sixteen: &[u16; 16]| {
            let [low, high] = [0, 8].map(|from| {
                let eight = &sixteen[from..from + 8];
                // SAFETY: SSE2 is part of x86-64; the load reads the 16 bytes of `eight`, unaligned.
                unsafe {
                    let loaded = _mm_loadu_si128(eight.as_ptr().cast());
                    let more = _mm_sub_epi16(loaded, _mm_set1_epi16(first.cast_signed()));
                    let excess = _mm_subs_epu16(more, _mm_set1_epi16(span.cast_signed()));
                    _mm_cmpeq_epi16(excess, _mm_setzero_si128())
                }
            });
            // SAFETY: SSE2 is part of x86-64.
            let set = unsafe { _mm_movemask_epi8(_mm_packs_epi16(low, high)) };
            u64::from(set as u16)
        })
    }

    use super::super::{scalar_bytes as spread, Scalar};

    /// What this instruction set does better than plain Rust.
    struct Hands;

    impl thinning::Hands for Hands {
        type Rows = u64;

        #[inline(always)]
        fn nonzero(bytes: &[u8; 64]) -> u64 {
            nonzero(bytes)
        }

        #[inline(always)]
        fn rows(tile: &thinning::Tile) -> u8 {
            Scalar::rows(tile)
        }

        #[inline(always)]
        fn sides(tile: &thinning::Tile) -> (u8, u8) {
            Scalar::sides(tile)
        }
    }

    loops!();
}

/// Haswell, Zen and later.
pub mod avx2 {
    use super::super::{
        none_above, none_where, overlap_lanes, overlap_rows, pack_rows, unpack_rows,
    };
    use super::word_of;
    use crate::boxes::assignment;
    use crate::strips::{self, Strips};
    use crate::thinning_rule::Bits;
    use crate::{components, overlap, surface, thinning, topology};
    use ndarray::ArrayView2;
    use std::arch::x86_64::*;
    use std::ops::{BitAnd, BitOr, BitXor, Not};

    /// Which of 64 bytes are not zero.
    #[target_feature(enable = "avx2")]
    fn nonzero(bytes: &[u8; 64]) -> u64 {
        above(bytes, 0)
    }

    /// Which of 64 bytes are above the threshold.
    #[target_feature(enable = "avx2")]
    fn above(bytes: &[u8; 64], threshold: u8) -> u64 {
        let limit = _mm256_set1_epi8(threshold.cast_signed());
        word_of(bytes, |half: &[u8; 32]| {
            // SAFETY: the load reads the 32 bytes of `half`, unaligned.
            let loaded = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            let excess = _mm256_subs_epu8(loaded, limit);
            let equal = _mm256_movemask_epi8(_mm256_cmpeq_epi8(excess, _mm256_setzero_si256()));
            u64::from(!equal.cast_unsigned())
        })
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    #[target_feature(enable = "avx2")]
    fn above_f32(values: &[f32; 64], threshold: f32) -> u64 {
        let limit = _mm256_set1_ps(threshold);
        word_of(values, |eight: &[f32; 8]| {
            // SAFETY: the load reads the 32 bytes of `eight`, unaligned.
            let loaded = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            let set = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(loaded, limit));
            u64::from(set.cast_unsigned())
        })
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    #[target_feature(enable = "avx2")]
    fn above_f64(values: &[f64; 64], threshold: f64) -> u64 {
        let limit = _mm256_set1_pd(threshold);
        word_of(values, |four: &[f64; 4]| {
            // SAFETY: the load reads the 32 bytes of `four`, unaligned.
            let loaded = unsafe { _mm256_loadu_pd(four.as_ptr()) };
            let set = _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(loaded, limit));
            u64::from(set.cast_unsigned())
        })
    }

    /// Which of 64 numbers are `first` or up to `span` more.
    #[target_feature(enable = "avx2")]
    fn within_u16(values: &[u16; 64], first: u16, span: u16) -> u64 {
        let (first, span) = (
            _mm256_set1_epi16(first.cast_signed()),
            _mm256_set1_epi16(span.cast_signed()),
        );
        word_of(values, |half: &[u16; 32]| {
            let [low, high] = [0, 16].map(|from| {
                let sixteen = &half[from..from + 16];
                // SAFETY: the load reads the 32 bytes of `sixteen`, unaligned.
                let loaded = unsafe { _mm256_loadu_si256(sixteen.as_ptr().cast()) };
                let excess = _mm256_subs_epu16(_mm256_sub_epi16(loaded, first), span);
                _mm256_cmpeq_epi16(excess, _mm256_setzero_si256())
            });
            // Packing takes halves of 128 bits in turns; put them in order.
            let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
            u64::from(_mm256_movemask_epi8(bytes).cast_unsigned())
        })
    }

    /// 64 bits as bytes 0 and 1.
    #[target_feature(enable = "avx2")]
    fn spread(word: u64, bytes: &mut [u8; 64]) {
        let own_bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
        let source = _mm256_setr_epi8(
            0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3,
            3, 3, 3,
        );
        for (part, half) in bytes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let copies = _mm256_set1_epi32(((word >> (32 * part)) as u32).cast_signed());
            let mine = _mm256_and_si256(_mm256_shuffle_epi8(copies, source), own_bit);
            let flags = _mm256_min_epu8(mine, _mm256_set1_epi8(1));
            // SAFETY: the store writes the 32 bytes of `half`, unaligned.
            unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), flags) };
        }
    }

    /// Which rows of a tile hold a pixel.
    #[target_feature(enable = "avx2")]
    fn rows(tile: &thinning::Tile) -> u8 {
        let mut empty = 0;
        for (part, half) in tile.as_chunks::<4>().0.iter().enumerate() {
            // SAFETY: the load reads the 32 bytes of `half`, unaligned.
            let loaded = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            let equal = _mm256_cmpeq_epi64(loaded, _mm256_setzero_si256());
            empty |= _mm256_movemask_pd(_mm256_castsi256_pd(equal)) << (4 * part);
        }
        !empty as u8
    }

    /// Which rows hold their westernmost, and which their easternmost pixel.
    #[target_feature(enable = "avx2")]
    fn sides(tile: &thinning::Tile) -> (u8, u8) {
        let (mut west, mut east) = (0, 0);
        for (part, half) in tile.as_chunks::<4>().0.iter().enumerate() {
            // SAFETY: as in `rows`.
            let loaded = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            let turned = _mm256_slli_epi64::<63>(loaded);
            west |= _mm256_movemask_pd(_mm256_castsi256_pd(turned)) << (4 * part);
            east |= _mm256_movemask_pd(_mm256_castsi256_pd(loaded)) << (4 * part);
        }
        (west as u8, east as u8)
    }

    /// Four rows of a tile. Loaded one by one from memory: the compiler, left to itself, shuffles them together from
    /// rows that it has loaded before, which takes longer.
    #[derive(Clone, Copy)]
    struct FourRows(__m256i);

    impl BitAnd for FourRows {
        type Output = Self;

        #[inline(always)]
        fn bitand(self, other: Self) -> Self {
            // SAFETY: reached only from `thin`, which is compiled for (and called on) this instruction set.
            Self(unsafe { _mm256_and_si256(self.0, other.0) })
        }
    }

    impl BitOr for FourRows {
        type Output = Self;

        #[inline(always)]
        fn bitor(self, other: Self) -> Self {
            // SAFETY: as in `bitand`.
            Self(unsafe { _mm256_or_si256(self.0, other.0) })
        }
    }

    impl BitXor for FourRows {
        type Output = Self;

        #[inline(always)]
        fn bitxor(self, other: Self) -> Self {
            // SAFETY: as in `bitand`.
            Self(unsafe { _mm256_xor_si256(self.0, other.0) })
        }
    }

    impl Not for FourRows {
        type Output = Self;

        #[inline(always)]
        fn not(self) -> Self {
            // SAFETY: as in `bitand`.
            self ^ Self(unsafe { _mm256_set1_epi64x(-1) })
        }
    }

    impl Bits for FourRows {}

    impl thinning::Rows for FourRows {
        const COUNT: usize = 4;

        #[inline(always)]
        fn load(window: &thinning::Window, first: usize) -> Self {
            let rows: &[u64; 4] = window[first..].first_chunk().expect("rows of the window");
            // SAFETY: as in `bitand`; the load reads the 32 bytes of `rows`, unaligned.
            Self(unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) })
        }

        #[inline(always)]
        fn store(self, tile: &mut thinning::Tile, first: usize) {
            let rows: &mut [u64; 4] = tile[first..].first_chunk_mut().expect("rows of the tile");
            // SAFETY: as in `bitand`; the store writes the 32 bytes of `rows`, unaligned.
            unsafe { _mm256_storeu_si256(rows.as_mut_ptr().cast(), self.0) };
        }

        #[inline(always)]
        fn neighbour_west(self, west: Self) -> Self {
            // SAFETY: as in `bitand`.
            unsafe { Self(_mm256_slli_epi64::<1>(self.0)) | Self(_mm256_srli_epi64::<63>(west.0)) }
        }

        #[inline(always)]
        fn neighbour_east(self, east: Self) -> Self {
            // SAFETY: as in `bitand`.
            unsafe { Self(_mm256_srli_epi64::<1>(self.0)) | Self(_mm256_slli_epi64::<63>(east.0)) }
        }
    }

    /// What this instruction set does better than plain Rust.
    struct Hands;

    impl thinning::Hands for Hands {
        type Rows = FourRows;

        #[inline(always)]
        fn nonzero(bytes: &[u8; 64]) -> u64 {
            // SAFETY: as in `rows`.
            unsafe { nonzero(bytes) }
        }

        #[inline(always)]
        fn rows(tile: &thinning::Tile) -> u8 {
            // SAFETY: reached only from `thin`, which is compiled for (and called on) this instruction set.
            unsafe { rows(tile) }
        }

        #[inline(always)]
        fn sides(tile: &thinning::Tile) -> (u8, u8) {
            // SAFETY: as in `rows`.
            unsafe { sides(tile) }
        }
    }

    loops! {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    }
}

/// Ice Lake, Zen 4 and later.
pub mod avx512 {
    use super::super::{
        none_above, none_where, overlap_lanes, overlap_rows, pack_rows, unpack_rows,
    };
    use super::word_of;
    use crate::boxes::assignment;
    use crate::strips::{self, Strips};
    use crate::{components, overlap, surface, thinning, topology};
    use ndarray::ArrayView2;
    use std::arch::x86_64::*;

    /// Which of 64 bytes are not zero.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn nonzero(bytes: &[u8; 64]) -> u64 {
        above(bytes, 0)
    }

    /// Which of 64 bytes are above the threshold.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn above(bytes: &[u8; 64], threshold: u8) -> u64 {
        // SAFETY: the load reads the 64 bytes of `bytes`, unaligned.
        let loaded = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        _mm512_cmpgt_epu8_mask(loaded, _mm512_set1_epi8(threshold.cast_signed()))
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn above_f32(values: &[f32; 64], threshold: f32) -> u64 {
        let limit = _mm512_set1_ps(threshold);
        word_of(values, |sixteen: &[f32; 16]| {
            // SAFETY: the load reads the 64 bytes of `sixteen`, unaligned.
            let loaded = unsafe { _mm512_loadu_ps(sixteen.as_ptr()) };
            u64::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(loaded, limit))
        })
    }

    /// Which of 64 floats are above the threshold; NaN is not.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn above_f64(values: &[f64; 64], threshold: f64) -> u64 {
        let limit = _mm512_set1_pd(threshold);
        word_of(values, |eight: &[f64; 8]| {
            // SAFETY: the load reads the 64 bytes of `eight`, unaligned.
            let loaded = unsafe { _mm512_loadu_pd(eight.as_ptr()) };
            u64::from(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(loaded, limit))
        })
    }

    /// Which of 64 numbers are `first` or up to `span` more.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn within_u16(values: &[u16; 64], first: u16, span: u16) -> u64 {
        let (first, span) = (
            _mm512_set1_epi16(first.cast_signed()),
            _mm512_set1_epi16(span.cast_signed()),
        );
        word_of(values, |half: &[u16; 32]| {
            // SAFETY: the load reads the 64 bytes of `half`, unaligned.
            let loaded = unsafe { _mm512_loadu_si512(half.as_ptr().cast()) };
            u64::from(_mm512_cmple_epu16_mask(
                _mm512_sub_epi16(loaded, first),
                span,
            ))
        })
    }

    /// 64 bits as bytes 0 and 1.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn spread(word: u64, bytes: &mut [u8; 64]) {
        // SAFETY: the store writes the 64 bytes of `bytes`, unaligned.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_maskz_set1_epi8(word, 1)) };
    }

    /// Which rows of a tile hold a pixel.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn rows(tile: &thinning::Tile) -> u8 {
        // SAFETY: the load reads the 64 bytes of `tile`, unaligned.
        let loaded = unsafe { _mm512_loadu_si512(tile.as_ptr().cast()) };
        _mm512_test_epi64_mask(loaded, loaded)
    }

    /// Which rows hold their westernmost, and which their easternmost pixel.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn sides(tile: &thinning::Tile) -> (u8, u8) {
        // SAFETY: as in `rows`.
        let loaded = unsafe { _mm512_loadu_si512(tile.as_ptr().cast()) };
        (
            _mm512_movepi64_mask(_mm512_slli_epi64::<63>(loaded)),
            _mm512_movepi64_mask(loaded),
        )
    }

    /// What this instruction set does better than plain Rust.
    struct Hands;

    impl thinning::Hands for Hands {
        type Rows = u64;

        #[inline(always)]
        fn nonzero(bytes: &[u8; 64]) -> u64 {
            // SAFETY: as in `rows`.
            unsafe { nonzero(bytes) }
        }

        #[inline(always)]
        fn rows(tile: &thinning::Tile) -> u8 {
            // SAFETY: reached only from `thin`, which is compiled for (and called on) this instruction set.
            unsafe { rows(tile) }
        }

        #[inline(always)]
        fn sides(tile: &thinning::Tile) -> (u8, u8) {
            // SAFETY: as in `rows`.
            unsafe { sides(tile) }
        }
    }

    loops! {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512vpopcntdq,avx2,bmi1,bmi2,lzcnt,popcnt"
        )]
    }
}
