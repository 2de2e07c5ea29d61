//! Whole batches, as the rewards measure them: every measure and trait, groups, fields of view, prepared
//! references, shapes that do not fit, one thread and two.
#![no_main]

use _reward_core::masks::{describe, measure, prepare, skeletonize, References};
use _reward_core::measures::{Measure, Trait};
use _reward_core::strips::Plane;
use _reward_core::threads;
use libfuzzer_sys::fuzz_target;
use medgrpo_reward_core_fuzz::{planes, unpacked, Choice, Mask, Pair};

fuzz_target!(
    |input: (Choice, Vec<Pair>, Option<Mask>, Vec<Mask>, bool)| {
        let (choice, pairs, view, others, is_group) = input;
        choice.apply();
        if pairs.len() > 6 || others.len() > 4 {
            return;
        }
        let predictions = planes(pairs.iter().map(|pair| &pair.0));
        let mut references = planes(pairs.iter().map(|pair| &pair.1));
        if is_group {
            references.truncate(1); // one reference for all predictions, which may differ in shape
        }
        let view = view.as_ref().map(|mask| planes([mask]));
        let measures = Measure::ALL;
        let columns = measures.len();
        let run = |references: References<'_>, view: Option<&[Plane<'_>]>, threads: usize| {
            threads::set_num_threads(threads);
            let mut values = vec![f64::NAN; predictions.len() * columns];
            let result = measure(
                &predictions,
                references,
                view,
                &measures,
                [1.0, 2.0],
                &mut values,
            );
            result.map(|()| values)
        };
        let same = |a: &[f64], b: &[f64]| {
            a.iter()
                .map(|v| v.to_bits())
                .eq(b.iter().map(|v| v.to_bits()))
        };
        for view in [None, view.as_deref()] {
            let Ok(alone) = run(References::Planes(&references), view, 1) else {
                continue; // shapes or numbers do not fit: said, not panicked
            };
            for row in alone.chunks(columns) {
                for (measure, value) in measures.iter().zip(row) {
                    assert!(!value.is_nan() && *value >= 0.0, "{measure:?} {value}");
                    let may_be_infinite =
                        matches!(measure, Measure::AreaRatio | Measure::LengthRatio);
                    assert!(value.is_finite() || may_be_infinite, "{measure:?} {value}");
                }
            }
            let together = run(References::Planes(&references), view, 2).expect("fits as before");
            assert!(same(&alone, &together));
            let prepared = prepare(&references, view).expect("fits as before");
            let with_prepared =
                run(References::Prepared(&prepared), view, 2).expect("fits as before");
            assert!(same(&alone, &with_prepared));
        }
        references = planes(&others);
        let _ = run(References::Planes(&references), view.as_deref(), 1);
        // Each mask by itself.
        let mut values = vec![f64::NAN; predictions.len() * Trait::ALL.len()];
        describe(&predictions, &Trait::ALL, &mut values);
        let mut skeletons: Vec<Vec<u8>> =
            pairs.iter().map(|pair| vec![7; pair.0 .0.len()]).collect();
        skeletonize(
            &predictions,
            skeletons.iter_mut().map(Vec::as_mut_slice).collect(),
        );
        for ((row, skeleton), pair) in values.chunks(Trait::ALL.len()).zip(&skeletons).zip(&pairs) {
            let mut strips = pair.0.packed();
            assert_eq!(row[0], strips.count() as f64);
            _reward_core::thinning::thin(&mut strips, &mut Default::default());
            assert_eq!(row[4], strips.count() as f64);
            assert_eq!(skeleton, unpacked(&strips).as_slice().expect("contiguous"));
        }
    }
);
