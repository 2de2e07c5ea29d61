//! Overlap of two answers: exact match, token recall, token F1 and normalised Levenshtein distance.

use super::normalise::normalise;
use super::tokens::raw_words;

/// An answer as the overlap measures see it.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Normal form.
    text: String,
    /// Keys of the words in order, without articles; a Chinese character is a word of its own.
    keys: Vec<u64>,
    sorted: Vec<u64>,
}

impl Words {
    /// Reads `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut words = Self::default();
        words.read(text);
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

    /// Harmonic mean of token precision and recall; 0 where nothing is shared.
    ///
    /// Source: Rajpurkar et al. 2016, the evaluation of `SQuAD`.
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
    /// 0 where either text is empty: an empty answer earns nothing.
    #[must_use]
    pub fn levenshtein(&self, reference: &Self) -> f64 {
        let left: Vec<char> = self.text.chars().collect();
        let right: Vec<char> = reference.text.chars().collect();
        if left.is_empty() || right.is_empty() {
            return 0.0;
        }
        1.0 - levenshtein(&left, &right) as f64 / left.len().max(right.len()) as f64
    }
}

fn exact_key(word: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in word.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Number of words that two sorted lists share, counted with multiplicity.
fn shared(left: &[u64], right: &[u64]) -> usize {
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

/// Least number of insertions, deletions and substitutions between two texts.
#[must_use]
pub fn levenshtein(left: &[char], right: &[char]) -> usize {
    let (left, right) = without_common_ends(left, right);
    if left.len() <= 64 {
        return bit_parallel(left, right);
    }
    if right.len() <= 64 {
        return bit_parallel(right, left);
    }
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

fn without_common_ends<'a>(left: &'a [char], right: &'a [char]) -> (&'a [char], &'a [char]) {
    let lead = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[lead..], &right[lead..]);
    let tail = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    (&left[..left.len() - tail], &right[..right.len() - tail])
}

/// Myers' algorithm: one word holds a column of the table.
///
/// Source: Myers 1999, doi:10.1145/316542.316550, in Hyyrö's form for edit distance.
fn bit_parallel(pattern: &[char], text: &[char]) -> usize {
    if pattern.is_empty() {
        return text.len();
    }
    let mut ascii = [0_u64; 128];
    let mut other: Vec<(char, u64)> = Vec::new();
    for (position, &character) in pattern.iter().enumerate() {
        let bit = 1 << position;
        match usize::try_from(u32::from(character)) {
            Ok(code) if code < 128 => ascii[code] |= bit,
            _ => match other.iter_mut().find(|(c, _)| *c == character) {
                Some((_, mask)) => *mask |= bit,
                None => other.push((character, bit)),
            },
        }
    }
    let last = 1_u64 << (pattern.len() - 1);
    let (mut plus, mut minus, mut distance) = (u64::MAX, 0_u64, pattern.len());
    for &character in text {
        let equal = match ascii.get(character as usize) {
            Some(mask) => *mask,
            None => other
                .iter()
                .find(|(c, _)| *c == character)
                .map_or(0, |(_, mask)| *mask),
        };
        let diagonal = (((equal & plus).wrapping_add(plus)) ^ plus) | equal | minus;
        let horizontal_plus = minus | !(diagonal | plus);
        let horizontal_minus = diagonal & plus;
        distance += usize::from(horizontal_plus & last != 0);
        distance -= usize::from(horizontal_minus & last != 0);
        let shifted = (horizontal_plus << 1) | 1;
        plus = (horizontal_minus << 1) | !(diagonal | shifted);
        minus = diagonal & shifted;
    }
    distance
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
        fn bit_parallel_distance_equals_the_table(left in "[ab肺]{0,90}", right in "[ab肺]{0,90}") {
            let left: Vec<char> = left.chars().collect();
            let right: Vec<char> = right.chars().collect();
            prop_assert_eq!(levenshtein(&left, &right), by_table(&left, &right));
        }
    }
}
