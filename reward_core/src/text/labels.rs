//! Plane and modality labels, compared on canonical classes.

use super::lexicon::{Category, Lexicon};
use super::tokens::{Parsed, Token, NO_CONCEPT};

/// Score of a plane named in `prediction` against the label: 1 for the same class, .5 where one is the broader
/// class of the other ("frontal" for "PA"), else 0; 0 as well where several planes are named.
///
/// A label that is in no class is compared word by word.
#[must_use]
pub fn plane_score(prediction: &Parsed, label: &Parsed) -> f64 {
    label_score(prediction, label, |c| c == Category::Plane)
}

/// Score of a modality named in `prediction` against the label.
///
/// 1 for the same class and, for MR, the same sequence; .5 where the prediction is right but coarser ("MRI" for
/// "T2-weighted MRI") or names a finer kind than a label that is plain ("T2" for "MRI" is 1, since it entails
/// MRI); 0 for another class, a contradicting sequence, or several classes.
#[must_use]
pub fn modality_score(prediction: &Parsed, label: &Parsed) -> f64 {
    label_score(prediction, label, |c| {
        matches!(c, Category::Modality | Category::Sequence)
    })
}

fn label_score(prediction: &Parsed, label: &Parsed, is_kind: fn(Category) -> bool) -> f64 {
    let said = classes(prediction, is_kind);
    let wanted = classes(label, is_kind);
    if wanted.is_empty() {
        let keys = |p: &Parsed| -> Vec<u64> { p.content().map(|t| t.key).collect() };
        let same = !keys(label).is_empty() && keys(prediction) == keys(label);
        return f64::from(u8::from(same));
    }
    if said.is_empty() {
        return 0.0;
    }
    let lexicon = Lexicon::get();
    let entails = |a: u16, b: u16| a == b || lexicon.concepts[a as usize].broader.contains(&b);
    // each class named must fit a class of the label, and each class of the label be covered
    let mut score: f64 = 1.0;
    for &want in &wanted {
        score = score.min(if said.iter().any(|&s| entails(s, want)) {
            1.0
        } else if said.iter().any(|&s| entails(want, s)) {
            0.5
        } else {
            0.0
        });
    }
    for &class in &said {
        let fits = wanted
            .iter()
            .any(|&want| entails(class, want) || entails(want, class));
        if !fits {
            return 0.0;
        }
    }
    score
}

/// Classes that are stated, each once, without those that another one entails.
fn classes(parsed: &Parsed, is_kind: fn(Category) -> bool) -> Vec<u16> {
    let lexicon = Lexicon::get();
    let mut found: Vec<u16> = parsed
        .tokens
        .iter()
        .filter(|t: &&Token| t.concept != NO_CONCEPT && is_kind(t.category) && t.is_stated())
        .map(|t| t.concept)
        .collect();
    found.sort_unstable();
    found.dedup();
    let all = found.clone();
    found.retain(|&class| {
        !all.iter()
            .any(|&o| o != class && lexicon.concepts[o as usize].broader.contains(&class))
    });
    found
}
