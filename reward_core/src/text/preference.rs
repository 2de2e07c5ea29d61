//! What is preferred, where that is asked: "Y is an option, but X remains first choice" answers X.

use super::claims::Standing;
use super::clauses::Opener;
use super::lexicon::Category;
use super::question::Question;
use super::tokens::{Parsed, Token};

/// What is called the first of several.
const FIRST: [&str; 17] = [
    "first-line",
    "first line",
    "first choice",
    "first-choice",
    "of choice",
    "preferred",
    "gold standard",
    "gold-standard",
    "standard of care",
    "mainstay",
    "best choice",
    "best test",
    "首选",
    "一线",
    "最佳",
    "金标准",
    "优先",
];

/// What is called another than the first.
const OTHER: [&str; 26] = [
    "second-line",
    "used to be",
    "formerly",
    "was once",
    "no longer",
    "曾是",
    "second line",
    "second choice",
    "third-line",
    "alternative",
    "an option",
    "fallback",
    "reserved for",
    "reserve drug",
    "adjunct",
    "only if ",
    "替代",
    "备选",
    "二线",
    "次选",
    "其次",
    "也可",
    "可用",
    "可选",
    "改用",
    "辅助",
];

/// Whether the question asks for the first of several.
#[must_use]
pub fn asks_first(question: &Question) -> bool {
    let text = &question.parsed.text;
    let may_ask = [
        "first",
        "choice",
        "preferred",
        "gold",
        "standard of",
        "mainstay",
        "best ",
    ]
    .iter()
    .any(|w| text.contains(w))
        || !text.is_ascii();
    !question.is_polar
        && may_ask
        && (question.has(&FIRST) || question.has(&["best "]))
        && !question.has(&OTHER)
}

/// What is said to come after the first.
const LATER: [&str; 22] = [
    "comes second",
    "come second",
    "comes third",
    "is second",
    "is third",
    "ranks second",
    "ranks third",
    "ranked second",
    "ranked third",
    "second place",
    "third place",
    "runner-up",
    "in second",
    "in third",
    "second most",
    "third most",
    "居第二",
    "居第三",
    "排第二",
    "排第三",
    "第二位",
    "次之",
];

/// What is said to be the first.
const LEADING: [&str; 16] = [
    "first place",
    "comes first",
    "ranks first",
    "ranked first",
    "is first",
    "tops the list",
    "leads the list",
    "at the top",
    "takes the lead",
    "heads the list",
    "number one",
    "居首",
    "第一位",
    "居第一",
    "排第一",
    "首位",
];

impl Parsed {
    /// "The aortic valve comes second. First place goes to the mitral valve." where the most common is asked.
    pub(super) fn settle_rank(&mut self) {
        self.settle_least();
        let clauses: Vec<std::ops::Range<usize>> = self.statements().collect();
        if clauses.len() < 2 {
            return;
        }
        for range in clauses {
            let (leads, is_later) = (self.says(&range, &LEADING), self.says(&range, &LATER));
            if is_later && !leads {
                self.set_aside(range, Standing::Contrast);
            } else if leads && !is_later {
                for at in range {
                    self.tokens[at].is_aside = false;
                    self.segments[self.tokens[at].segment as usize].standing = Standing::Stands;
                }
            }
        }
    }
}

impl Parsed {
    /// "Fibrosis is less in the upper zones than in the lower ones": the others have the most of it.
    fn settle_least(&mut self) {
        for index in 1..self.segments.len() {
            let (least, other) = (self.segments[index - 1], self.segments[index]);
            let is_less = self.of(&least).iter().any(|t| {
                t.is_stated()
                    && matches!(
                        self.word(t),
                        "less"
                            | "lesser"
                            | "fewer"
                            | "milder"
                            | "smaller"
                            | "lower"
                            | "weaker"
                            | "rarer"
                    )
            });
            let is_compared = other.opener == Opener::Than && other.sentence == least.sentence;
            if is_less && is_compared {
                self.set_aside(least.first as usize..least.end as usize, Standing::Contrast);
                for at in other.first..other.end {
                    self.tokens[at as usize].is_aside = false;
                }
            }
        }
    }

    /// Where one clause names the first choice, the others name none; what is called an alternative is none either.
    pub(super) fn settle_preference(&mut self, question: &Question) {
        let clauses: Vec<std::ops::Range<usize>> = self.statements().collect();
        let says = |range: &std::ops::Range<usize>, words: &[&str]| self.says(range, words);
        let names = |t: &Token| {
            t.is_stated()
                && !question.names(t)
                && matches!(
                    t.category,
                    Category::Finding
                        | Category::Unknown
                        | Category::Other
                        | Category::Modality
                        | Category::Sequence
                )
        };
        let is_first = |range: &std::ops::Range<usize>| {
            says(range, &FIRST)
                && !says(range, &OTHER)
                && self.tokens[range.clone()]
                    .iter()
                    .any(|t| names(t) && !FIRST.iter().any(|f| f.contains(self.word(t))))
        };
        let chosen: Vec<bool> = clauses.iter().map(is_first).collect();
        let has_first = chosen.contains(&true);
        let aside: Vec<std::ops::Range<usize>> = clauses
            .into_iter()
            .zip(chosen)
            .filter(|(range, is_chosen)| !is_chosen && (has_first || says(range, &OTHER)))
            .map(|(range, _)| range)
            .collect();
        for range in aside {
            self.set_aside(range, Standing::Contrast);
        }
        if !self.text.is_ascii() {
            self.set_aside_before_first();
        }
    }

    /// "青霉素过敏者首选红霉素": what stands before is the case, what follows the choice.
    fn set_aside_before_first(&mut self) {
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let (first, end) = (segment.first as usize, segment.end as usize);
            let text = self.between(
                self.tokens[first].start as usize,
                self.tokens[end - 1].end as usize,
            );
            let Some(place) = text.find("首选") else {
                continue;
            };
            let place = self.tokens[first].start as usize + place;
            let at =
                first + self.tokens[first..end].partition_point(|t| (t.start as usize) < place);
            let names = |t: &Token| {
                t.is_stated()
                    && t.start as usize >= place + "首选".len()
                    && t.category != Category::Attribute
            };
            if self.tokens[at..end].iter().any(names) && at > first {
                for token in &mut self.tokens[first..at] {
                    token.is_aside = true;
                }
            }
        }
    }

    /// Token ranges of the statements: a contrast, a semicolon or a verb of its own begins another one.
    pub(super) fn statements(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let begins = |index: usize| {
            let segment = &self.segments[index];
            let before = &self.segments[index - 1];
            segment.sentence != before.sentence
                || matches!(segment.opener, Opener::Contrast | Opener::Start)
                || segment.has_verb && before.has_verb
                || !self.text.is_ascii()
        };
        let mut first = 0;
        std::iter::from_fn(move || {
            while first < self.segments.len() {
                let start = first;
                first += 1;
                while first < self.segments.len() && !begins(first) {
                    first += 1;
                }
                let range =
                    self.segments[start].first as usize..self.segments[first - 1].end as usize;
                if !range.is_empty() {
                    return Some(range);
                }
            }
            None
        })
    }
}
