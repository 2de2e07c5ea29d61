//! Any text is read without a panic, and the boxes found are found again when they are written as JSON.
#![no_main]

use _reward_core::boxes::parse::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(boxes) = parse(text) else { return };
    let corners: Vec<[f64; 4]> = boxes
        .iter()
        .map(|found| {
            [
                found.corners.x1,
                found.corners.y1,
                found.corners.x2,
                found.corners.y2,
            ]
        })
        .collect();
    if corners.iter().flatten().all(|value| value.is_finite()) {
        let again = parse(&format!("{corners:?}")).expect("a list of boxes");
        assert_eq!(again.len(), corners.len());
        for (found, written) in again.iter().zip(corners) {
            let found = [
                found.corners.x1,
                found.corners.y1,
                found.corners.x2,
                found.corners.y2,
            ];
            assert_eq!(found, written);
        }
    }
});
