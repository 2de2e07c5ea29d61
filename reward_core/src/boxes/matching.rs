//! Which detections find a reference, picture by picture and category by category, at every threshold at once.
//!
//! Detections of a picture are taken by falling score (equals in their order). The rules are those of
//! `pycocotools` 2.0: see [`Rules::Coco`]. Matching does not depend on other pictures, so a dataset is matched
//! once and then read many times: at other limits of detections, or with pictures left out.

use super::Corners;
use rustc_hash::FxHashMap;
use std::cmp::Ordering;

/// Thresholds that one matching can hold: a bit each.
pub const MAX_THRESHOLDS: usize = 64;

/// A detection of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where it is; may be invalid, and then matches nothing.
    pub corners: Corners,
    /// Its confidence; NaN counts as 1.
    pub score: f64,
}

/// A reference of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Where it is; without area it is found by nobody, and is counted.
    pub corners: Corners,
    /// Its area in square pixels, which decides whether it is small, medium or large.
    pub area: f64,
    /// A region with many of its kind: it is not counted, and any number of detections inside it are neither
    /// right nor wrong; its overlap is the share of the *detection* inside it.
    pub is_crowd: bool,
    /// Neither counted when found nor missed when not (VOC calls it difficult).
    pub is_ignored: bool,
}

/// How detections find references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Each takes the free reference with the largest overlap, the later one among equals; counted references
    /// go before ignored ones. Source: `pycocotools` 2.0, `COCOeval.evaluateImg`.
    Coco,
    /// Each looks at the one reference with the largest overlap, the first among equals, and is wrong where
    /// that is taken. Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4, the development kit,
    /// with areas in continuous coordinates (the kit counts both edge pixels).
    Voc,
}

/// Areas from and to which a reference is counted, in square pixels; both ends belong to it.
pub type AreaRange = [f64; 2];

/// What a detection is worth at every threshold, in one range of areas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// A bit a threshold: it finds a counted reference.
    pub right: u64,
    /// A bit a threshold: it is neither right nor wrong.
    pub ignored: u64,
}

/// A detection after matching.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Its confidence.
    pub score: f64,
    /// Its picture.
    pub picture: u32,
    /// Detections of the same picture and category with a higher score.
    pub rank: u32,
}

/// All pictures of one category.
#[derive(Clone, Debug, Default)]
pub struct Category {
    /// Every detection, by falling score; among equals by picture, then as written.
    pub judged: Vec<Judged>,
    /// What each is worth, `judged × ranges`, row by row.
    pub worth: Vec<Worth>,
    /// (picture, counted references in each range) of each picture that has references.
    pub counted: Vec<(u32, Vec<u32>)>,
}

/// How a dataset is matched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Overlaps (`IoU`) at which a detection finds a reference, at most [`MAX_THRESHOLDS`].
    pub thresholds: Vec<f64>,
    /// Ranges of areas.
    pub ranges: Vec<AreaRange>,
    /// Who finds whom.
    pub rules: Rules,
    /// Detections without area are wrong (true) or, as in COCO, left out where their corners are exchanged.
    pub is_strict: bool,
}

/// Detections and references of one category in one picture.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Detections, in the order written.
    pub detections: Vec<Detection>,
    /// References.
    pub targets: Vec<Target>,
}

/// Sorts boxes into (category, picture) without looking at every pair: the cost is that of the boxes.
#[derive(Debug, Default)]
pub struct Scenes {
    place_of: FxHashMap<(u32, u32), usize>,
    scenes: Vec<((u32, u32), Scene)>,
}

impl Scenes {
    /// The scene of a category in a picture.
    pub fn at(&mut self, category: u32, picture: u32) -> &mut Scene {
        let place = *self.place_of.entry((category, picture)).or_insert_with(|| {
            self.scenes.push(((category, picture), Scene::default()));
            self.scenes.len() - 1
        });
        &mut self.scenes[place].1
    }

    /// Matches every scene; one entry a category from 0 to `categories`.
    #[must_use]
    pub fn matched(mut self, categories: usize, settings: &Settings) -> Vec<Category> {
        let mut found = vec![Category::default(); categories];
        self.scenes.sort_unstable_by_key(|scene| scene.0);
        let mut matcher = Matcher::default();
        for ((category, picture), scene) in &self.scenes {
            matcher.add(scene, *picture, settings, &mut found[*category as usize]);
        }
        for category in &mut found {
            category.sort(settings.ranges.len());
        }
        found
    }
}

impl Category {
    fn sort(&mut self, ranges: usize) {
        let mut order: Vec<usize> = (0..self.judged.len()).collect();
        // Stable: pictures come in their order, and their detections by score.
        order.sort_by(|&a, &b| falling(self.judged[a].score, self.judged[b].score));
        self.judged = order.iter().map(|&index| self.judged[index]).collect();
        let worth = order
            .iter()
            .flat_map(|&index| &self.worth[index * ranges..][..ranges]);
        self.worth = worth.copied().collect();
    }
}

/// The larger score first; 0 and −0 are equal.
fn falling(a: f64, b: f64) -> Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// Memory of the matching.
#[derive(Default)]
struct Matcher {
    order: Vec<usize>,
    /// Overlap of each detection with each target, by detection.
    overlaps: Vec<f64>,
    /// Targets: the counted before the ignored.
    by_count: Vec<usize>,
    is_ignored: Vec<bool>,
    /// A bit a threshold: the target is taken.
    taken: Vec<u64>,
}

impl Matcher {
    fn add(&mut self, scene: &Scene, picture: u32, settings: &Settings, to: &mut Category) {
        let Scene {
            detections,
            targets,
        } = scene;
        self.order.clear();
        self.order.extend(0..detections.len());
        self.order
            .sort_by(|&a, &b| falling(detections[a].score, detections[b].score));
        self.overlaps.clear();
        for &index in &self.order {
            let detection = detections[index].corners;
            self.overlaps
                .extend(targets.iter().map(|target| overlap(detection, target)));
        }
        let base = to.worth.len();
        let ranges = settings.ranges.len();
        to.worth
            .resize(base + detections.len() * ranges, Worth::default());
        let mut counted = Vec::with_capacity(ranges);
        for (number, range) in settings.ranges.iter().enumerate() {
            self.sort_targets(targets, *range);
            counted.push(self.is_ignored.iter().filter(|&&ignored| !ignored).count() as u32);
            for rank in 0..detections.len() {
                let corners = detections[self.order[rank]].corners;
                let found = self.find(rank, targets, settings);
                to.worth[base + rank * ranges + number] = settings.worth(found, corners, *range);
            }
        }
        if !targets.is_empty() {
            to.counted.push((picture, counted));
        }
        to.judged
            .extend(self.order.iter().enumerate().map(|(rank, &index)| Judged {
                score: detections[index].score,
                picture,
                rank: rank as u32,
            }));
    }

    fn sort_targets(&mut self, targets: &[Target], range: AreaRange) {
        let is_ignored = |target: &Target| {
            target.is_crowd || target.is_ignored || target.area < range[0] || target.area > range[1]
        };
        self.is_ignored.clear();
        self.is_ignored.extend(targets.iter().map(is_ignored));
        self.by_count.clear();
        self.by_count.extend(0..targets.len());
        self.by_count.sort_by_key(|&index| self.is_ignored[index]);
        self.taken.clear();
        self.taken.resize(targets.len(), 0);
    }

    /// (thresholds at which it finds a counted target, at which it finds an ignored one), as bits.
    fn find(&mut self, rank: usize, targets: &[Target], settings: &Settings) -> (u64, u64) {
        let overlaps = &self.overlaps[rank * targets.len()..][..targets.len()];
        let (mut counted, mut ignored) = (0u64, 0u64);
        let least = settings.thresholds.iter().copied().fold(1.0, f64::min);
        if !overlaps
            .iter()
            .any(|&iou| iou > 0.0 && iou >= least.min(MOST))
        {
            return (0, 0);
        }
        for (number, &threshold) in settings.thresholds.iter().enumerate() {
            let bit = 1u64 << number;
            let found = match settings.rules {
                Rules::Coco => self.free_target(overlaps, targets, threshold, bit),
                Rules::Voc => nearest(overlaps, threshold),
            };
            let Some(found) = found else { continue };
            if self.is_ignored[found] {
                ignored |= bit;
            } else if self.taken[found] & bit == 0 {
                counted |= bit;
            }
            self.taken[found] |= bit;
        }
        (counted, ignored)
    }

    fn free_target(
        &self,
        overlaps: &[f64],
        targets: &[Target],
        threshold: f64,
        bit: u64,
    ) -> Option<usize> {
        let mut best = None;
        let mut best_iou = threshold.min(MOST);
        for &index in &self.by_count {
            if self.taken[index] & bit != 0 && !targets[index].is_crowd {
                continue;
            }
            if self.is_ignored[index] && best.is_some_and(|found: usize| !self.is_ignored[found]) {
                break;
            }
            if overlaps[index] > 0.0 && overlaps[index] >= best_iou {
                best = Some(index);
                best_iou = overlaps[index];
            }
        }
        best
    }
}

/// Overlaps from here on are whole: COCO's guard against rounding.
const MOST: f64 = 1.0 - 1e-10;

fn nearest(overlaps: &[f64], threshold: f64) -> Option<usize> {
    let mut best = None;
    let mut best_iou = 0.0;
    for (index, &iou) in overlaps.iter().enumerate() {
        if iou > best_iou {
            (best, best_iou) = (Some(index), iou);
        }
    }
    best.filter(|_| best_iou >= threshold.min(MOST))
}

/// Intersection over union; over the detection's own area where the target is a crowd.
fn overlap(detection: Corners, target: &Target) -> f64 {
    if !target.is_crowd {
        return detection.iou(target.corners);
    }
    let share = detection.intersection(target.corners) / detection.area();
    if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

impl Settings {
    fn worth(&self, found: (u64, u64), corners: Corners, range: AreaRange) -> Worth {
        let (right, mut ignored) = found;
        if self.is_outside(corners, range) {
            let all = u64::MAX >> (MAX_THRESHOLDS - self.thresholds.len().clamp(1, MAX_THRESHOLDS));
            ignored |= all & !right;
        }
        Worth { right, ignored }
    }

    /// Whether a detection that finds nothing is left out for its size.
    fn is_outside(&self, corners: Corners, range: AreaRange) -> bool {
        if self.is_strict && !corners.is_valid() {
            return false;
        }
        // Below 0 where one pair of edges is exchanged, which COCO then leaves out.
        let area = corners.signed_area();
        area < range[0] || area > range[1]
    }
}
