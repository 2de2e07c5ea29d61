//! Rewards for medical vision-language models, as plain Rust.
//!
//! Nothing here knows Python except `py`, which is compiled with the feature `python`.

pub mod text;

#[cfg(feature = "python")]
mod py;
