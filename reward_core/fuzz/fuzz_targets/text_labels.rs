//! Any plane or modality scores 0, one half or 1 against any label.
#![no_main]

use _reward_core::text::labels::{Kind, Label};
use _reward_core::text::tokens::Parsed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (label, said) = input;
    for kind in [Kind::Plane, Kind::Modality] {
        let label = Label::new(kind, label);
        let score = label.score(&Parsed::new(said), &mut Vec::new());
        assert!([0.0, 0.5, 1.0].contains(&score), "{score}");
    }
});
