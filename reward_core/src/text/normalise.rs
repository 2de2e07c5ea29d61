//! One spelling for texts that a reader takes for the same: width, case, accents, traditional characters.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use unicode_normalization::UnicodeNormalization;

/// Pairs of a traditional and a simplified character, one pair a line.
///
/// Source: `OpenCC` 1.1 `TSCharacters.txt` (Apache-2.0), first target of each entry.
const TRADITIONAL: &str = include_str!("../../data/traditional_simplified.txt");

fn simplified() -> &'static FxHashMap<char, char> {
    static TABLE: OnceLock<FxHashMap<char, char>> = OnceLock::new();
    TABLE.get_or_init(|| {
        TRADITIONAL
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut chars = line.chars();
                Some((chars.next()?, chars.next()?))
            })
            .collect()
    })
}

/// Writes the normal form of `text` into `out`, which is cleared first.
///
/// NFKC (full-width and compatibility forms), lower case, accents of Latin letters dropped, traditional
/// Chinese characters made simplified, typographic quotes and dashes made plain, invisible characters dropped.
///
/// ```
/// let mut out = String::new();
/// _reward_core::text::normalise::normalise("Ménière　ＣＴ　左側", &mut out);
/// assert_eq!(out, "meniere ct 左侧");
/// ```
pub fn normalise(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
        return;
    }
    out.reserve(text.len());
    let table = simplified();
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character.to_ascii_lowercase());
        } else if is_plain_han(character) {
            out.push(*table.get(&character).unwrap_or(&character));
        } else {
            push_other(character, table, out);
        }
    }
}

fn push_other(character: char, table: &FxHashMap<char, char>, out: &mut String) {
    for part in std::iter::once(character).nfkd() {
        match part {
            '\u{300}'..='\u{36f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'
            | '\u{feff}'
            | '\u{ad}' => {}
            '\u{2018}' | '\u{2019}' | '\u{2032}' => out.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{2033}' => out.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => out.push('-'),
            _ if is_plain_han(part) => out.push(*table.get(&part).unwrap_or(&part)),
            _ => match greek(part) {
                Some(name) => push_greek(name, out),
                None => out.extend(part.to_lowercase()),
            },
        }
    }
}

/// Name of a Greek letter that names cells, chains and waves; the micro sign stays what it is.
const fn greek(character: char) -> Option<&'static str> {
    Some(match character {
        'α' | 'Α' => "alpha",
        'β' | 'Β' => "beta",
        'γ' | 'Γ' => "gamma",
        'δ' | 'Δ' => "delta",
        'κ' | 'Κ' => "kappa",
        'λ' | 'Λ' => "lambda",
        _ => return None,
    })
}

/// A letter after other letters is parted from them: `tnf-alpha`.
fn push_greek(name: &str, out: &mut String) {
    if out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        out.push('-');
    }
    out.push_str(name);
}

/// Whether the character is a common Chinese one that has no compatibility form.
#[must_use]
pub const fn is_plain_han(character: char) -> bool {
    matches!(character, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}
