//! Any answer gets a verdict for any question, reference and options; it is the same by itself and explained.
#![no_main]

use _reward_core::text::answers::{alternatives, Prompt};
use _reward_core::text::choices::Options;
use _reward_core::text::scores::{Measure, Row, Scorer, Scratch};
use _reward_core::text::source::Source;
use _reward_core::text::tags::TagSet;
use _reward_core::text::tokens::Parsed;
use _reward_core::text::verdict::Rule;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |input: (Option<&str>, &str, Vec<(char, &str)>, &str, bool)| {
        let (question, reference, options, completion, plain) = input;
        let prompt = Prompt::new(question, &[reference], Options::new(&options));
        let verdict = prompt.judge(completion, &mut Parsed::default());
        assert!((0.0..=1.0).contains(&verdict.graded));
        assert_eq!(verdict.is_accepted, verdict.graded >= 0.5);
        assert_eq!(verdict.rule == Rule::NoReference, prompt.is_unanswerable());
        assert!(prompt.is_unanswerable() || verdict.reference < alternatives(reference).count());

        let set = TagSet::new(&["think", "answer"]).expect("sound names");
        let measures = vec![Measure::AnswerMatch, Measure::AnswerMatchGraded];
        let scorer = Scorer::new(measures, set, plain).expect("a set with answer");
        let mut scratch = Scratch::default();
        let found = scorer.explain(Source::Utf8(completion), &prompt, &mut scratch);
        let (explained, field) = (found.verdict, found.answer);
        let row = Row {
            prompt: Some(&prompt),
            ..Row::default()
        };
        let mut scores = [0.0; 2];
        scorer.score(Source::Utf8(completion), &row, &mut scratch, &mut scores);
        if prompt.is_unanswerable() {
            assert!(scores.iter().all(|score| score.is_nan()));
        } else {
            assert_eq!(
                scores,
                [f64::from(u8::from(explained.is_accepted)), explained.graded]
            );
        }
        match field {
            Some((start, end)) => {
                let alone = prompt.judge(&completion[start..end], &mut Parsed::default());
                assert_eq!(explained, alone);
            }
            None => assert_eq!(explained.graded, 0.0),
        }
    }
);
