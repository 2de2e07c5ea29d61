//! 8-connected components, counted without a label image.
//!
//! Two rows form a band. Within a band, columns that hold a pixel and lie next to each other are connected, so
//! a run of such columns is one node; a column of nodes above another touches it where the band's last row and
//! the next band's first row do. Nodes and contacts are found with whole-word operations; only the contacts,
//! a few a word at most, go through union-find.

use crate::strips::Strips;

/// Memory for counting; keep it to count many masks without allocating.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    parent: Vec<u32>,
    size: Vec<u64>,
    contacts: Vec<(u32, u32)>,
    upper: Vec<BandWord>,
    lower: Vec<BandWord>,
}

/// 64 columns of one band.
#[derive(Clone, Copy, Debug, Default)]
struct BandWord {
    /// The row that touches the next band.
    bottom: u64,
    /// Columns where a node starts.
    starts: u64,
    /// Nodes that start before this word.
    before: u32,
}

impl BandWord {
    /// The node that holds a column of this word.
    #[inline(always)]
    fn node(self, column: u32) -> u32 {
        let up_to = u64::MAX >> (63 - (column & 63));
        self.before + (self.starts & up_to).count_ones() - 1
    }
}

/// Number of 8-connected components.
#[must_use]
pub fn count(strips: &Strips, forest: &mut Forest) -> u64 {
    let nodes = connect(strips, forest);
    let Forest {
        parent, contacts, ..
    } = forest;
    let mut components = u64::from(nodes);
    for &(a, b) in contacts.iter() {
        components -= u64::from(unite(parent, a, b));
    }
    components
}

/// Share of the foreground that the largest component holds, in [0, 1]; 1 for an empty mask.
#[must_use]
pub fn largest_share(strips: &Strips, forest: &mut Forest) -> f64 {
    let nodes = connect(strips, forest) as usize;
    let Forest {
        parent,
        contacts,
        size,
        ..
    } = forest;
    for &(a, b) in contacts.iter() {
        unite(parent, a, b);
    }
    size.clear();
    size.resize(nodes, 0);
    let mut node = u32::MAX; // the node before the first
    let (height, _) = strips.shape();
    for row in (0..height).step_by(2) {
        let mut carry = 0;
        for strip in 0..strips.columns() {
            let (top, bottom) = band(strips, strip, row);
            let columns = top | bottom;
            let starts = columns & !(columns << 1 | carry);
            carry = columns >> 63;
            // The first node of the word may have started to the left; then one more per start.
            let mut from = 0;
            let mut rest = starts;
            loop {
                let next = if rest == 0 { 64 } else { rest.trailing_zeros() };
                let until = if next == 64 {
                    u64::MAX
                } else {
                    (1 << next) - 1
                };
                let part = until & !from;
                let pixels = (top & part).count_ones() + (bottom & part).count_ones();
                if pixels > 0 {
                    size[find(parent, node) as usize] += u64::from(pixels);
                }
                if rest == 0 {
                    break;
                }
                node = node.wrapping_add(1);
                from = until;
                rest &= rest - 1;
            }
        }
    }
    let total: u64 = size.iter().sum();
    match size.iter().max() {
        Some(&largest) if total > 0 => largest as f64 / total as f64,
        _ => 1.0,
    }
}

/// The two rows of a band in one strip; past the last row there are zeros.
#[inline(always)]
fn band(strips: &Strips, strip: usize, row: usize) -> (u64, u64) {
    let address = strips.start(strip) + row;
    let words = strips.words();
    (words[address], words[address + 1])
}

/// Numbers the nodes and lists their contacts; every node is its own parent. Returns the number of nodes.
fn connect(strips: &Strips, forest: &mut Forest) -> u32 {
    let columns = strips.columns();
    let (height, _) = strips.shape();
    let Forest {
        parent,
        contacts,
        upper,
        lower,
        ..
    } = forest;
    for words in [&mut *upper, &mut *lower] {
        words.clear();
        words.resize(columns + 2, BandWord::default());
    }
    contacts.clear();
    let mut nodes = 0;
    for row in (0..height).step_by(2) {
        let mut carry = 0;
        std::mem::swap(upper, lower);
        for strip in 0..columns {
            let (top, bottom) = band(strips, strip, row);
            let occupied = top | bottom;
            let starts = occupied & !(occupied << 1 | carry);
            carry = occupied >> 63;
            lower[strip + 1] = BandWord {
                bottom,
                starts,
                before: nodes,
            };
            nodes += starts.count_ones();
        }
        lower[columns + 1].before = nodes;
        let mut top_before = 0;
        for strip in 0..columns {
            let (top, _) = band(strips, strip, row);
            let top_after = if strip + 1 < columns {
                band(strips, strip + 1, row).0
            } else {
                0
            };
            let (left, here, right) = (upper[strip], upper[strip + 1], upper[strip + 2]);
            let own = lower[strip + 1];
            // Straight contacts, the first of each stretch; diagonal ones only where no straight one says it.
            let straight = top & here.bottom;
            let straight_before = (top_before & left.bottom) >> 63;
            let first = straight & !(straight << 1 | straight_before);
            let alone = top & !here.bottom;
            let from_left =
                alone & !(top << 1 | top_before >> 63) & (here.bottom << 1 | left.bottom >> 63);
            let from_right =
                alone & !(top >> 1 | top_after << 63) & (here.bottom >> 1 | right.bottom << 63);
            top_before = top;
            let mut rest = first;
            while rest != 0 {
                let column = rest.trailing_zeros();
                contacts.push((own.node(column), here.node(column)));
                rest &= rest - 1;
            }
            let mut rest = from_left;
            while rest != 0 {
                let column = rest.trailing_zeros();
                let above = if column == 0 {
                    here.before - 1
                } else {
                    here.node(column - 1)
                };
                contacts.push((own.node(column), above));
                rest &= rest - 1;
            }
            let mut rest = from_right;
            while rest != 0 {
                let column = rest.trailing_zeros();
                let above = if column == 63 {
                    right.node(0)
                } else {
                    here.node(column + 1)
                };
                contacts.push((own.node(column), above));
                rest &= rest - 1;
            }
        }
    }
    parent.clear();
    parent.extend(0..nodes);
    nodes
}

/// The root of a node; halves the path on the way.
#[inline(always)]
fn find(parent: &mut [u32], mut node: u32) -> u32 {
    while parent[node as usize] != node {
        let grandparent = parent[parent[node as usize] as usize];
        parent[node as usize] = grandparent;
        node = grandparent;
    }
    node
}

/// Joins two nodes' trees under the smaller root; whether they were apart.
#[inline(always)]
fn unite(parent: &mut [u32], a: u32, b: u32) -> bool {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b) as usize] = a.min(b);
    a != b
}
