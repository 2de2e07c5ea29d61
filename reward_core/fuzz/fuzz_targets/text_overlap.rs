//! The overlap measures are shares; what equals another has all of it, and the distance is the same both ways.
#![no_main]

use _reward_core::text::similarity::Words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (left, right) = (Words::new(input.0), Words::new(input.1));
    let shares = [
        left.exact_match(&right),
        left.recall(&right),
        left.f1(&right),
        left.levenshtein(&right),
    ];
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)),
        "{shares:?}"
    );
    assert_eq!(left.levenshtein(&right), right.levenshtein(&left));
    assert_eq!(left.f1(&right), right.f1(&left));
    if left.exact_match(&right) == 1.0 {
        assert_eq!((left.recall(&right), left.f1(&right)), (1.0, 1.0));
    }
});
