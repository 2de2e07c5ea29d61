//! Boxes of any text against any references: every score in [0, 1], whatever the numbers.
#![no_main]

use _reward_core::boxes::matching::{Rules, Scenes, Settings};
use _reward_core::boxes::parse::parse;
use _reward_core::boxes::precision::{add_picture, label_names, Interpolation, Reading, ALL_AREAS};
use _reward_core::boxes::{folded_label, score, Corners, Labelled};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Written {
    corners: [f64; 4],
    label: Option<String>,
    score: Option<f64>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    text: String,
    predicted: Vec<Written>,
    references: Vec<Written>,
    scale: (f64, f64),
    frame: (f64, f64),
    threshold: f64,
    use_labels: bool,
    flags: u64,
}

fuzz_target!(|input: Input| {
    if input.predicted.len() > 24 || input.references.len() > 24 {
        return;
    }
    let boxes = |written: &[Written]| -> Vec<Labelled> {
        let one = |found: &Written| Labelled {
            corners: Corners::new(found.corners),
            label: found.label.as_deref().and_then(folded_label),
            score: found.score,
        };
        written.iter().map(one).collect()
    };
    let mut references = boxes(&input.references);
    for reference in &mut references {
        reference.corners = reference
            .corners
            .ordered()
            .clipped(input.frame.0, input.frame.1);
    }
    references.retain(|reference| reference.corners.is_valid());
    for mut predicted in [
        parse(&input.text),
        Some(boxes(&input.predicted)),
        Some(references.clone()),
    ] {
        let is_truth = predicted.as_ref() == Some(&references);
        for found in predicted.iter_mut().flatten().filter(|_| !is_truth) {
            let scaled = found.corners.scaled(input.scale.0, input.scale.1);
            found.corners = scaled.clipped(input.frame.0, input.frame.1);
        }
        let scores = score(
            predicted.as_deref(),
            &references,
            input.threshold,
            input.use_labels,
        );
        for value in [scores.iou, scores.f1, scores.ap, scores.count] {
            assert!((0.0..=1.0 + 1e-9).contains(&value), "{scores:?}");
        }
        if is_truth
            && references
                .iter()
                .all(|one| one.corners.iou(one.corners) == 1.0)
        {
            assert!(scores.iou > 1.0 - 1e-9 && scores.count == 1.0, "{scores:?}");
        }
        for rules in [Rules::Coco, Rules::Voc] {
            let labels = references.iter().map(|one| one.label.as_deref());
            let names = label_names(labels, input.use_labels);
            let mut targets: Vec<_> = references.iter().map(Labelled::target).collect();
            for (index, target) in targets.iter_mut().enumerate() {
                target.is_crowd = input.flags >> (2 * index % 64) & 1 == 1;
                target.is_ignored = input.flags >> (2 * index % 64) & 2 == 2;
            }
            let mut scenes = Scenes::default();
            let found = predicted.as_deref().unwrap_or(&[]);
            add_picture(&mut scenes, &names, 0, found, &references, &targets);
            let settings = Settings {
                thresholds: vec![input.threshold, 0.5],
                ranges: vec![ALL_AREAS, [16.0, 1e4]],
                rules,
                is_strict: input.use_labels,
            };
            for category in scenes.matched(names.len(), &settings) {
                for (range, interpolation) in [
                    (0, Interpolation::Points101),
                    (1, Interpolation::EveryPoint),
                ] {
                    let reading = Reading {
                        range,
                        most: Some(3),
                        interpolation,
                        kept: None,
                    };
                    let curve = category.read(2, 2, &reading);
                    for value in curve.precision.iter().chain(&curve.recall) {
                        assert_eq!(value.is_nan(), curve.references == 0);
                        assert!(value.is_nan() || (0.0..=1.0 + 1e-9).contains(value));
                    }
                }
            }
        }
    }
});
