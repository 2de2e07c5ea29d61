//! 8-connected components, counted without a label image.
//!
//! Two rows form a band, and 64 columns of a band a cell. Within a cell, columns that hold a pixel and lie next
//! to each other are connected: a run of them is one node. Two nodes touch where a pixel of one is a neighbour
//! of a pixel of the other. Nodes and contacts come out of whole-word operations, for all cells alike.
//!
//! The first contact of a node with the cell above only hands a label down: nodes are numbered so that the one
//! above is done before. What is left, nodes that touch a second one above and contacts across the border of a
//! strip, goes through union-find.
//!
//! A contact with the cell above is written as one column `p`, such that the two nodes are the last in their
//! cells that start at or before `p`:
//! - straight, top row at c and bottom row above at c: p = c, the first of each stretch being enough;
//! - from the upper left, at c − 1: p = c as well, since no node of the upper cell starts at c;
//! - from the upper right, at c + 1: p = c + 1, since no node of the lower cell starts there.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::simd;
use crate::strips::Strips;

/// Memory for counting; keep it to count many masks without allocating.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    parent: Vec<u32>,
    size: Vec<u64>,
    /// (node, the node above that it is first in touch with), by node.
    first: Vec<(u32, u32)>,
    /// All other contacts.
    other: Vec<(u32, u32)>,
    /// Per cell of one strip: where nodes start, where they touch the cell above, how many there are.
    starts: Vec<u64>,
    first_touches: Vec<u64>,
    other_touches: Vec<u64>,
    nodes: Vec<u32>,
    /// Per cell of one strip: contacts across the border with the strip to the west.
    crossings: Vec<u8>,
    /// Per cell, strip after strip, with one empty cell above and one below: nodes before it.
    before: Vec<u32>,
}

/// Crossings of the border between a cell (west) and the next (east).
const BESIDE: u8 = 1; // the last node of the west cell and the first of the east cell
const UPPER_WEST: u8 = 2; // the first node of the east cell and the last of the cell above the west one
const UPPER_EAST: u8 = 4; // the last node of the west cell and the first of the cell above the east one

/// Number of 8-connected components.
#[must_use]
pub fn count(strips: &Strips, forest: &mut Forest) -> u64 {
    simd::count_components(strips, forest)
}

/// The loop behind [`count`], compiled once for each instruction set.
#[inline(always)]
pub(crate) fn count_body(strips: &Strips, forest: &mut Forest) -> u64 {
    let mut components = connect(strips, forest);
    let Forest { parent, other, .. } = forest;
    for &(a, b) in other.iter() {
        components -= u32::from(unite(parent, a, b));
    }
    u64::from(components)
}

/// Share of the foreground that the largest component holds, in [0, 1]; 1 for an empty mask.
#[must_use]
pub fn largest_share(strips: &Strips, forest: &mut Forest) -> f64 {
    let _ = count(strips, forest);
    let Forest {
        parent,
        size,
        before,
        ..
    } = forest;
    size.clear();
    size.resize(parent.len(), 0);
    let ((top, bands), words) = (bands(strips), strips.words());
    for strip in 0..strips.columns() {
        for band in 0..bands {
            let address = strips.start(strip) + top + 2 * band;
            let (top, bottom) = (words[address], words[address + 1]);
            let occupied = top | bottom;
            let mut starts = occupied & !(occupied << 1);
            let mut node = before[strip * (bands + 2) + 1 + band];
            while starts != 0 {
                let from = starts & starts.wrapping_neg();
                starts &= starts - 1;
                let until = starts & starts.wrapping_neg(); // 0 for the last: wraps to all bits above `from`
                let part = until.wrapping_sub(from);
                let pixels = (top & part).count_ones() + (bottom & part).count_ones();
                size[find(parent, node) as usize] += u64::from(pixels);
                node += 1;
            }
        }
    }
    let total: u64 = size.iter().sum();
    match size.iter().max() {
        Some(&largest) if total > 0 => largest as f64 / total as f64,
        _ => 1.0,
    }
}

/// The first row of the bands that may hold foreground, and how many they are.
fn bands(strips: &Strips) -> (usize, usize) {
    let rows = strips.rows();
    let top = rows.start & !1;
    (top, (rows.end - top).div_ceil(2))
}

/// Numbers the nodes, hands labels down, and lists the other contacts. Returns the number of labels.
#[inline(always)]
fn connect(strips: &Strips, forest: &mut Forest) -> u32 {
    let (top, bands) = bands(strips);
    let cells = bands + 2;
    let (stride, words) = (strips.stride(), strips.words());
    let Forest {
        parent,
        first,
        other,
        starts,
        first_touches,
        other_touches,
        nodes,
        crossings,
        before,
        ..
    } = forest;
    before.resize((strips.columns() + 1) * cells, 0);
    starts.resize(cells, 0);
    first_touches.resize(cells, 0);
    other_touches.resize(cells, 0);
    nodes.resize(cells, 0);
    crossings.resize(cells, 0);
    parent.clear();
    other.clear();
    let mut total = 0;
    let mut handed_down = 0;
    for strip in 0..strips.columns() {
        // A band of zeros begins each strip: two rows of background, or the last two of the margin.
        let from = strips.start(strip) + top - 2;
        let rows = 2 * cells;
        let west = &words[from - stride..][..rows];
        let here = &words[from..][..rows];
        look_at_cells(
            west,
            here,
            starts,
            first_touches,
            other_touches,
            nodes,
            crossings,
        );
        let (finished, rest) = before.split_at_mut(strip * cells);
        // West of the first strip lies nothing, and no crossing asks for it.
        let before_west = &finished[strip.saturating_sub(1) * cells..];
        let before_here = &mut rest[..cells];
        let nodes_west = total;
        for (first, &count) in before_here.iter_mut().zip(nodes.iter()) {
            *first = total;
            total += count;
        }
        parent.extend(nodes_west..total);
        // Two contacts a cell are written whether they exist or not: most cells have no more.
        let room = (total - nodes_west) as usize + 2;
        if first.len() < room {
            first.resize(room.next_power_of_two(), (0, 0));
        }
        let mut next = 0;
        for cell in 1..cells - 1 {
            let pair = |touches: u64| {
                let up_to = touches ^ touches.wrapping_sub(1);
                let own = before_here[cell].wrapping_add((starts[cell] & up_to).count_ones());
                let above =
                    before_here[cell - 1].wrapping_add((starts[cell - 1] & up_to).count_ones());
                (own.wrapping_sub(1), above.wrapping_sub(1))
            };
            let mut rest = first_touches[cell];
            let end = next + rest.count_ones() as usize;
            loop {
                first[next] = pair(rest);
                rest &= rest.wrapping_sub(1);
                first[next + 1] = pair(rest);
                rest &= rest.wrapping_sub(1);
                next += 2;
                if next >= end {
                    break;
                }
            }
            next = end;
            let mut rest = other_touches[cell];
            while rest != 0 {
                other.push(pair(rest));
                rest &= rest - 1;
            }
            let crossing = crossings[cell];
            if crossing != 0 {
                if crossing & BESIDE != 0 {
                    other.push((before_here[cell], before_west[cell + 1] - 1));
                }
                if crossing & UPPER_WEST != 0 {
                    other.push((before_here[cell], before_west[cell] - 1));
                }
                if crossing & UPPER_EAST != 0 {
                    other.push((before_west[cell + 1] - 1, before_here[cell - 1]));
                }
            }
        }
        for &(node, above) in &first[..next] {
            parent[node as usize] = parent[above as usize];
        }
        handed_down += next as u32;
    }
    total - handed_down
}

/// Finds the nodes and contacts of one strip's cells; the first cell lies above the foreground.
#[inline(always)]
fn look_at_cells(
    west: &[u64],
    here: &[u64],
    starts: &mut [u64],
    first_touches: &mut [u64],
    other_touches: &mut [u64],
    nodes: &mut [u32],
    crossings: &mut [u8],
) {
    let cells = starts.len();
    let (west, here) = (west.as_chunks::<2>().0, here.as_chunks::<2>().0);
    let (west, here) = (&west[..cells], &here[..cells]);
    let (first_touches, other_touches) = (&mut first_touches[..cells], &mut other_touches[..cells]);
    let (nodes, crossings) = (&mut nodes[..cells], &mut crossings[..cells]);
    for cell in 0..cells {
        let occupied = here[cell][0] | here[cell][1];
        starts[cell] = occupied & !(occupied << 1);
        nodes[cell] = starts[cell].count_ones();
    }
    for cell in 1..cells {
        let (top, above) = (here[cell][0], here[cell - 1][1]);
        let straight = top & above;
        let alone = top & !above;
        let upper_left = alone & !(top << 1) & (above << 1);
        let upper_right = alone & !(top >> 1) & (above >> 1);
        let touches = straight & !(straight << 1) | upper_left | upper_right << 1;
        // Adding a node's start to its columns carries to the first of them that touches, and no further.
        let occupied = top | here[cell][1];
        let first = (occupied & !touches).wrapping_add(starts[cell]) & touches;
        first_touches[cell] = first;
        other_touches[cell] = touches & !first;
    }
    for cell in 1..cells {
        let occupied = here[cell][0] | here[cell][1];
        let occupied_west = west[cell][0] | west[cell][1];
        let (top, above) = (here[cell][0], here[cell - 1][1]);
        let (top_west, above_west) = (west[cell][0], west[cell - 1][1]);
        let beside = occupied_west >> 63 & occupied;
        let upper_west = above_west >> 63 & top;
        let upper_east = top_west >> 63 & above;
        crossings[cell] = ((beside & 1) | (upper_west & 1) << 1 | (upper_east & 1) << 2) as u8;
    }
}

/// The root of a node; shortens the path on the way.
///
/// Nearly every node is at most two steps below its root. Two steps are taken without asking, so that the
/// processor has nothing to guess; only longer paths loop.
#[inline(always)]
fn find(parent: &mut [u32], node: u32) -> u32 {
    let mut root = parent[parent[node as usize] as usize];
    parent[node as usize] = root;
    while parent[root as usize] != root {
        root = parent[parent[root as usize] as usize];
        parent[node as usize] = root;
    }
    root
}

/// Joins two nodes' trees under the smaller root; whether they were apart.
#[inline(always)]
fn unite(parent: &mut [u32], a: u32, b: u32) -> bool {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b) as usize] = a.min(b);
    a != b
}
