//! Plane and modality labels, compared on canonical classes.

use super::lexicon::{Category, ConceptId, Lexicon};
use super::tokens::{Parsed, Token, NO_CONCEPT};

/// What a label names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Imaging plane or projection.
    Plane,
    /// Imaging modality, with the sequence for MR.
    Modality,
}

impl Kind {
    const fn includes(self, category: Category) -> bool {
        match self {
            Self::Plane => matches!(category, Category::Plane),
            Self::Modality => matches!(category, Category::Modality | Category::Sequence),
        }
    }
}

/// The label of a picture, read once for all its completions.
#[derive(Clone, Debug)]
pub struct Label {
    kind: Kind,
    classes: Vec<ConceptId>,
    /// Keys of its words, which count where it is in no class.
    keys: Vec<u64>,
}

impl Label {
    /// Reads the label `text`.
    #[must_use]
    pub fn new(kind: Kind, text: &str) -> Self {
        let parsed = Parsed::new(text);
        let mut classes = Vec::new();
        find_classes(&parsed, kind, &mut classes);
        let keys = parsed.content().map(|t| t.key).collect();
        Self {
            kind,
            classes,
            keys,
        }
    }

    /// Score of what `prediction` names; `said` only saves allocations.
    ///
    /// 1 for the same class and, for MR, the same sequence, or a finer one ("T2" for "MRI"); .5 where it is right but
    /// coarser ("frontal" for "PA", "MRI" for "T2-weighted MRI"); 0 for another class, a contradicting sequence, or
    /// several classes. A label that is in no class is compared word by word.
    #[must_use]
    pub fn score(&self, prediction: &Parsed, said: &mut Vec<ConceptId>) -> f64 {
        if self.classes.is_empty() {
            let is_same = prediction
                .content()
                .map(|t| t.key)
                .eq(self.keys.iter().copied());
            return f64::from(u8::from(is_same && !self.keys.is_empty()));
        }
        find_classes(prediction, self.kind, said);
        if said.is_empty() {
            return 0.0;
        }
        let lexicon = Lexicon::get();
        let entails = |a: ConceptId, b: ConceptId| {
            a == b || lexicon.concepts[a as usize].broader.contains(&b)
        };
        // each class named must fit a class of the label, and each class of the label be covered
        let mut score: f64 = 1.0;
        for &want in &self.classes {
            score = score.min(if said.iter().any(|&s| entails(s, want)) {
                1.0
            } else if said.iter().any(|&s| entails(want, s)) {
                0.5
            } else {
                0.0
            });
        }
        let fits = |class: ConceptId| {
            let mut wanted = self.classes.iter();
            wanted.any(|&want| entails(class, want) || entails(want, class))
        };
        if said.iter().all(|&class| fits(class)) {
            score
        } else {
            0.0
        }
    }
}

/// Writes the classes that are stated into `found`, each once, without those that another one entails.
fn find_classes(parsed: &Parsed, kind: Kind, found: &mut Vec<ConceptId>) {
    let is_class =
        |t: &&Token| t.concept != NO_CONCEPT && kind.includes(t.category) && t.is_stated();
    found.clear();
    found.extend(parsed.tokens.iter().filter(is_class).map(|t| t.concept));
    found.sort_unstable();
    found.dedup();
    if found.len() > 1 {
        let lexicon = Lexicon::get();
        let all = found.clone();
        found.retain(|&class| {
            !all.iter()
                .any(|&o| o != class && lexicon.concepts[o as usize].broader.contains(&class))
        });
    }
}
