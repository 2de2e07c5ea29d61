//! Overlap of two answers: exact match, token recall, word F1 and normalised Levenshtein distance; `squad` has token F1.

use std::str::Chars;

use rapidfuzz::distance::levenshtein;

use super::normalise::normalise;
use super::squad::Tokens;
use super::words::raw_words;

/// Characters of a text that are held against another's for their Levenshtein distance: a second of work.
pub const LONGEST_COMPARED: usize = 200_000;

/// An answer as the overlap measures see it.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Normal form.
    text: String,
    /// Keys of the words in order, without articles; a Chinese character is a word of its own.
    keys: Vec<u64>,
    sorted: Vec<u64>,
    /// Tokens as `SQuAD` has them, where they were read.
    pub squad: Tokens,
}

impl Words {
    /// Reads `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut words = Self::default();
        words.read(text);
        words.squad.read(text);
        words
    }

    /// Reads `text` into this value, reusing its memory.
    pub fn read(&mut self, text: &str) {
        normalise(text.trim(), &mut self.text);
        self.keys.clear();
        let is_article = |word: &str| matches!(word, "a" | "an" | "the");
        let words = raw_words(&self.text).filter(|w| !is_article(w.text));
        self.keys.extend(words.map(|w| exact_key(w.text)));
        self.sorted.clone_from(&self.keys);
        self.sorted.sort_unstable();
    }

    /// 1 where both have the same words in the same order, and any; else 0.
    #[must_use]
    pub fn exact_match(&self, reference: &Self) -> f64 {
        f64::from(u8::from(
            !self.keys.is_empty() && self.keys == reference.keys,
        ))
    }

    /// Share of the reference's words that this answer has; 0 where either has none.
    #[must_use]
    pub fn recall(&self, reference: &Self) -> f64 {
        if reference.keys.is_empty() {
            return 0.0;
        }
        shared(&self.sorted, &reference.sorted) as f64 / reference.keys.len() as f64
    }

    /// Harmonic mean of the precision and recall of words; 0 where nothing is shared.
    ///
    /// Like `SQuAD`'s, over words as this crate reads them: split at punctuation, a Chinese character is a word.
    #[must_use]
    pub fn f1(&self, reference: &Self) -> f64 {
        let total = self.keys.len() + reference.keys.len();
        if total == 0 {
            return 0.0;
        }
        2.0 * shared(&self.sorted, &reference.sorted) as f64 / total as f64
    }

    /// 1 − Levenshtein distance / length of the longer text, over characters of the normal form, in [0, 1].
    ///
    /// 0 where either text is empty: an empty answer earns nothing. Costs answer × reference / 64; of a text that goes on
    /// after [`LONGEST_COMPARED`] characters, the rest counts as different.
    #[must_use]
    pub fn levenshtein(&self, reference: &Self) -> f64 {
        if self.text.is_empty() || reference.text.is_empty() {
            return 0.0;
        }
        let (left, right) = (self.text.chars(), reference.text.chars());
        let length = left.clone().count().max(right.clone().count());
        let differing = if length <= LONGEST_COMPARED {
            levenshtein::distance(left, right)
        } else {
            let start = |text: Chars<'_>| text.take(LONGEST_COMPARED).collect::<Vec<_>>();
            let (left, right) = (start(left), start(right));
            length - left.len().max(right.len()) + levenshtein::distance(left, right)
        };
        1.0 - differing as f64 / length as f64
    }
}

pub(super) fn exact_key(word: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in word.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Number of words that two sorted lists share, counted with multiplicity.
pub(super) fn shared(left: &[u64], right: &[u64]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_table(left: &[char], right: &[char]) -> usize {
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

    proptest! {
        #[test]
        fn distance_equals_the_table(left in "[ab肺]{0,200}", right in "[ab肺]{0,200}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            let distance = by_table(&chars(&left), &chars(&right)) as f64;
            let length = left.chars().count().max(right.chars().count()) as f64;
            let expected = if left.is_empty() || right.is_empty() { 0.0 } else { 1.0 - distance / length };
            let found = Words::new(&left).levenshtein(&Words::new(&right));
            prop_assert!((found - expected).abs() < 1e-12);
        }
    }
}
