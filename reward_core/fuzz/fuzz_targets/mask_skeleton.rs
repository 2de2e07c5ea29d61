//! Thinning equals its naive twin at every instruction set, whatever was thinned in the same memory before.
#![no_main]

use _reward_core::mask_twins::thinned_naively;
use _reward_core::thinning::{thin, Scratch};
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{unpacked, Choice, Mask};

fuzz_target!(|input: (Choice, Mask, Mask)| {
    let (choice, mask, before) = input;
    choice.apply();
    let mut scratch = Scratch::default();
    thin(&mut before.packed(), &mut scratch);
    let mut strips = mask.packed();
    thin(&mut strips, &mut scratch);
    assert_eq!(unpacked(&strips), thinned_naively(&mask.0));
});
