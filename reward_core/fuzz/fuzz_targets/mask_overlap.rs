//! Overlap counted on bytes and on bits equals a count pixel by pixel.
#![no_main]

use _reward_core::overlap::Overlap;
use _reward_core::strips::{Plane, Strips};
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{Choice, Pair};
use ndarray::Zip;

fuzz_target!(|input: (Choice, Pair, u8, u8)| {
    let (choice, Pair(a, b), above_a, above_b) = input;
    choice.apply();
    let mut expected = Overlap::default();
    Zip::from(&a.0).and(&b.0).for_each(|&x, &y| {
        let (x, y) = (x > above_a, y > above_b);
        expected.prediction += u64::from(x);
        expected.reference += u64::from(y);
        expected.intersection += u64::from(x && y);
    });
    let planes = [
        Plane::U8(a.0.view(), above_a),
        Plane::U8(b.0.view(), above_b),
    ];
    assert_eq!(Overlap::of_bytes(&planes[0], &planes[1]), Some(expected));
    let packed = planes.map(|plane| {
        let mut strips = Strips::default();
        strips.pack(&plane);
        strips
    });
    assert_eq!(Overlap::of(&packed[0], &packed[1]), expected);
    let mut cut = packed[0].clone();
    cut.intersect(&packed[1]);
    assert_eq!(cut.count(), expected.intersection);
    let shares = [
        expected.dice(),
        expected.iou(),
        expected.recall(),
        expected.precision(),
    ];
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)),
        "{shares:?}"
    );
    assert!(expected.area_ratio() >= 0.0);
});
