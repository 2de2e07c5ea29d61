//! Average precision and recall, of detections that were matched before.

use super::matching::{AreaRange, Category, Detection, Rules, Scenes, Settings, Target, Worth};
use super::{shared_label, Labelled};

/// Recalls at which COCO reads the precision: `numpy.linspace(0, 1, 101)`, which is not `point / 100` everywhere.
pub const RECALL_POINTS: usize = 101;

/// Areas of every size: COCO's `all`, whose end of 1e10 no photograph reaches but a slide of 100,000 pixels a side does.
pub const ALL_AREAS: AreaRange = [0.0, f64::INFINITY];

/// How the area under the curve of precision over recall is taken, precision made non-increasing before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The mean at 101 recalls from 0 to 1 (COCO).
    Points101,
    /// The whole area, step by step (VOC since 2010).
    EveryPoint,
}

/// Which detections are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Place of the range of areas.
    pub range: usize,
    /// Detections of a picture and category that count, the surest first; None: all.
    pub most: Option<u32>,
    /// How the area is taken.
    pub interpolation: Interpolation,
    /// Pictures that are read, by number; None: all.
    pub kept: Option<&'a [bool]>,
}

/// Average precision and recall of one category at each threshold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Average precision; NaN without counted references.
    pub precision: Vec<f64>,
    /// Share of the counted references that are found; NaN without.
    pub recall: Vec<f64>,
    /// Counted references.
    pub references: u64,
}

impl Category {
    /// Precision and recall of this category.
    #[must_use]
    pub fn read(&self, thresholds: usize, ranges: usize, reading: &Reading<'_>) -> Curve {
        let is_kept = |picture: u32| reading.kept.is_none_or(|kept| kept[picture as usize]);
        let counted = self.counted.iter().filter(|(picture, _)| is_kept(*picture));
        let references: u64 = counted
            .map(|(_, counts)| u64::from(counts[reading.range]))
            .sum();
        if references == 0 {
            return Curve {
                precision: vec![f64::NAN; thresholds],
                recall: vec![f64::NAN; thresholds],
                references,
            };
        }
        let worth: Vec<Worth> = self
            .judged
            .iter()
            .zip(self.worth.chunks_exact(ranges.max(1)))
            .filter(|(one, _)| {
                is_kept(one.picture) && reading.most.is_none_or(|most| one.rank < most)
            })
            .map(|(_, worth)| worth[reading.range])
            .collect();
        let mut curve = Curve {
            references,
            ..Curve::default()
        };
        let mut steps = Vec::new();
        for number in 0..thresholds {
            let found = rises(&worth, 1 << number, &mut steps);
            curve.recall.push(found as f64 / references as f64);
            curve.precision.push(match reading.interpolation {
                Interpolation::Points101 => at_101_points(&steps, references),
                Interpolation::EveryPoint => steps.iter().sum::<f64>() / references as f64,
            });
        }
        curve
    }
}

/// Fills `steps` with the precision at each right detection, made non-increasing; returns how many are right.
fn rises(worth: &[Worth], bit: u64, steps: &mut Vec<f64>) -> u64 {
    let (mut right, mut judged) = (0u64, 0u64);
    steps.clear();
    for one in worth {
        let is_right = one.right & bit != 0;
        judged += u64::from(is_right || one.ignored & bit == 0);
        if is_right {
            right += 1;
            // Between two right detections precision only falls: the curve is decided where recall rises.
            steps.push(right as f64 / judged as f64);
        }
    }
    for index in (1..steps.len()).rev() {
        steps[index - 1] = steps[index - 1].max(steps[index]);
    }
    right
}

/// Mean of the precision at 101 recalls.
fn at_101_points(steps: &[f64], references: u64) -> f64 {
    let mut sum = 0.0;
    let mut place = 0;
    for point in 0..RECALL_POINTS {
        let recall = recall_point(point);
        while place < steps.len() && ((place + 1) as f64 / references as f64) < recall {
            place += 1;
        }
        match steps.get(place) {
            Some(precision) => sum += precision,
            None => break,
        }
    }
    sum / RECALL_POINTS as f64
}

/// A recall at which the precision is read, as `numpy.linspace(0, 1, 101)` has it.
fn recall_point(point: usize) -> f64 {
    if point == RECALL_POINTS - 1 {
        return 1.0;
    }
    point as f64 * (1.0 / (RECALL_POINTS - 1) as f64)
}

/// Average precision of one picture at one threshold of `iou`, mean over its labels; 0 without references.
///
/// COCO's rules without its limits of 100 boxes and of 1e10 square pixels, except that every bad box counts as wrong: a reward must
/// not let a completion write what is not counted. Boxes without a score count as certain, in the order written.
#[must_use]
pub fn picture_average(
    predicted: &[Labelled],
    references: &[Labelled],
    threshold: f64,
    use_labels: bool,
) -> f64 {
    let settings = Settings {
        thresholds: vec![threshold],
        ranges: vec![ALL_AREAS],
        rules: Rules::Coco,
        is_strict: true,
    };
    let targets = references.iter().map(Labelled::target).collect::<Vec<_>>();
    let names = label_names(
        references.iter().map(|one| one.label.as_deref()),
        use_labels,
    );
    let mut scenes = Scenes::default();
    add_picture(&mut scenes, &names, 0, predicted, references, &targets);
    let reading = Reading {
        range: 0,
        most: None,
        interpolation: Interpolation::Points101,
        kept: None,
    };
    let matched = scenes.matched(names.len(), &settings);
    let values: Vec<f64> = matched
        .iter()
        .map(|category| category.read(1, 1, &reading).precision[0])
        .filter(|value| !value.is_nan())
        .collect();
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// Categories by label. Without labels there is one category, called None, for everything.
#[derive(Clone, Debug)]
pub struct LabelNames {
    names: Vec<Option<String>>,
    number_of: rustc_hash::FxHashMap<String, u32>,
    use_labels: bool,
}

impl LabelNames {
    /// Number of categories.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no category.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The label of each category, in order; None: references without a label, or all of them.
    #[must_use]
    pub fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// The category of references without a label, which take predictions of any label.
    fn unnamed(&self) -> Option<u32> {
        // None sorts first.
        self.names.first().filter(|name| name.is_none()).map(|_| 0)
    }

    fn number(&self, label: Option<&str>) -> Option<u32> {
        match label {
            Some(label) if self.use_labels => self.number_of.get(label).copied(),
            _ => self.unnamed(),
        }
    }
}

/// The categories that references have, sorted; a single one without `use_labels`.
#[must_use]
pub fn label_names<'a>(
    labels: impl Iterator<Item = Option<&'a str>>,
    use_labels: bool,
) -> LabelNames {
    let mut names: Vec<Option<&str>> = if use_labels {
        labels.collect()
    } else {
        labels.map(|_| None).take(1).collect()
    };
    names.sort_unstable();
    names.dedup();
    let names: Vec<Option<String>> = names
        .into_iter()
        .map(|name| name.map(str::to_string))
        .collect();
    let numbered = names.iter().enumerate();
    let number_of = numbered
        .filter_map(|(number, name)| Some((name.clone()?, number as u32)))
        .collect();
    LabelNames {
        names,
        number_of,
        use_labels,
    }
}

/// Adds one picture's boxes to the scenes of their categories.
///
/// A prediction without a label takes that of the references if they share one; a label that no reference of any
/// picture has is left out, as in COCO. References without a label take predictions of any.
pub fn add_picture(
    scenes: &mut Scenes,
    names: &LabelNames,
    picture: u32,
    predicted: &[Labelled],
    references: &[Labelled],
    targets: &[Target],
) {
    for (reference, target) in references.iter().zip(targets) {
        if let Some(category) = names.number(reference.label.as_deref()) {
            scenes.at(category, picture).targets.push(*target);
        }
    }
    let shared = shared_label(references);
    for prediction in predicted {
        let detection = Detection {
            corners: prediction.corners,
            score: prediction.confidence(),
        };
        let label = prediction.label.as_deref().or(shared);
        let category = if names.use_labels {
            label.and_then(|label| names.number(Some(label)))
        } else {
            None
        };
        for category in [category, names.unnamed()].into_iter().flatten() {
            scenes.at(category, picture).detections.push(detection);
        }
    }
}

impl Labelled {
    /// Without a score a box is taken as certain.
    fn confidence(&self) -> f64 {
        match self.score {
            Some(score) if !score.is_nan() => score,
            _ => 1.0,
        }
    }

    /// As a reference that counts, of the area of its box.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            corners: self.corners,
            area: self.corners.area(),
            is_crowd: false,
            is_ignored: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // the expected values are exact
mod tests {
    use super::*;
    use crate::boxes::Corners;
    use proptest::prelude::*;

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
        let ap = picture_average(&[at(50.0, 0.9), at(0.0, 0.5)], &[at(0.0, 1.0)], 0.5, false);
        assert_eq!(ap, 0.5);
    }

    #[test]
    fn half_of_the_references_found_reads_fifty_one_points() {
        // recall reaches .5: points 0, .01, …, .50 read 1
        let ap = picture_average(&[at(0.0, 0.9)], &[at(0.0, 1.0), at(40.0, 1.0)], 0.5, false);
        assert!((ap - 51.0 / 101.0).abs() < 1e-12);
    }

    #[test]
    fn seven_of_twenty_read_thirty_five_points() {
        // 7 / 20 = .35, but COCO's 36th recall is 35 · .01 = .35000000000000003: just out of reach.
        let references: Vec<_> = (0..20).map(|n| at(20.0 * f64::from(n), 1.0)).collect();
        let ap = picture_average(&references[..7], &references, 0.5, false);
        assert!((ap - 35.0 / 101.0).abs() < 1e-12);
    }

    #[test]
    fn without_references_a_picture_earns_nothing() {
        assert_eq!(picture_average(&[at(0.0, 0.9)], &[], 0.5, false), 0.0);
    }

    /// Average precision of one picture by its definition, at one threshold, without areas or crowds.
    fn naively(predicted: &[Labelled], references: &[Labelled]) -> f64 {
        let mut order: Vec<&Labelled> = predicted.iter().collect();
        order.sort_by(|a, b| b.score.unwrap().total_cmp(&a.score.unwrap()));
        let mut free: Vec<&Labelled> = references.iter().collect();
        let (mut right, mut points) = (0.0, Vec::new());
        for (index, one) in order.iter().enumerate() {
            let best = (0..free.len())
                .max_by(|&a, &b| {
                    let iou = |n: usize| one.corners.iou(free[n].corners);
                    iou(a).total_cmp(&iou(b))
                })
                .filter(|&n| one.corners.iou(free[n].corners) >= 0.5);
            if let Some(best) = best {
                free.remove(best);
                right += 1.0;
            }
            points.push((right / references.len() as f64, right / (index + 1) as f64));
        }
        let best_from = |recall: f64| {
            let reached = points.iter().filter(|point| point.0 >= recall);
            reached.map(|point| point.1).fold(0.0, f64::max)
        };
        (0..101).map(|n| best_from(recall_point(n))).sum::<f64>() / 101.0
    }

    proptest! {
        #[test]
        fn it_equals_the_definition(
            predicted in proptest::collection::vec((0u8..40, 0u8..4), 0..12),
            references in proptest::collection::vec(0u8..40, 1..12),
        ) {
            let references: Vec<_> = references.iter().map(|&x| at(f64::from(x) * 2.0, 1.0)).collect();
            let predicted: Vec<_> = predicted
                .iter()
                .map(|&(x, score)| at(f64::from(x) * 2.0 + 0.5, f64::from(score)))
                .collect();
            let found = picture_average(&predicted, &references, 0.5, false);
            prop_assert!((found - naively(&predicted, &references)).abs() < 1e-12);
        }
    }
}
