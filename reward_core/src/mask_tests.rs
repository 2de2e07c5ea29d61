//! Mask code against its naive twins, at every instruction set that the processor has.

#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::components::{self, Forest};
use crate::mask_twins::{distances_naively, thinned_naively, topology_naively};
use crate::overlap::Overlap;
use crate::simd::{self, Level};
use crate::strips::{f16_above, Plane, Strips};
use crate::surface::{Field, SurfaceDistances};
use crate::thinning::{self, Scratch};
use crate::thinning_rule::{first_pass, second_pass, REMOVED};
use crate::topology::Topology;
use ndarray::Array2;
use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Only one test at a time may change the level.
static LEVEL: Mutex<()> = Mutex::new(());

/// Runs a check at every level.
fn at_each_level(check: impl Fn()) {
    let _guard = LEVEL.lock().unwrap_or_else(PoisonError::into_inner);
    for level in Level::ALL {
        if simd::set_level(level) == level {
            check();
        }
    }
    simd::set_level(simd::detected());
}

/// So many cases, fewer under Miri; there a failure is shown as it is, since making it smaller takes a quarter of an hour.
fn cases(usual: u32, under_miri: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(usual);
    if cfg!(miri) {
        config.cases = under_miri;
        config.max_shrink_iters = 0;
    }
    config
}

/// Masks of every density, up to three strips wide.
fn masks() -> impl Strategy<Value = Array2<u8>> {
    // Miri interprets: a pixel costs it milliseconds.
    let shapes = if cfg!(miri) {
        prop_oneof![
            (0usize..3, 0usize..6),
            (1usize..3, 62usize..67),
            (1usize..2, 126usize..131)
        ]
    } else {
        prop_oneof![
            (0usize..24, 0usize..24),
            (1usize..40, 60usize..70),
            (1usize..20, 120usize..200)
        ]
    };
    (shapes, 0u32..=100).prop_flat_map(|((height, width), density)| {
        let pixel =
            (0u32..100, 1u8..=255).prop_map(move |(roll, value)| value * u8::from(roll < density));
        prop::collection::vec(pixel, height * width).prop_map(move |pixels| {
            Array2::from_shape_vec((height, width), pixels).expect("that many pixels")
        })
    })
}

/// The mask with its columns moved around.
fn shifted(mask: &Array2<u8>, shift: usize) -> Array2<u8> {
    Array2::from_shape_fn(mask.dim(), |(row, column)| {
        mask[[row, (column + shift) % mask.ncols().max(1)]]
    })
}

fn packed(mask: &Array2<u8>) -> Strips {
    let mut strips = Strips::default();
    strips.pack(&Plane::U8(mask.view(), 0));
    strips
}

fn unpacked(strips: &Strips) -> Array2<u8> {
    let mut bytes = vec![7; strips.shape().0 * strips.shape().1];
    strips.unpack(&mut bytes);
    Array2::from_shape_vec(strips.shape(), bytes).expect("that many pixels")
}

#[test]
fn the_circuits_equal_the_table() {
    for index in 0..=255u8 {
        let bit = |number: u8| {
            if index >> number & 1 == 1 {
                u64::MAX
            } else {
                0
            }
        };
        let [nw, n, ne, e, se, s, sw, w] = std::array::from_fn(|number| bit(number as u8));
        let removed = [
            first_pass(nw, n, ne, e, se, s, sw, w),
            second_pass(nw, n, ne, e, se, s, sw, w),
        ];
        for (pass, all) in removed.into_iter().enumerate() {
            assert_eq!(
                all,
                if REMOVED[pass].contains(&index) {
                    u64::MAX
                } else {
                    0
                },
                "{index} in pass {pass}"
            );
        }
    }
}

proptest! {
    #![proptest_config(cases(600, 3))]

    #[test]
    fn packing_and_unpacking_keep_the_foreground(mask in masks(), threshold in 0u8..=255) {
        at_each_level(|| {
            let mut strips = Strips::default();
            strips.pack(&Plane::U8(mask.view(), threshold));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            // Floats and transposed views go other ways to the same end.
            strips.pack(&Plane::F32(mask.mapv(f32::from).view(), f32::from(threshold)));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            strips.pack(&Plane::F64(mask.mapv(f64::from).view(), f64::from(threshold)));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            // The half floats 1024 + n have the bits 0x6400 + n.
            let half = mask.mapv(|value| 0x6400 + u16::from(value));
            strips.pack(&Plane::F16(half.view(), f16_above(1024.0 + f64::from(threshold))));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            strips.pack(&Plane::F32(mask.mapv(f32::from).t(), f32::from(threshold)));
            assert_eq!(unpacked(&strips), mask.t().mapv(|value| u8::from(value > threshold)));
            strips.pack(&Plane::U8(mask.t(), threshold));
            assert_eq!(unpacked(&strips), mask.t().mapv(|value| u8::from(value > threshold)));
        });
    }

    #[test]
    fn overlap_equals_a_count_pixel_by_pixel(a in masks(), shift in 0usize..9) {
        let b = shifted(&a, shift);
        let both = a.iter().zip(&b).filter(|(&x, &y)| x > 0 && y > 0).count() as u64;
        let area = a.iter().filter(|&&value| value > 0).count() as u64;
        at_each_level(|| {
            let counts = simd::overlap_bytes(
                a.as_slice().expect("contiguous"), b.as_slice().expect("contiguous"), (0, 0));
            assert_eq!(counts, [area, area, both]);
            assert_eq!(packed(&a).count(), area);
            assert_eq!(packed(&a).count_both(&packed(&b)), both);
        });
    }

    #[test]
    fn overlap_of_any_type_equals_a_count_pixel_by_pixel(
        a in masks(), shift in 0usize..9, [above_a, above_b] in [0u8..=255, 0u8..=255], turned in any::<bool>()
    ) {
        let b = shifted(&a, shift);
        let pairs = || a.iter().map(|&x| x > above_a).zip(b.iter().map(|&y| y > above_b));
        let expected = Some(Overlap {
            prediction: pairs().filter(|(x, _)| *x).count() as u64,
            reference: pairs().filter(|(_, y)| *y).count() as u64,
            intersection: pairs().filter(|(x, y)| *x && *y).count() as u64,
        });
        // Background as numbers of every kind that is not above: NaN, negative ones, minus infinity.
        let single = |&x: &u8, above: u8| if x > above { f32::from(x) } else { LOW[usize::from(x) % 4] };
        let single = (a.map(|x| single(x, above_a)), b.map(|x| single(x, above_b)));
        let double = (single.0.mapv(f64::from), single.1.mapv(f64::from));
        // The half floats 1024 + n have the bits 0x6400 + n; 0x7e00 is NaN and 0xe400 is -1024.
        let half = |&x: &u8, above: u8| if x > above { 0x6400 + u16::from(x) } else { [0x7e00, 0xe400][usize::from(x) % 2] };
        let half = (a.map(|x| half(x, above_a)), b.map(|x| half(x, above_b)));
        let (first_a, first_b) = (f16_above(1024.0 + f64::from(above_a)), f16_above(1024.0 + f64::from(above_b)));
        at_each_level(|| {
            let turn = |plane| if turned { transposed(plane) } else { plane };
            for [x, y] in [
                [Plane::U8(a.view(), above_a), Plane::U8(b.view(), above_b)],
                [Plane::F32(single.0.view(), above_a.into()), Plane::F32(single.1.view(), above_b.into())],
                [Plane::F64(double.0.view(), above_a.into()), Plane::F64(double.1.view(), above_b.into())],
                [Plane::F16(half.0.view(), first_a), Plane::F16(half.1.view(), first_b)],
            ] {
                let mut strips = [Strips::default(), Strips::default()];
                strips[0].pack(&turn(x));
                strips[1].pack(&turn(y));
                assert_eq!(Some(Overlap::of(&strips[0], &strips[1])), expected);
                assert_eq!(Overlap::of_unpacked(&turn(x), &turn(y)), expected);
            }
        });
    }

    #[test]
    fn thinning_equals_its_naive_twin(mask in masks()) {
        let expected = thinned_naively(&mask);
        at_each_level(|| {
            let mut strips = packed(&mask);
            thinning::thin(&mut strips, &mut Scratch::default());
            assert_eq!(unpacked(&strips), expected);
        });
    }

    #[test]
    fn components_and_holes_equal_a_flood_fill(mask in masks()) {
        let (expected, largest) = topology_naively(&mask);
        at_each_level(|| {
            let mut forest = Forest::default();
            let strips = packed(&mask);
            assert_eq!(Topology::of(&strips, &mut forest), expected);
            assert!((components::largest_share(&strips, &mut forest) - largest).abs() < 1e-12);
        });
    }

    #[test]
    fn memory_used_before_changes_nothing(first in masks(), second in masks()) {
        let (mut used, mut forest) = (Scratch::default(), Forest::default());
        let mut strips = packed(&first);
        let _ = components::count(&strips, &mut forest);
        thinning::thin(&mut strips, &mut used);
        strips.pack(&Plane::U8(second.view(), 0));
        let fresh = packed(&second);
        prop_assert_eq!(components::count(&strips, &mut forest), components::count(&fresh, &mut Forest::default()));
        thinning::thin(&mut strips, &mut used);
        let mut expected = fresh;
        thinning::thin(&mut expected, &mut Scratch::default());
        prop_assert_eq!(unpacked(&strips), unpacked(&expected));
    }
}

proptest! {
    #![proptest_config(cases(100, 2))] // the twin is slow

    #[test]
    fn distances_equal_a_search_over_all_pairs(
        a in masks(), shift in 0usize..9, spacing in (0.1f64..9.0, 0.1f64..9.0)
    ) {
        let b = shifted(&a, shift);
        let spacing = <[f64; 2]>::from(spacing);
        assert_distances(&a, &b, spacing);
    }

    #[test]
    fn far_distances_equal_a_search_over_all_pairs(
        shape in if cfg!(miri) { (1usize..12, 1usize..140) } else { (1usize..90, 1usize..300) },
        places in prop::collection::vec((0usize..9000, 0usize..9000), 2..if cfg!(miri) { 6 } else { 14 }),
        dense in 0usize..3, even in any::<bool>(), spacing in (0.2f64..4.0, 0.2f64..4.0)
    ) {
        // A few far pixels each, and sometimes a full block: what no ring reaches, by search and by transform.
        let mut masks = [Array2::<u8>::zeros(shape), Array2::zeros(shape)];
        for (index, (row, column)) in places.into_iter().enumerate() {
            masks[index % 2][[row % shape.0, column % shape.1]] = 1;
        }
        if dense > 0 {
            masks[dense - 1].slice_mut(ndarray::s![..shape.0.div_ceil(2);2, ..shape.1.div_ceil(3);2]).fill(1);
        }
        let spacing = if even { [1.0, 1.0] } else { <[f64; 2]>::from(spacing) };
        assert_distances(&masks[0], &masks[1], spacing);
    }
}

proptest! {
    #![proptest_config(cases(40, 2))]

    #[test]
    fn memory_that_held_other_objects_of_the_image_changes_nothing(
        (height, width) in if cfg!(miri) { (1usize..4, 1usize..67) } else { (1usize..40, 1usize..140) },
        objects in prop::collection::vec((0usize..40, 0usize..40, 0usize..140, 0usize..140, 1usize..4, 0u8..4), 2..if cfg!(miri) { 3 } else { 8 }),
    ) {
        // Rectangles in an image of one shape, one after the other: rows are written or left as they are.
        let masks: Vec<Array2<u8>> = objects.into_iter().map(|(top, high, left, wide, step, layers)| {
            let mut mask = Array2::zeros((height, width));
            let (top, left) = (top % (height + 1), left % (width + 1));
            let (bottom, right) = ((top + high).min(height), (left + wide).min(width));
            if layers > 0 {
                mask.slice_mut(ndarray::s![top..bottom;step, left..right]).fill(layers);
            }
            mask
        }).collect();
        at_each_level(|| {
            let [mut one, mut copy, mut thinned] = <[Strips; 3]>::default();
            let mut field = Field::default();
            let (mut scratch, mut forest) = (Scratch::default(), Forest::default());
            for (index, mask) in masks.iter().enumerate() {
                let fresh = packed(mask);
                match index % 6 {
                    5 => one.pack(&Plane::F16(mask.mapv(|value| 0x3c00 * u16::from(value > 0)).view(), f16_above(0.5))),
                    4 => one.pack(&Plane::F64(mask.mapv(f64::from).view(), 0.5)),
                    3 => one.pack(&Plane::F32(mask.mapv(f32::from).view(), 0.5)),
                    2 => one.pack(&Plane::U8(mask.t().to_owned().t(), 0)),
                    _ => one.pack(&Plane::U8(mask.view(), 0)),
                }
                assert_eq!(one.words(), fresh.words());
                assert_eq!(one.count(), mask.iter().filter(|&&value| value > 0).count() as u64);
                for other in &masks {
                    let other = packed(other);
                    let both = fresh.words().iter().zip(other.words()).map(|(a, b)| u64::from((a & b).count_ones()));
                    assert_eq!(one.count_both(&other), both.sum::<u64>());
                    let new = SurfaceDistances::of(&fresh, &other, [1.0, 1.0], &mut Field::default());
                    assert_eq!(SurfaceDistances::of(&one, &other, [1.0, 1.0], &mut field), new);
                    thinned.copy_from(&other);
                    thinned.intersect(&one);
                    assert_eq!(thinned.count(), one.count_both(&other));
                }
                copy.copy_from(&one);
                assert_eq!(copy.words(), fresh.words());
                assert_eq!(Topology::of(&copy, &mut forest), Topology::of(&fresh, &mut Forest::default()));
                thinning::thin(&mut copy, &mut scratch);
                let skeleton = thinned_naively(mask);
                assert_eq!(unpacked(&copy), skeleton);
                assert_eq!(copy.count(), skeleton.iter().map(|&bit| u64::from(bit)).sum::<u64>());
            }
        });
    }
}

fn assert_distances(a: &Array2<u8>, b: &Array2<u8>, spacing: [f64; 2]) {
    let expected = distances_naively(a, b, spacing);
    at_each_level(|| {
        let mut field = Field::default();
        let found = SurfaceDistances::of(&packed(a), &packed(b), spacing, &mut field);
        for (value, wanted) in [
            (found.hausdorff95, expected.hausdorff95),
            (found.pooled95, expected.pooled95),
            (found.directed95[0], expected.directed95[0]),
            (found.directed95[1], expected.directed95[1]),
            (found.average, expected.average),
        ] {
            assert!(
                (value - wanted).abs() < 1e-9 * wanted.max(1.0),
                "{found:?} {expected:?}"
            );
        }
    });
}

/// Singles that are above no threshold.
const LOW: [f32; 4] = [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0];

fn transposed(plane: Plane<'_>) -> Plane<'_> {
    match plane {
        Plane::U8(view, above) => Plane::U8(view.reversed_axes(), above),
        Plane::F32(view, above) => Plane::F32(view.reversed_axes(), above),
        Plane::F64(view, above) => Plane::F64(view.reversed_axes(), above),
        Plane::F16(view, first) => Plane::F16(view.reversed_axes(), first),
    }
}

#[test]
fn what_lies_in_memory_in_two_orders_is_not_counted_unpacked() {
    let square = ndarray::arr2(&[[0u8, 1], [0, 0]]);
    let [rows, columns] = [square.view(), square.t()].map(|view| Plane::U8(view, 0));
    assert_eq!(Overlap::of_unpacked(&rows, &columns), None);
    assert_eq!(
        Overlap::of_unpacked(&columns, &columns).map(Overlap::dice),
        Some(1.0)
    );
    let wide = ndarray::arr2(&[[0u8, 1, 1, 0], [0, 0, 1, 1]]);
    let gaps = Plane::U8(wide.slice(ndarray::s![.., ..2]), 0);
    assert_eq!(Overlap::of_unpacked(&gaps, &gaps), None);
    let floats = square.mapv(f32::from);
    assert_eq!(
        Overlap::of_unpacked(&rows, &Plane::F32(floats.view(), 0.5)),
        None
    );
}

#[test]
fn half_floats_are_compared_by_their_bits() {
    assert_eq!(f16_above(0.5), 0x3801); // 0x3800 is one half
    assert_eq!(f16_above(0.0), 1);
    assert_eq!(f16_above(0.3), 0x34cd); // .30004883, the half float next above .3
    assert_eq!(f16_above(1e9), 0x7c00); // infinity alone
    assert_eq!(f16_above(f64::MAX), 0x7c00);
    let halves = ndarray::arr2(&[[0x3800, 0x3801, 0x7c00, 0x7e00, 0xbc00, 0xffff]]);
    let mut strips = Strips::default();
    at_each_level(|| {
        let mut strips = Strips::default();
        strips.pack(&Plane::F16(halves.view(), f16_above(0.5)));
        assert_eq!(strips.word(0, 0), 0b00110);
    });
    strips.pack(&Plane::F16(halves.view(), 0x7c01));
    assert_eq!(strips.count(), 0);
}
