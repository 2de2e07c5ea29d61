//! One-to-one matching with the largest sum.

/// The pairs (row, column) of a one-to-one matching of maximal sum, by row; min(rows, columns) pairs.
///
/// `gains` is row-major, `rows × columns`; what is not finite counts as 0.
/// Shortest augmenting paths, O(min² · max): Jonker and Volgenant 1987, doi:10.1007/BF02278710, in the
/// rectangular form of Crouse 2016, doi:10.1109/TAES.2016.140952, as scipy's `linear_sum_assignment`.
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
    let cost = |row: usize, column: usize| {
        let gain = gains[row * columns + column];
        if gain.is_finite() {
            -gain
        } else {
            0.0
        }
    };
    if rows <= columns {
        let matched = assign(rows, columns, cost);
        matched.into_iter().enumerate().collect()
    } else {
        let matched = assign(columns, rows, |column, row| cost(row, column));
        let mut pairs: Vec<_> = matched
            .into_iter()
            .enumerate()
            .map(|(column, row)| (row, column))
            .collect();
        pairs.sort_unstable();
        pairs
    }
}

/// The column of each row in an assignment of least cost; `rows ≤ columns`.
#[allow(clippy::float_cmp)] // ties are distances that are equal, not nearly so
fn assign(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    const FREE: usize = usize::MAX;
    let mut row_price = vec![0.0; rows];
    let mut column_price = vec![0.0; columns];
    let mut row_of = vec![FREE; columns];
    let mut column_of = vec![FREE; rows];
    let mut distance = vec![0.0; columns];
    let mut reached_from = vec![FREE; columns];
    let mut done = vec![false; columns];
    for start in 0..rows {
        distance.fill(f64::INFINITY);
        done.fill(false);
        let mut row = start;
        let mut reached = 0.0; // length of the shortest path to `row`
        let last = loop {
            let mut nearest = FREE;
            for column in 0..columns {
                if done[column] {
                    continue;
                }
                let length = reached + cost(row, column) - row_price[row] - column_price[column];
                if length < distance[column] {
                    distance[column] = length;
                    reached_from[column] = row;
                }
                // among equals a free column ends the search
                if nearest == FREE
                    || distance[column] < distance[nearest]
                    || (distance[column] == distance[nearest] && row_of[column] == FREE)
                {
                    nearest = column;
                }
            }
            done[nearest] = true;
            reached = distance[nearest];
            if row_of[nearest] == FREE {
                break nearest;
            }
            row = row_of[nearest];
        };
        row_price[start] += reached;
        for column in (0..columns).filter(|&column| done[column] && column != last) {
            row_price[row_of[column]] += reached - distance[column];
            column_price[column] -= reached - distance[column];
        }
        let mut column = last;
        loop {
            let row = reached_from[column];
            row_of[column] = row;
            std::mem::swap(&mut column_of[row], &mut column);
            if row == start {
                break;
            }
        }
    }
    column_of
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
