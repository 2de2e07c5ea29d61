//! What was so at another time, or is what others thought: beside a claim about this case it is none.

use super::claims::{Kinds, Standing};
use super::clauses::Opener;
use super::lexicon::{Category, Role};
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::has_any;

/// Words that put a statement at another time.
pub(super) const EARLIER: [&str; 12] = [
    "yesterday",
    "previous",
    "previously",
    "prior",
    "earlier",
    "formerly",
    "ago",
    "before",
    "beforehand",
    "initially",
    "originally",
    "past",
];

/// The same in more than one word, and in Chinese.
const EARLIER_PHRASES: [&str; 34] = [
    "last spring",
    "last summer",
    "last autumn",
    "last fall",
    "last winter",
    "a year ago",
    "之前有",
    "之前无",
    "last year",
    "last month",
    "last week",
    "last time",
    "last visit",
    "used to",
    "去年",
    "上次",
    "上月",
    "上周",
    "昨天",
    "前次",
    "以前",
    "之前",
    "此前",
    "先前",
    "既往",
    "曾",
    "年前",
    "月前",
    "周前",
    "天前",
    "起初",
    "最初",
    "术前",
    "was born with",
];

/// What others thought.
const THOUGHT: [&str; 33] = [
    "some thought",
    "others thought",
    "was thought",
    "were thought",
    "was believed",
    "were believed",
    "was assumed",
    "was suspected",
    "were suspected",
    "first thought",
    "suspected a ",
    "suspected an ",
    "suspected the ",
    "had thought",
    "was considered",
    "were considered",
    "was suggested",
    "was discussed",
    "was proposed",
    "was recommended",
    "referring",
    "referrer",
    "outside report",
    "misdiagnos",
    "mistaken for",
    "有人认为",
    "有人说",
    "有人",
    "外院",
    "误诊",
    "误认",
    "初诊",
    "曾怀疑",
];

/// Words that tie an earlier state to now.
const UNTIL_NOW: [&str; 28] = [
    "now",
    "still",
    "again",
    "persist",
    "unchanged",
    "compar",
    "than",
    "since",
    "grown",
    "larger",
    "smaller",
    "progress",
    "increase",
    "decrease",
    "today",
    "remain",
    "as before",
    "because",
    "due to",
    "after",
    "仍",
    "相比",
    "较前",
    "与前",
    "变化",
    "增大",
    "缩小",
    "术后",
];

/// A question about another time, or about what was done.
const ASKS_EARLIER: [&str; 33] = [
    "previous",
    "prior",
    "earlier",
    "before",
    "history",
    "past",
    "ago",
    " did ",
    " had ",
    "was ",
    "were ",
    "initial",
    "first",
    "surgery",
    "operation",
    "procedure",
    "changed",
    "absent",
    "missing",
    "removed",
    "resected",
    "缺如",
    "切除",
    "术前",
    "既往",
    "病史",
    "以前",
    "之前",
    "过去",
    "曾",
    "最初",
    "手术",
    "前次",
];

/// What ties a statement to this case, beside one of another time.
const NOW: [&str; 17] = [
    "现有",
    "现见",
    "现可见",
    "now",
    "today",
    "currently",
    "at present",
    "this time",
    "new film",
    "current",
    "目前",
    "现在",
    "现已",
    "本次",
    "此次",
    "今",
    "术后病理",
];

/// Whether the question leaves earlier things beside the point.
#[must_use]
pub fn asks_of_now(question: &Question) -> bool {
    !question.is_polar && !question.has(&ASKS_EARLIER)
}

/// The same of a question for yes or no.
#[must_use]
pub fn asks_state(question: &Question) -> bool {
    !question.proposition.asks_change && !question.has(&ASKS_EARLIER)
}

/// Who is not the patient.
const RELATIVES: [&str; 27] = [
    "其母",
    "其父",
    "其妻",
    "其夫",
    "其子",
    "其女",
    "其兄",
    "其弟",
    "其姐",
    "其妹",
    "his father",
    "her father",
    "his mother",
    "her mother",
    "his brother",
    "her brother",
    "his sister",
    "her sister",
    "his son",
    "her son",
    "his wife",
    "her husband",
    "the relatives",
    "family member",
    "家属",
    "父亲",
    "母亲",
];

/// Whether the question is about the patient, not the family.
#[must_use]
pub fn asks_of_patient(question: &Question) -> bool {
    !question.has(&RELATIVES)
        && !question.has(&[
            "family", "father", "mother", "parent", "sibling", "relative", "家",
        ])
}

/// The statements of an answer by what time they tell of.
struct Times {
    earlier: Vec<std::ops::Range<usize>>,
    others: Vec<std::ops::Range<usize>>,
    /// Whether one of the others names something and says that it is so now.
    told_now: bool,
}

impl Parsed {
    /// "His father has diabetes": of another person.
    pub(super) fn settle_relatives(&mut self) {
        let statements: Vec<std::ops::Range<usize>> = self.statements().collect();
        for range in statements {
            if self.says(&range, &RELATIVES) {
                self.set_aside(range, Standing::Beside);
            }
        }
    }

    /// "An MRI was done last year. This is a CT.", "Some thought of X. It proved to be Y."
    ///
    /// Only where another statement names a thing of the same kind.
    pub(super) fn settle_earlier(&mut self, kinds: Kinds) {
        let Times {
            earlier,
            others,
            told_now,
        } = self.times();
        for range in earlier {
            let is_rivalled = self.tokens[range.clone()].iter().any(|t| {
                names(t, kinds)
                    && others
                        .iter()
                        .flat_map(|o| &self.tokens[o.clone()])
                        .any(|o| names(o, kinds) && o.category == t.category && o.key != t.key)
            });
            if is_rivalled || told_now {
                self.set_aside(range, Standing::Conceded);
            }
        }
    }

    /// Whether a run of tokens tells of another time, where another tells of now.
    pub(super) fn is_of_then(&self, range: &std::ops::Range<usize>) -> bool {
        !self.says(range, &NOW) && self.is_earlier(range)
    }

    /// Whether a run of tokens tells of now.
    pub(super) fn is_of_now(&self, range: &std::ops::Range<usize>) -> bool {
        self.says(range, &NOW)
    }

    /// The same where a yes or no is asked: "the trachea was deviated last year, but it is midline now".
    pub(super) fn settle_earlier_state(&mut self) {
        let Times {
            earlier,
            others,
            told_now,
        } = self.times();
        for range in earlier {
            let is_told_otherwise = |o: &std::ops::Range<usize>| {
                let segment = &self.segments[self.tokens[o.start].segment as usize];
                segment.opener == Opener::Contrast
                    && o.start >= range.end
                    && self.tokens[o.clone()]
                        .iter()
                        .any(|t| t.is_stated() && t.category == Category::Finding)
            };
            if told_now || self.says(&range, &THOUGHT) && others.iter().any(is_told_otherwise) {
                self.set_aside(range, Standing::Conceded);
            }
        }
    }

    fn times(&self) -> Times {
        let (earlier, others): (Vec<_>, Vec<_>) =
            self.statements().partition(|r| self.is_earlier(r));
        let told_now = !earlier.is_empty()
            && others
                .iter()
                .any(|r| self.says(r, &NOW) && self.names_thing(r));
        Times {
            earlier,
            others,
            told_now,
        }
    }

    fn names_thing(&self, range: &std::ops::Range<usize>) -> bool {
        self.tokens[range.clone()]
            .iter()
            .any(|t| t.is_content() || t.role == Role::Number)
    }

    /// Whether the words of a run of tokens have one of these.
    pub(super) fn says(&self, range: &std::ops::Range<usize>, words: &[&str]) -> bool {
        let tokens = &self.tokens[range.clone()];
        tokens
            .first()
            .zip(tokens.last())
            .is_some_and(|(first, last)| {
                has_any(self.between(first.start as usize, last.end as usize), words)
            })
    }

    fn is_earlier(&self, range: &std::ops::Range<usize>) -> bool {
        let tokens = &self.tokens[range.clone()];
        let is_marked = tokens.iter().any(|t| EARLIER.contains(&self.word(t)))
            || self.says(range, &EARLIER_PHRASES)
            || self.says(range, &THOUGHT);
        is_marked && !self.says(range, &UNTIL_NOW)
    }
}

fn names(token: &Token, kinds: Kinds) -> bool {
    token.is_stated()
        && kinds.has(token.category)
        && matches!(
            token.category,
            Category::Modality
                | Category::Plane
                | Category::Sequence
                | Category::Finding
                | Category::Side
                | Category::Organ
                | Category::Level
        )
}
