//! Token F1 exactly as the evaluation script of `SQuAD` 2.0 computes it.
//!
//! Lower case; ASCII punctuation deleted, not split at ("X-ray" is `xray`, "3.5 cm" is `35 cm`); the words a, an and
//! the deleted; split at blanks. So a Chinese sentence without blanks is one token: `word_f1` splits it.

use unicode_normalization::char::is_combining_mark;

use super::source::is_blank_character;

/// The tokens of a text, as hashes.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    sorted: Vec<u64>,
    memory: String,
}

impl Tokens {
    /// Reads `text`, reusing memory.
    pub fn read(&mut self, text: &str) {
        self.memory.clear();
        let lower = text.to_lowercase();
        self.memory
            .extend(lower.chars().filter(|one| !one.is_ascii_punctuation()));
        self.sorted.clear();
        let without = without_articles(&self.memory);
        let tokens = without
            .split(is_blank_character)
            .filter(|token| !token.is_empty());
        self.sorted.extend(tokens.map(super::similarity::exact_key));
        self.sorted.sort_unstable();
    }

    /// Whether nothing is left of the text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Harmonic mean of precision and recall; 1 where neither text has a token, 0 where only one has.
    ///
    /// Source: Rajpurkar et al. 2018, arXiv:1806.03822, `compute_f1` of `evaluate-v2.0.py`.
    #[must_use]
    pub fn f1(&self, reference: &Self) -> f64 {
        if self.is_empty() || reference.is_empty() {
            return f64::from(u8::from(self.is_empty() == reference.is_empty()));
        }
        let same = super::similarity::shared(&self.sorted, &reference.sorted);
        if same == 0 {
            return 0.0;
        }
        let precision = same as f64 / self.sorted.len() as f64;
        let recall = same as f64 / reference.sorted.len() as f64;
        2.0 * precision * recall / (precision + recall)
    }
}

/// `re.sub(r"\b(a|an|the)\b", " ", text)`.
fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|one| !is_word(one)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(word);
        kept.push_str(if matches!(run, "a" | "an" | "the") {
            " "
        } else {
            run
        });
        let between = after.find(is_word).unwrap_or(after.len());
        kept.push_str(&after[..between]);
        rest = &after[between..];
    }
    kept
}

/// Whether Python's `\w` matches: letters and numbers; no marks, and no circled letters, which are symbols.
fn is_word(one: char) -> bool {
    let is_symbol = matches!(
        one,
        '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f149}' | '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}'
    );
    one == '_' || one.is_alphanumeric() && !is_symbol && !is_combining_mark(one)
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // the expected values are exact
mod tests {
    use super::*;

    fn f1(said: &str, wanted: &str) -> f64 {
        let (mut left, mut right) = (Tokens::default(), Tokens::default());
        left.read(said);
        right.read(wanted);
        left.f1(&right)
    }

    #[test]
    fn punctuation_is_deleted_and_does_not_split() {
        assert_eq!(f1("X-ray", "xray"), 1.0);
        assert_eq!(f1("3.5 cm", "3.5cm"), 0.0);
        assert_eq!(f1("the lung's apex", "lungs apex"), 1.0);
        assert_eq!(f1("a", "the"), 1.0);
        assert_eq!(f1("", "the"), 1.0);
        assert_eq!(f1("lung", "the"), 0.0);
    }
}
