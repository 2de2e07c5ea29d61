//! Overlap counted on numbers of any type and on bits equals a count pixel by pixel.
#![no_main]

use _reward_core::overlap::Overlap;
use _reward_core::strips::{f16_above, Plane, Strips};
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
    assert_eq!(Overlap::of_unpacked(&planes[0], &planes[1]), Some(expected));
    let turned = [Plane::U8(a.0.t(), above_a), Plane::U8(b.0.t(), above_b)];
    assert_eq!(Overlap::of_unpacked(&turned[0], &turned[1]), Some(expected));
    // What is not above becomes NaN.
    let floats = [(&a, above_a), (&b, above_b)].map(|(mask, above)| {
        let value = |&x: &u8| if x > above { f32::from(x) } else { f32::NAN };
        mask.0.map(value)
    });
    let doubles = [0, 1].map(|index| floats[index].mapv(f64::from));
    // The half floats 1024 + n have the bits 0x6400 + n.
    let halves = [&a, &b].map(|mask| mask.0.map(|&x| 0x6400 + u16::from(x)));
    let [first_a, first_b] = [above_a, above_b].map(|above| f16_above(1024.0 + f64::from(above)));
    for [x, y] in [
        [
            Plane::F32(floats[0].view(), above_a.into()),
            Plane::F32(floats[1].view(), above_b.into()),
        ],
        [
            Plane::F64(doubles[0].view(), above_a.into()),
            Plane::F64(doubles[1].view(), above_b.into()),
        ],
        [
            Plane::F16(halves[0].view(), first_a),
            Plane::F16(halves[1].view(), first_b),
        ],
    ] {
        assert_eq!(Overlap::of_unpacked(&x, &y), Some(expected));
    }
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
