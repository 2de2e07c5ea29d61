//! The thinning rule, 64 pixels at a time. Written by `codegen/thinning_circuit.py`: change it there.
//!
//! Each bit of a word is one pixel; the eight arguments hold that pixel's neighbours.
//! Behaviour: scikit-image's `skeletonize` (method "zhang"), pass by pass.

#![allow(clippy::inline_always, clippy::let_and_return)] // generated; compiled for each processor

use std::ops::{BitAnd, BitOr, BitXor, Not};

/// A word, or several side by side.
pub trait Bits:
    Copy + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> + Not<Output = Self>
{
}

impl Bits for u64 {}

/// Neighbourhoods (bit 0 north-west, clockwise) whose centre a pass removes.
#[cfg(any(test, fuzzing))]
pub const REMOVED: [&[u8]; 2] = [
    &[
        3, 6, 7, 10, 11, 12, 14, 15, 28, 30, 31, 40, 60, 112, 120, 124, 130, 131, 134, 135, 143,
        159, 160, 161, 193, 194, 195, 198, 199, 207, 225, 227, 231, 240, 241, 243,
    ],
    &[
        7, 10, 15, 24, 26, 28, 30, 31, 40, 56, 60, 62, 63, 96, 104, 108, 112, 120, 124, 126, 130,
        135, 160, 176, 192, 193, 195, 199, 224, 225, 240, 241, 248, 249, 252,
    ],
];

/// Which pixels the first pass removes, in 31 gates of two inputs.
#[allow(clippy::too_many_arguments, clippy::many_single_char_names)] // the eight neighbours
#[inline(always)]
pub fn first_pass<W: Bits>(nw: W, n: W, ne: W, e: W, se: W, s: W, sw: W, w: W) -> W {
    let t8 = !se & n;
    let t9 = e | t8;
    let t10 = !e & nw;
    let t11 = w ^ e;
    let t12 = t8 & w;
    let t13 = !n & se;
    let t14 = sw & t10;
    let t15 = !t12 & sw;
    let t16 = n ^ t11;
    let t17 = t13 ^ t15;
    let t18 = nw & t16;
    let t19 = t18 ^ w;
    let t20 = e & t19;
    let t21 = t11 ^ t13;
    let t22 = t14 & t21;
    let t23 = t10 | t21;
    let t24 = t17 ^ t22;
    let t25 = !t24 & s;
    let t26 = t15 ^ t25;
    let t27 = !n & t16;
    let t28 = ne & t9;
    let t29 = !t26 & t23;
    let t30 = t27 | t29;
    let t31 = t25 | t22;
    let t32 = t31 & t30;
    let t33 = !t26 & t28;
    let t34 = !ne & t32;
    let t35 = t30 & t8;
    let t36 = t34 | t33;
    let t37 = !t20 & t36;
    let t38 = t35 | t37;
    t38
}

/// Which pixels the second pass removes, in 28 gates of two inputs.
#[allow(clippy::too_many_arguments, clippy::many_single_char_names)] // the eight neighbours
#[inline(always)]
pub fn second_pass<W: Bits>(nw: W, n: W, ne: W, e: W, se: W, s: W, sw: W, w: W) -> W {
    let t8 = s ^ w;
    let t9 = !nw & s;
    let t10 = !n & s;
    let t11 = !se & ne;
    let t12 = t8 ^ e;
    let t13 = !t9 & sw;
    let t14 = !se & t12;
    let t15 = t14 ^ t10;
    let t16 = t13 ^ t15;
    let t17 = !t16 & w;
    let t18 = t13 ^ t17;
    let t19 = !t18 & n;
    let t20 = t11 | t12;
    let t21 = nw | t14;
    let t22 = !nw & e;
    let t23 = s ^ t20;
    let t24 = !t21 & t23;
    let t25 = !t22 & ne;
    let t26 = t24 | sw;
    let t27 = t25 | t18;
    let t28 = !s & t24;
    let t29 = ne | t28;
    let t30 = t23 | t10;
    let t31 = !t27 & t26;
    let t32 = t29 ^ nw;
    let t33 = !t32 & t19;
    let t34 = t33 ^ t31;
    let t35 = t30 & t34;
    t35
}
