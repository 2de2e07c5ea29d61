//! Whether an answer says yes or no to its question.
//!
//! An explicit "yes" or "no" counts, and so does what the rest states: for "Is there an effusion?" the answer
//! "an effusion is seen" is yes and "the pleura is clear of effusion" is no. Where both are given they must agree.

use super::lexicon::{Category, Role};
use super::question::{is_normal, Question};
use super::relations::{are_opposite, is_part, is_related};
use super::tokens::{Opener, Parsed, Token};

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Both, or a "yes" that its own sentence denies.
    Contradictory,
    /// Neither.
    Open,
}

impl Polarity {
    /// Yes for true.
    #[must_use]
    pub const fn of(is_yes: bool) -> Self {
        if is_yes {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// What `answer` says to `question` (or by itself where there is none).
#[must_use]
pub fn polarity(answer: &Parsed, question: Option<&Question>) -> Polarity {
    let has_yes = answer
        .tokens
        .iter()
        .any(|t| t.role == Role::Yes && !t.is_aside && !is_denied_word(answer, t));
    let has_no = answer
        .tokens
        .iter()
        .any(|t| t.is_answer_no() && !t.is_aside);
    if has_yes && has_no {
        return Polarity::Contradictory;
    }
    let lead = if has_yes || has_no {
        Some(has_yes)
    } else {
        None
    };
    let stated = statement(answer, question);
    match (lead, stated) {
        (Some(lead), Some((said, is_sure))) if lead != said && is_sure => Polarity::Contradictory,
        (Some(lead), _) => Polarity::of(lead),
        (None, Some((said, _))) => Polarity::of(said),
        (None, None) => Polarity::Open,
    }
}

/// "Not true", "not correct".
fn is_denied_word(answer: &Parsed, token: &Token) -> bool {
    answer
        .tokens
        .iter()
        .any(|t| t.role == Role::Negation && t.end <= token.start && t.segment == token.segment)
}

/// Whether an answer consists only of yes, no, presence, denial and normality.
#[must_use]
pub fn is_bare(answer: &Parsed) -> bool {
    answer
        .tokens
        .iter()
        .all(|t| !t.is_content() || t.category == Category::Normality)
        && answer.tokens.iter().any(|t| {
            matches!(
                t.role,
                Role::Yes | Role::No | Role::Negation | Role::NegationBack | Role::Affirm
            ) || t.category == Category::Normality
        })
}

/// What the sentences state, without an explicit yes or no; the flag says that the match is a firm one.
fn statement(answer: &Parsed, question: Option<&Question>) -> Option<(bool, bool)> {
    let sentences = answer.tokens.last().map_or(0, |t| t.sentence + 1);
    for sentence in 0..sentences {
        if let Some(found) = sentence_says(answer, sentence, question) {
            return Some(found);
        }
    }
    None
}

fn sentence_says(
    answer: &Parsed,
    sentence: u16,
    question: Option<&Question>,
) -> Option<(bool, bool)> {
    let tokens: Vec<&Token> = answer
        .tokens
        .iter()
        .filter(|t| t.sentence == sentence)
        .filter(|t| {
            let opener = answer.segments[t.segment as usize].opener;
            !t.is_aside || opener == Opener::Than && question.is_some_and(Question::compares)
        })
        .collect();
    let content: Vec<&&Token> = tokens.iter().filter(|t| t.is_content()).collect();
    if let Some(question) = question {
        let asked = question
            .normality
            .and_then(|asked| normality_says(&content, asked));
        if let Some(found) = asked.or_else(|| overlap_says(&content, question)) {
            // "what is wrong?" can be denied, but restating it affirms nothing
            return Some(found).filter(|(said, _)| !(question.asks_for_content && *said));
        }
    }
    if content.is_empty() {
        return bare_says(&tokens).map(|said| (said, false));
    }
    if question.is_none() && content.iter().all(|t| t.is_negated) {
        return Some((false, true));
    }
    None
}

fn normality_says(content: &[&&Token], asked: bool) -> Option<(bool, bool)> {
    let token = content.iter().find(|t| t.category == Category::Normality);
    if let Some(token) = token {
        let says_normal = is_normal(token) != token.is_negated;
        return Some((says_normal == asked, true));
    }
    let has_finding = content
        .iter()
        .any(|t| t.category == Category::Finding && !t.is_negated);
    has_finding.then_some((!asked, false))
}

/// Compares what the sentence states with what the question asks about.
fn overlap_says(content: &[&&Token], question: &Question) -> Option<(bool, bool)> {
    let asked: Vec<&Token> = question
        .parsed
        .content()
        .filter(|t| t.category != Category::Normality)
        .collect();
    if asked.is_empty() {
        return None;
    }
    for token in content
        .iter()
        .filter(|t| t.is_stated() && !question.names(t))
    {
        let opposes = asked.iter().any(|a| are_opposite(a, token));
        if opposes || replaces(token, &asked, content) || is_other_side(token, &asked, content) {
            return Some((question.is_negated, true));
        }
    }
    let is_meant =
        |t: &Token, a: &Token| t.key == a.key || (t.category != Category::Organ && is_part(t, a));
    let named = asked
        .iter()
        .filter(|a| content.iter().any(|t| is_meant(t, a)))
        .count();
    if named == 0 {
        return None;
    }
    let asks_finding = asked
        .iter()
        .any(|a| a.category == Category::Finding || a.category == Category::Unknown);
    if asks_finding
        && content
            .iter()
            .any(|t| t.category == Category::Normality && is_normal(t))
    {
        // "the heart size is normal" where enlargement is asked
        let affirms = content
            .iter()
            .any(|t| t.category == Category::Finding && t.is_stated() && question.names(t));
        if !affirms {
            return Some((question.is_negated, false));
        }
    }
    let matching: Vec<&&&Token> = content
        .iter()
        .filter(|t| t.category != Category::Normality && asked.iter().any(|a| is_meant(t, a)))
        .collect();
    let is_denied = matching.iter().any(|t| t.is_negated);
    let is_stated = matching.iter().any(|t| !t.is_negated);
    let is_sure = named * 2 > asked.len() && !(is_denied && is_stated);
    let is_weak = if asked.len() > 3 {
        named * 2 <= asked.len()
    } else {
        named * 2 < asked.len()
    };
    if is_weak && !is_denied {
        return None;
    }
    Some((is_denied == question.is_negated, is_sure))
}

/// Another plane or modality than the one asked about, and that one is not stated as well.
fn replaces(token: &Token, asked: &[&Token], content: &[&&Token]) -> bool {
    matches!(token.category, Category::Plane | Category::Modality)
        && asked
            .iter()
            .any(|a| a.category == token.category && !is_related(a, token))
        && !asked.iter().any(|a| {
            a.category == token.category && content.iter().any(|t| t.is_stated() && t.key == a.key)
        })
}

/// Another side than the one asked about, and that one is not named at all.
fn is_other_side(token: &Token, asked: &[&Token], content: &[&&Token]) -> bool {
    let is_asked = |t: &Token| t.category == Category::Side && asked.iter().any(|a| a.key == t.key);
    token.category == Category::Side
        && asked.iter().any(|a| a.category == Category::Side)
        && !content.iter().any(|t| is_asked(t))
}

fn bare_says(tokens: &[&Token]) -> Option<bool> {
    let denies = tokens.iter().any(|t| {
        matches!(t.role, Role::Negation | Role::NegationBack)
            || (t.role == Role::No && !t.is_answer_no())
    });
    if denies {
        return Some(false);
    }
    tokens
        .iter()
        .any(|t| t.role == Role::Affirm)
        .then_some(true)
}
