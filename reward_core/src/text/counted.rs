//! What a count counts: "two effusions and three nodules" answers "How many nodules?" with three.

use super::lexicon::{known, Category, Role};
use super::numbers::{Dimension, Quantity};
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::Break;

/// Words between a number and what it counts that are looked at.
const LONGEST_NAME: usize = 4;

/// Leaves out counts of other things, where the thing asked is counted as well.
pub fn leave_out_other_counts(answer: &Parsed, question: &Question, all: &mut Vec<Quantity>) {
    let counts = |q: &&Quantity| q.dimension == Dimension::Count;
    let is_of_other = |q: &Quantity| {
        q.dimension == Dimension::Count
            && Some(false) == counts_asked(answer, question, q.token + q.unit_tokens)
    };
    let is_counted = all
        .iter()
        .filter(counts)
        .any(|q| counts_asked(answer, question, q.token + q.unit_tokens) == Some(true))
        || is_told_single(answer, question);
    if is_counted {
        all.retain(|q| !is_of_other(q));
    }
    // "it measured 4.1 cm two years ago and now measures 4.8 cm"
    let around = |q: &Quantity| {
        let segment = &answer.segments[answer.tokens[q.token].segment as usize];
        segment.first as usize..segment.end as usize
    };
    if all.len() > 1 && all.iter().any(|q| answer.is_of_now(&around(q))) {
        all.retain(|q| !answer.is_of_then(&around(q)));
    }
    // "three: two ribs and the clavicle", "three doses: at 0, 1 and 6 months"
    let total = all.first().copied().filter(|q| {
        q.dimension == Dimension::Count
            && counts_asked(answer, question, q.token + q.unit_tokens) != Some(false)
            && opens_list(answer, q.token)
    });
    if let Some(total) = total {
        let sentence = answer.tokens[total.token].sentence;
        all.retain(|q| q.token == total.token || answer.tokens[q.token].sentence != sentence);
    }
}

/// What is counted ends with a colon.
fn opens_list(answer: &Parsed, number: usize) -> bool {
    let segment = answer.tokens[number].segment;
    let Some(next) =
        (number + 1..answer.tokens.len()).find(|&i| answer.tokens[i].segment != segment)
    else {
        return false;
    };
    let token = &answer.tokens[next];
    let gap = answer.between(answer.tokens[next - 1].end as usize, token.start as usize);
    let is_ratio = !gap.contains(' ') && token.role == Role::Number; // "3:1"
    token.before == Break::Colon && !is_ratio
}

/// "A single nodule", where nodules are asked.
fn is_told_single(answer: &Parsed, question: &Question) -> bool {
    (0..answer.tokens.len()).any(|at| {
        let token = &answer.tokens[at];
        token.is_stated()
            && Some(token.concept) == known!("attribute.solitary")
            && counts_asked(answer, question, at) == Some(true)
    })
}

/// Whether the thing after the number is the one asked; nothing where none follows.
fn counts_asked(answer: &Parsed, question: &Question, number: usize) -> Option<bool> {
    let is_thing = |t: &&Token| {
        t.is_content()
            && matches!(
                t.category,
                Category::Finding | Category::Organ | Category::Unknown | Category::Other
            )
    };
    let mut things = answer
        .tokens
        .iter()
        .skip(number + 1)
        .take(LONGEST_NAME)
        .take_while(|t| t.before < Break::Comma && t.role != Role::Number)
        .take_while(|t| !matches!(t.role, Role::Preposition | Role::And | Role::Verb))
        .filter(is_thing)
        .peekable();
    things.peek()?;
    Some(things.any(|t| question.names(t)))
}
