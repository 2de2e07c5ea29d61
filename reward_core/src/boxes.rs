//! Boxes: read from text, compared by their overlap, matched one to one, scored.
//!
//! The rule for bad boxes, the same everywhere: a predicted box with a coordinate that is no finite
//! number, with corners out of order, or without area is kept as *invalid*: it counts as a prediction and
//! matches nothing. Where the frame is known a box is first clipped to it; what lies outside entirely is
//! invalid. Reference boxes have their corners put in order; those without area are dropped.

pub mod assignment;
pub mod matching;
pub mod parse;
pub mod precision;

/// Corners in pixels, x to the right, y down; `x1 < x2` and `y1 < y2` where the box is valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corners {
    /// Left edge.
    pub x1: f64,
    /// Upper edge.
    pub y1: f64,
    /// Right edge.
    pub x2: f64,
    /// Lower edge.
    pub y2: f64,
}

impl Corners {
    /// From `[x1, y1, x2, y2]`.
    #[must_use]
    pub fn new([x1, y1, x2, y2]: [f64; 4]) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Area in square pixels; 0 where the box is invalid.
    #[must_use]
    pub fn area(self) -> f64 {
        if self.is_valid() {
            self.signed_area()
        } else {
            0.0
        }
    }

    /// Width times height as written: below 0 where one pair of edges is exchanged.
    #[must_use]
    pub fn signed_area(self) -> f64 {
        (self.x2 - self.x1) * (self.y2 - self.y1)
    }

    /// All coordinates are finite, the corners are in order, and there is an area.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let finite = [self.x1, self.y1, self.x2, self.y2]
            .iter()
            .all(|v| v.is_finite());
        finite && self.x1 < self.x2 && self.y1 < self.y2
    }

    /// Multiplied by the factors of x and y.
    #[must_use]
    pub fn scaled(self, x: f64, y: f64) -> Self {
        Self {
            x1: self.x1 * x,
            y1: self.y1 * y,
            x2: self.x2 * x,
            y2: self.y2 * y,
        }
    }

    /// Cut to `0..width`, `0..height`; a width or height that is not positive and finite cuts nothing.
    #[must_use]
    pub fn clipped(self, width: f64, height: f64) -> Self {
        let cut = |value: f64, end: f64| {
            if end > 0.0 && end.is_finite() && value.is_finite() {
                value.clamp(0.0, end)
            } else {
                value
            }
        };
        Self {
            x1: cut(self.x1, width),
            y1: cut(self.y1, height),
            x2: cut(self.x2, width),
            y2: cut(self.y2, height),
        }
    }

    /// With the corners in order.
    #[must_use]
    pub fn ordered(self) -> Self {
        Self {
            x1: self.x1.min(self.x2),
            y1: self.y1.min(self.y2),
            x2: self.x1.max(self.x2),
            y2: self.y1.max(self.y2),
        }
    }

    /// Common area in square pixels; 0 where either is invalid.
    #[must_use]
    pub fn intersection(self, other: Self) -> f64 {
        if !self.is_valid() || !other.is_valid() {
            return 0.0;
        }
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        width * height
    }

    /// Intersection over union, in [0, 1]; 0 where either is invalid.
    ///
    /// ```
    /// use _reward_core::boxes::Corners;
    /// let left = Corners::new([0.0, 0.0, 2.0, 1.0]);
    /// let right = Corners::new([1.0, 0.0, 3.0, 1.0]);
    /// assert_eq!(left.iou(right), 1.0 / 3.0);
    /// ```
    #[must_use]
    pub fn iou(self, other: Self) -> f64 {
        let overlap = self.intersection(other);
        if overlap <= 0.0 {
            return 0.0;
        }
        let union = self.area() + other.area() - overlap;
        let ratio = overlap / union; // areas beyond f64 overflow to infinity / infinity
        if ratio.is_finite() {
            ratio.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// A box with what was written beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Where it is.
    pub corners: Corners,
    /// Its label in lower case without blanks around it; `None` where none was written.
    pub label: Option<String>,
    /// Confidence; `None` where none was written.
    pub score: Option<f64>,
}

/// A label as it is compared: blanks cut, lower case; `None` where nothing is left.
#[must_use]
pub fn folded_label(label: &str) -> Option<String> {
    let label = label.trim().to_lowercase();
    (!label.is_empty()).then_some(label)
}

/// What one completion's boxes earn against the references.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxScores {
    /// Sum of the overlaps (`iou`) of the one-to-one matching that maximises it, divided by the larger count.
    pub iou: f64,
    /// F1 at the threshold, of the one-to-one matching with the most hits.
    pub f1: f64,
    /// Average precision of this picture at the threshold, mean over the labels.
    pub ap: f64,
    /// 1 − |predicted − references| / the larger count.
    pub count: f64,
}

impl BoxScores {
    const NOTHING: Self = Self {
        iou: 0.0,
        f1: 0.0,
        ap: 0.0,
        count: 0.0,
    };
    const PERFECT: Self = Self {
        iou: 1.0,
        f1: 1.0,
        ap: 1.0,
        count: 1.0,
    };
}

/// Scores predicted boxes against references.
///
/// `predicted` is `None` where the completion holds no list of boxes at all, which earns nothing; an empty
/// list is right where there are no references. With `use_labels`, boxes of different labels do not match; a
/// prediction without label takes the label of the references if they share one.
#[must_use]
pub fn score(
    predicted: Option<&[Labelled]>,
    references: &[Labelled],
    threshold: f64,
    use_labels: bool,
) -> BoxScores {
    let Some(predicted) = predicted else {
        return BoxScores::NOTHING;
    };
    let larger = predicted.len().max(references.len());
    if larger == 0 {
        return BoxScores::PERFECT;
    }
    let count = 1.0 - predicted.len().abs_diff(references.len()) as f64 / larger as f64;
    if predicted.is_empty() || references.is_empty() {
        return BoxScores {
            count,
            ..BoxScores::NOTHING
        };
    }
    let ious = gains(predicted, references, use_labels);
    let pairs = assignment::maximise(&ious, predicted.len(), references.len());
    let sum: f64 = pairs
        .iter()
        .map(|&(p, r)| ious[p * references.len() + r])
        .sum();
    let hits: Vec<f64> = ious
        .iter()
        .map(|&iou| f64::from(u8::from(iou >= threshold && iou > 0.0)))
        .collect();
    let matched = assignment::maximise(&hits, predicted.len(), references.len());
    let found: f64 = matched
        .iter()
        .map(|&(p, r)| hits[p * references.len() + r])
        .sum();
    BoxScores {
        iou: sum / larger as f64,
        f1: 2.0 * found / (predicted.len() + references.len()) as f64,
        ap: precision::picture_average(predicted, references, threshold, use_labels),
        count,
    }
}

/// Overlap of each pair, row by row, 0 where the labels differ.
fn gains(predicted: &[Labelled], references: &[Labelled], use_labels: bool) -> Vec<f64> {
    let shared = shared_label(references);
    let mut gains = Vec::with_capacity(predicted.len() * references.len());
    for prediction in predicted {
        for reference in references {
            let agree = !use_labels || same_label(prediction, reference, shared);
            gains.push(if agree {
                prediction.corners.iou(reference.corners)
            } else {
                0.0
            });
        }
    }
    gains
}

/// The label of all references, if they have but one.
fn shared_label(references: &[Labelled]) -> Option<&str> {
    let first = references.first()?.label.as_deref()?;
    references
        .iter()
        .all(|r| r.label.as_deref() == Some(first))
        .then_some(first)
}

fn same_label(prediction: &Labelled, reference: &Labelled, shared: Option<&str>) -> bool {
    match (&reference.label, &prediction.label) {
        (None, _) => true,
        (Some(_), None) => shared.is_some(),
        (Some(wanted), Some(given)) => wanted == given,
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // the expected values are exact
mod tests {
    use super::*;

    fn at(corners: [f64; 4], label: &str) -> Labelled {
        Labelled {
            corners: Corners::new(corners),
            label: folded_label(label),
            score: None,
        }
    }

    #[test]
    fn half_overlap_is_a_third() {
        let a = Corners::new([0.0, 0.0, 10.0, 10.0]);
        assert!((a.iou(Corners::new([5.0, 0.0, 15.0, 10.0])) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn bad_boxes_match_nothing() {
        let whole = Corners::new([0.0, 0.0, 10.0, 10.0]);
        for bad in [
            [f64::NAN, 0.0, 10.0, 10.0],
            [0.0, 0.0, f64::INFINITY, 10.0],
            [10.0, 0.0, 0.0, 10.0],
            [0.0, 5.0, 10.0, 5.0],
        ] {
            assert_eq!(whole.iou(Corners::new(bad)), 0.0);
        }
        let huge = Corners::new([-1e308, -1e308, 1e308, 1e308]);
        assert_eq!(huge.iou(huge), 0.0);
    }

    #[test]
    fn clipping_keeps_what_is_inside_and_leaves_no_area_outside() {
        assert_eq!(
            Corners::new([-5.0, 2.0, 5.0, 99.0]).clipped(10.0, 10.0),
            Corners::new([0.0, 2.0, 5.0, 10.0])
        );
        assert!(!Corners::new([20.0, 0.0, 30.0, 5.0])
            .clipped(10.0, 10.0)
            .is_valid());
        assert_eq!(
            Corners::new([-5.0, 0.0, 5.0, 5.0])
                .clipped(0.0, f64::NAN)
                .x1,
            -5.0
        );
    }

    #[test]
    fn repeating_a_right_box_costs() {
        let reference = [at([0.0, 0.0, 10.0, 10.0], "nodule")];
        let scores = score(Some(&vec![reference[0].clone(); 4]), &reference, 0.5, true);
        assert_eq!(
            scores,
            BoxScores {
                iou: 0.25,
                f1: 2.0 / 5.0,
                ap: 1.0,
                count: 0.25
            }
        );
    }

    #[test]
    fn an_empty_list_is_right_only_where_nothing_is_there() {
        let reference = [at([0.0, 0.0, 10.0, 10.0], "nodule")];
        assert_eq!(score(Some(&[]), &[], 0.5, true), BoxScores::PERFECT);
        assert_eq!(score(None, &[], 0.5, true), BoxScores::NOTHING);
        assert_eq!(score(Some(&[]), &reference, 0.5, true), BoxScores::NOTHING);
    }

    #[test]
    fn labels_decide_unless_there_is_but_one() {
        let references = [
            at([0.0, 0.0, 10.0, 10.0], "mass"),
            at([20.0, 0.0, 30.0, 10.0], "cyst"),
        ];
        let exchanged = [
            at([0.0, 0.0, 10.0, 10.0], "cyst"),
            at([20.0, 0.0, 30.0, 10.0], "mass"),
        ];
        assert_eq!(score(Some(&exchanged), &references, 0.5, true).f1, 0.0);
        assert_eq!(score(Some(&exchanged), &references, 0.5, false).f1, 1.0);
        let bare = [at([0.0, 0.0, 10.0, 10.0], "")];
        assert_eq!(score(Some(&bare), &references[..1], 0.5, true).f1, 1.0);
        assert_eq!(score(Some(&bare), &references, 0.5, true).f1, 0.0);
    }
}
