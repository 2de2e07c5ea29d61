//! The matching of largest sum equals the best of all matchings, and scores of any floats end.
#![no_main]

use _reward_core::boxes::assignment::maximise;
use libfuzzer_sys::fuzz_target;

fn best(gains: &[f64], rows: usize, columns: usize, row: usize, taken: u32) -> f64 {
    if row == rows {
        return 0.0;
    }
    // Where there are more rows than columns, some rows stay alone.
    let alone = best(gains, rows, columns, row + 1, taken);
    let with = (0..columns).filter(|column| taken >> column & 1 == 0);
    with.map(|column| {
        gains[row * columns + column] + best(gains, rows, columns, row + 1, taken | 1 << column)
    })
    .fold(alone, f64::max)
}

fuzz_target!(|input: (u8, u8, Vec<u8>, Vec<f64>)| {
    let (rows, columns, levels, floats) = input;
    let (rows, columns) = (usize::from(rows % 7), usize::from(columns % 7));
    if levels.is_empty() || floats.is_empty() {
        return;
    }
    let gains: Vec<f64> = levels
        .iter()
        .cycle()
        .take(rows * columns)
        .map(|&v| f64::from(v) / 255.0)
        .collect();
    let pairs = maximise(&gains, rows, columns);
    assert_eq!(pairs.len(), rows.min(columns));
    let (mut rows_seen, mut columns_seen) = (0u32, 0u32);
    for &(row, column) in &pairs {
        assert!(rows_seen >> row & 1 == 0 && columns_seen >> column & 1 == 0);
        rows_seen |= 1 << row;
        columns_seen |= 1 << column;
    }
    let sum: f64 = pairs
        .iter()
        .map(|&(row, column)| gains[row * columns + column])
        .sum();
    assert!((sum - best(&gains, rows, columns, 0, 0)).abs() < 1e-9);
    let any: Vec<f64> = floats
        .iter()
        .cycle()
        .take(rows * columns)
        .copied()
        .collect();
    assert_eq!(maximise(&any, rows, columns).len(), rows.min(columns));
});
