//! All rewards of a row at once are those of each alone, in either encoding.
#![no_main]

use _reward_core::text::answers::Prompt;
use _reward_core::text::choices::Options;
use _reward_core::text::labels::{Kind, Label};
use _reward_core::text::scores::{Row, Scorer, Scratch, MEASURES};
use _reward_core::text::similarity::Words;
use _reward_core::text::source::Source;
use _reward_core::text::tags::TagSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (completion, wanted, question, plain) = input;
    let set = TagSet::new(&["think", "answer", "plane", "modality"]).expect("sound names");
    let prompt = Prompt::new(Some(question), &[wanted], Options::default());
    let accepted = [Words::new(wanted)];
    let (plane, modality) = (
        Label::new(Kind::Plane, wanted),
        Label::new(Kind::Modality, wanted),
    );
    let row = Row {
        prompt: Some(&prompt),
        accepted: &accepted,
        plane: Some(&plane),
        modality: Some(&modality),
        language: None,
    };
    let characters: Vec<u32> = completion.chars().map(u32::from).collect();
    let mut scratch = Scratch::default();
    let mut score = |measures: Vec<_>, source| {
        let mut scores = vec![0.0; measures.len()];
        let scorer = Scorer::new(measures, set.clone(), plain).expect("a set with answer");
        scorer.score(source, &row, &mut scratch, &mut scores);
        scores
            .iter()
            .map(|score: &f64| score.to_bits())
            .collect::<Vec<u64>>()
    };
    let all: Vec<_> = MEASURES.iter().map(|named| named.1).collect();
    let together = score(all.clone(), Source::Utf8(completion));
    assert_eq!(together, score(all.clone(), Source::Utf32(&characters)));
    for (measure, expected) in all.into_iter().zip(&together) {
        assert_eq!(&score(vec![measure], Source::Utf8(completion))[0], expected);
    }
});
