//! One-to-one matching with the largest sum.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do

use crate::simd;

/// The pairs (row, column) of a one-to-one matching of maximal sum, by row; min(rows, columns) pairs.
///
/// `gains` is row-major, `rows × columns`; what is not finite counts as 0.
/// Rows first bid for their cheapest column (augmenting row reduction), which settles most of them; the others are
/// placed along shortest augmenting paths. O(min² · max), in loops over whole rows that the compiler vectorises.
///
/// Source: Jonker and Volgenant 1987, doi:10.1007/BF02278710, without its column reduction, which holds for square
/// matrices alone; in the rectangular form of Crouse 2016, doi:10.1109/TAES.2016.140952.
///
/// ```
/// use _reward_core::boxes::assignment::maximise;
/// // taking the largest gain first (0.9) would leave 0.1; the best sum is 0.8 + 0.7
/// assert_eq!(maximise(&[0.9, 0.8, 0.7, 0.1], 2, 2), [(0, 1), (1, 0)]);
/// ```
///
/// # Panics
/// If `gains` does not hold `rows × columns` values.
#[must_use]
pub fn maximise(gains: &[f64], rows: usize, columns: usize) -> Vec<(usize, usize)> {
    assert_eq!(gains.len(), rows * columns, "gains must be rows × columns");
    let clean;
    let gains = if is_plain(gains) {
        gains
    } else {
        clean = cleaned(gains);
        &clean
    };
    if rows <= columns {
        let matched = simd::assign(gains, rows, columns);
        return matched.into_iter().enumerate().collect();
    }
    let mut turned = vec![0.0; gains.len()];
    for (row, values) in gains.chunks_exact(columns.max(1)).enumerate() {
        for (column, &gain) in values.iter().enumerate() {
            turned[column * rows + row] = gain;
        }
    }
    let matched = simd::assign(&turned, columns, rows);
    let mut pairs: Vec<_> = matched
        .into_iter()
        .enumerate()
        .map(|(column, row)| (row, column))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// Sums of gains along a path stay finite up to here.
const LARGEST: f64 = 1e250;

/// Whether gains can be used as they are: all finite, and none so large that sums would not be.
fn is_plain(gains: &[f64]) -> bool {
    let is_plain = |values: &[f64]| values.iter().all(|gain| gain.abs() <= LARGEST);
    let (groups, rest) = gains.as_chunks::<32>();
    let group_is_plain = |group: &[f64; 32]| {
        // Without a way out in between, which vectorises.
        group
            .iter()
            .fold(true, |all, gain| all & (gain.abs() <= LARGEST))
    };
    groups.iter().all(group_is_plain) && is_plain(rest)
}

/// 2⁻²⁰⁰, by which products lose no bit; from its bits, since a power computed by `powi` need not be exact.
const TINY: f64 = f64::from_bits((1023 - 200) << 52);

/// What is not finite as 0, and all made smaller where one is too large.
fn cleaned(gains: &[f64]) -> Vec<f64> {
    let finite = |gain: f64| if gain.is_finite() { gain } else { 0.0 };
    let is_large = gains.iter().any(|&gain| finite(gain).abs() > LARGEST);
    let scale = if is_large { TINY } else { 1.0 };
    gains.iter().map(|&gain| finite(gain) * scale).collect()
}

const FREE: usize = usize::MAX;

/// Who has whom, and the prices of columns: never below 0, and 0 where a column is free. What a column costs a row is its
/// price less the gain.
struct Market<'a> {
    gains: &'a [f64],
    columns: usize,
    price: Vec<f64>,
    row_of: Vec<usize>,
    column_of: Vec<usize>,
}

/// The column of each row in an assignment of most gain; `rows ≤ columns`. Compiled once for each instruction set.
#[inline(always)]
pub(crate) fn assign_body(gains: &[f64], rows: usize, columns: usize) -> Vec<usize> {
    let mut market = Market {
        gains,
        columns,
        price: vec![0.0; columns],
        row_of: vec![FREE; columns],
        column_of: vec![FREE; rows],
    };
    let mut free: Vec<usize> = (0..rows).collect();
    for _ in 0..BIDDING_ROUNDS {
        let before = free.len();
        free = market.bid(free);
        if 4 * free.len() > 3 * before {
            break; // where much is equal, rows take columns from each other for ever
        }
    }
    let mut path = Path::new(columns);
    for row in free {
        market.augment(row, &mut path);
    }
    market.column_of
}

/// Most rounds of bidding before paths are searched.
const BIDDING_ROUNDS: usize = 4;

impl Market<'_> {
    /// Each free row takes its cheapest column, at a price at which its second is as good; returns who is left.
    #[inline(always)]
    fn bid(&mut self, free: Vec<usize>) -> Vec<usize> {
        let mut left = Vec::new();
        let mut most = 4 * free.len(); // rounding could let two rows outbid each other by nothing, for ever
        let mut waiting = free;
        waiting.reverse();
        while let Some(row) = waiting.pop() {
            let gains = &self.gains[row * self.columns..][..self.columns];
            let (best, mut column, second) = two_least(gains, &self.price);
            let raise = second.0 - best;
            if raise > 0.0 && raise.is_finite() {
                self.price[column] += raise;
            } else if self.row_of[column] != FREE && second.1 != FREE {
                column = second.1; // as good, and perhaps free
            }
            let before = std::mem::replace(&mut self.row_of[column], row);
            self.column_of[row] = column;
            if before != FREE {
                self.column_of[before] = FREE;
                most = most.saturating_sub(1);
                if raise > 0.0 && most > 0 {
                    waiting.push(before);
                } else {
                    left.push(before);
                }
            }
        }
        left
    }

    /// Places a row along the shortest path to a free column.
    #[inline(always)]
    fn augment(&mut self, start: usize, path: &mut Path) {
        path.reset();
        let mut row = start;
        // Reduced cost of the row's own column, so that lengths stay those of the path.
        let mut base = 0.0;
        let (last, reached) = loop {
            let gains = &self.gains[row * self.columns..][..self.columns];
            path.rows.push((row, base));
            let least = path.relax(gains, &self.price, base);
            let column = path.nearest(least, &self.row_of);
            path.done.push((column, path.length[column]));
            path.open[column] = f64::INFINITY;
            if self.row_of[column] == FREE {
                break (column, path.length[column]);
            }
            row = self.row_of[column];
            base = path.length[column]
                - (self.price[column] - self.gains[row * self.columns + column]);
        };
        // Backwards, at the prices that the lengths were measured with: from the row that gave a column its length.
        let mut column = last;
        loop {
            let row = path.row_before(column, self);
            self.row_of[column] = row;
            std::mem::swap(&mut self.column_of[row], &mut column);
            if row == start {
                break;
            }
        }
        for &(column, length) in &path.done {
            self.price[column] += reached - length;
        }
    }
}

/// The least of price − gain, its column, and the second least with its column ([`FREE`] where there is none).
#[inline(always)]
fn two_least(gains: &[f64], price: &[f64]) -> (f64, usize, (f64, usize)) {
    // Lane by lane first: eight pairs of least values without a branch, which is what vectorises.
    const LANES: usize = 8;
    let (mut least, mut second) = ([f64::INFINITY; LANES], [f64::INFINITY; LANES]);
    let (gain_lanes, gain_rest) = gains.as_chunks::<LANES>();
    let (price_lanes, price_rest) = price.as_chunks::<LANES>();
    for (gain, price) in gain_lanes.iter().zip(price_lanes) {
        for lane in 0..LANES {
            let value = price[lane] - gain[lane];
            let larger = if value > least[lane] {
                value
            } else {
                least[lane]
            };
            least[lane] = if value < least[lane] {
                value
            } else {
                least[lane]
            };
            second[lane] = if larger < second[lane] {
                larger
            } else {
                second[lane]
            };
        }
    }
    // Halves upon each other: the second least is the larger of two leasts or one of the two seconds.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let (one, other) = (least[lane], least[lane + half]);
            let larger = if one > other { one } else { other };
            least[lane] = if one > other { other } else { one };
            let (one, other) = (second[lane], second[lane + half]);
            let smaller = if one > other { other } else { one };
            second[lane] = if larger < smaller { larger } else { smaller };
        }
        half /= 2;
    }
    let (mut best, mut next) = (least[0], second[0]);
    for (gain, price) in gain_rest.iter().zip(price_rest) {
        let value = price - gain;
        let larger = if value > best { value } else { best };
        best = if value < best { value } else { best };
        next = if larger < next { larger } else { next };
    }
    let column = position(gains, price, best, FREE);
    let other = position(gains, price, next, column);
    (best, column, (next, other))
}

/// The first column of a value of price − gain that is not `except`; [`FREE`] where there is none.
#[inline(always)]
#[allow(clippy::float_cmp)] // the value was computed the same way
fn position(gains: &[f64], price: &[f64], wanted: f64, except: usize) -> usize {
    const LANES: usize = 16;
    let (gain_lanes, gain_rest) = gains.as_chunks::<LANES>();
    let (price_lanes, _) = price.as_chunks::<LANES>();
    for (group, (gain, price)) in gain_lanes.iter().zip(price_lanes).enumerate() {
        let mut any = false;
        for lane in 0..LANES {
            any |= price[lane] - gain[lane] == wanted;
        }
        if any {
            for lane in 0..LANES {
                let column = group * LANES + lane;
                if price[lane] - gain[lane] == wanted && column != except {
                    return column;
                }
            }
        }
    }
    let from = gains.len() - gain_rest.len();
    (from..gains.len())
        .find(|&column| price[column] - gains[column] == wanted && column != except)
        .unwrap_or(FREE)
}

/// A search for the shortest path, and its memory.
struct Path {
    /// Length of the shortest path to each column.
    length: Vec<f64>,
    /// 0 where a column may still be reached, infinite where it was.
    open: Vec<f64>,
    /// What `length` becomes: written apart, since stores under a mask are slow.
    next: Vec<f64>,
    /// Rows looked from, with the length to start from.
    rows: Vec<(usize, f64)>,
    /// Columns reached, with their final lengths.
    done: Vec<(usize, f64)>,
}

impl Path {
    fn new(columns: usize) -> Self {
        Self {
            length: vec![f64::INFINITY; columns],
            open: vec![0.0; columns],
            next: vec![f64::INFINITY; columns],
            rows: Vec::new(),
            done: Vec::new(),
        }
    }

    fn reset(&mut self) {
        self.length.fill(f64::INFINITY);
        self.open.fill(0.0);
        self.done.clear();
        self.rows.clear();
    }

    /// Looks from a row at every column; returns the least length of those not reached yet.
    #[inline(always)]
    fn relax(&mut self, gains: &[f64], price: &[f64], base: f64) -> f64 {
        const LANES: usize = 8;
        let mut least = [f64::INFINITY; LANES];
        let columns = gains.len();
        let whole = columns - columns % LANES;
        let groups = self.next.as_chunks_mut::<LANES>().0.iter_mut();
        let groups = groups
            .zip(self.length.as_chunks::<LANES>().0)
            .zip(self.open.as_chunks::<LANES>().0)
            .zip(gains.as_chunks::<LANES>().0)
            .zip(price.as_chunks::<LANES>().0);
        for ((((next, length), open), gain), price) in groups {
            for lane in 0..LANES {
                let found = base + (price[lane] - gain[lane]) + open[lane];
                next[lane] = if found < length[lane] {
                    found
                } else {
                    length[lane]
                };
            }
            for lane in 0..LANES {
                let value = next[lane] + open[lane];
                least[lane] = if value < least[lane] {
                    value
                } else {
                    least[lane]
                };
            }
        }
        let mut all = least.into_iter().fold(f64::INFINITY, f64::min);
        for column in whole..columns {
            let found = base + (price[column] - gains[column]) + self.open[column];
            self.next[column] = if found < self.length[column] {
                found
            } else {
                self.length[column]
            };
            all = all.min(self.next[column] + self.open[column]);
        }
        std::mem::swap(&mut self.next, &mut self.length);
        all
    }

    /// The first row that was looked from and gave a column its length.
    #[allow(clippy::float_cmp)] // computed again in the same way
    fn row_before(&self, column: usize, market: &Market<'_>) -> usize {
        let length = self.length[column];
        let gave = |&&(row, base): &&(usize, f64)| {
            base + (market.price[column] - market.gains[row * market.columns + column]) + 0.0
                == length
        };
        let found = self.rows.iter().find(gave);
        found.expect("some row gave it").0
    }

    /// A column of that length; among equals a free one, which ends the search.
    #[inline(always)]
    #[allow(clippy::float_cmp)] // the length is one of them
    fn nearest(&self, least: f64, row_of: &[usize]) -> usize {
        const LANES: usize = 16;
        let (lengths, rest) = self.length.as_chunks::<LANES>();
        let open = self.open.as_chunks::<LANES>().0;
        let mut found = FREE;
        for (group, (length, open)) in lengths.iter().zip(open).enumerate() {
            let mut any = false;
            for lane in 0..LANES {
                any |= length[lane] + open[lane] == least;
            }
            if !any {
                continue;
            }
            for lane in (0..LANES).filter(|&lane| length[lane] + open[lane] == least) {
                let column = group * LANES + lane;
                if row_of[column] == FREE {
                    return column;
                }
                found = found.min(column);
            }
        }
        #[allow(clippy::needless_range_loop)] // three arrays by one index
        for column in self.length.len() - rest.len()..self.length.len() {
            if self.length[column] + self.open[column] == least {
                if row_of[column] == FREE {
                    return column;
                }
                found = found.min(column);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best_sum(gains: &[f64], rows: usize, columns: usize, row: usize, taken: usize) -> f64 {
        if row == rows {
            return 0.0;
        }
        let mut best = best_sum(gains, rows, columns, row + 1, taken);
        for column in (0..columns).filter(|c| taken >> c & 1 == 0) {
            let rest = best_sum(gains, rows, columns, row + 1, taken | 1 << column);
            best = best.max(gains[row * columns + column] + rest);
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_matching_has_a_larger_sum(
            (rows, columns, gains) in (1usize..6, 1usize..6).prop_flat_map(|(rows, columns)| {
                let gain = prop_oneof![Just(0.0), 0.0..1.0f64, Just(1.0)];
                (Just(rows), Just(columns), proptest::collection::vec(gain, rows * columns))
            })
        ) {
            let pairs = maximise(&gains, rows, columns);
            prop_assert_eq!(pairs.len(), rows.min(columns));
            let sum: f64 = pairs.iter().map(|&(r, c)| gains[r * columns + c]).sum();
            prop_assert!((sum - best_sum(&gains, rows, columns, 0, 0)).abs() < 1e-9);
        }
    }

    /// Prices that prove an assignment to be of least cost: found by relaxing its residual graph to the end.
    fn is_optimal(gains: &[f64], rows: usize, columns: usize, pairs: &[(usize, usize)]) -> bool {
        // No exchange along any cycle or path to a free column pays: Bellman and Ford over rows.
        let mut owner = vec![None; columns];
        let mut column_of = vec![0; rows];
        for &(row, column) in pairs {
            owner[column] = Some(row);
            column_of[row] = column;
        }
        let own = |row: usize| gains[row * columns + column_of[row]];
        let mut potential = vec![0.0f64; rows];
        for _ in 0..=rows {
            let mut changed = false;
            for row in 0..rows {
                for column in 0..columns {
                    let pays = gains[row * columns + column] - own(row) + potential[row];
                    match owner[column] {
                        None if pays > 1e-9 => return false,
                        Some(other) if other != row && pays > potential[other] + 1e-12 => {
                            potential[other] = pays;
                            changed = true;
                        }
                        _ => {}
                    }
                }
            }
            if !changed {
                return true;
            }
        }
        false
    }

    /// Miri interprets: a matrix of 40 × 80 costs it minutes.
    const MOST: usize = if cfg!(miri) { 6 } else { 40 };

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

        #[test]
        fn larger_matchings_leave_no_exchange_that_pays(
            (rows, columns, gains) in (1..MOST, 0..MOST, 0u32..4).prop_flat_map(|(rows, more, kind)| {
                let gain = prop_oneof![Just(0.0), 0.0..1.0f64].prop_map(move |gain| match kind {
                    0 => (gain * 3.0).round(), // many ties
                    1 => gain * 1e6,
                    _ => gain,
                });
                let columns = rows + more;
                (Just(rows), Just(columns), proptest::collection::vec(gain, rows * columns))
            })
        ) {
            let pairs = maximise(&gains, rows, columns);
            prop_assert_eq!(pairs.len(), rows);
            let mut seen: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), rows);
            let scale = gains.iter().copied().fold(1.0, f64::max);
            let even: Vec<f64> = gains.iter().map(|gain| gain / scale).collect();
            prop_assert!(is_optimal(&even, rows, columns, &pairs));
        }
    }

    #[test]
    fn nothing_to_match_gives_no_pairs() {
        assert!(maximise(&[], 0, 3).is_empty());
        assert!(maximise(&[], 3, 0).is_empty());
    }

    #[test]
    fn gains_that_are_no_numbers_count_as_nothing() {
        assert_eq!(
            maximise(&[f64::NAN, 1.0, 1.0, f64::INFINITY], 2, 2),
            [(0, 1), (1, 0)]
        );
    }
}
