//! Things that are written in many ways: levels of the spine, values on a scale, dates.
//!
//! Each becomes one token whose key is its value, so that "L4/5" and "L4-L5", "stage II" and "Stage 2",
//! "12 March 2019" and "2019-03-12" are the same.

use std::sync::OnceLock;

use rustc_hash::FxHashSet;

use super::lexicon::Category;
use super::tokens::ordinal_key;
use super::words::{has_any, word_key, Break};

/// A raw word as [`super::tokens::Parsed`] holds it: key, start, end, what stands before.
pub type Word = (u64, u32, u32, Break);

/// What was read, and how many raw words spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notation {
    /// Keys of one or two tokens.
    pub keys: [Option<u64>; 2],
    /// Their category.
    pub category: Category,
    /// Raw words.
    pub words: usize,
}

const LEVEL: u64 = 5 << 60;
const SCALE: u64 = 6 << 60;
const DATE: u64 = 7 << 60;

/// The words from `at` on as a level, a value on a scale, or a date.
#[must_use]
pub fn read(text: &str, words: &[Word], at: usize) -> Option<Notation> {
    let reader = Reader { text, words };
    let first = reader.word(at)?;
    let byte = first.as_bytes()[0];
    if byte.is_ascii_digit() {
        return reader
            .date(at)
            .or_else(|| reader.ordinal_level(at))
            .or_else(|| reader.chinese_scale(at))
            .or_else(|| reader.after_noun(at));
    }
    if byte.is_ascii_lowercase() {
        if let Some(found) = reader.after_noun(at) {
            return Some(found);
        }
        let next = words.get(at + 1).map(|w| text.as_bytes()[w.1 as usize]);
        if first.len() <= 6 && matches!(byte, b'c' | b't' | b'l' | b's') {
            if let Some(found) = reader.letter_level(at) {
                return Some(found);
            }
        }
        return match next {
            Some(next) if next >= 0x80 => reader.chinese_scale(at).or_else(|| reader.scale(at)),
            Some(next) if next.is_ascii_digit() => reader
                .region_level(at)
                .or_else(|| reader.scale(at))
                .or_else(|| reader.date(at)),
            Some(_) => reader
                .ordinal_level(at)
                .or_else(|| reader.region_level(at))
                .or_else(|| reader.scale(at)),
            None if byte == b'g' => reader.scale(at),
            None => None,
        };
    }
    match first {
        "颈" | "胸" | "腰" | "骶" => reader.region_level(at),
        "第" => reader.chinese_ordinal(at),
        "一" | "二" | "三" | "四" | "五" | "六" => reader.chinese_scale(at),
        _ => None,
    }
}

/// Words with which a level, a date or a value on a scale begins or ends, digits left out.
pub(super) fn names() -> impl Iterator<Item = String> {
    let values = || NUMBERS.iter().chain(&ROMANS).copied();
    let with_suffix = values().flat_map(|v| SUFFIXES.iter().map(move |s| format!("{v}{s}")));
    let months = MONTHS.iter().flat_map(|m| [*m, &m[..3]]);
    let scales = SCALES.iter().chain(&OWNERS).map(|s| s.0);
    let others = ORDINALS
        .iter()
        .chain(&REGIONS)
        .chain(&LEVEL_LETTERS)
        .copied();
    let all = values().chain(months).chain(scales).chain(others);
    all.map(str::to_string).chain(with_suffix)
}

/// Whether the word is of plain letters, so that only one of [`names`] can begin or end a notation.
pub(super) fn is_plain_word(text: &str) -> bool {
    text.as_bytes()[0].is_ascii_lowercase() && !text.bytes().any(|b| b.is_ascii_digit())
}

/// The scale or the numbered thing that a question asks for ("What stage …?", "Which rib …?"), as the word that names it.
#[must_use]
pub fn scale_asked(text: &str, words: &[Word]) -> Option<&'static str> {
    let reader = Reader { text, words };
    let counts = has_any(
        text,
        &["how many", "多少", "几个", "几处", "几枚", "number of"],
    );
    if counts {
        return None;
    }
    let asks_which = has_any(
        text,
        &[
            "what", "which", "几", "哪", "什么", "多少", "分期", "分级", "分型", "分类",
        ],
    );
    let named = |at: usize| {
        let word = reader.word(at)?;
        let scale = SCALES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(name, _)| *name);
        let owner = || {
            let owner = OWNERS.iter().find(|(name, _)| *name == word)?;
            SCALES
                .iter()
                .find(|(_, scale)| *scale == owner.1)
                .map(|(name, _)| *name)
        };
        let noun = || {
            let noun = NUMBERED.iter().find(|n| **n == word)?;
            let lead = at.saturating_sub(2)..at; // "which cranial nerve"
            let is_asked = lead
                .filter_map(|i| reader.word(i))
                .any(|w| matches!(w, "which" | "what"));
            is_asked.then_some(*noun)
        };
        let chinese = || {
            let is_asked = matches!(
                reader.word(at.checked_sub(1)?)?,
                "几" | "哪" | "一" | "么" | "分"
            );
            let scale = CHINESE_SCALES.iter().find(|(name, _)| *name == word)?.1;
            SCALES
                .iter()
                .find(|(_, s)| *s == scale)
                .map(|(name, _)| *name)
                .filter(|_| is_asked)
        };
        scale.or_else(owner).or_else(noun).or_else(chinese)
    };
    let may_name = |at: &usize| asks_which && scale_names().contains(&words[*at].0);
    (0..words.len()).filter(may_name).find_map(|at| {
        named(at)
            .filter(|_| read(text, words, at).is_none())
            .filter(|name| {
                *name != "type"
                    || text.contains("分型")
                    || OWNERS.iter().any(|o| text.contains(o.0))
            })
    })
}

/// Keys of the words that name a scale or a numbered thing.
fn scale_names() -> &'static FxHashSet<u64> {
    static NAMES: OnceLock<FxHashSet<u64>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let scales = SCALES.iter().chain(&OWNERS).chain(&CHINESE_SCALES);
        let all = scales.map(|s| s.0).chain(NUMBERED.iter().copied());
        all.map(word_key).collect()
    })
}

/// Whether the text is nothing but a number, in digits, words or Roman.
#[must_use]
pub fn is_bare_value(text: &str) -> bool {
    let text = text.trim().trim_end_matches(['.', '。']);
    let text = text.to_lowercase();
    let is_short = text.len() <= 12 && !text.is_empty();
    is_short
        && (value_of(&text).is_some()
            || value_with_suffix(&text).is_some_and(|(value, _)| value > 0))
}

/// Names of scales and the scale that each means.
const SCALES: [(&str, u64); 10] = [
    ("stage", 1),
    ("grade", 2),
    ("type", 3),
    ("class", 4),
    ("category", 5),
    ("birads", 5),
    ("rads", 5),
    ("tirads", 5),
    ("score", 6),
    ("phase", 7),
];

/// Names that own a scale, and the scale that a value right after them is on: "ASA III", "WHO 2", "Stanford A".
const OWNERS: [(&str, u64); 26] = [
    ("figo", 1),
    ("fitzpatrick", 3),
    ("forrest", 4),
    ("mallampati", 4),
    ("asa", 4),
    ("nyha", 4),
    ("killip", 4),
    ("child", 4),
    ("pugh", 4),
    ("harris", 3),
    ("who", 2),
    ("isup", 2),
    ("fazekas", 2),
    ("kellgren", 2),
    ("lawrence", 2),
    ("meyerding", 2),
    ("gleason", 6),
    ("bosniak", 5),
    ("pirads", 5),
    ("lirads", 5),
    ("stanford", 3),
    ("debakey", 3),
    ("garden", 3),
    ("weber", 3),
    ("modic", 3),
    ("schatzker", 3),
];

/// Things that are told apart by numbers: "rib 7" is the seventh rib.
///
/// The first two are the cranial nerves, which the table of synonyms names by number and by name.
const NUMBERED: [&str; 16] = [
    "cn",
    "nerve",
    "rib",
    "ribs",
    "segment",
    "segments",
    "metatarsal",
    "metatarsals",
    "metacarpal",
    "metacarpals",
    "toe",
    "finger",
    "zone",
    "ray",
    "quadrant",
    "chamber",
];

const CHINESE_SCALES: [(&str, u64); 5] = [("期", 1), ("级", 2), ("型", 3), ("类", 5), ("度", 8)];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const ORDINALS: [&str; 12] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
];

const NUMBERS: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

const ROMANS: [&str; 12] = [
    "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii",
];

const CHINESE_NUMBERS: [&str; 12] = [
    "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二",
];

struct Reader<'a> {
    text: &'a str,
    words: &'a [Word],
}

impl<'a> Reader<'a> {
    fn word(&self, at: usize) -> Option<&'a str> {
        let word = self.words.get(at)?;
        Some(&self.text[word.1 as usize..word.2 as usize])
    }

    /// Whether the word stands close to the one before: a blank, a hyphen, a slash or nothing between them.
    fn is_near(&self, at: usize) -> bool {
        self.words.get(at).is_some_and(|w| w.3 <= Break::Slash)
    }

    /// "L4", "Th12", "L4/5", "L4-L5", "L 4", "C-3".
    fn letter_level(&self, at: usize) -> Option<Notation> {
        let first = self.word(at)?;
        if let Some((first, second)) = two_levels(first) {
            return Some(self.level(first, Some(second), at, 1));
        }
        let (letters, digits) = split_digits(first);
        let region = region_of_letters(letters)?;
        let (number, mut used) = if digits.is_empty() {
            let next = self.word(at + 1).filter(|_| self.is_near(at + 1))?;
            // "t 2" is a sequence, "s 3" may be a heart sound: only a hyphen makes them a level
            let is_certain = letters == "l"
                || letters == "th"
                || letters == "c"
                || letters == "t" && next.parse().is_ok_and(|n: u64| n > 2)
                || self.words[at + 1].3 == Break::Hyphen;
            (next.parse().ok().filter(|_| is_certain)?, 2)
        } else {
            (digits.parse().ok()?, 1)
        };
        if !is_level(region, number) || (letters == "t" && number <= 2) {
            return None;
        }
        let mut second = None;
        if let Some((key, more)) = self.second_level(at + used, region) {
            second = Some(key);
            used += more;
        }
        Some(self.level(level_key(region, number), second, at, used))
    }

    /// "/5", "-L5", "/S1" after a level.
    fn second_level(&self, at: usize, region: u64) -> Option<(u64, usize)> {
        let is_joined = matches!(self.words.get(at)?.3, Break::Hyphen | Break::Slash);
        let word = self.word(at).filter(|_| is_joined)?;
        let (letters, digits) = split_digits(word);
        let region = if letters.is_empty() {
            region
        } else {
            region_of_letters(letters)?
        };
        let number = digits.parse().ok().filter(|&n| is_level(region, n))?;
        Some((level_key(region, number), 1))
    }

    /// "腰4", "lumbar vertebra 4", "第四腰椎" is read elsewhere.
    fn region_level(&self, at: usize) -> Option<Notation> {
        let region = region_of_word(self.word(at)?)?;
        let mut next = at + 1;
        while self.word(next).is_some_and(is_vertebra) && self.is_near(next) {
            next += 1;
        }
        let is_counted = self.word(next) == Some("第"); // "颈椎第5节"
        next += usize::from(is_counted);
        let value = value_of(self.word(next).filter(|_| self.is_near(next))?)?;
        if !is_level(region, value) {
            return None;
        }
        let mut used = next + 1 - at;
        used += usize::from(is_counted && self.word(next + 1) == Some("节"));
        let second = self.second_level(at + used, region);
        used += second.map_or(0, |(_, more)| more);
        Some(self.level(level_key(region, value), second.map(|s| s.0), at, used))
    }

    /// "fourth lumbar vertebra", "4th lumbar vertebral body".
    fn ordinal_level(&self, at: usize) -> Option<Notation> {
        let value = ordinal_of(self.word(at)?)?;
        if matches!(self.word(at + 1), Some("and" | "to")) {
            // "between the fifth and sixth cervical vertebrae"
            let next = ordinal_of(self.word(at + 2)?).filter(|&next| next == value + 1)?;
            let region = region_of_word(self.word(at + 3)?)?;
            let is_bone = self.word(at + 4).is_some_and(is_vertebra);
            return (is_bone && is_level(region, value) && is_level(region, next)).then(|| {
                let (first, second) = (level_key(region, value), level_key(region, next));
                self.level(first, Some(second), at, 4)
            });
        }
        let region = region_of_word(self.word(at + 1).filter(|_| self.is_near(at + 1))?)?;
        let is_bone = self.word(at + 2).is_some_and(is_vertebra) && self.is_near(at + 2);
        (is_bone && is_level(region, value))
            .then(|| self.level(level_key(region, value), None, at, 2))
    }

    /// "第四腰椎", "第12胸椎", "第二期".
    fn chinese_ordinal(&self, at: usize) -> Option<Notation> {
        let (value, used) = self.chinese_number(at + 1)?;
        let mut next = at + 1 + used;
        // "第四、五腰椎", "第4-5腰椎"
        let other = self
            .chinese_number(next)
            .filter(|_| self.words[next].3 <= Break::Comma);
        next += other.map_or(0, |(_, more)| more);
        if let Some(region) = region_of_word(self.word(next)?) {
            let is_bone = self.word(next + 1).is_some_and(is_vertebra);
            let second = other.map(|(level, _)| level_key(region, level));
            return (is_bone && is_level(region, value))
                .then(|| self.level(level_key(region, value), second, at, next + 2 - at));
        }
        if let Some(found) = self.chinese_scale(at + 1) {
            return Some(Notation {
                words: found.words + 1,
                ..found
            });
        }
        let is_digits = self.word(at + 1)?.bytes().all(|b| b.is_ascii_digit());
        let key = ordinal_key(u32::try_from(value).ok().filter(|_| is_digits)?);
        Some(Notation {
            keys: [Some(key), None],
            category: Category::Level,
            words: 2,
        })
    }

    /// A number in digits or one to two Chinese characters, and its words.
    fn chinese_number(&self, at: usize) -> Option<(u64, usize)> {
        let first = self.word(at)?;
        if first == "十" {
            if let Some(unit) = self.word(at + 1).and_then(value_of_han).filter(|&v| v < 10) {
                return Some((10 + unit, 2));
            }
        }
        value_of(first).map(|value| (value, 1))
    }

    /// A level; the words for the bone that follow belong to it.
    fn level(&self, key: u64, second: Option<u64>, at: usize, used: usize) -> Notation {
        let mut words = used;
        while self
            .word(at + words)
            .is_some_and(|w| is_vertebra(w) || w == "level" || w == "disc" && second.is_some())
            && self.is_near(at + words)
        {
            words += 1;
        }
        Notation {
            keys: [Some(key), second],
            category: Category::Level,
            words,
        }
    }

    /// "stage II", "grade 3b", "BI-RADS 4", "type A", "ASA III".
    fn scale(&self, at: usize) -> Option<Notation> {
        let first = self.word(at)?;
        if let [b'g', value @ b'1'..=b'4'] = first.as_bytes() {
            return Some(Notation {
                keys: [Some(SCALE | 2 << 32 | u64::from(value - b'0') << 8), None],
                category: Category::Scale,
                words: 1,
            }); // "G2"
        }
        let named = SCALES.iter().find(|(name, _)| *name == first);
        let owner = || OWNERS.iter().find(|(name, _)| *name == first);
        let scale = named.or_else(owner)?.1;
        let word = self.word(at + 1).filter(|_| self.is_near(at + 1))?;
        let ends = self
            .words
            .get(at + 2)
            .is_none_or(|w| w.3 > Break::Joined || self.text.as_bytes()[w.1 as usize] >= 0x80);
        let letter = || {
            let takes_letters = matches!(scale, 3 | 4) && named.is_none_or(|n| n.0 != "category");
            let letter = word.as_bytes()[0];
            (takes_letters && ends && word.len() == 1 && (b'a'..=b'e').contains(&letter))
                .then_some((0, u64::from(letter)))
        };
        let (value, mut suffix) = value_with_suffix(word).or_else(letter)?;
        let mut words = 2;
        // "3a" is two raw words
        if let Some(letter) = self
            .word(at + 2)
            .filter(|w| w.len() == 1 && self.words[at + 2].3 == Break::Joined)
        {
            if suffix == 0 && is_suffix(letter.as_bytes()[0]) {
                (suffix, words) = (u64::from(letter.as_bytes()[0]), 3);
            }
        }
        let key = SCALE | scale << 32 | value << 8 | suffix;
        // "type II-III" names two values
        let other = self
            .words
            .get(at + words)
            .filter(|w| matches!(w.3, Break::Hyphen | Break::Slash) && value > 0)
            .and_then(|_| self.word(at + words))
            .and_then(value_with_suffix)
            .filter(|o| (1..=12).contains(&o.0) && *o != (value, suffix))
            .map(|(value, suffix)| SCALE | scale << 32 | value << 8 | suffix);
        words += usize::from(other.is_some());
        // "NYHA III级"
        let unit = self
            .word(at + words)
            .and_then(|w| CHINESE_SCALES.iter().find(|(name, _)| *name == w));
        let key = unit.map_or(key, |unit| SCALE | unit.1 << 32 | value << 8 | suffix);
        words += usize::from(unit.is_some());
        Some(Notation {
            keys: [Some(key), other],
            category: Category::Scale,
            words,
        })
    }

    /// The number of "rib 7", "segment VIII", "ribs 6 and 7".
    fn after_noun(&self, at: usize) -> Option<Notation> {
        let word = self.word(at)?;
        let is_digits = word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
        let value = if is_digits {
            word.parse().ok()
        } else {
            ROMANS.iter().position(|r| *r == word).map(|p| p as u64 + 1)
        }?;
        let mut before = at.checked_sub(1).filter(|_| self.is_near(at))?;
        let list = ["and", "to", "or", "through"];
        if list.contains(&self.word(before)?) && before >= 2 {
            before -= 2; // "ribs 6 and 7"
        } else if self.words[at].3 == Break::Hyphen
            && before >= 1
            && value_of(self.word(before)?).is_some()
        {
            before -= 1; // "ribs 6-8"
        }
        let is_unit = self
            .word(at + 1)
            .is_some_and(|w| matches!(w, "mm" | "cm" | "m" | "ml" | "percent" | "x"));
        let key = ordinal_key(u32::try_from(value).ok()?);
        (NUMBERED[2..].contains(&self.word(before)?) && !is_unit).then_some(Notation {
            keys: [Some(key), None],
            category: Category::Level,
            words: 1,
        })
    }

    /// "II期", "3级", "三型".
    fn chinese_scale(&self, at: usize) -> Option<Notation> {
        let next = self.word(at + 1).filter(|_| self.is_near(at + 1))?;
        let word = self.word(at)?;
        let is_letter = word.len() == 1 && (b'a'..=b'e').contains(&word.as_bytes()[0]);
        if is_letter && next == "型" && self.words[at + 1].3 == Break::Joined {
            let key = SCALE | 3 << 32 | u64::from(word.as_bytes()[0]);
            return Some(Notation {
                keys: [Some(key), None],
                category: Category::Scale,
                words: 2,
            }); // "A型"
        }
        let (value, mut suffix) = value_with_suffix(word)?;
        // "4a类" is three raw words
        let letter = next.as_bytes()[0];
        let has_letter = next.len() == 1 && (b'a'..=b'd').contains(&letter) && suffix == 0;
        let unit = if has_letter {
            suffix = u64::from(letter);
            self.word(at + 2)?
        } else {
            next
        };
        if unit == "段" && suffix == 0 && value > 0 {
            return Some(Notation {
                keys: [Some(ordinal_key(value as u32)), None],
                category: Category::Level,
                words: 2,
            });
        }
        let scale = CHINESE_SCALES.iter().find(|(name, _)| *name == unit)?.1;
        let key = SCALE | scale << 32 | value << 8 | suffix;
        Some(Notation {
            keys: [Some(key), None],
            category: Category::Scale,
            words: 2 + usize::from(has_letter),
        })
    }

    /// "2019-03-12", "12 March 2019", "March 12, 2019", "12.03.2019", "2019年3月12日".
    fn date(&self, at: usize) -> Option<Notation> {
        let (year, month, day, words) = self
            .numeric_date(at)
            .or_else(|| self.dotted_date(at))
            .or_else(|| self.worded_date(at))?;
        let is_date =
            (1900..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        let key = DATE | year << 16 | month << 8 | day;
        is_date.then_some(Notation {
            keys: [Some(key), None],
            category: Category::Other,
            words,
        })
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.word(at)?
            .trim_end_matches(char::is_alphabetic)
            .parse()
            .ok()
    }

    fn numeric_date(&self, at: usize) -> Option<(u64, u64, u64, usize)> {
        if self.word(at + 1)? == "年" {
            let is_date = self.word(at + 3)? == "月";
            let words = if matches!(self.word(at + 5), Some("日" | "号")) {
                6
            } else {
                5
            };
            return Some((
                self.number(at)?,
                self.number(at + 2)?,
                self.number(at + 4)?,
                words,
            ))
            .filter(|_| is_date);
        }
        let is_joined = |i: usize| {
            self.words
                .get(i)
                .is_some_and(|w| matches!(w.3, Break::Hyphen | Break::Slash))
        };
        if !is_joined(at + 1) || !is_joined(at + 2) {
            return None;
        }
        let (first, middle, last) = (self.number(at)?, self.number(at + 1)?, self.number(at + 2)?);
        match (first > 31, last > 31) {
            (true, _) => Some((first, middle, last, 3)),
            (_, true) if middle > 12 => Some((last, first, middle, 3)),
            (_, true) if first > 12 => Some((last, middle, first, 3)),
            _ => None,
        }
    }

    fn dotted_date(&self, at: usize) -> Option<(u64, u64, u64, usize)> {
        let mut parts = self.word(at)?.split('.').map(|p| p.parse::<u64>().ok());
        let (first, middle, last) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() {
            return None;
        }
        Some(if first > 31 {
            (first, middle, last, 1)
        } else {
            (last, middle, first, 1)
        })
    }

    fn worded_date(&self, at: usize) -> Option<(u64, u64, u64, usize)> {
        let month_at = |i: usize| {
            let word = self.word(i)?;
            let is_it = |m: &&&str| **m == word || word.len() == 3 && m.starts_with(word);
            MONTHS.iter().position(|m| is_it(&m)).map(|m| m as u64 + 1)
        };
        if let Some(month) = month_at(at) {
            return Some((self.number(at + 2)?, month, self.number(at + 1)?, 3));
        }
        let of = usize::from(self.word(at + 1)? == "of");
        Some((
            self.number(at + 2 + of)?,
            month_at(at + 1 + of)?,
            self.number(at)?,
            3 + of,
        ))
    }
}

/// Letters and the digits after them.
fn split_digits(word: &str) -> (&str, &str) {
    let letters = word.bytes().take_while(u8::is_ascii_lowercase).count();
    let (letters, digits) = word.split_at(letters);
    let is_number = digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
    (letters, if is_number { digits } else { "x" })
}

/// "l5s1", written together.
fn two_levels(word: &str) -> Option<(u64, u64)> {
    let (letters, _) = split_digits(word);
    let rest = &word[letters.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, second) = rest.split_at(digits);
    let (region, number) = (region_of_letters(letters)?, number.parse().ok()?);
    let (letters, digits) = split_digits(second);
    let (next_region, next) = (region_of_letters(letters)?, digits.parse().ok()?);
    (is_level(region, number) && is_level(next_region, next))
        .then(|| (level_key(region, number), level_key(next_region, next)))
}

fn region_of_letters(letters: &str) -> Option<u64> {
    Some(match letters {
        "c" => 1,
        "t" | "th" => 2,
        "l" => 3,
        "s" => 4,
        _ => return None,
    })
}

/// English words for the parts of the spine, and the letters of its levels.
const REGIONS: [&str; 5] = ["cervical", "thoracic", "dorsal", "lumbar", "sacral"];
const LEVEL_LETTERS: [&str; 5] = ["c", "t", "th", "l", "s"];

fn region_of_word(word: &str) -> Option<u64> {
    Some(match word {
        "cervical" | "颈" => 1,
        "thoracic" | "dorsal" | "胸" => 2,
        "lumbar" | "腰" => 3,
        "sacral" | "骶" => 4,
        _ => return None,
    })
}

const fn is_level(region: u64, number: u64) -> bool {
    number >= 1 && number <= [0, 7, 12, 5, 5][region as usize]
}

fn is_vertebra(word: &str) -> bool {
    matches!(
        word,
        "vertebra" | "vertebrae" | "vertebral" | "body" | "bodies" | "椎" | "体" | "spine"
    )
}

const fn level_key(region: u64, number: u64) -> u64 {
    LEVEL | region << 8 | number
}

fn ordinal_of(word: &str) -> Option<u64> {
    let is_ordinal = word.ends_with("th")
        || word.ends_with("rd")
        || word.ends_with("nd")
        || word.ends_with("st");
    if !is_ordinal {
        return None;
    }
    if let Some(position) = ORDINALS.iter().position(|o| *o == word) {
        return Some(position as u64 + 1);
    }
    let digits = word.trim_end_matches(char::is_alphabetic);
    digits.parse().ok().filter(|_| digits.len() < word.len())
}

fn value_of_han(word: &str) -> Option<u64> {
    CHINESE_NUMBERS
        .iter()
        .position(|n| *n == word)
        .map(|p| p as u64 + 1)
}

/// The value of a number in digits, words, Roman or Chinese, up to 12.
fn value_of(word: &str) -> Option<u64> {
    let position = |list: &[&str; 12]| list.iter().position(|n| *n == word).map(|p| p as u64 + 1);
    word.parse()
        .ok()
        .or_else(|| position(&NUMBERS))
        .or_else(|| position(&ROMANS))
        .or_else(|| value_of_han(word))
}

/// Letters that part a value: "3b", and Bosniak's "IIF".
const SUFFIXES: [char; 5] = ['a', 'b', 'c', 'd', 'f'];

const fn is_suffix(letter: u8) -> bool {
    matches!(letter, b'a'..=b'd' | b'f')
}

/// "3b" is 3 and b, "iia" 2 and a.
fn value_with_suffix(word: &str) -> Option<(u64, u64)> {
    if let Some(value) = value_of(word) {
        return Some((value, 0));
    }
    let last = word.bytes().last().filter(|b| is_suffix(*b))?;
    value_of(&word[..word.len() - 1]).map(|value| (value, u64::from(last)))
}
