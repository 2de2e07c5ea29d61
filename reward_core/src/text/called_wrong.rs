//! "To call it normal would be wrong", 说正常是不对的: what is said there is denied.

use super::lexicon::Role;
use super::tokens::{Hints, Parsed, Token};
use super::words::Break;

/// Words at the head of a sentence that are looked at for one that opens what is said.
const LONGEST_LEAD: usize = 4;

/// What calls a statement wrong by itself.
fn is_wrong(word: &str) -> bool {
    matches!(
        word,
        "wrong"
            | "incorrect"
            | "false"
            | "untrue"
            | "mistake"
            | "mistaken"
            | "misleading"
            | "inaccurate"
            | "error"
            | "erroneous"
    )
}

/// What does so where it is denied.
fn is_right(word: &str) -> bool {
    matches!(
        word,
        "right" | "correct" | "true" | "accurate" | "justified" | "tenable"
    )
}

/// Opens what someone says.
fn is_saying(word: &str) -> bool {
    matches!(
        word,
        "say"
            | "saying"
            | "call"
            | "calling"
            | "claim"
            | "claiming"
            | "statement"
            | "assertion"
            | "notion"
            | "idea"
            | "suggestion"
            | "assumption"
            | "conclusion"
            | "speak"
            | "speaking"
            | "talk"
            | "talking"
            | "label"
            | "labeling"
            | "labelling"
            | "describe"
            | "describing"
            | "diagnose"
            | "diagnosing"
            | "assume"
            | "assuming"
            | "assert"
            | "asserting"
            | "conclude"
            | "concluding"
            | "state"
            | "stating"
            | "think"
            | "thinking"
            | "regard"
            | "regarding"
    )
}

/// The same in Chinese, where it opens a sentence; the longest first.
const SAYINGS: [&str; 14] = [
    "判断为",
    "判定为",
    "诊断为",
    "认定为",
    "描述为",
    "称其为",
    "说成",
    "说是",
    "认为",
    "称为",
    "以为",
    "声称",
    "说",
    "称",
];

/// What calls it wrong in Chinese, where it ends a clause.
const WRONG: [&str; 13] = [
    "不对",
    "错误",
    "错的",
    "有误",
    "不正确",
    "不准确",
    "不恰当",
    "不妥",
    "不成立",
    "不合适",
    "不属实",
    "不符合事实",
    "不合理",
];

impl Parsed {
    /// Makes a denial of the words that call a statement wrong, before or behind it.
    pub(super) fn read_called_wrong(&mut self) {
        if !self.hints.has(Hints::WRONG) {
            return;
        }
        if !self.text.is_ascii() {
            self.read_called_wrong_in_chinese();
        }
        let mut head = 0; // where the sentence begins
        for at in 0..self.tokens.len() {
            if self.tokens[at].sentence != self.tokens[head].sentence {
                head = at;
            }
            let word = self.word(&self.tokens[at]);
            if is_wrong(word) || is_right(word) {
                let is_wrong = is_wrong(word);
                if !self.denies_what_follows(at, is_wrong) {
                    self.deny_what_precedes(head, at, is_wrong);
                }
            }
        }
    }

    /// 说正常是不对的.
    fn read_called_wrong_in_chinese(&mut self) {
        let mut first = 0;
        while first < self.tokens.len() {
            let is_end = |t: &Token| t.before >= Break::Comma;
            let end = self.tokens[first + 1..]
                .iter()
                .position(is_end)
                .map_or(self.tokens.len(), |n| first + 1 + n);
            self.deny_chinese_clause(first, end);
            first = end;
        }
    }

    fn deny_chinese_clause(&mut self, first: usize, end: usize) {
        let (from, to) = (
            self.tokens[first].start as usize,
            self.tokens[end - 1].end as usize,
        );
        let text = self.between(from, to);
        let Some(saying) = SAYINGS.iter().find(|s| text.starts_with(**s)) else {
            return;
        };
        let said = text.trim_end_matches('的');
        let Some(wrong) = WRONG
            .iter()
            .find(|w| said.ends_with(w.trim_end_matches('的')))
        else {
            return;
        };
        let rest = &said[..said.len() - wrong.trim_end_matches('的').len()];
        let link = [
            "并非是",
            "并非",
            "不是",
            "显然是",
            "完全是",
            "并",
            "是",
            "显然",
            "完全",
            "都是",
            "则",
        ]
        .iter()
        .find(|l| rest.ends_with(**l));
        let Some(link) = link else { return };
        let (opens, closes) = (from + saying.len(), from + rest.len() - link.len());
        if closes <= opens {
            return;
        }
        let is_denied = !matches!(*link, "并非是" | "并非" | "不是");
        for at in first..end {
            let token = &mut self.tokens[at];
            if (token.start as usize) < opens || token.start as usize >= closes {
                token.role = Role::Filler;
            }
        }
        if is_denied {
            self.tokens[first].role = Role::Negation;
        }
    }

    /// "A mistake to speak of pneumonia".
    fn denies_what_follows(&mut self, at: usize, is_wrong: bool) -> bool {
        let next = |n: usize| self.tokens.get(at + n).map_or("", |t| self.word(t));
        if next(1) != "to" || !is_saying(next(2)) {
            return false;
        }
        if is_wrong {
            self.tokens[at].role = Role::Negation;
        } else {
            self.tokens[at].role = Role::Filler; // "not right to": the "not" denies
        }
        self.tokens[at + 2].role = Role::Filler;
        true
    }

    /// "Saying that there is a fracture would be wrong".
    fn deny_what_precedes(&mut self, head: usize, at: usize, is_wrong: bool) {
        let opens = |i: &usize| is_saying(self.word(&self.tokens[*i]));
        let Some(opener) = (head..at.min(head + LONGEST_LEAD)).find(opens) else {
            return;
        };
        let is_link = |i: &usize| {
            let token = &self.tokens[*i];
            matches!(
                token.role,
                Role::Verb
                    | Role::Filler
                    | Role::Determiner
                    | Role::Condition
                    | Role::Negation
                    | Role::No
                    | Role::Assent
            ) || token.role == Role::Affirm && !self.word(token).is_ascii()
                || matches!(
                    self.word(token),
                    "simply" | "clearly" | "completely" | "definitely" | "plain" | "outright"
                )
        };
        let links = (opener + 1..at).rev().take_while(is_link).count();
        let ending = at - links..at;
        let says = |words: &[&str]| {
            ending
                .clone()
                .any(|i| words.iter().any(|w| self.word(&self.tokens[i]).contains(w)))
        };
        let denials = ending
            .clone()
            .filter(|&i| matches!(self.tokens[i].role, Role::Negation | Role::No))
            .count();
        let is_told = says(&["is", "was", "be", "是", "不", "并", "非", "seems", "属"]);
        if !is_told || ending.start <= opener + 1 && ending.end - ending.start < links {
            return;
        }
        let denies = is_wrong == (denials % 2 == 0);
        if denies {
            self.tokens[opener].role = Role::Negation;
        } else if is_wrong {
            self.tokens[opener].role = Role::Filler;
        } else {
            return;
        }
        for index in ending.start..=at {
            self.tokens[index].role = Role::Filler;
        }
    }
}
