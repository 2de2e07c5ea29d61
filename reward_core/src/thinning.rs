//! Thinning to a skeleton one pixel wide, equal to scikit-image's `skeletonize` pixel for pixel.
//!
//! Two passes take turns until neither removes a pixel; each decides for all pixels at once from the image
//! before it. A tile of 64×8 pixels is looked at again only when it, or the touching edge of a neighbour,
//! changed in the latest two passes: the work is proportional to the pixels of tiles that still change.

use crate::simd;
use crate::strips::{Strips, MARGIN};
use crate::thinning_rule::{first_pass, second_pass};

/// Memory that thinning needs besides the image; keep it to thin many images without allocating.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Per tile: it holds a pixel at the start. Only such tiles are ever evaluated, so the border never is.
    occupied: Vec<u8>,
    /// Per tile: it or a touching edge changed in the latest pass, and in the one before it.
    touched: [Vec<u8>; 2],
    /// Tiles to evaluate in this pass, as tile numbers.
    listed: Vec<u32>,
    /// Tiles that lose pixels in this pass, and the pixels they lose.
    changed: Vec<u32>,
    removed: Vec<[u64; MARGIN]>,
}

/// Thins an image in place.
///
/// ```
/// use medgrpo_reward_core::{strips::Strips, thinning};
/// let mut bar = Strips::new(3, 9);
/// for row in 0..3 {
///     *bar.word_mut(0, row) = 0b1_1111_1111;
/// }
/// thinning::thin(&mut bar, &mut thinning::Scratch::default());
/// assert_eq!((0..3).map(|row| bar.word(0, row)).collect::<Vec<_>>(), [0, 0b0_1111_1110, 0]);
/// ```
///
/// Source: Zhang and Suen 1984, doi:10.1145/357994.358023, with the neighbourhood table of scikit-image.
pub fn thin(strips: &mut Strips, scratch: &mut Scratch) {
    simd::thin(strips, scratch);
}

/// The loop behind [`thin`], compiled once for each instruction set.
#[inline(always)]
pub(crate) fn thin_body(strips: &mut Strips, scratch: &mut Scratch) {
    let stride = strips.stride();
    let tiles_down = stride / MARGIN;
    let words = strips.words_mut();
    let tiles = words.len() / MARGIN;
    let Scratch {
        occupied,
        touched: [before, latest],
        listed,
        changed,
        removed,
    } = scratch;
    occupied.clear();
    occupied.extend(
        words
            .as_chunks::<MARGIN>()
            .0
            .iter()
            .map(|tile| u8::from(any(tile))),
    );
    occupied.resize(tiles.next_multiple_of(8), 0); // flags are read eight at once
    before.clone_from(occupied);
    latest.clone_from(occupied);
    if listed.len() < tiles + 8 {
        listed.resize(tiles + 8, 0);
        changed.resize(tiles + 8, 0);
        removed.resize(tiles + 8, [0; MARGIN]);
    }
    loop {
        for second in [false, true] {
            let count = list_tiles(occupied, before, latest, listed);
            if count == 0 {
                return;
            }
            std::mem::swap(before, latest);
            latest.fill(0);
            let evaluated = &listed[..count];
            let losers = if second {
                evaluate::<true>(words, stride, evaluated, changed, removed)
            } else {
                evaluate::<false>(words, stride, evaluated, changed, removed)
            };
            apply(
                words,
                &changed[..losers],
                &removed[..losers],
                latest,
                tiles_down,
            );
        }
    }
}

/// Lists the occupied tiles flagged in either array; returns how many.
#[inline(always)]
fn list_tiles(occupied: &[u8], before: &[u8], latest: &[u8], listed: &mut [u32]) -> usize {
    let mut count = 0;
    let eights = |flags| {
        <[u8]>::as_chunks::<8>(flags)
            .0
            .iter()
            .map(|eight| u64::from_le_bytes(*eight))
    };
    for (group, ((o, a), b)) in eights(occupied)
        .zip(eights(before))
        .zip(eights(latest))
        .enumerate()
    {
        let mut flags = o & (a | b);
        while flags != 0 {
            listed[count] = (8 * group) as u32 + flags.trailing_zeros() / 8;
            count += 1;
            flags &= flags - 1;
        }
    }
    count
}

/// Finds what each listed tile loses; returns how many tiles lose anything.
#[inline(always)]
fn evaluate<const SECOND: bool>(
    words: &[u64],
    stride: usize,
    listed: &[u32],
    changed: &mut [u32],
    removed: &mut [[u64; MARGIN]],
) -> usize {
    let mut losers = 0;
    for &tile in listed {
        let lost = lost_pixels::<SECOND>(words, stride, tile as usize * MARGIN);
        removed[losers] = lost;
        changed[losers] = tile;
        losers += usize::from(any(&lost));
    }
    losers
}

/// The pixels that one pass removes from the tile at an address.
#[inline(always)]
fn lost_pixels<const SECOND: bool>(words: &[u64], stride: usize, address: usize) -> [u64; MARGIN] {
    let window = |start: usize| -> &[u64; MARGIN + 2] {
        words[start..start + MARGIN + 2]
            .first_chunk()
            .expect("the slice has that length")
    };
    let here = window(address - 1);
    let west = window(address - 1 - stride);
    let east = window(address - 1 + stride);
    let mut lost = [0; MARGIN];
    for row in 0..MARGIN {
        let (up, middle, down) = (row, row + 1, row + 2);
        let nw = here[up] << 1 | west[up] >> 63;
        let ne = here[up] >> 1 | east[up] << 63;
        let w = here[middle] << 1 | west[middle] >> 63;
        let e = here[middle] >> 1 | east[middle] << 63;
        let sw = here[down] << 1 | west[down] >> 63;
        let se = here[down] >> 1 | east[down] << 63;
        let (n, s) = (here[up], here[down]);
        let rule = if SECOND {
            second_pass(nw, n, ne, e, se, s, sw, w)
        } else {
            first_pass(nw, n, ne, e, se, s, sw, w)
        };
        lost[row] = rule & here[middle];
    }
    lost
}

/// Removes the pixels and flags each changed tile and the neighbours that its changed edges touch.
#[inline(always)]
fn apply(
    words: &mut [u64],
    changed: &[u32],
    removed: &[[u64; MARGIN]],
    flags: &mut [u8],
    tiles_down: usize,
) {
    for (&tile, lost) in changed.iter().zip(removed) {
        let tile = tile as usize;
        let address = tile * MARGIN;
        let mut all = 0;
        for (word, &bits) in words[address..address + MARGIN].iter_mut().zip(lost) {
            *word &= !bits;
            all |= bits;
        }
        let (top, bottom) = (lost[0], lost[MARGIN - 1]);
        flags[tile] = 1;
        flags[tile - 1] |= u8::from(top != 0);
        flags[tile + 1] |= u8::from(bottom != 0);
        let west = &mut flags[tile - tiles_down - 1..][..3];
        west[0] |= (top & 1) as u8;
        west[1] |= (all & 1) as u8;
        west[2] |= (bottom & 1) as u8;
        let east = &mut flags[tile + tiles_down - 1..][..3];
        east[0] |= (top >> 63) as u8;
        east[1] |= (all >> 63) as u8;
        east[2] |= (bottom >> 63) as u8;
    }
}

/// Whether a tile holds a pixel.
#[inline(always)]
fn any(tile: &[u64; MARGIN]) -> bool {
    tile.iter().fold(0, |all, &word| all | word) != 0
}
