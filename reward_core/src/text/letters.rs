//! The words around option letters, and what each does there (`data/letter_words.toml`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

const LETTER_WORDS: &str = include_str!("../../data/letter_words.toml");

/// What a word can do beside a letter; the lists of the file, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Does {
    DeniesBefore,
    DeniesAfter,
    No,
    NoEnds,
    Leads,
    Calls,
    Lettered,
    Connectives,
    Predicates,
    Follows,
    Borders,
    Concludes,
    Best,
    False,
    Considered,
    HedgesBefore,
    HedgesAfter,
    Others,
    All,
    Less,
    Than,
    Also,
}

/// Names of the lists in the file, in the order of `Does`.
const LISTS: [&str; 22] = [
    "denies_before",
    "denies_after",
    "no",
    "no_ends",
    "leads",
    "calls",
    "lettered",
    "connectives",
    "predicates",
    "follows",
    "borders",
    "concludes",
    "best",
    "false",
    "considered",
    "hedges_before",
    "hedges_after",
    "others",
    "all",
    "less",
    "than",
    "also",
];

/// Word -> what it does, one bit each.
fn lists() -> &'static FxHashMap<String, u32> {
    static WORDS: OnceLock<FxHashMap<String, u32>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let file: BTreeMap<String, Vec<String>> =
            toml::from_str(LETTER_WORDS).expect("letter_words.toml is part of the build");
        let mut words: FxHashMap<String, u32> = FxHashMap::default();
        for (index, list) in LISTS.iter().enumerate() {
            for word in &file[*list] {
                *words.entry(word.clone()).or_default() |= 1 << index;
            }
        }
        words
    })
}

/// What the word does beside a letter, a bit for each of `Does`. A letter itself does nothing.
fn roles_of(text: &str) -> u32 {
    let is_letter = text.len() == 1 && text.as_bytes()[0].is_ascii_uppercase() && text != "I";
    if is_letter || text.len() > 24 {
        return 0;
    }
    let is_lower = text.bytes().all(|b| b.is_ascii_lowercase());
    let folded = if is_lower {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase().replace('’', "'"))
    };
    let is_contraction = folded.len() > 3 && folded.ends_with("n't");
    let of_contraction = (1 << Does::DeniesBefore as u32) | (1 << Does::DeniesAfter as u32);
    let known = lists().get(folded.as_ref()).copied().unwrap_or(0);
    if is_contraction {
        known | of_contraction
    } else {
        known
    }
}

/// What stands before a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    #[default]
    Joined,
    Blank,
    Clause,
    Sentence,
}

/// A word of an answer, upper and lower case kept.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct Word<'a> {
    pub text: &'a str,
    /// What it does beside a letter: `does`.
    roles: u32,
    pub before: Stop,
    /// A bracket opens before it.
    pub is_bracketed: bool,
    /// A bracket closes after it.
    pub is_closed: bool,
    /// A bracket, full stop or colon follows at once.
    pub is_marked: bool,
    pub is_after_dash: bool,
    /// A question mark follows at once.
    pub asks: bool,
    /// A colon stands before it.
    pub is_after_colon: bool,
}

impl Word<'_> {
    /// Whether the word does this beside a letter.
    pub fn does(&self, what: Does) -> bool {
        self.roles >> what as u32 & 1 == 1
    }

    /// Whether it does anything.
    pub fn is_known(&self) -> bool {
        self.roles != 0
    }

    /// Whether it is of a script without blanks or capitals, so that a Latin letter before it stands alone.
    pub fn is_of_other_script(&self) -> bool {
        self.text.starts_with(stands_alone) || self.text.starts_with(is_hangul)
    }
}

/// A character that is a word of its own.
fn stands_alone(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{a4cf}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..)
}

fn is_hangul(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}')
}

/// Words of the text; each character of Chinese and Japanese is one, and so is a run of Korean.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut found: Vec<Word<'_>> = Vec::new();
    let (mut before, mut is_bracketed, mut is_after_dash) = (Stop::Sentence, false, false);
    let mut is_after_colon = false;
    let mut chars = text.char_indices().peekable();
    while let Some((start, character)) = chars.next() {
        if !character.is_alphanumeric() {
            let is_close = matches!(
                character,
                ')' | ']' | '）' | '】' | '}' | '>' | '」' | '』' | '》' | '»'
            );
            if let Some(last) = found.last_mut().filter(|_| before == Stop::Joined) {
                last.is_marked |= is_close
                    || matches!(
                        character,
                        '.' | ':'
                            | '、'
                            | ','
                            | ';'
                            | '。'
                            | '，'
                            | '；'
                            | '：'
                            | '!'
                            | '*'
                            | '"'
                            | '?'
                    );
                last.is_closed |= is_close;
                last.asks |= matches!(character, '?' | '？');
            }
            is_bracketed |= matches!(
                character,
                '(' | '[' | '（' | '【' | '{' | '<' | '「' | '『' | '《' | '«'
            );
            is_after_colon |= matches!(character, ':' | '：');
            is_after_dash |= matches!(character, '-' | '—' | '–');
            before = before.max(match character {
                '.' | '!' | '?' | '。' | '！' | '？' | '\n' | ';' | '；' => Stop::Sentence,
                ',' | '，' | '、' | '—' | '–' | '(' | '（' | '>' | '*' | '"' | '#' | '|' => {
                    Stop::Clause
                }
                '\'' | '’' | '-' => before,
                _ => Stop::Blank,
            });
            if matches!(character, '-') && chars.peek().is_some_and(|c| c.1 == ' ') {
                before = before.max(Stop::Clause);
            }
            continue;
        }
        let is_korean = is_hangul(character);
        let is_word = |c: char| {
            c.is_alphanumeric() && !stands_alone(c) && is_hangul(c) == is_korean
                || c == '\''
                || c == '’'
        };
        let is_quote = |c: char| c == '\'' || c == '’';
        let mut end = start + character.len_utf8();
        if !stands_alone(character) {
            while let Some(&(at, c)) = chars.peek().filter(|(_, c)| is_word(*c)) {
                end = at + c.len_utf8();
                chars.next();
            }
            if text[..end].ends_with(is_quote) && !text[end..].starts_with(char::is_alphanumeric) {
                end -= text[..end].chars().next_back().map_or(0, char::len_utf8);
            }
            // "B-cell", "X-ray" are no letters
            let rest = &text[end..];
            if rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
                while let Some(&(at, c)) = chars.peek().filter(|(_, c)| is_word(*c) || *c == '-') {
                    end = at + c.len_utf8();
                    chars.next();
                }
            }
        }
        let word = Word {
            text: &text[start..end],
            roles: roles_of(&text[start..end]),
            before,
            is_bracketed,
            is_closed: false,
            is_marked: false,
            is_after_dash,
            asks: false,
            is_after_colon,
        };
        found.push(word);
        (before, is_bracketed, is_after_dash) = (Stop::Joined, false, false);
        is_after_colon = false;
    }
    found
}
