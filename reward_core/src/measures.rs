//! Everything that is measured on a predicted mask and its reference.

use crate::components::{self, Forest};
use crate::overlap::{share, Overlap};
use crate::strips::{Plane, Strips};
use crate::surface::{self, SurfaceDistances};
use crate::thinning::{self, Scratch};
use crate::topology::Topology;
use std::fmt;

/// A number about a prediction and its reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// See [`Overlap::dice`].
    Dice,
    /// See [`Overlap::iou`].
    Iou,
    /// See [`Overlap::recall`].
    Recall,
    /// See [`Overlap::precision`].
    Precision,
    /// See [`Overlap::area_ratio`].
    AreaRatio,
    /// Harmonic mean of skeleton precision and skeleton recall; 0 where both are 0.
    ///
    /// Source: Shit et al. 2021, arXiv:2003.07311, with skeletons as scikit-image makes them.
    ClDice,
    /// Share of the predicted skeleton inside the reference.
    SkeletonPrecision,
    /// Share of the reference's skeleton inside the prediction.
    SkeletonRecall,
    /// Predicted skeleton pixels per reference skeleton pixel; 1 where neither has any.
    LengthRatio,
    /// max(0, 1 − |`L_P` − `L_R`| / max(`L_R`, 1)) of the skeletons' pixels.
    LengthAgreement,
    /// |Δβ0|, the difference in 8-connected components.
    Betti0Error,
    /// |Δβ1|, the difference in holes.
    Betti1Error,
    /// 1 / (1 + |Δβ0| + |Δβ1|).
    BettiAgreement,
    /// |Δχ|, the difference in Euler numbers.
    EulerError,
    /// The larger of the two directed 95th percentiles of the distances between the outlines; needs a spacing.
    Hausdorff95,
    /// 95th percentile of the distances of both directions together, as medpy's `hd95`.
    Hausdorff95Pooled,
    /// 95th percentile of the distances of the prediction's outline from the reference's.
    Hausdorff95ToReference,
    /// 95th percentile of the distances of the reference's outline from the prediction's.
    Hausdorff95ToPrediction,
    /// Mean distance between the outlines; needs a spacing.
    AverageSurfaceDistance,
}

impl Measure {
    /// All measures.
    pub const ALL: [Self; 19] = [
        Self::Dice,
        Self::Iou,
        Self::Recall,
        Self::Precision,
        Self::AreaRatio,
        Self::ClDice,
        Self::SkeletonPrecision,
        Self::SkeletonRecall,
        Self::LengthRatio,
        Self::LengthAgreement,
        Self::Betti0Error,
        Self::Betti1Error,
        Self::BettiAgreement,
        Self::EulerError,
        Self::Hausdorff95,
        Self::Hausdorff95Pooled,
        Self::Hausdorff95ToReference,
        Self::Hausdorff95ToPrediction,
        Self::AverageSurfaceDistance,
    ];

    /// Its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dice => "dice",
            Self::Iou => "iou",
            Self::Recall => "recall",
            Self::Precision => "precision",
            Self::AreaRatio => "area_ratio",
            Self::ClDice => "cldice",
            Self::SkeletonPrecision => "skeleton_precision",
            Self::SkeletonRecall => "skeleton_recall",
            Self::LengthRatio => "length_ratio",
            Self::LengthAgreement => "length_agreement",
            Self::Betti0Error => "betti0_error",
            Self::Betti1Error => "betti1_error",
            Self::BettiAgreement => "betti_agreement",
            Self::EulerError => "euler_error",
            Self::Hausdorff95 => "hausdorff95",
            Self::Hausdorff95Pooled => "hausdorff95_pooled",
            Self::Hausdorff95ToReference => "hausdorff95_to_reference",
            Self::Hausdorff95ToPrediction => "hausdorff95_to_prediction",
            Self::AverageSurfaceDistance => "average_surface_distance",
        }
    }

    /// The measure of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    /// What has to be worked out for it.
    #[must_use]
    pub fn needs(self) -> Needs {
        let mut needs = Needs::default();
        match self {
            Self::Dice | Self::Iou | Self::Recall | Self::Precision | Self::AreaRatio => {}
            Self::ClDice
            | Self::SkeletonPrecision
            | Self::SkeletonRecall
            | Self::LengthRatio
            | Self::LengthAgreement => needs.skeleton = true,
            Self::Betti0Error | Self::Betti1Error | Self::BettiAgreement | Self::EulerError => {
                needs.topology = true;
            }
            Self::Hausdorff95
            | Self::Hausdorff95Pooled
            | Self::Hausdorff95ToReference
            | Self::Hausdorff95ToPrediction
            | Self::AverageSurfaceDistance => needs.surface = true,
        }
        needs
    }
}

/// What has to be worked out for some measures, besides the overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Skeletons of both masks.
    pub skeleton: bool,
    /// Components and holes of both masks.
    pub topology: bool,
    /// Distances between the outlines.
    pub surface: bool,
}

impl Needs {
    /// What any of the measures needs.
    #[must_use]
    pub fn of(measures: &[Measure]) -> Self {
        measures.iter().fold(Self::default(), |all, measure| {
            let one = measure.needs();
            Self {
                skeleton: all.skeleton | one.skeleton,
                topology: all.topology | one.topology,
                surface: all.surface | one.surface,
            }
        })
    }

    /// Whether counting overlapping pixels is enough.
    #[must_use]
    pub fn overlap_only(self) -> bool {
        self == Self::default()
    }
}

/// A mask with what is known about it: pack, thin and count the reference once, use it for many predictions.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The mask.
    pub mask: Strips,
    /// Its skeleton, if asked for.
    pub skeleton: Strips,
    /// Pixels of the mask.
    pub area: u64,
    /// Pixels of the skeleton, if asked for.
    pub length: u64,
    /// Components and holes, if asked for.
    pub topology: Topology,
}

impl Prepared {
    /// Works out what is needed of a mask, inside the field of view if one is given.
    ///
    /// # Panics
    /// When the field of view has another shape than the mask.
    pub fn prepare(
        &mut self,
        plane: &Plane<'_>,
        fov: Option<&Strips>,
        needs: Needs,
        tools: &mut Tools,
    ) {
        self.mask.pack(plane);
        if let Some(fov) = fov {
            assert_eq!(
                fov.shape(),
                self.mask.shape(),
                "field of view and mask differ in shape"
            );
            self.mask.intersect(fov);
        }
        self.area = self.mask.count();
        if needs.skeleton {
            self.skeleton.copy_from(&self.mask);
            thinning::thin(&mut self.skeleton, &mut tools.scratch);
            self.length = self.skeleton.count();
        }
        if needs.topology {
            self.topology = Topology::of(&self.mask, &mut tools.forest);
        }
    }
}

/// Memory that the measures work in; one for each thread.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// For thinning.
    pub scratch: Scratch,
    /// For counting components.
    pub forest: Forest,
    /// For distances.
    pub surface: surface::Field,
}

/// What was counted on one prediction and its reference; every measure follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Findings {
    /// Pixels.
    pub overlap: Overlap,
    /// Skeleton pixels of the prediction, of the reference.
    pub lengths: (u64, u64),
    /// Predicted skeleton inside the reference, reference skeleton inside the prediction, in pixels.
    pub inside: (u64, u64),
    /// Topology of the prediction, of the reference.
    pub topology: (Topology, Topology),
    /// Distances between the outlines.
    pub surface: SurfaceDistances,
}

impl Findings {
    /// Compares two prepared masks of the same shape.
    pub fn of(
        prediction: &Prepared,
        reference: &Prepared,
        needs: Needs,
        spacing: [f64; 2],
        tools: &mut Tools,
    ) -> Self {
        let mut findings = Self {
            overlap: Overlap {
                prediction: prediction.area,
                reference: reference.area,
                intersection: prediction.mask.count_both(&reference.mask),
            },
            topology: (prediction.topology, reference.topology),
            ..Self::default()
        };
        if needs.skeleton {
            findings.lengths = (prediction.length, reference.length);
            findings.inside = (
                prediction.skeleton.count_both(&reference.mask),
                reference.skeleton.count_both(&prediction.mask),
            );
        }
        if needs.surface {
            findings.surface = SurfaceDistances::of(
                &prediction.mask,
                &reference.mask,
                spacing,
                &mut tools.surface,
            );
        }
        findings
    }

    /// Counts overlapping pixels without packing, where that is possible and enough.
    #[must_use]
    pub fn of_unpacked(prediction: &Plane<'_>, reference: &Plane<'_>) -> Option<Self> {
        let overlap = Overlap::of_unpacked(prediction, reference)?;
        Some(Self {
            overlap,
            ..Self::default()
        })
    }

    /// The value of one measure.
    #[must_use]
    pub fn value(&self, measure: Measure) -> f64 {
        let (mine, its) = self.topology;
        match measure {
            Measure::Dice => self.overlap.dice(),
            Measure::Iou => self.overlap.iou(),
            Measure::Recall => self.overlap.recall(),
            Measure::Precision => self.overlap.precision(),
            Measure::AreaRatio => self.overlap.area_ratio(),
            Measure::ClDice => self.cldice(),
            Measure::SkeletonPrecision => share(self.inside.0, self.lengths.0, self.lengths.1),
            Measure::SkeletonRecall => share(self.inside.1, self.lengths.1, self.lengths.0),
            Measure::LengthRatio => match self.lengths {
                (0, 0) => 1.0,
                (p, r) => p as f64 / r as f64,
            },
            Measure::LengthAgreement => {
                let (p, r) = self.lengths;
                (1.0 - p.abs_diff(r) as f64 / r.max(1) as f64).max(0.0)
            }
            Measure::Betti0Error => mine.components.abs_diff(its.components) as f64,
            Measure::Betti1Error => mine.holes.abs_diff(its.holes) as f64,
            Measure::BettiAgreement => 1.0 / (1.0 + mine.distance(its) as f64),
            Measure::EulerError => mine.euler().abs_diff(its.euler()) as f64,
            Measure::Hausdorff95 => self.surface.hausdorff95,
            Measure::Hausdorff95Pooled => self.surface.pooled95,
            Measure::Hausdorff95ToReference => self.surface.directed95[0],
            Measure::Hausdorff95ToPrediction => self.surface.directed95[1],
            Measure::AverageSurfaceDistance => self.surface.average,
        }
    }

    /// clDice in [0, 1]; 1 where both masks are empty, 0 where only one is.
    fn cldice(&self) -> f64 {
        let recall = self.value(Measure::SkeletonRecall);
        let precision = self.value(Measure::SkeletonPrecision);
        if recall + precision == 0.0 {
            return 0.0;
        }
        2.0 * recall * precision / (recall + precision)
    }
}

/// A number about one mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// Foreground pixels.
    Area,
    /// 8-connected components, β0.
    Components,
    /// Holes, β1.
    Holes,
    /// Euler number, β0 − β1.
    Euler,
    /// Pixels of the skeleton.
    SkeletonLength,
    /// Share of the foreground in the largest component; 1 for an empty mask.
    LargestShare,
}

impl Trait {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Area,
        Self::Components,
        Self::Holes,
        Self::Euler,
        Self::SkeletonLength,
        Self::LargestShare,
    ];

    /// Its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Components => "components",
            Self::Holes => "holes",
            Self::Euler => "euler",
            Self::SkeletonLength => "skeleton_length",
            Self::LargestShare => "largest_share",
        }
    }

    /// The trait of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Writes the value of each trait of one mask.
    pub fn measure(traits: &[Self], mask: &mut Strips, tools: &mut Tools, values: &mut [f64]) {
        let wants = |one: Self| traits.contains(&one);
        let topology = if wants(Self::Holes) {
            Topology::of(mask, &mut tools.forest)
        } else if wants(Self::Components) {
            Topology {
                components: components::count(mask, &mut tools.forest),
                holes: 0,
            }
        } else {
            Topology::default()
        };
        // Thinning changes the mask, so it comes after everything else.
        let mut thinned = None;
        for (&one, value) in traits.iter().zip(values) {
            *value = match one {
                Self::Area => mask.count() as f64,
                Self::Components => topology.components as f64,
                Self::Holes => topology.holes as f64,
                Self::Euler => crate::topology::euler_number(mask) as f64,
                Self::LargestShare => components::largest_share(mask, &mut tools.forest),
                Self::SkeletonLength => {
                    let length = thinned.get_or_insert_with(|| {
                        let mut skeleton = mask.clone();
                        thinning::thin(&mut skeleton, &mut tools.scratch);
                        skeleton.count()
                    });
                    *length as f64
                }
            };
        }
    }
}

/// Why masks cannot be measured; names the offending row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskError {
    /// Prediction and reference differ in shape.
    Shape {
        /// Index in the batch.
        row: usize,
        /// (height, width) of the prediction.
        prediction: (usize, usize),
        /// What it is compared with.
        with: &'static str,
        /// (height, width) of that.
        other: (usize, usize),
    },
    /// The numbers of predictions and references do not fit.
    Batch {
        /// Number of predictions.
        predictions: usize,
        /// What they are compared with.
        with: &'static str,
        /// Number of those.
        others: usize,
    },
}

impl fmt::Display for MaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { row, prediction, with, other } => write!(
                f,
                "mask {row}: the prediction is {}×{} (height×width) but its {with} is {}×{}",
                prediction.0, prediction.1, other.0, other.1
            ),
            Self::Batch { predictions, with, others } => write!(
                f,
                "{predictions} predictions do not fit {others} {with}s: expected as many, or a whole multiple"
            ),
        }
    }
}

impl std::error::Error for MaskError {}
