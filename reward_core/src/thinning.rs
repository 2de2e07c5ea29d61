//! Thinning to a skeleton one pixel wide, equal to scikit-image's `skeletonize` pixel for pixel.
//!
//! Two passes take turns until neither removes a pixel; each decides for all pixels at once from the image
//! before it. A tile of 64×8 pixels is looked at again only when it, or the touching edge of a neighbour,
//! changed in the latest two passes: the work is proportional to the pixels of tiles that still change.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::simd;
use crate::strips::{Strips, MARGIN};
use crate::thinning_rule::{first_pass, second_pass, Bits};

/// Memory that thinning needs besides the image; keep it to thin many images without allocating.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Per tile: it holds a pixel at the start. Only such tiles are ever evaluated, so the border never is.
    occupied: Vec<u8>,
    /// Per tile: it or a touching edge changed in the latest pass, and in the one before it.
    touched: [Vec<u8>; 2],
    /// Per tile, a bit for each row: it lost a pixel in this pass; its westernmost; its easternmost.
    lost_rows: Vec<u8>,
    lost_west: Vec<u8>,
    lost_east: Vec<u8>,
    /// Tiles that lose pixels in this pass, and the pixels they lose.
    changed: Vec<u32>,
    removed: Vec<Tile>,
}

/// 64×8 pixels: a word a row.
pub(crate) type Tile = [u64; MARGIN];

/// A tile with the row above and the row below it, or what lies beside these.
pub(crate) type Window = [u64; MARGIN + 2];

/// Rows of a tile that are worked on at once.
pub(crate) trait Rows: Bits {
    /// How many they are; divides the rows of a tile.
    const COUNT: usize;
    /// So many rows of a window.
    fn load(window: &Window, first: usize) -> Self;
    /// Writes so many rows of a tile.
    fn store(self, tile: &mut Tile, first: usize);
    /// Each pixel's western neighbour, given the words to the west.
    fn neighbour_west(self, west: Self) -> Self;
    /// Each pixel's eastern neighbour, given the words to the east.
    fn neighbour_east(self, east: Self) -> Self;
}

/// One row: what the compiler vectorises by itself.
impl Rows for u64 {
    const COUNT: usize = 1;

    #[inline(always)]
    fn load(window: &Window, first: usize) -> Self {
        window[first]
    }

    #[inline(always)]
    fn store(self, tile: &mut Tile, first: usize) {
        tile[first] = self;
    }

    #[inline(always)]
    fn neighbour_west(self, west: Self) -> Self {
        self << 1 | west >> 63
    }

    #[inline(always)]
    fn neighbour_east(self, east: Self) -> Self {
        self >> 1 | east << 63
    }
}

/// What an instruction set does better than plain Rust.
pub(crate) trait Hands {
    /// The rows that a pass works on at once.
    type Rows: Rows;
    /// Which of 64 bytes are not zero.
    fn nonzero(bytes: &[u8; 64]) -> u64;
    /// Which rows of a tile hold a pixel.
    fn rows(tile: &Tile) -> u8;
    /// Which rows of a tile hold their westernmost (bit 0) and their easternmost pixel (bit 63).
    fn sides(tile: &Tile) -> (u8, u8);
}

/// Thins an image in place.
///
/// ```
/// use _reward_core::{strips::Strips, thinning};
/// let mut bar = Strips::new(3, 9);
/// for row in 0..3 {
///     *bar.word_mut(0, row) = 0b1_1111_1111;
/// }
/// thinning::thin(&mut bar, &mut thinning::Scratch::default());
/// assert_eq!((0..3).map(|row| bar.word(0, row)).collect::<Vec<_>>(), [0b0_1000_0000, 0b0_0111_1111, 0]);
/// ```
///
/// Source: Zhang and Suen 1984, doi:10.1145/357994.358023, with the neighbourhood table of scikit-image.
pub fn thin(strips: &mut Strips, scratch: &mut Scratch) {
    simd::thin(strips, scratch);
}

/// The loop behind [`thin`], compiled once for each instruction set.
#[inline(always)]
pub(crate) fn thin_body<H: Hands>(strips: &mut Strips, scratch: &mut Scratch) {
    let stride = strips.stride();
    let tiles_down = stride / MARGIN;
    let words = strips.words_within_rows(); // thinning only removes
    let tiles = words.len() / MARGIN;
    let Scratch {
        occupied,
        touched: [before, latest],
        ..
    } = scratch;
    occupied.clear();
    occupied.extend(
        words
            .as_chunks::<MARGIN>()
            .0
            .iter()
            .map(|tile| u8::from(H::rows(tile) != 0)),
    );
    occupied.resize(tiles.next_multiple_of(64), 0); // flags are read 64 at once
    before.clone_from(occupied);
    latest.clone_from(occupied);
    for flags in [
        &mut scratch.lost_rows,
        &mut scratch.lost_west,
        &mut scratch.lost_east,
    ] {
        flags.clear();
        flags.resize(occupied.len(), 0);
    }
    if scratch.changed.len() < tiles + 1 {
        scratch.changed.resize(tiles + 1, 0);
        scratch.removed.resize(tiles + 1, [0; MARGIN]);
    }
    loop {
        for second in [false, true] {
            let losers = if second {
                evaluate::<H, true>(words, stride, scratch)
            } else {
                evaluate::<H, false>(words, stride, scratch)
            };
            scratch.touched.swap(0, 1);
            if losers == 0 {
                // Twice in a row, and no tile is left to look at.
                if scratch.touched[0].iter().all(|&flag| flag == 0) {
                    return;
                }
                scratch.touched[1].fill(0);
                continue;
            }
            apply::<H>(words, losers, scratch);
            touch(tiles_down, scratch);
        }
    }
}

/// Finds what each touched tile loses in this pass; returns how many tiles lose anything.
#[inline(always)]
fn evaluate<H: Hands, const SECOND: bool>(
    words: &[u64],
    stride: usize,
    scratch: &mut Scratch,
) -> usize {
    let Scratch {
        occupied,
        touched: [before, latest],
        changed,
        removed,
        ..
    } = scratch;
    let mut losers = 0;
    let groups = occupied.as_chunks::<64>().0.iter();
    let groups = groups
        .zip(before.as_chunks::<64>().0)
        .zip(latest.as_chunks::<64>().0);
    for (group, ((occupied, before), latest)) in groups.enumerate() {
        let mut flags = [0; 64];
        for (flag, ((o, b), l)) in flags
            .iter_mut()
            .zip(occupied.iter().zip(before).zip(latest))
        {
            *flag = o & (b | l);
        }
        let mut listed = H::nonzero(&flags);
        while listed != 0 {
            let tile = 64 * group + listed.trailing_zeros() as usize;
            listed &= listed - 1;
            let lost = lost_pixels::<H, SECOND>(words, stride, tile * MARGIN);
            // Written whether anything is lost or not, kept only if so: nothing to guess for the processor.
            removed[losers] = lost;
            changed[losers] = tile as u32;
            losers += usize::from(H::rows(&lost) != 0);
        }
    }
    losers
}

/// The pixels that one pass removes from the tile at an address.
#[inline(always)]
fn lost_pixels<H: Hands, const SECOND: bool>(words: &[u64], stride: usize, address: usize) -> Tile {
    let window = |start: usize| -> &Window {
        words[start..start + MARGIN + 2]
            .first_chunk()
            .expect("the slice has that length")
    };
    let here = window(address - 1);
    let west = window(address - 1 - stride);
    let east = window(address - 1 + stride);
    let mut lost = [0; MARGIN];
    for first in (0..MARGIN).step_by(H::Rows::COUNT) {
        let rows = |window, down| H::Rows::load(window, first + down);
        let [n, pixels, s] = [0, 1, 2].map(|down| rows(here, down));
        let nw = n.neighbour_west(rows(west, 0));
        let ne = n.neighbour_east(rows(east, 0));
        let w = pixels.neighbour_west(rows(west, 1));
        let e = pixels.neighbour_east(rows(east, 1));
        let sw = s.neighbour_west(rows(west, 2));
        let se = s.neighbour_east(rows(east, 2));
        let rule = if SECOND {
            second_pass(nw, n, ne, e, se, s, sw, w)
        } else {
            first_pass(nw, n, ne, e, se, s, sw, w)
        };
        (rule & pixels).store(&mut lost, first);
    }
    lost
}

/// Removes the pixels that were found, and notes where.
#[inline(always)]
fn apply<H: Hands>(words: &mut [u64], losers: usize, scratch: &mut Scratch) {
    let Scratch {
        changed,
        removed,
        lost_rows,
        lost_west,
        lost_east,
        ..
    } = scratch;
    let (tiles, _) = words.as_chunks_mut::<MARGIN>();
    for flags in [&mut *lost_rows, &mut *lost_west, &mut *lost_east] {
        flags.fill(0);
    }
    for (&tile, lost) in changed[..losers].iter().zip(&removed[..losers]) {
        let tile = tile as usize;
        let before = tiles[tile];
        tiles[tile] = std::array::from_fn(|row| before[row] & !lost[row]);
        lost_rows[tile] = H::rows(lost);
        (lost_west[tile], lost_east[tile]) = H::sides(lost);
    }
}

const TOP: u8 = 1;
const BOTTOM: u8 = 1 << (MARGIN - 1);

/// Flags each tile that lost a pixel in this pass, or whose neighbour lost one at the touching edge.
#[inline(always)]
fn touch(tiles_down: usize, scratch: &mut Scratch) {
    let Scratch {
        touched: [_, latest],
        lost_rows,
        lost_west,
        lost_east,
        ..
    } = scratch;
    // From the first tile inside the image to the last: each has neighbours on all sides.
    let range = tiles_down + 1..latest.len() - tiles_down - 1;
    let n = range.len();
    let at = range.start;
    let out = &mut latest[range];
    let own = [
        &lost_rows[at - 1..][..n],
        &lost_rows[at..][..n],
        &lost_rows[at + 1..][..n],
    ];
    let west = at - tiles_down;
    let west = [
        &lost_east[west - 1..][..n],
        &lost_east[west..][..n],
        &lost_east[west + 1..][..n],
    ];
    let east = at + tiles_down;
    let east = [
        &lost_west[east - 1..][..n],
        &lost_west[east..][..n],
        &lost_west[east + 1..][..n],
    ];
    for (index, flag) in out.iter_mut().enumerate() {
        let from_above = (own[0][index] | west[0][index] | east[0][index]) & BOTTOM;
        let from_below = (own[2][index] | west[2][index] | east[2][index]) & TOP;
        let beside = own[1][index] | west[1][index] | east[1][index];
        *flag = u8::from(from_above | from_below | beside != 0);
    }
}
