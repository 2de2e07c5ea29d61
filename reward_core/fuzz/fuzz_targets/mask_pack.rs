//! Packing any array type, layout and threshold, and unpacking, keep the foreground and nothing else.
#![no_main]

use _reward_core::strips::{f16_above, Plane};
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{unpacked, Choice, Mask};
use ndarray::s;

fuzz_target!(|input: (Choice, Mask, u8, u8, f32, Mask)| {
    let (choice, Mask(mask), layout, threshold, limit, before) = input;
    choice.apply();
    let view = match layout % 4 {
        0 => mask.view(),
        1 => mask.t(),
        2 => mask.slice(s![..;-1, ..;-1]),
        _ => mask.slice(s![..;2, ..;3]),
    };
    let mut strips = before.packed(); // memory used before changes nothing
    strips.pack(&Plane::U8(view.slice(s![..;-1, ..]), !threshold));
    strips.pack(&Plane::U8(view, threshold));
    let expected = view.mapv(|value| u8::from(value > threshold));
    assert_eq!(unpacked(&strips), expected);
    assert_eq!(
        strips.count(),
        expected.iter().map(|&bit| u64::from(bit)).sum()
    );
    assert_eq!(strips.count_both(&strips), strips.count());
    for ((row, column), &bit) in expected.indexed_iter() {
        assert_eq!(strips.get(row, column), bit == 1);
    }
    // Bit patterns of floats: infinities, NaN and subnormal numbers among them.
    let floats = view.mapv(|value| f32::from_bits(u32::from(value).wrapping_mul(0x0192_1fb5)));
    strips.pack(&Plane::F32(floats.view(), limit));
    assert_eq!(
        unpacked(&strips),
        floats.mapv(|value| u8::from(value > limit))
    );
    let doubles = floats.mapv(f64::from);
    strips.pack(&Plane::F64(doubles.t(), f64::from(limit)));
    assert_eq!(
        unpacked(&strips),
        doubles.t().mapv(|value| u8::from(value > f64::from(limit)))
    );
    // Half floats from the one above 1024 + threshold to infinity, by their bits: 1024 + n is 0x6400 + n.
    let halves = view.mapv(|value| u16::from(value).wrapping_mul(0x0101) ^ 0x6400);
    strips.pack(&Plane::F16(
        halves.view(),
        f16_above(1024.0 + f64::from(threshold)),
    ));
    let above = 0x6401 + u16::from(threshold)..=0x7c00;
    assert_eq!(
        unpacked(&strips),
        halves.mapv(|bits| u8::from(above.contains(&bits)))
    );
});
