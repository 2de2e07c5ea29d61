//! Rewards for medical vision-language models, as plain Rust.
//!
//! Nothing here knows Python except `py`, which is compiled with the feature `python`.

pub mod boxes;
pub mod components;
#[cfg(test)]
mod mask_tests;
#[cfg(any(test, fuzzing))]
pub mod mask_twins;
pub mod masks;
pub mod measures;
pub mod overlap;
pub mod simd;
pub mod strips;
pub mod surface;
pub mod text;
pub mod thinning;
mod thinning_rule;
pub mod threads;
pub mod topology;

#[cfg(feature = "python")]
mod py;
