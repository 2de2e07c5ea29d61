//! The inner loops, compiled once for each instruction set and chosen when the program runs.
//!
//! Only this folder holds `unsafe` code. Each loop is written once, as ordinary Rust marked `inline(always)`;
//! the functions here compile it again with the instructions that the processor was found to have.
//! Packing and unpacking alone use intrinsics, each beside a scalar twin.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern
#![allow(unsafe_code)] // calls into functions compiled for instructions that were detected before

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::boxes::assignment;
use crate::strips::{self, Strips};
use crate::{components, overlap, surface, thinning, topology};
use ndarray::ArrayView2;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Plain Rust: any processor.
    Portable = 1,
    /// Every x86-64 processor.
    Sse2 = 2,
    /// Haswell, Zen and later.
    Avx2 = 3,
    /// Ice Lake, Zen 4 and later: AVX-512 with VBMI2 and VPOPCNTDQ.
    Avx512 = 4,
}

impl Level {
    /// All levels, the slowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Sse2, Self::Avx2, Self::Avx512];

    /// Its name in `MEDGRPO_SIMD` and in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Sse2 => "sse2",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best level that this processor has.
#[must_use]
pub fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("avx512vpopcntdq");
        let usual = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        if wide && usual {
            return Level::Avx512;
        }
        if usual {
            return Level::Avx2;
        }
        return Level::Sse2;
    }
    #[allow(unreachable_code)] // on x86-64 the block above has returned
    Level::Portable
}

/// The level in use: the one set, else the one in `MEDGRPO_SIMD`, else the best detected.
#[must_use]
pub fn level() -> Level {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if let Some(level) = Level::ALL.into_iter().find(|&level| level as u8 == chosen) {
        return level;
    }
    let wanted = std::env::var("MEDGRPO_SIMD")
        .ok()
        .and_then(|name| Level::named(&name));
    let level = wanted.map_or(detected(), |level| level.min(detected()));
    CHOSEN.store(level as u8, Ordering::Relaxed);
    level
}

/// Uses a level, or the best there is where the processor lacks it; returns the level now in use.
pub fn set_level(wanted: Level) -> Level {
    let level = wanted.min(detected());
    CHOSEN.store(level as u8, Ordering::Relaxed);
    level
}

/// Calls `x86::NAME::FUNCTION` for the level in use, or `portable`.
macro_rules! dispatch {
    ($function:ident($($argument:expr),*), $portable:expr) => {{
        #[cfg(target_arch = "x86_64")]
        match level() {
            // SAFETY: `level` never exceeds what `detected` found on this processor.
            Level::Avx512 => unsafe { x86::avx512::$function($($argument),*) },
            // SAFETY: as above.
            Level::Avx2 => unsafe { x86::avx2::$function($($argument),*) },
            Level::Sse2 => x86::sse2::$function($($argument),*),
            Level::Portable => $portable,
        }
        #[cfg(not(target_arch = "x86_64"))]
        $portable
    }};
}

/// Packs bytes above a threshold into bits; the shape of `out` is the view's.
pub fn pack_u8(view: &ArrayView2<'_, u8>, threshold: u8, out: &mut Strips) {
    dispatch!(
        pack_u8(view, threshold, out),
        pack_rows(
            view,
            out,
            |bytes| scalar_mask(bytes, threshold),
            |bytes| none_above(bytes, threshold)
        )
    );
}

/// Packs floats above a threshold into bits; NaN is background.
pub fn pack_f32(view: &ArrayView2<'_, f32>, threshold: f32, out: &mut Strips) {
    dispatch!(
        pack_f32(view, threshold, out),
        pack_rows(
            view,
            out,
            |values| scalar_where(values, |v| v > threshold),
            |values| none_where(values, |v| v > threshold)
        )
    );
}

/// Packs floats above a threshold into bits; NaN is background.
pub fn pack_f64(view: &ArrayView2<'_, f64>, threshold: f64, out: &mut Strips) {
    dispatch!(
        pack_f64(view, threshold, out),
        pack_rows(
            view,
            out,
            |values| scalar_where(values, |v| v > threshold),
            |values| none_where(values, |v| v > threshold)
        )
    );
}

/// Packs what lies from `first` to `last` of unsigned numbers into bits: half floats by their bits.
pub fn pack_u16(view: &ArrayView2<'_, u16>, [first, last]: [u16; 2], out: &mut Strips) {
    let span = last.wrapping_sub(first);
    dispatch!(
        pack_u16(view, first, span, out),
        pack_rows(
            view,
            out,
            |values| scalar_where(values, |v| v.wrapping_sub(first) <= span),
            |values| none_where(values, |v| v.wrapping_sub(first) <= span)
        )
    );
}

/// Whether no byte is above the threshold.
#[inline(always)]
fn none_above(bytes: &[u8], threshold: u8) -> bool {
    bytes.iter().fold(0, |most, &byte| most.max(byte)) <= threshold
}

/// Whether a test holds of no value.
#[inline(always)]
fn none_where<T: Copy>(values: &[T], is_set: impl Fn(T) -> bool) -> bool {
    !values.iter().fold(false, |any, &value| any | is_set(value))
}

/// Whether this processor gains from being asked for memory ahead of its use: Intel's do, AMD's lose.
fn asks_ahead() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !cfg!(miri) && x86::is_intel() // Miri knows no `cpuid`
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Asks for what lies some rows behind these values; farther where there is little else to do.
#[inline(always)]
fn ask_ahead<T>(values: &[T], is_blank: bool) {
    #[cfg(target_arch = "x86_64")]
    x86::ask_ahead(values, is_blank);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, is_blank);
}

/// A test on 64 values, as bits.
#[inline(always)]
fn scalar_where<T: Copy>(values: &[T; 64], is_set: impl Fn(T) -> bool) -> u64 {
    let mut bytes = [0; 64];
    for (byte, &value) in bytes.iter_mut().zip(values) {
        *byte = u8::from(is_set(value));
    }
    scalar_mask(&bytes, 0)
}

/// Turns an image around its main diagonal.
pub(crate) fn transpose(from: &Strips, to: &mut Strips) {
    dispatch!(transpose(from, to), strips::transpose_body(from, to));
}

/// Writes bits as bytes 0 and 1.
pub fn unpack(strips: &Strips, out: &mut [u8]) {
    dispatch!(unpack(strips, out), unpack_rows(strips, out, scalar_bytes));
}

/// Number of bits set.
#[must_use]
pub fn count(words: &[u64]) -> u64 {
    dispatch!(count(words), overlap::count_bits(words))
}

/// Number of bits set in both.
#[must_use]
pub fn count_both(a: &[u64], b: &[u64]) -> u64 {
    dispatch!(count_both(a, b), overlap::count_common_bits(a, b))
}

/// Foreground of a, of b, and of both, of byte rows of equal length.
#[must_use]
pub fn overlap_bytes(a: &[u8], b: &[u8], thresholds: (u8, u8)) -> [u64; 3] {
    dispatch!(
        overlap_bytes(a, b, thresholds),
        overlap_rows(
            a,
            b,
            |bytes| scalar_mask(bytes, thresholds.0),
            |bytes| { scalar_mask(bytes, thresholds.1) }
        )
    )
}

/// Floats above a threshold of a, of b, and of both, of rows of equal length; NaN is not above.
#[must_use]
pub fn overlap_f32(a: &[f32], b: &[f32], thresholds: [f32; 2]) -> [u64; 3] {
    let [above_a, above_b] = thresholds;
    dispatch!(
        overlap_f32(a, b, thresholds),
        overlap_lanes::<f32, u32>(a, b, |v| v > above_a, |v| v > above_b)
    )
}

/// Floats above a threshold of a, of b, and of both, of rows of equal length; NaN is not above.
#[must_use]
pub fn overlap_f64(a: &[f64], b: &[f64], thresholds: [f64; 2]) -> [u64; 3] {
    let [above_a, above_b] = thresholds;
    dispatch!(
        overlap_f64(a, b, thresholds),
        overlap_lanes::<f64, u64>(a, b, |v| v > above_a, |v| v > above_b)
    )
}

/// Numbers from `first` to `last` of a, of b, and of both, of rows of equal length.
#[must_use]
pub fn overlap_u16(a: &[u16], b: &[u16], first: [u16; 2], last: u16) -> [u64; 3] {
    let span = first.map(|first| last.wrapping_sub(first));
    dispatch!(
        overlap_u16(a, b, first, span),
        overlap_lanes::<u16, u16>(
            a,
            b,
            |v| v.wrapping_sub(first[0]) <= span[0],
            |v| v.wrapping_sub(first[1]) <= span[1]
        )
    )
}

/// See [`thinning::thin`].
pub fn thin(strips: &mut Strips, scratch: &mut thinning::Scratch) {
    dispatch!(
        thin(strips, scratch),
        thinning::thin_body::<Scalar>(strips, scratch)
    );
}

/// See [`components::count`].
#[must_use]
pub fn count_components(strips: &Strips, forest: &mut components::Forest) -> u64 {
    dispatch!(
        count_components(strips, forest),
        components::count_body(strips, forest)
    )
}

/// See [`topology::euler_number`].
#[must_use]
pub fn euler_number(strips: &Strips) -> i64 {
    dispatch!(euler_number(strips), topology::euler_body(strips))
}

/// See `assignment::assign_body`.
pub(crate) fn assign(gains: &[f64], rows: usize, columns: usize) -> Vec<usize> {
    dispatch!(
        assign(gains, rows, columns),
        assignment::assign_body(gains, rows, columns)
    )
}

/// See `surface::outline_body`.
pub(crate) fn outline(mask: &Strips, outline: &mut Strips) -> u64 {
    dispatch!(outline(mask, outline), surface::outline_body(mask, outline))
}

/// See `surface::rings_body`.
pub(crate) fn rings(
    from: &Strips,
    to: &Strips,
    rings: &surface::Rings,
    counts: &mut [u64],
    left: &mut Vec<surface::Pixel>,
) {
    dispatch!(
        rings(from, to, rings, counts, left),
        surface::rings_body(from, to, rings, counts, left)
    );
}

/// The foreground among 64 bytes, as bits.
pub(crate) fn scalar_mask(bytes: &[u8; 64], threshold: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut word = 0;
    for (group, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let excess = u64::from_le_bytes(eight.map(|byte| byte.saturating_sub(threshold)));
        // The highest bit of each byte that is not zero, moved to its lowest.
        let set = ((excess & LOW) + LOW | excess) >> 7 & 0x0101_0101_0101_0101;
        // Gathers the lowest bit of each byte into the highest byte, the first byte lowest.
        word |= (set.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * group);
    }
    word
}

/// 64 bits as bytes 0 and 1.
fn scalar_bytes(word: u64, bytes: &mut [u8; 64]) {
    for (group, eight) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let copies = (word >> (8 * group) & 0xff).wrapping_mul(0x0101_0101_0101_0101);
        let own_bit = copies & 0x8040_2010_0804_0201;
        let flags = (own_bit + 0x7f7f_7f7f_7f7f_7f7f | own_bit) >> 7 & 0x0101_0101_0101_0101;
        *eight = flags.to_le_bytes();
    }
}

/// Packs row by row with the given ways to turn 64 values into a word, and to see that a row is background.
///
/// Most masks are background for the most part. Below a row of background the next one is tested as a whole, which
/// takes a fraction of the instructions, so that the processor looks farther ahead.
#[inline(always)]
fn pack_rows<T: Copy>(
    view: &ArrayView2<'_, T>,
    out: &mut Strips,
    mask: impl Fn(&[T; 64]) -> u64,
    is_background: impl Fn(&[T]) -> bool,
) {
    let (stride, origin, columns) = (out.stride(), out.start(0), out.columns());
    let written = out.rows();
    let words = out.words_within_rows();
    let asks_ahead = asks_ahead();
    let mut gathered = Vec::new();
    let (mut top, mut bottom) = (usize::MAX, 0);
    let mut is_blank = true;
    for (row, values) in view.outer_iter().enumerate() {
        let values = if let Some(values) = values.as_slice() {
            values
        } else {
            gathered.clear();
            gathered.extend(values.iter().copied());
            &gathered
        };
        if asks_ahead {
            ask_ahead(values, is_blank);
        }
        if is_blank && is_background(values) {
            if written.contains(&row) {
                for strip in 0..columns {
                    words[origin + strip * stride + row] = 0;
                }
            }
            continue;
        }
        let (whole, rest) = values.as_chunks::<64>();
        let (mut address, mut any) = (origin + row, 0);
        for chunk in whole {
            let word = mask(chunk);
            words[address] = word;
            any |= word;
            address += stride;
        }
        if !rest.is_empty() {
            let word = masked_rest(rest, &mask);
            words[address] = word;
            any |= word;
        }
        is_blank = any == 0;
        if !is_blank {
            top = top.min(row);
            bottom = row + 1;
        }
    }
    out.set_rows(top.min(bottom)..bottom);
}

/// Unpacks row by row with the given way to turn a word into 64 bytes.
#[inline(always)]
fn unpack_rows(strips: &Strips, out: &mut [u8], spread: impl Fn(u64, &mut [u8; 64])) {
    let (_, width) = strips.shape();
    let (stride, origin) = (strips.stride(), strips.start(0));
    if width == 0 {
        return;
    }
    let words = strips.words();
    for (row, bytes) in out.chunks_exact_mut(width).enumerate() {
        let mut address = origin + row;
        let (whole, rest) = bytes.as_chunks_mut::<64>();
        for chunk in whole {
            spread(words[address], chunk);
            address += stride;
        }
        if !rest.is_empty() {
            let mut last = [0; 64];
            spread(words[address], &mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// Counts foreground with the given ways to turn 64 values into a word.
#[inline(always)]
fn overlap_rows<T: Copy>(
    a: &[T],
    b: &[T],
    mask_a: impl Fn(&[T; 64]) -> u64,
    mask_b: impl Fn(&[T; 64]) -> u64,
) -> [u64; 3] {
    let mut counts = [0u64; 3];
    let mut add = |x: u64, y: u64| {
        counts[0] += u64::from(x.count_ones());
        counts[1] += u64::from(y.count_ones());
        counts[2] += u64::from((x & y).count_ones());
    };
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    for (x, y) in whole_a.iter().zip(whole_b) {
        add(mask_a(x), mask_b(y));
    }
    if !rest_a.is_empty() {
        add(masked_rest(rest_a, mask_a), masked_rest(rest_b, mask_b));
    }
    counts
}

/// Counts foreground in lanes as wide as the values: no value leaves its lane before the end of a block.
#[inline(always)]
fn overlap_lanes<T: Copy, C: Copy + Default + From<bool> + AddAssign + Into<u64>>(
    a: &[T],
    b: &[T],
    is_a: impl Fn(T) -> bool,
    is_b: impl Fn(T) -> bool,
) -> [u64; 3] {
    const BLOCK: usize = 4096; // what the narrowest lanes count without an overflow
    let mut counts = [0u64; 3];
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut block = [C::default(); 3];
        for (&x, &y) in a.iter().zip(b) {
            let (x, y) = (is_a(x), is_b(y));
            block[0] += C::from(x);
            block[1] += C::from(y);
            block[2] += C::from(x & y);
        }
        for (count, block) in counts.iter_mut().zip(block) {
            *count += block.into();
        }
    }
    counts
}

/// The word of fewer than 64 values, but not of none.
#[inline(always)]
fn masked_rest<T: Copy>(rest: &[T], mask: impl Fn(&[T; 64]) -> u64) -> u64 {
    // Filled up with a value that is there: a default could lie above the threshold.
    let mut last = [rest[0]; 64];
    last[..rest.len()].copy_from_slice(rest);
    mask(&last) & (u64::MAX >> (64 - rest.len()))
}

/// Plain Rust.
struct Scalar;

impl thinning::Hands for Scalar {
    type Rows = u64;

    fn nonzero(bytes: &[u8; 64]) -> u64 {
        scalar_mask(bytes, 0)
    }

    fn rows(tile: &thinning::Tile) -> u8 {
        tile.iter()
            .enumerate()
            .fold(0, |rows, (row, &word)| rows | u8::from(word != 0) << row)
    }

    fn sides(tile: &thinning::Tile) -> (u8, u8) {
        tile.iter()
            .enumerate()
            .fold((0, 0), |(west, east), (row, &word)| {
                (
                    west | ((word & 1) as u8) << row,
                    east | ((word >> 63) as u8) << row,
                )
            })
    }
}
