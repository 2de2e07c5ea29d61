//! The parts of fluency are shares for any text and language.
#![no_main]

use _reward_core::text::fluency::fluency;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &str)| {
    let (language, text) = input;
    let parts = fluency(text, language);
    let shares = [
        parts.variety,
        parts.language,
        parts.length,
        parts.cleanness,
        parts.score(),
    ];
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)),
        "{shares:?}"
    );
});
