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
    let is_thing =
        |t: &&Token| t.is_content() && matches!(t.category, Category::Finding | Category::Organ);
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
