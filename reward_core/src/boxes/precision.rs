//! Average precision as COCO defines it: greedy matching by confidence, 101 points of recall.

use super::{shared_label, Labelled};

const RECALL_POINTS: usize = 101;

/// Average precision over pictures of one label set at one threshold of `iou`, mean over the labels.
///
/// `pictures` holds (predicted, references) each. Predictions are taken by falling score, those without a
/// score first and in the order written; each takes the free reference of its picture with the largest overlap.
/// Precision is made non-increasing and read at 101 recalls 0, .01, …, 1. With `use_labels` the mean is over
/// the labels of the references (predictions of a label that no reference has are left out, as in COCO).
/// `None` where there is no reference.
///
/// Source: `pycocotools` `cocoeval.py` 2.0, without crowd boxes, area ranges and its limit of 100 boxes.
#[must_use]
pub fn mean_average(
    pictures: &[(&[Labelled], &[Labelled])],
    threshold: f64,
    use_labels: bool,
) -> Option<f64> {
    let mut labels: Vec<Option<&str>> = pictures
        .iter()
        .flat_map(|(_, references)| references.iter().map(|r| r.label.as_deref()))
        .collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return None;
    }
    if !use_labels {
        return Some(average(pictures, threshold, |_, _| true, |_| true));
    }
    let sum: f64 = labels
        .iter()
        .map(|&label| {
            average(
                pictures,
                threshold,
                |prediction, references| {
                    let shared = shared_label(references);
                    prediction.label.as_deref().or(shared) == label || label.is_none()
                },
                |reference| reference.label.as_deref() == label,
            )
        })
        .sum();
    Some(sum / labels.len() as f64)
}

/// [`mean_average`] of a single picture; 0 without references.
#[must_use]
pub fn picture_average(
    predicted: &[Labelled],
    references: &[Labelled],
    threshold: f64,
    use_labels: bool,
) -> f64 {
    mean_average(&[(predicted, references)], threshold, use_labels).unwrap_or(0.0)
}

fn average(
    pictures: &[(&[Labelled], &[Labelled])],
    threshold: f64,
    takes_part: impl Fn(&Labelled, &[Labelled]) -> bool,
    is_wanted: impl Fn(&Labelled) -> bool,
) -> f64 {
    let mut verdicts: Vec<(f64, bool)> = Vec::new();
    let mut wanted_count = 0usize;
    for &(predicted, references) in pictures {
        let wanted: Vec<&Labelled> = references.iter().filter(|r| is_wanted(r)).collect();
        wanted_count += wanted.len();
        let mut order: Vec<&Labelled> = predicted
            .iter()
            .filter(|p| takes_part(p, references))
            .collect();
        order.sort_by(|a, b| confidence(b).total_cmp(&confidence(a))); // stable: equals stay in order
        let mut free = vec![true; wanted.len()];
        for prediction in order {
            let mut best: Option<usize> = None;
            let mut best_iou = threshold;
            for (index, reference) in wanted.iter().enumerate() {
                let iou = prediction.corners.iou(reference.corners);
                if free[index] && iou > 0.0 && iou >= best_iou {
                    best = Some(index);
                    best_iou = iou;
                }
            }
            if let Some(index) = best {
                free[index] = false;
            }
            verdicts.push((confidence(prediction), best.is_some()));
        }
    }
    if wanted_count == 0 {
        return 0.0;
    }
    verdicts.sort_by(|a, b| b.0.total_cmp(&a.0));
    area_under(&verdicts, wanted_count)
}

/// Without a score a box is taken as certain.
fn confidence(prediction: &Labelled) -> f64 {
    match prediction.score {
        Some(score) if !score.is_nan() => score,
        _ => 1.0,
    }
}

fn area_under(verdicts: &[(f64, bool)], wanted: usize) -> f64 {
    let mut hits = 0usize;
    let mut curve: Vec<(f64, f64)> = verdicts
        .iter()
        .enumerate()
        .map(|(index, &(_, hit))| {
            hits += usize::from(hit);
            (
                hits as f64 / wanted as f64,
                hits as f64 / (index + 1) as f64,
            )
        })
        .collect();
    for index in (1..curve.len()).rev() {
        curve[index - 1].1 = curve[index - 1].1.max(curve[index].1);
    }
    let sum: f64 = (0..RECALL_POINTS)
        .map(|point| {
            let recall = point as f64 / (RECALL_POINTS - 1) as f64;
            let index = curve.partition_point(|&(reached, _)| reached < recall);
            curve.get(index).map_or(0.0, |&(_, precision)| precision)
        })
        .sum();
    sum / RECALL_POINTS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::Corners;

    fn at(x: f64, score: f64) -> Labelled {
        Labelled {
            corners: Corners::new([x, 0.0, x + 10.0, 10.0]),
            label: None,
            score: Some(score),
        }
    }

    #[test]
    fn a_wrong_box_before_a_right_one_halves_the_precision() {
        // precision 0/1 then 1/2 at recall 1: every one of the 101 points reads 1/2
        let ap = mean_average(
            &[(&[at(50.0, 0.9), at(0.0, 0.5)], &[at(0.0, 1.0)])],
            0.5,
            false,
        );
        assert_eq!(ap, Some(0.5));
    }

    #[test]
    fn half_of_the_references_found_reads_fifty_one_points() {
        // recall reaches .5: points 0, .01, …, .50 read 1
        let ap = mean_average(
            &[(&[at(0.0, 0.9)], &[at(0.0, 1.0), at(40.0, 1.0)])],
            0.5,
            false,
        );
        assert!((ap.unwrap() - 51.0 / 101.0).abs() < 1e-12);
    }

    #[test]
    fn without_references_there_is_nothing_to_average() {
        assert_eq!(mean_average(&[(&[at(0.0, 0.9)], &[])], 0.5, false), None);
    }
}
