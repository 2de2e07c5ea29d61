//! What was so at another time, or is what others thought: beside a claim about this case it is none.

use super::claims::{Kinds, Standing};
use super::lexicon::Category;
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::has_any;

/// Words that put a statement at another time.
const EARLIER: [&str; 12] = [
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
const EARLIER_PHRASES: [&str; 24] = [
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
];

/// What others thought.
const THOUGHT: [&str; 24] = [
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
    "had thought",
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
const ASKS_EARLIER: [&str; 26] = [
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

/// Whether the question leaves earlier things beside the point.
#[must_use]
pub fn asks_of_now(question: &Question) -> bool {
    !question.is_polar && !question.has(&ASKS_EARLIER)
}

impl Parsed {
    /// "An MRI was done last year. This is a CT.", "Some thought of X. It proved to be Y."
    ///
    /// Only where another statement names a thing of the same kind.
    pub(super) fn settle_earlier(&mut self, kinds: Kinds) {
        let statements: Vec<std::ops::Range<usize>> = self.statements().collect();
        let (earlier, others): (Vec<_>, Vec<_>) =
            statements.into_iter().partition(|r| self.is_earlier(r));
        for range in earlier {
            let is_rivalled = self.tokens[range.clone()].iter().any(|t| {
                names(t, kinds)
                    && others
                        .iter()
                        .flat_map(|o| &self.tokens[o.clone()])
                        .any(|o| names(o, kinds) && o.category == t.category && o.key != t.key)
            });
            if is_rivalled {
                self.set_aside(range, Standing::Conceded);
            }
        }
    }

    fn is_earlier(&self, range: &std::ops::Range<usize>) -> bool {
        let tokens = &self.tokens[range.clone()];
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return false;
        };
        let text = self.between(first.start as usize, last.end as usize);
        let says = |words: &[&str]| has_any(text, words);
        let is_marked = tokens.iter().any(|t| EARLIER.contains(&self.word(t)))
            || says(&EARLIER_PHRASES)
            || says(&THOUGHT);
        is_marked && !says(&UNTIL_NOW)
    }
}

fn names(token: &Token, kinds: Kinds) -> bool {
    token.is_stated()
        && kinds.has(token.category)
        && matches!(
            token.category,
            Category::Modality | Category::Plane | Category::Sequence | Category::Finding
        )
}
