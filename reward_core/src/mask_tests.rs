//! Mask code against naive twins, at every instruction set that the processor has.

#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::components::{self, Forest};
use crate::simd::{self, Level};
use crate::strips::{Plane, Strips};
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

/// Masks of every density, up to three strips wide.
fn masks() -> impl Strategy<Value = Array2<u8>> {
    let shapes = prop_oneof![
        (0usize..24, 0usize..24),
        (1usize..40, 60usize..70),
        (1usize..20, 120usize..200)
    ];
    (shapes, 0u32..=100).prop_flat_map(|((height, width), density)| {
        let pixel =
            (0u32..100, 1u8..=255).prop_map(move |(roll, value)| value * u8::from(roll < density));
        prop::collection::vec(pixel, height * width).prop_map(move |pixels| {
            Array2::from_shape_vec((height, width), pixels).expect("that many pixels")
        })
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

/// A pixel's value; outside the image there is none.
fn at(mask: &Array2<u8>, row: usize, column: usize, (down, right): (isize, isize)) -> bool {
    let place = (
        row.wrapping_add_signed(down),
        column.wrapping_add_signed(right),
    );
    mask.get(place).is_some_and(|&value| value > 0)
}

const AROUND: [(isize, isize); 8] = [
    (-1, -1),
    (-1, 0),
    (-1, 1),
    (0, 1),
    (1, 1),
    (1, 0),
    (1, -1),
    (0, -1),
];

fn thinned_naively(mask: &Array2<u8>) -> Array2<u8> {
    let mut now = mask.mapv(|value| u8::from(value > 0));
    loop {
        let before = now.clone();
        for removed in REMOVED {
            let image = now.clone();
            for ((row, column), value) in now.indexed_iter_mut() {
                let index = (0..8)
                    .map(|bit| u8::from(at(&image, row, column, AROUND[bit])) << bit)
                    .sum();
                if removed.contains(&index) {
                    *value = 0;
                }
            }
        }
        if now == before {
            return now;
        }
    }
}

/// Connected parts of the pixels that are `value`, over the given steps.
fn parts(mask: &Array2<u8>, value: bool, steps: &[(isize, isize)]) -> Vec<usize> {
    let mut seen = mask.mapv(|_| false);
    let mut sizes = Vec::new();
    for (start, _) in mask.indexed_iter() {
        let mut front = vec![start];
        let mut size = 0;
        while let Some(place) = front.pop() {
            if seen[place] || (mask[place] > 0) != value {
                continue;
            }
            seen[place] = true;
            size += 1;
            for &(down, right) in steps {
                let next = (
                    place.0.wrapping_add_signed(down),
                    place.1.wrapping_add_signed(right),
                );
                if mask.get(next).is_some() {
                    front.push(next);
                }
            }
        }
        if size > 0 {
            sizes.push(size);
        }
    }
    sizes
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
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 600 }, ..ProptestConfig::default() })]

    #[test]
    fn packing_and_unpacking_keep_the_foreground(mask in masks(), threshold in 0u8..=255) {
        at_each_level(|| {
            let mut strips = Strips::default();
            strips.pack(&Plane::U8(mask.view(), threshold));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            // Floats and transposed views go other ways to the same end.
            strips.pack(&Plane::F32(mask.mapv(f32::from).view(), f32::from(threshold)));
            assert_eq!(unpacked(&strips), mask.mapv(|value| u8::from(value > threshold)));
            strips.pack(&Plane::U8(mask.t(), threshold));
            assert_eq!(unpacked(&strips), mask.t().mapv(|value| u8::from(value > threshold)));
        });
    }

    #[test]
    fn overlap_equals_a_count_pixel_by_pixel(a in masks(), shift in 0usize..9) {
        let b = Array2::from_shape_fn(a.dim(), |(row, column)| {
            a[[row, (column + shift) % a.ncols().max(1)]]
        });
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
        let components = parts(&mask, true, &AROUND);
        let padded = Array2::from_shape_fn((mask.nrows() + 2, mask.ncols() + 2), |(row, column)| {
            u8::from(row > 0 && column > 0 && at(&mask, row - 1, column - 1, (0, 0)))
        });
        let straight = [AROUND[1], AROUND[3], AROUND[5], AROUND[7]];
        let expected = Topology {
            components: components.len() as u64,
            holes: parts(&padded, false, &straight).len() as u64 - 1,
        };
        let largest = components.iter().max().map_or(1.0, |&size| {
            size as f64 / components.iter().sum::<usize>() as f64
        });
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
