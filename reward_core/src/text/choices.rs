//! Multiple choice: option letters and option texts.

use super::tokens::Parsed;

/// The options of one question.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Letter (upper case) and text of each option, in order.
    pub items: Vec<(char, Parsed)>,
}

impl Options {
    /// Options from letters and texts.
    #[must_use]
    pub fn new<S: AsRef<str>>(items: &[(char, S)]) -> Self {
        Self {
            items: items
                .iter()
                .map(|(c, t)| (c.to_ascii_uppercase(), Parsed::new(t.as_ref())))
                .collect(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Position of the option with this letter.
    #[must_use]
    pub fn position(&self, letter: char) -> Option<usize> {
        self.items.iter().position(|(c, _)| *c == letter)
    }

    /// Options written into a question: "… A) X-ray, B) MRI, C) CT".
    #[must_use]
    pub fn in_question(question: &str) -> Self {
        let mut marks: Vec<(usize, usize, char)> = Vec::new();
        let bytes = question.as_bytes();
        for at in 0..bytes.len() {
            let letter = bytes[at];
            let expected = b'A' + marks.len() as u8;
            let is_bounded = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
            if letter != expected || !is_bounded {
                continue;
            }
            let tail = &question[at + 1..];
            let mark = [")", ".", ":", "、", "．", "：", "）"]
                .iter()
                .find(|m| tail.starts_with(**m));
            if let Some(mark) = mark {
                marks.push((at, at + 1 + mark.len(), letter as char));
            }
        }
        if marks.len() < 2 {
            return Self::default();
        }
        let items: Vec<(char, String)> = marks
            .iter()
            .enumerate()
            .map(|(i, &(_, start, letter))| {
                let end = marks.get(i + 1).map_or(question.len(), |next| next.0);
                let text = question[start..end].trim_matches(|c: char| {
                    c.is_whitespace() || matches!(c, ',' | ';' | '(' | '，' | '；')
                });
                (letter, text.to_string())
            })
            .collect();
        Self::new(&items)
    }

    /// Letters that an answer names, sorted; empty where it names none.
    ///
    /// A letter counts alone ("B"), marked ("B)", "(B)", "B.", "B:"), or after "answer", "option", "选", "答案是".
    #[must_use]
    pub fn letters_in(&self, answer: &str) -> Vec<usize> {
        let answer: String = answer.chars().map(wide_to_plain).collect();
        let chars: Vec<char> = answer.trim().chars().collect();
        let mut found = Vec::new();
        for (at, &character) in chars.iter().enumerate() {
            let Some(option) = self.position(character.to_ascii_uppercase()) else {
                continue;
            };
            let before = at.checked_sub(1).map(|i| chars[i]);
            let after = chars.get(at + 1).copied();
            let is_word = |c: Option<char>| {
                c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '\'' || c == '-')
            };
            if is_word(before) || is_word(after) {
                continue;
            }
            let is_mark = |c: &&char| c.is_whitespace() || "(:：*\"'[\\{（".contains(**c);
            let marks = chars[..at].iter().rev().take_while(is_mark).count();
            let lead = &chars[..at - marks];
            let lead = &lead[lead.len().saturating_sub(LONGEST_LEAD)..];
            let lead = lead.iter().collect::<String>().to_lowercase();
            let is_opened = lead.is_empty() || lead.ends_with(['.', '!', '?', '。', '\n']);
            let is_called = [
                "answer",
                "answer is",
                "option",
                "choice",
                "选",
                "选项",
                "选择",
                "答案",
                "答案是",
                "答案为",
                "应选",
                "故选",
                "boxed",
                "和",
                "and",
                ",",
                "、",
                "，",
                "&",
                "is",
            ]
            .iter()
            .any(|w| lead.ends_with(w));
            let is_marked = after.is_none_or(|c| ").:、,;]}*，。；\n".contains(c))
                || (after.is_some_and(char::is_whitespace) && is_closed_after(&chars[at + 1..]))
                || after.is_some_and(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
            let is_upper = character.is_ascii_uppercase() || chars.len() <= 3;
            if is_upper && is_marked && (is_opened || is_called) {
                found.push(option);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Characters that are looked at beside a letter.
const LONGEST_LEAD: usize = 16;

/// After blanks comes "and"/"or" with another letter, or nothing more.
fn is_closed_after(rest: &[char]) -> bool {
    let blanks = rest.iter().take_while(|c| c.is_whitespace()).count();
    let rest: String = rest[blanks..].iter().take(LONGEST_LEAD).collect();
    let rest = rest.to_lowercase();
    rest.is_empty()
        || rest.starts_with("and ")
        || rest.starts_with("or ")
        || rest.starts_with("is ")
        || rest.starts_with('-')
        || rest.starts_with("和")
}

fn wide_to_plain(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        other => other,
    }
}
