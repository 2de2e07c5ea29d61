//! Components, holes, Euler number and the largest share equal a flood fill.
#![no_main]

use _reward_core::components::{count, largest_share, Forest};
use _reward_core::mask_twins::topology_naively;
use _reward_core::topology::{euler_number, Topology};
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{Choice, Mask};

fuzz_target!(|input: (Choice, Mask, Mask)| {
    let (choice, mask, before) = input;
    choice.apply();
    let mut forest = Forest::default();
    let _ = count(&before.packed(), &mut forest);
    let strips = mask.packed();
    let (expected, largest) = topology_naively(&mask.0);
    assert_eq!(Topology::of(&strips, &mut forest), expected);
    assert_eq!(euler_number(&strips), expected.euler());
    assert_eq!(largest_share(&strips, &mut forest), largest);
});
