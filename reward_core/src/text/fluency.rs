//! Fluency without a model: repetition, language, length and shape of a completion.

use super::normalise::{is_plain_han, normalise};
use super::words::{raw_words, word_key};

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
    let census = Census::of(&normal);
    Fluency {
        variety: variety(&keys),
        language: census.language(language),
        length,
        cleanness: f64::from(census.clean) / f64::from(census.all),
    }
}

fn variety(keys: &[u64]) -> f64 {
    if keys.len() < 3 {
        let repeats = keys.len() == 2 && keys[0] == keys[1];
        return if repeats { 0.5 } else { 1.0 };
    }
    let mut trigrams: Vec<u64> = keys
        .windows(3)
        .map(|w| {
            let mixed = w[0].rotate_left(21) ^ w[1].rotate_left(42) ^ w[2];
            mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
        .collect();
    let total = trigrams.len();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams.len() as f64 / total as f64
}

/// Characters of a text by kind.
#[derive(Clone, Copy, Default)]
struct Census {
    all: u32,
    clean: u32,
    han: u32,
    latin: u32,
    other: u32,
}

impl Census {
    fn of(text: &str) -> Self {
        let mut census = Self::default();
        for character in text.chars() {
            census.all += 1;
            if character.is_ascii() {
                census.latin += u32::from(character.is_ascii_alphabetic());
                census.clean +=
                    u32::from(!character.is_ascii_control() || character.is_ascii_whitespace());
            } else if is_plain_han(character) {
                census.han += 1;
                census.clean += 1;
            } else {
                let is_letter = character.is_alphabetic();
                census.other += u32::from(is_letter);
                let is_fine = is_letter
                    || character.is_numeric()
                    || character.is_whitespace()
                    || is_ordinary(character);
                census.clean += u32::from(is_fine);
            }
        }
        census
    }

    /// A Chinese character counts as two Latin letters, about what it says; Latin in a Chinese text (CT, MRI) is
    /// usual up to a third and costs nothing.
    fn language(self, expected: Option<&str>) -> f64 {
        let (han, latin) = (2.0 * f64::from(self.han), f64::from(self.latin));
        let total = han + latin + f64::from(self.other);
        if total == 0.0 {
            return 1.0;
        }
        let expects_chinese = match expected {
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
}

/// Punctuation outside ASCII that ordinary text uses.
const fn is_ordinary(character: char) -> bool {
    matches!(
        character,
        '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3011}' | '\u{ff00}'..='\u{ff5e}' | '·' | '°' | '×' | '±' | '≤' | '≥' | '→'
    )
}
