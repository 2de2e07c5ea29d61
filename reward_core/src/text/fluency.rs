//! Fluency without a model: repetition, language, length and shape of a completion.

use rustc_hash::FxHashMap;

use super::normalise::{is_plain_han, normalise};
use super::tokens::{raw_words, word_key};

/// What `fluency` measures, each in [0, 1] with 1 the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fluency {
    /// 1 − share of the word trigrams that occurred before.
    pub variety: f64,
    /// Share of letters in the expected script (or in the commoner one where no language is given).
    pub language: f64,
    /// 1 between 2 and 512 words, falling linearly to 0 at none and at 1,024.
    pub length: f64,
    /// Share of characters that are letters, digits, blanks or ordinary punctuation.
    pub cleanness: f64,
}

impl Fluency {
    /// The product of the four measures, in [0, 1].
    #[must_use]
    pub fn score(&self) -> f64 {
        self.variety * self.language * self.length * self.cleanness
    }
}

/// Measures `text`; `language` is `Some("zh")`, `Some("en")` or `None`.
#[must_use]
pub fn fluency(text: &str, language: Option<&str>) -> Fluency {
    let mut normal = String::new();
    normalise(text, &mut normal);
    let keys: Vec<u64> = raw_words(&normal).map(|w| word_key(w.text)).collect();
    if keys.is_empty() {
        return Fluency {
            variety: 0.0,
            language: 0.0,
            length: 0.0,
            cleanness: 0.0,
        };
    }
    let words = keys.len() as f64;
    let length = (words / 2.0).min(1.0) * ((1024.0 - words) / 512.0).clamp(0.0, 1.0);
    Fluency {
        variety: variety(&keys),
        language: language_share(&normal, language),
        length,
        cleanness: cleanness(&normal),
    }
}

fn variety(keys: &[u64]) -> f64 {
    if keys.len() < 3 {
        let repeats = keys.len() == 2 && keys[0] == keys[1];
        return if repeats { 0.5 } else { 1.0 };
    }
    let mut seen: FxHashMap<(u64, u64, u64), ()> = FxHashMap::default();
    let total = keys.len() - 2;
    let fresh = keys
        .windows(3)
        .filter(|w| seen.insert((w[0], w[1], w[2]), ()).is_none())
        .count();
    fresh as f64 / total as f64
}

/// A Chinese character counts as two Latin letters, about what it says; Latin in a Chinese text (CT, MRI) is usual
/// up to a third and costs nothing.
fn language_share(text: &str, language: Option<&str>) -> f64 {
    let han = 2.0 * text.chars().filter(|&c| is_plain_han(c)).count() as f64;
    let latin = text.chars().filter(|c| c.is_ascii_alphabetic()).count() as f64;
    let other = text
        .chars()
        .filter(|&c| c.is_alphabetic() && !c.is_ascii() && !is_plain_han(c))
        .count() as f64;
    let total = han + latin + other;
    if total == 0.0 {
        return 1.0;
    }
    let expects_chinese = match language {
        Some(code) if code.starts_with("zh") => true,
        Some(_) => false,
        None => han > latin,
    };
    if expects_chinese {
        (han / total * 1.5).min(1.0)
    } else {
        latin / total
    }
}

fn cleanness(text: &str) -> f64 {
    let total = text.chars().count() as f64;
    let clean = text
        .chars()
        .filter(|&c| c.is_alphanumeric() || c.is_whitespace() || is_ordinary(c))
        .count() as f64;
    clean / total
}

fn is_ordinary(character: char) -> bool {
    ".,;:!?'\"()[]<>/%-+&=*#_。，、；：！？（）【】《》“”‘’…·—°×±~".contains(character)
}
