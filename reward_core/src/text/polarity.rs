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
    let has_yes = has_undenied_yes(answer);
    let has_no = answer
        .tokens
        .iter()
        .any(|t| t.is_answer_no() && !t.is_aside);
    if has_yes && has_no || says_both(answer) {
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

/// A "yes" that is not "not true", "not correct".
fn has_undenied_yes(answer: &Parsed) -> bool {
    let (mut segment, mut denied_from) = (0, u32::MAX);
    answer.tokens.iter().any(|token| {
        if token.segment != segment {
            (segment, denied_from) = (token.segment, u32::MAX);
        }
        if token.role == Role::Negation {
            denied_from = denied_from.min(token.end);
        }
        token.role == Role::Yes && !token.is_aside && token.start < denied_from
    })
}

/// "是，否", "有、没有": one clause only affirms and another only denies.
fn says_both(answer: &Parsed) -> bool {
    let (mut affirms, mut denies) = (false, false);
    let clauses = answer.segments.iter();
    for segment in clauses.filter(|s| !s.has_verb && !s.is_side_remark) {
        let tokens = answer.of(segment);
        if tokens.iter().any(|t| t.is_content() || t.is_aside) {
            continue;
        }
        let is_denial =
            |t: &&Token| matches!(t.role, Role::No | Role::Negation | Role::NegationBack);
        let is_yes = |t: &Token| matches!(t.role, Role::Yes | Role::Affirm);
        match tokens.iter().filter(is_denial).count() {
            0 => affirms |= tokens.iter().any(is_yes),
            1 => denies = true,
            _ => {} // "not absent"
        }
    }
    affirms && denies
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
    answer
        .sentences()
        .find_map(|sentence| sentence_says(answer, sentence, question))
}

fn sentence_says(
    answer: &Parsed,
    sentence: &[Token],
    question: Option<&Question>,
) -> Option<(bool, bool)> {
    let tokens: Vec<&Token> = sentence
        .iter()
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
    let news = || {
        content
            .iter()
            .filter(|t| t.is_stated() && !question.names(t))
    };
    let opposes = news().any(|t| asked.iter().any(|a| are_opposite(a, t)));
    let replaces = [Category::Plane, Category::Modality]
        .iter()
        .any(|&category| {
            let is_other = |t: &Token, a: &Token| a.category == category && !is_related(a, t);
            news().any(|t| t.category == category && asked.iter().any(|a| is_other(t, a)))
                && !names_asked(content, &asked, category, Token::is_stated)
        });
    let is_other_side = asked.iter().any(|a| a.category == Category::Side)
        && news().any(|t| t.category == Category::Side)
        && !names_asked(content, &asked, Category::Side, |_| true);
    if opposes || replaces || is_other_side {
        return Some((question.is_negated, true));
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

/// Whether `content` names one of the `asked` tokens of this category, in a token that `counts`.
fn names_asked(
    content: &[&&Token],
    asked: &[&Token],
    category: Category,
    counts: fn(&Token) -> bool,
) -> bool {
    let mut wanted = asked.iter().filter(|a| a.category == category);
    wanted.any(|a| content.iter().any(|t| t.key == a.key && counts(t)))
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
