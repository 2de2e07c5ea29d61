//! Normalised text as raw words: where each begins, what stands before it, and the key it is looked up by.

use super::normalise::is_plain_han;

/// A word of normalised text before it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawWord<'a> {
    /// The spelling; a single character for Chinese.
    pub text: &'a str,
    /// Byte offset of the spelling.
    pub start: usize,
    /// Punctuation that stands between the previous word and this one, the strongest if there are several.
    pub before: Break,
}

/// What separates two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    /// Nothing at all: the two are written together.
    Joined,
    /// A blank, or a mark without meaning here.
    Blank,
    /// A hyphen.
    Hyphen,
    /// `/` between words.
    Slash,
    /// A bracket, opening or closing.
    Bracket,
    /// A comma or `、`.
    Comma,
    /// A colon.
    Colon,
    /// A semicolon.
    Semicolon,
    /// The end of a sentence or of a line.
    Sentence,
}

/// Whether one of `words` is part of the text; Chinese ones are not looked for in ASCII.
pub(super) fn has_any(text: &str, words: &[&str]) -> bool {
    let is_ascii = text.is_ascii();
    words
        .iter()
        .any(|word| !(is_ascii && word.as_bytes()[0] >= 0x80) && text.contains(word))
}

/// Which pairs of neighbouring bytes a text may have, by a hash of nine bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pairs([u64; 8]);

impl Pairs {
    pub fn of(text: &str) -> Self {
        let mut pairs = [0; 8];
        for pair in text.as_bytes().windows(2) {
            let bit = Self::bit(pair[0], pair[1]);
            pairs[bit / 64] |= 1 << (bit % 64);
        }
        Self(pairs)
    }

    /// Whether one of `words` is part of `text`, whose pairs these are.
    pub fn have_any(&self, text: &str, words: &[&str]) -> bool {
        let may_be = |word: &&&str| self.may_have(word.as_bytes());
        words.iter().filter(may_be).any(|word| text.contains(word))
    }

    /// False where the first or the last two bytes of `word` are nowhere in the text.
    fn may_have(&self, word: &[u8]) -> bool {
        let [.., before, last] = word else {
            return true;
        };
        let has = |bit: usize| self.0[bit / 64] >> (bit % 64) & 1 == 1;
        has(Self::bit(word[0], word[1])) && has(Self::bit(*before, *last))
    }

    fn bit(first: u8, second: u8) -> usize {
        usize::from(first) << 1 & 0x1ff ^ usize::from(second)
    }
}

/// Splits normalised text into raw words.
#[must_use]
pub fn raw_words(text: &str) -> RawWords<'_> {
    RawWords { text, at: 0 }
}

/// Iterator made by [`raw_words`].
#[derive(Clone)]
pub struct RawWords<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for RawWords<'a> {
    type Item = RawWord<'a>;

    fn next(&mut self) -> Option<RawWord<'a>> {
        let bytes = self.text.as_bytes();
        let mut before = Break::Joined;
        loop {
            let &byte = bytes.get(self.at)?;
            let start = self.at;
            if byte.is_ascii_digit() {
                self.at = number_end(bytes, start);
                return Some(self.word(start, before));
            }
            if byte.is_ascii_lowercase() {
                self.at += bytes[start..]
                    .iter()
                    .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                    .count();
                // a following letter outside ASCII belongs to the word unless it is Chinese
                self.skip_word_characters();
                return Some(self.word(start, before));
            }
            if byte == b'<' {
                if let Some(length) = markup_length(&bytes[start..]) {
                    self.at += length;
                    before = before.max(Break::Blank);
                    continue;
                }
            }
            if byte.is_ascii() {
                self.at += 1;
                before = before.max(self.break_of(byte, start));
                continue;
            }
            let character = self.text[start..].chars().next()?;
            self.at += character.len_utf8();
            if is_plain_han(character) {
                return Some(self.word(start, before));
            }
            if is_word_character(character) {
                self.skip_word_characters();
                return Some(self.word(start, before));
            }
            before = before.max(match character {
                '。' | '！' | '？' | '…' | '\u{2028}' | '\u{2029}' => Break::Sentence,
                '、' | '，' | '·' => Break::Comma,
                '；' => Break::Semicolon,
                '：' => Break::Colon,
                '（' | '）' | '【' | '】' | '《' | '》' => Break::Bracket,
                _ => Break::Blank,
            });
        }
    }
}

impl<'a> RawWords<'a> {
    /// Goes past letters outside ASCII that are not Chinese.
    fn skip_word_characters(&mut self) {
        self.at += self.text[self.at..]
            .chars()
            .take_while(|&c| is_word_character(c))
            .map(char::len_utf8)
            .sum::<usize>();
    }

    fn word(&self, start: usize, before: Break) -> RawWord<'a> {
        RawWord {
            text: &self.text[start..self.at],
            start,
            before,
        }
    }

    /// The full stop at `at` belongs to "i.e.", "vs." or "approx.", and more follows.
    fn ends_abbreviation(&self, at: usize) -> bool {
        let lead = &self.text[..at];
        let is_one = [
            "i.e", "e.g", "vs", "cf", "approx", "ca", "resp", "incl", "dr",
        ]
        .iter()
        .any(|word| {
            lead.strip_suffix(word)
                .is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric()))
        });
        let rest = self.text[at + 1..].trim_start();
        is_one && rest.starts_with(char::is_alphanumeric) || is_of_genus(lead, rest)
    }

    fn break_of(&self, byte: u8, at: usize) -> Break {
        let next = self.text.as_bytes().get(at + 1).copied();
        let is_followed_by_letter = next.is_some_and(|b| b.is_ascii_alphanumeric());
        match byte {
            b'.' if is_followed_by_letter => Break::Blank,
            b'.' if self.ends_abbreviation(at) => Break::Blank,
            b'.' | b'!' | b'?' | b'\n' => Break::Sentence,
            b',' => Break::Comma,
            b':' => Break::Colon,
            b';' => Break::Semicolon,
            b'/' => Break::Slash,
            b'(' | b')' | b'[' | b']' => Break::Bracket,
            b'-' if is_followed_by_letter => Break::Hyphen,
            _ => Break::Blank,
        }
    }
}

/// "E. coli": a letter for the genus before the name of the kind.
fn is_of_genus(lead: &str, rest: &str) -> bool {
    let mut before = lead.bytes().rev();
    before.next().is_some_and(|b| b.is_ascii_lowercase())
        && before.next().is_none_or(|b| !b.is_ascii_alphanumeric())
        && KINDS_OF_GERMS.iter().any(|kind| {
            rest.strip_prefix(kind)
                .is_some_and(|more| !more.starts_with(|c: char| c.is_ascii_alphanumeric()))
        })
}

/// Second names of common germs and parasites.
const KINDS_OF_GERMS: [&str; 34] = [
    "coli",
    "aureus",
    "epidermidis",
    "saprophyticus",
    "pneumoniae",
    "pyogenes",
    "agalactiae",
    "viridans",
    "influenzae",
    "tuberculosis",
    "leprae",
    "pylori",
    "jejuni",
    "difficile",
    "diff",
    "perfringens",
    "tetani",
    "botulinum",
    "meningitidis",
    "gonorrhoeae",
    "pallidum",
    "burgdorferi",
    "aeruginosa",
    "faecalis",
    "monocytogenes",
    "trachomatis",
    "catarrhalis",
    "typhi",
    "cholerae",
    "pestis",
    "albicans",
    "fumigatus",
    "falciparum",
    "vivax",
];

/// Length of a short markup tag such as `<b>` or `</p>` at the start of `bytes`.
pub(super) fn markup_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().take(24).position(|&b| b == b'>')?;
    let name = &bytes[1..end];
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'/' || *b == b' ');
    is_name.then_some(end + 1)
}

fn is_word_character(character: char) -> bool {
    !character.is_ascii() && character.is_alphanumeric() && !is_plain_han(character)
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        at += bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let is_inner_mark = matches!(bytes.get(at), Some(b'.' | b','))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && (bytes[at] == b'.'
                || has_three_digits(&bytes[at + 1..])
                || is_decimal_comma(bytes, start, at));
        if !is_inner_mark {
            break;
        }
        at += 1;
    }
    for suffix in [&b"st"[..], b"nd", b"rd", b"th", b"d"] {
        let end = at + suffix.len();
        let is_last = bytes.get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
        if bytes[at..].starts_with(suffix) && is_last {
            return end;
        }
    }
    at
}

/// "1,5 cm": a comma before one or two digits and a unit is a decimal mark.
fn is_decimal_comma(bytes: &[u8], start: usize, at: usize) -> bool {
    let digits = bytes[at + 1..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    let tail = &bytes[at + 1 + digits..];
    let tail = tail.strip_prefix(b" ").unwrap_or(tail);
    let is_unit = ["cm", "mm", "ml", "kg", "mg", "g", "l", "m", "%", "x"]
        .iter()
        .any(|unit| {
            tail.strip_prefix(unit.as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|b| !b.is_ascii_lowercase()))
        })
        || ["厘米", "毫米", "公分", "毫升", "×"]
            .iter()
            .any(|unit| tail.starts_with(unit.as_bytes()));
    let has_one_mark = !bytes[start..at].iter().any(|b| matches!(b, b'.' | b','));
    bytes[at] == b',' && (1..=2).contains(&digits) && is_unit && has_one_mark
}

fn has_three_digits(bytes: &[u8]) -> bool {
    bytes.len() >= 3
        && bytes[..3].iter().all(u8::is_ascii_digit)
        && bytes.get(3).is_none_or(|b| !b.is_ascii_digit())
}

/// Key under which a raw word is looked up and compared: equal for singular and plural.
#[must_use]
pub fn word_key(word: &str) -> u64 {
    let bytes = word.as_bytes();
    let length = bytes.len();
    let (stem, ending): (&[u8], &[u8]) =
        if length < 4 || !word.is_ascii() || bytes[length - 1] != b's' || is_singular_in_s(word) {
            (bytes, b"")
        } else if length > 4 && word.ends_with("ies") {
            (&bytes[..length - 3], b"y")
        } else if length > 4
            && ["ses", "xes", "ches", "shes", "zes"]
                .iter()
                .any(|e| word.ends_with(e))
        {
            match IS_PLURALS.contains(&word) {
                true => (&bytes[..length - 2], b"is"),
                false if word.ends_with("sses") || !word.ends_with("ses") => {
                    (&bytes[..length - 2], b"")
                }
                false => (&bytes[..length - 1], b""),
            }
        } else {
            (&bytes[..length - 1], b"")
        };
    if ending.is_empty() {
        hash_of(stem)
    } else {
        hash_of(&[stem, ending].concat())
    }
}

/// A hash of the bytes, eight at a time.
fn hash_of(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = FACTOR ^ bytes.len() as u64;
    for chunk in &mut chunks {
        hash = mix(
            hash,
            u64::from_le_bytes(chunk.try_into().unwrap_or_default()),
        );
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), FACTOR)
}

const IS_PLURALS: [&str; 12] = [
    "diagnoses",
    "metastases",
    "stenoses",
    "thromboses",
    "necroses",
    "fibroses",
    "sclerosises",
    "analyses",
    "hypotheses",
    "prognoses",
    "psychoses",
    "anastomoses",
];

fn is_singular_in_s(word: &str) -> bool {
    let bytes = word.as_bytes();
    matches!(bytes[bytes.len() - 2], b's' | b'u' | b'i')
        || matches!(
            word,
            "pancreas"
                | "gas"
                | "biceps"
                | "triceps"
                | "lens"
                | "always"
                | "ascites"
                | "diabetes"
                | "rabies"
                | "scabies"
                | "caries"
                | "facies"
                | "herpes"
                | "series"
                | "pubes"
                | "mumps"
                | "pons"
                | "yes"
                | "does"
                | "has"
                | "was"
                | "rights"
                | "lefts"
        )
}
