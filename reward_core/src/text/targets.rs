//! What a reference asks of an answer.

use super::choices::Options;
use super::clauses::Opener;
use super::lexicon::{Category, Role};
use super::numbers::{is_times, quantities, Quantity};
use super::polarity::{is_bare, polarity, Polarity};
use super::question::{is_normal, Question};
use super::relations::{are_opposite, entails, lies_under};
use super::tokens::{Parsed, Token};
use super::words::word_key;

/// What an answer must say to match a reference.
#[derive(Clone, Debug)]
pub enum Target {
    /// Yes or no.
    YesNo(bool),
    /// Amounts and nothing else.
    Quantities(Vec<Quantity>),
    /// Options, by position.
    Choice(Vec<usize>),
    /// Words.
    Text(TextTarget),
}

/// Reads the reference `raw` (as `parsed`) in the light of its question and options.
#[must_use]
pub fn target_of(
    raw: &str,
    parsed: &Parsed,
    question: Option<&Question>,
    options: &Options,
) -> Target {
    if !options.is_empty() {
        let letters = options.letters_in(raw).options;
        if !letters.is_empty() {
            return Target::Choice(letters);
        }
        let same: Vec<usize> = (0..options.items.len())
            .filter(|&i| is_same(parsed, &options.items[i].1))
            .collect();
        if !same.is_empty() {
            return Target::Choice(same);
        }
    }
    let has_answer_word = parsed
        .tokens
        .first()
        .is_some_and(|t| t.role == Role::Yes || t.is_answer_no());
    let is_asked_polar = question.is_none_or(|q| q.is_polar && !q.has_alternatives);
    let is_normality_only = parsed
        .tokens
        .iter()
        .any(|t| t.category == Category::Normality);
    // "是", "不能" to a question that can be answered so, and "不对称" where it is asked whether something is
    if is_asked_polar && question.is_some() {
        match parsed
            .text
            .trim_matches(|c: char| c.is_whitespace() || ".。".contains(c))
        {
            "是" | "有" | "能" | "会" | "可以" | "存在" | "对" => {
                return Target::YesNo(true)
            }
            "否" | "不是" | "没有" | "无" | "不能" | "不会" | "不可以" | "不存在" | "不对"
            | "不" => return Target::YesNo(false),
            _ => {}
        }
        let is_of_question = |t: &Token| question.is_some_and(|q| q.names(t));
        let is_core = parsed.content().next().is_some()
            && !parsed.text.is_ascii()
            && parsed.content().all(is_of_question);
        let is_opposite = |t: &Token| {
            question.is_some_and(|q| q.proposition.core.iter().any(|c| are_opposite(c, t)))
        };
        if is_core || parsed.content().count() == 1 && parsed.content().all(is_opposite) {
            match polarity(parsed, question) {
                Polarity::Yes => return Target::YesNo(true),
                Polarity::No => return Target::YesNo(false),
                Polarity::Contradictory | Polarity::Open => {}
            }
        }
    }
    let takes_yes_no =
        has_answer_word || (is_bare(parsed) && (is_asked_polar || !is_normality_only));
    if takes_yes_no {
        match polarity(parsed, question) {
            Polarity::Yes => return Target::YesNo(true),
            Polarity::No => return Target::YesNo(false),
            Polarity::Contradictory | Polarity::Open => {}
        }
    }
    let amounts = quantities(parsed);
    if !amounts.is_empty() {
        let spelt = spelt_out(&amounts);
        let has_more = parsed.tokens.iter().enumerate().any(|(i, t)| {
            t.is_content()
                && !spelt.contains(&i)
                && !is_times(parsed, t)
                && !question.is_some_and(|q| q.names(t))
        });
        if !has_more {
            return Target::Quantities(amounts);
        }
    }
    Target::Text(TextTarget::new(parsed, question))
}

/// Indices of the tokens that spell the amounts and their units.
fn spelt_out(amounts: &[Quantity]) -> Vec<usize> {
    amounts
        .iter()
        .flat_map(|q| q.token..=q.token + q.unit_tokens)
        .collect()
}

/// Words an answer must have.
#[derive(Clone, Debug, Default)]
pub struct TextTarget {
    /// Tokens an answer must have.
    pub required: Vec<Token>,
    /// Required tokens by item, where items must not mix (left lung, lower right).
    pub items: Vec<Vec<Token>>,
    /// Any one item is enough ("supine or prone").
    pub is_any: bool,
    /// Amounts it must give, apart from the words.
    pub amounts: Vec<Quantity>,
    /// "bcc" for "basal cell carcinoma".
    pub acronym: Option<u64>,
}

/// The key of the initials of three words or more.
fn acronym_of(text: &str) -> Option<u64> {
    let words = || {
        text.split([' ', '-'])
            .map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|w| !matches!(*w, "" | "of" | "the" | "and" | "with" | "in"))
    };
    let is_plain = words().all(|w| w.bytes().all(|b| b.is_ascii_lowercase()));
    let initials: String = words().filter_map(|w| w.chars().next()).collect();
    (is_plain && (2..=6).contains(&initials.len())).then(|| word_key(&initials))
}

impl TextTarget {
    /// The words of `parsed` that an answer to `question` cannot leave out.
    #[must_use]
    pub fn new(parsed: &Parsed, question: Option<&Question>) -> Self {
        let amounts = quantities(parsed);
        let spelt = spelt_out(&amounts);
        let is_optional =
            |t: &Token| t.is_aside || parsed.segments[t.segment as usize].opener == Opener::Bracket;
        let mut all: Vec<Token> = parsed
            .tokens
            .iter()
            .enumerate()
            .filter(|(i, t)| t.is_content() && !is_optional(t) && !spelt.contains(i))
            .map(|(_, t)| *t)
            .collect();
        if all.is_empty() {
            all = parsed.content().copied().collect();
        }
        let has_modality = all
            .iter()
            .any(|t| matches!(t.category, Category::Modality | Category::Sequence));
        let needed = |t: &Token| {
            let is_body_of_picture = has_modality && t.category == Category::Organ;
            let is_implied = t.category == Category::Modality
                && all.iter().any(|o| o.key != t.key && entails(o, t));
            let is_in_question = question.is_some_and(|q| {
                q.names(t)
                    && !q.offers(t)
                    && (!t.is_han || q.parsed.text.contains(run_of(parsed, t)))
            }) && !is_distinctive(t.category);
            // "left cerebellar hemisphere" is the left cerebellum
            let is_frame = super::lexicon::known!("organ.hemisphere") == Some(t.concept)
                && all
                    .iter()
                    .any(|o| o.category == Category::Organ && o.key != t.key);
            // "the right ventricle" where it is asked which ventricle
            let is_asked = super::lexicon::known!("organ.heart_ventricle") == Some(t.concept)
                && question.is_some_and(|q| q.parsed.content().any(|o| lies_under(t, o)))
                && all.iter().any(|o| o.category == Category::Side);
            !is_body_of_picture && !is_implied && !is_in_question && !is_frame && !is_asked
        };
        let mut required: Vec<Token> = all.iter().filter(|t| needed(t)).copied().collect();
        if required.is_empty() {
            required.clone_from(&all);
        }
        let mut items: Vec<Vec<Token>> = Vec::new();
        for index in 0..parsed.segments.len() {
            let item: Vec<Token> = required
                .iter()
                .filter(|t| t.segment as usize == index)
                .copied()
                .collect();
            if !item.is_empty() {
                items.push(item);
            }
        }
        let is_any = items.len() > 1 && parsed.segments.iter().any(|s| s.opener == Opener::Or);
        Self {
            required,
            items,
            is_any,
            amounts,
            acronym: acronym_of(&parsed.text),
        }
    }

    /// The reference says "normal" and nothing else; "Keep healthy." is advice and says it of nothing.
    #[must_use]
    pub fn asks_normal(&self, reference: &Parsed) -> bool {
        let is_advice = |t: &Token| matches!(reference.word(t), "keep" | "stay" | "live" | "eat");
        self.required.len() == 1
            && self.required[0].category == Category::Normality
            && is_normal(&self.required[0])
            && !reference.tokens.first().is_some_and(is_advice)
    }

    /// Items differ in side or direction, so their words must not be mixed.
    #[must_use]
    pub fn must_pair(&self) -> bool {
        let places = self
            .items
            .iter()
            .filter(|i| i.iter().any(|t| is_place(t.category)))
            .count();
        self.items.len() > 1 && places > 1
    }
}

/// The run of Chinese characters outside the table that the token is part of.
fn run_of<'a>(parsed: &'a Parsed, token: &Token) -> &'a str {
    let at = parsed
        .tokens
        .iter()
        .position(|t| t.start == token.start)
        .unwrap_or(0);
    let mut first = at;
    while first > 0 && parsed.tokens[first].is_joined && parsed.tokens[first - 1].is_han {
        first -= 1;
    }
    let after = parsed.tokens[at + 1..]
        .iter()
        .take_while(|t| t.is_han && t.is_joined)
        .count();
    &parsed.text[parsed.tokens[first].start as usize..parsed.tokens[at + after].end as usize]
}

const fn is_place(category: Category) -> bool {
    matches!(category, Category::Side | Category::Direction)
}

/// Categories that stay required even where the question names the same word.
const fn is_distinctive(category: Category) -> bool {
    matches!(
        category,
        Category::Side
            | Category::Direction
            | Category::Plane
            | Category::Modality
            | Category::Sequence
            | Category::Normality
            | Category::Color
    )
}

/// Whether both have the same meaningful tokens in the same order.
#[must_use]
pub fn is_same(left: &Parsed, right: &Parsed) -> bool {
    let is_framing = |t: &&Token| {
        !matches!(
            t.role,
            Role::Determiner
                | Role::Filler
                | Role::Preposition
                | Role::Verb
                | Role::Conclude
                | Role::Retract
        ) && !t.is_aside
    };
    let key = |t: &Token| (t.key, t.is_negated);
    let mut left_words = left.tokens.iter().filter(is_framing).peekable();
    if left_words.peek().is_none() {
        return !left.tokens.is_empty()
            && left.tokens.iter().map(key).eq(right.tokens.iter().map(key));
    }
    left_words
        .map(key)
        .eq(right.tokens.iter().filter(is_framing).map(key))
}
