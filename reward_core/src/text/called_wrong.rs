//! "To call it normal would be wrong", 说正常是不对的: what is said there is denied.

use super::lexicon::Role;
use super::tokens::{Hints, Parsed};

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
            | "错误"
            | "不对"
            | "错"
            | "有误"
            | "误"
            | "不妥"
    )
}

/// What does so where it is denied.
fn is_right(word: &str) -> bool {
    matches!(
        word,
        "right"
            | "correct"
            | "true"
            | "accurate"
            | "justified"
            | "tenable"
            | "正确"
            | "准确"
            | "对"
            | "恰当"
            | "妥当"
            | "成立"
            | "合适"
            | "属实"
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
            | "说"
            | "说是"
            | "说成"
            | "认为"
            | "称"
            | "称为"
            | "称其为"
            | "判断"
            | "判断为"
            | "判定"
            | "判定为"
            | "诊断为"
            | "诊断"
            | "觉得"
            | "以为"
            | "声称"
            | "断言"
            | "考虑为"
            | "认定"
            | "认定为"
            | "描述为"
    )
}

impl Parsed {
    /// Makes a denial of the words that call a statement wrong, before or behind it.
    pub(super) fn read_called_wrong(&mut self) {
        if !self.hints.has(Hints::WRONG) {
            return;
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
