//! Distances between outlines equal a search over all pairs of outline pixels.
#![no_main]

use _reward_core::mask_twins::distances_naively;
use _reward_core::surface::{Field, SurfaceDistances};
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{Choice, Pair};

fuzz_target!(|input: (Choice, Pair, Pair, u16, u16)| {
    let (choice, Pair(a, b), before, tall, wide) = input;
    choice.apply();
    let spacing = [tall, wide].map(|side| f64::from(side) / 256.0 + 0.01);
    let mut field = Field::default();
    for pair in [&before, &Pair(a.flipped(), b.flipped())] {
        let (one, other) = (pair.0.packed(), pair.1.packed());
        let _ = SurfaceDistances::of(&one, &other, [1.0, 1.0], &mut field);
    }
    let found = SurfaceDistances::of(&a.packed(), &b.packed(), spacing, &mut field);
    let expected = distances_naively(&a.0, &b.0, spacing);
    for (value, wanted) in [
        (found.hausdorff95, expected.hausdorff95),
        (found.pooled95, expected.pooled95),
        (found.directed95[0], expected.directed95[0]),
        (found.directed95[1], expected.directed95[1]),
        (found.average, expected.average),
    ] {
        assert!(
            (value - wanted).abs() <= 1e-6 * wanted.max(1.0),
            "{found:?} {expected:?}"
        );
    }
});
