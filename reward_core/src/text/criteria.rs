//! Findings that are told by their criteria: an intact cortex denies a fracture, a blunted angle states an effusion.

use std::sync::OnceLock;

use super::claims::Standing;
use super::clauses::{Opener, Segment};
use super::lexicon::{Category, ConceptId, Lexicon, Role};
use super::question::Question;
use super::tokens::{concept_key, Parsed};
use super::words::{has_any, Break};

/// What is looked at, and what it says of a finding.
#[derive(Debug)]
pub struct Criterion {
    /// The finding, as the table of synonyms calls it.
    finding: &'static str,
    /// What is looked at.
    sign: &'static [&'static str],
    /// Words of it that state the finding; looked for first.
    states: &'static [&'static str],
    /// Words of it that deny the finding.
    denies: &'static [&'static str],
}

/// A vein that holds a clot does not collapse under the probe.
const OPEN_VEIN: [&str; 10] = [
    "not compressible",
    "not fully compressible",
    "cannot be compressed",
    "noncompressible",
    "non-compressible",
    "incompressible",
    "不能压瘪",
    "不可压瘪",
    "充盈缺损",
    "filling defect",
];

/// One that does.
const CLOSED_VEIN: [&str; 6] = [
    "compressible",
    "compresses",
    "compress fully",
    "可压瘪",
    "能压瘪",
    "压闭",
];

const CRITERIA: [Criterion; 10] = [
    Criterion {
        finding: "finding.fracture",
        sign: &["cortex", "cortical", "cortices", "骨皮质"],
        states: &[
            "disrupt",
            "discontinu",
            "interrupt",
            "breach",
            "broken",
            "step-off",
            "step off",
            "buckl",
            "不连续",
            "不完整",
            "中断",
            "断裂",
            "欠连续",
        ],
        denies: &[
            "intact",
            "continuous",
            "preserved",
            "unbroken",
            "smooth",
            "连续",
            "完整",
            "光整",
            "光滑",
        ],
    },
    Criterion {
        finding: "finding.effusion",
        sign: &["costophrenic", "cp angle", "肋膈角", "肋膈窦"],
        states: &[
            "blunt",
            "obliterat",
            "obscur",
            "effaced",
            "lost",
            "not visible",
            "变钝",
            "圆钝",
            "消失",
            "模糊",
            "变浅",
            "闭塞",
            "不清",
        ],
        denies: &[
            "sharp",
            "clear",
            "preserved",
            "intact",
            "acute",
            "free",
            "maintained",
            "锐利",
            "清晰",
            "清楚",
            "存在",
            "正常",
        ],
    },
    Criterion {
        finding: "finding.pneumothorax",
        sign: &["lung marking", "vascular marking", "肺纹理"],
        states: &["absent", "missing", "lack", "消失", "缺失"],
        denies: &[
            "extend",
            "reach",
            "to the chest wall",
            "to the periphery",
            "延伸",
            "到达",
            "达胸壁",
        ],
    },
    Criterion {
        finding: "finding.pneumothorax",
        sign: &["visceral pleural line", "visceral pleural edge", "气胸线"],
        states: &[
            "visible",
            "seen",
            "visualized",
            "visualised",
            "present",
            "displaced",
            "there is",
            "可见",
            "见",
        ],
        denies: &["absent"],
    },
    Criterion {
        finding: "finding.hydronephrosis",
        sign: &[
            "renal pelvis",
            "renal pelves",
            "collecting system",
            "pelvicalyceal",
            "calyces",
            "肾盂",
            "肾盏",
            "集合系统",
        ],
        states: &[
            "dilated",
            "dilatation",
            "dilation",
            "distended",
            "distension",
            "扩张",
            "分离",
        ],
        denies: &["normal", "decompressed", "nondilated", "slender", "正常"],
    },
    Criterion {
        finding: "finding.dislocation",
        sign: &[
            "joint space alignment",
            "joint alignment",
            "articular surfaces",
            "articulation",
            "关节对位",
            "关节在位",
        ],
        states: &["lost", "incongruent", "incongruous", "欠佳", "不良", "失"],
        denies: &[
            "congruent",
            "anatomic",
            "maintained",
            "normal",
            "preserved",
            "良好",
            "正常",
            "在位",
        ],
    },
    Criterion {
        finding: "finding.thrombosis",
        sign: &["vein", "静脉"],
        states: &OPEN_VEIN,
        denies: &CLOSED_VEIN,
    },
    Criterion {
        finding: "finding.dvt",
        sign: &["vein", "静脉"],
        states: &OPEN_VEIN,
        denies: &CLOSED_VEIN,
    },
    Criterion {
        finding: "finding.cardiomegaly",
        sign: &["cardiothoracic ratio", "cardiac silhouette", "心胸比"],
        states: &["increased", "enlarged", "above", "增大", "增加"],
        denies: &["normal", "below", "正常"],
    },
    Criterion {
        finding: "finding.stenosis",
        sign: &["lumen", "管腔"],
        states: &["narrowed", "narrowing", "狭窄", "变窄"],
        denies: &["patent", "normal", "preserved", "通畅", "正常"],
    },
];

/// The criteria of the finding that the question asks for, with its concept.
#[must_use]
pub fn criteria_of(question: &Question) -> Vec<(&'static Criterion, ConceptId)> {
    static FINDINGS: OnceLock<Vec<Option<ConceptId>>> = OnceLock::new();
    let findings = FINDINGS.get_or_init(|| {
        let lexicon = Lexicon::get();
        CRITERIA
            .iter()
            .map(|c| lexicon.concept(c.finding))
            .collect()
    });
    let asks = |concept: &ConceptId| {
        question
            .proposition
            .core
            .iter()
            .any(|t| t.concept == *concept)
    };
    CRITERIA
        .iter()
        .zip(findings)
        .filter_map(|(c, concept)| Some((c, concept.filter(asks)?)))
        // "Is the cortex intact?" asks for the sign; "deep vein thrombosis" only names the vein
        .filter(|(c, _)| c.finding == "finding.dvt" || !question.has(c.sign))
        .collect()
}

impl Parsed {
    /// Reads a clause about a sign of the finding as one about the finding.
    ///
    /// Where the finding is named, or yes or no is said, that answers.
    pub(super) fn settle_criteria(&mut self, criteria: &[(&'static Criterion, ConceptId)]) {
        let is_finding = |concept: ConceptId| criteria.iter().any(|c| c.1 == concept);
        if self
            .tokens
            .iter()
            .any(|t| is_finding(t.concept) || t.role == Role::Yes || t.is_answer_no())
        {
            return;
        }
        for (criterion, finding) in criteria {
            let mut told = None; // the sentence that looked at the sign
            for index in 0..self.segments.len() {
                let segment = self.segments[index];
                // "the cortex is intact on the ulna but interrupted on the radius"
                let goes_on = told == Some(segment.sentence)
                    && matches!(
                        segment.opener,
                        Opener::Contrast | Opener::List | Opener::And
                    );
                if segment.standing == Standing::Stands
                    && !segment.is_side_remark
                    && self.read_criterion(&segment, criterion, *finding, goes_on)
                {
                    told = Some(segment.sentence);
                }
            }
        }
    }

    /// Whether the clause, or one before that it goes on with, looks at the sign and says something of it.
    fn read_criterion(
        &mut self,
        segment: &Segment,
        criterion: &Criterion,
        finding: ConceptId,
        goes_on: bool,
    ) -> bool {
        let tokens = segment.first as usize..segment.end as usize;
        let Some(last) = tokens.clone().last() else {
            return false;
        };
        let (from, to) = (
            self.tokens[tokens.start].start as usize,
            self.tokens[last].end as usize,
        );
        let text = self.between(from, to);
        if !has_any(text, criterion.sign) && !goes_on {
            return false;
        }
        let place = |words: &[&str]| {
            words
                .iter()
                .find_map(|w| text.find(w).map(|at| (at, w.len())))
        };
        let (at, states) = match (place(criterion.states), place(criterion.denies)) {
            (Some(at), _) => (at, true),
            (None, Some(at)) => (at, false),
            (None, None) => return false,
        };
        let sign = place(criterion.sign).unwrap_or(at);
        let covers = |span: (usize, usize), t: &super::tokens::Token| {
            (t.start as usize) < from + span.0 + span.1 && t.end as usize > from + span.0
        };
        let is_denied = self.tokens[tokens.clone()]
            .iter()
            .filter(|t| matches!(t.role, Role::Negation | Role::No) && !covers(at, t))
            .count()
            % 2
            == 1;
        let mut is_read = false;
        for index in tokens {
            let token = &mut self.tokens[index];
            if covers(at, token) && !is_read {
                is_read = true;
                token.role = Role::Content;
                token.concept = finding;
                token.category = Category::Finding;
                token.key = concept_key(finding);
                token.is_negated = states == is_denied;
                token.is_aside = false;
                token.is_han = false;
            } else if covers(at, token) || covers(sign, token) {
                token.role = Role::Verb; // the clause is a statement
                token.category = Category::Unknown;
                token.concept = super::tokens::NO_CONCEPT;
            } else if token.role == Role::Content
                && !matches!(
                    token.category,
                    Category::Side | Category::Organ | Category::Direction
                )
            {
                token.is_aside = true;
            } else if token.before < Break::Comma && token.role == Role::NegationBack {
                token.role = Role::Filler;
            }
        }
        true
    }
}
