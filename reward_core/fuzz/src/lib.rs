//! What the fuzz targets share: masks of any size and content, made from the fuzzer's bytes.

use _reward_core::simd::{self, Level};
use _reward_core::strips::{Plane, Strips};
use arbitrary::{Arbitrary, Result, Unstructured};
use ndarray::{s, Array2};

/// Sides of a mask are at most so many pixels: two strips and a bit wide, five tiles high.
pub const SIDES: (usize, usize) = (40, 140);

/// Pixels of 0 and of anything above it.
#[derive(Debug)]
pub struct Mask(pub Array2<u8>);

impl<'a> Arbitrary<'a> for Mask {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        // Where the bytes have run out, the largest: an empty mask shows little.
        let height = SIDES.0 - bytes.int_in_range(0..=SIDES.0)?;
        let width = SIDES.1 - bytes.int_in_range(0..=SIDES.1)?;
        Self::of_shape((height, width), bytes)
    }
}

impl Mask {
    /// A mask of that shape: noise, rectangles drawn and erased, then pixels turned over by a pattern of bits.
    pub fn of_shape(shape: (usize, usize), bytes: &mut Unstructured<'_>) -> Result<Self> {
        let mut mask = Array2::zeros(shape);
        let (height, width) = shape;
        if height * width == 0 {
            return Ok(Self(mask));
        }
        let (mut noise, density): (u64, u8) = bytes.arbitrary()?;
        for pixel in &mut mask {
            noise = noise
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            let [.., roll, value] = noise.to_le_bytes();
            *pixel = value * u8::from(roll < density);
        }
        for _ in 0..bytes.int_in_range(0..=6)? {
            let top = bytes.int_in_range(0..=height - 1)?;
            let left = bytes.int_in_range(0..=width - 1)?;
            let bottom = bytes.int_in_range(top + 1..=height)?;
            let right = bytes.int_in_range(left + 1..=width)?;
            mask.slice_mut(s![top..bottom, left..right])
                .fill(bytes.arbitrary()?);
        }
        let pattern: Vec<u8> = bytes.arbitrary()?;
        let bits = pattern
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        for (pixel, turn) in mask.iter_mut().zip(bits.cycle()) {
            *pixel = if turn { u8::from(*pixel == 0) } else { *pixel };
        }
        // A small object in a large image: rows of background above and below.
        if bytes.arbitrary()? {
            let top = bytes.int_in_range(0..=height - 1)?;
            let bottom = bytes.int_in_range(top..=height)?;
            mask.slice_mut(s![..top, ..]).fill(0);
            mask.slice_mut(s![bottom.., ..]).fill(0);
        }
        Ok(Self(mask))
    }

    /// Upside down: of the same shape, with foreground in other rows.
    #[must_use]
    pub fn flipped(&self) -> Self {
        Self(self.0.slice(s![..;-1, ..]).to_owned())
    }

    /// Packed; any value but 0 is foreground.
    #[must_use]
    pub fn packed(&self) -> Strips {
        let mut strips = Strips::default();
        strips.pack(&Plane::U8(self.0.view(), 0));
        strips
    }
}

/// The masks as a batch; any value but 0 is foreground.
pub fn planes<'a>(masks: impl IntoIterator<Item = &'a Mask>) -> Vec<Plane<'a>> {
    let plane = |mask: &'a Mask| Plane::U8(mask.0.view(), 0);
    masks.into_iter().map(plane).collect()
}

/// Two masks of one shape.
#[derive(Debug)]
pub struct Pair(pub Mask, pub Mask);

impl<'a> Arbitrary<'a> for Pair {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let first = Mask::arbitrary(bytes)?;
        let second = Mask::of_shape(first.0.dim(), bytes)?;
        Ok(Self(first, second))
    }
}

/// The instruction set to work with.
#[derive(Debug, Arbitrary)]
pub struct Choice(u8);

impl Choice {
    /// Uses it, or the best there is where the processor lacks it.
    pub fn apply(&self) {
        simd::set_level(Level::ALL[usize::from(self.0) % Level::ALL.len()]);
    }
}

/// The pixels of a packed image.
#[must_use]
pub fn unpacked(strips: &Strips) -> Array2<u8> {
    let mut bytes = vec![7; strips.shape().0 * strips.shape().1];
    strips.unpack(&mut bytes);
    Array2::from_shape_vec(strips.shape(), bytes).expect("that many pixels")
}
