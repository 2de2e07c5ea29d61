//! Overlap of two answers: exact match, token recall, token F1 and normalised Levenshtein distance.

use super::normalise::normalise;
use super::tokens::{raw_words, word_key};

/// The words of an answer as SQuAD-style metrics count them: normalised, without articles and punctuation.
///
/// A Chinese character is a word of its own.
#[must_use]
pub fn words(text: &str) -> Vec<u64> {
    let mut normal = String::new();
    normalise(text, &mut normal);
    raw_words(&normal)
        .filter(|w| !matches!(w.text, "a" | "an" | "the"))
        .map(|w| exact_key(w.text))
        .collect()
}

fn exact_key(word: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in word.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Number of words that both have, counted with multiplicity.
#[must_use]
pub fn shared(left: &[u64], right: &[u64]) -> usize {
    let (mut left, mut right) = (left.to_vec(), right.to_vec());
    left.sort_unstable();
    right.sort_unstable();
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < left.len() && j < right.len() {
        match left[i].cmp(&right[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    both
}

/// Share of the reference's words that the prediction has; 0 where either has none.
#[must_use]
pub fn recall(prediction: &[u64], reference: &[u64]) -> f64 {
    if reference.is_empty() {
        return 0.0;
    }
    shared(prediction, reference) as f64 / reference.len() as f64
}

/// Harmonic mean of token precision and recall; 0 where nothing is shared.
///
/// Source: Rajpurkar et al. 2016, the SQuAD evaluation.
#[must_use]
pub fn f1(prediction: &[u64], reference: &[u64]) -> f64 {
    let total = prediction.len() + reference.len();
    if total == 0 {
        return 0.0;
    }
    2.0 * shared(prediction, reference) as f64 / total as f64
}

/// 1 − Levenshtein distance / length of the longer text, over characters of the normal form, in [0, 1].
///
/// 0 where either text is empty: an empty answer earns nothing.
#[must_use]
pub fn levenshtein_similarity(prediction: &str, reference: &str) -> f64 {
    let (mut left, mut right) = (String::new(), String::new());
    normalise(prediction.trim(), &mut left);
    normalise(reference.trim(), &mut right);
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    if left.is_empty() || right.is_empty() {
        return 0.0;
    }
    1.0 - levenshtein(&left, &right) as f64 / left.len().max(right.len()) as f64
}

/// Least number of insertions, deletions and substitutions between two texts.
#[must_use]
pub fn levenshtein(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// Keys of the words with plurals folded, for graded scores.
#[must_use]
pub fn folded_words(text: &str) -> Vec<u64> {
    raw_words(text)
        .filter(|w| !matches!(w.text, "a" | "an" | "the"))
        .map(|w| word_key(w.text))
        .collect()
}
