//! Whether an answer says yes or no to its question.
//!
//! An explicit "yes" or "no" counts, and so does what the rest states: for "Is there an effusion?" the answer
//! "an effusion is seen" is yes and "the pleura is clear of effusion" is no. Where both are given they must agree.

use super::general::{asks_in_general, is_sort_of_finding, is_usual_finding, says_how_often};
use super::lexicon::{Category, Role};
use super::numbers::{fulfils, quantities, Dimension, Quantity};
use super::question::{is_normal, Question};
use super::relations::{
    are_neighbours, are_opposite, is_change, is_changed, is_finding_like, is_general, is_part,
    is_related, is_same_word, lies_under, side_bits,
};
use std::cell::OnceCell;

use super::clauses::{says_of_place, Opener};
use super::tokens::{Bound, Hints, Parsed, Token};
use super::words::{has_any, Break};

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
        (_, Stated::Both) => Polarity::Contradictory,
        (Some(lead), Stated::Firm(said)) if lead != said => Polarity::Contradictory,
        (Some(lead), _) => Polarity::of(lead),
        (None, Stated::Firm(said) | Stated::Weak(said)) => Polarity::of(said),
        (None, Stated::Nothing) if assents(answer) => Polarity::Yes,
        (None, Stated::Nothing) if question.is_some_and(|q| allows(answer, q)) => Polarity::Yes,
        (None, Stated::Nothing) => Polarity::Open,
    }
}

/// "They might.", "It may do so." to "Can X cause Y?": a possibility, and nothing else, is said.
fn allows(answer: &Parsed, question: &Question) -> bool {
    let is_modal = question.proposition.is_modal || asks_in_general(question);
    let says = |words: &[&str]| {
        answer
            .tokens
            .iter()
            .any(|t| words.contains(&answer.word(t)))
    };
    is_modal
        && answer.tokens.len() <= 6
        && !answer.tokens.iter().any(|t| {
            t.is_content()
                || matches!(
                    t.role,
                    Role::Negation | Role::NegationBack | Role::No | Role::Refusal
                )
        })
        && says(&["might", "may", "can", "could", "does", "do", "会", "能"])
        && says(&[
            "it", "they", "this", "that", "these", "he", "she", "会", "能",
        ])
}

/// "Certainly." with nothing else said.
fn assents(answer: &Parsed) -> bool {
    let Some(at) = answer
        .tokens
        .iter()
        .rposition(|t| t.role == Role::Assent && !t.is_aside)
    else {
        return false;
    };
    let segment = &answer.segments[answer.tokens[at].segment as usize];
    let is_alone = !answer.of(segment).iter().any(Token::is_content);
    is_alone
        && !answer.tokens[at..]
            .iter()
            .any(|t| t.is_content() && !t.is_aside)
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
                Role::Yes
                    | Role::No
                    | Role::Negation
                    | Role::NegationBack
                    | Role::Affirm
                    | Role::Difficult
            ) || t.category == Category::Normality
        })
}

/// What the sentences state, without an explicit yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stated {
    /// Nothing of what is asked.
    Nothing,
    /// Yes or no, by what may be inferred.
    Weak(bool),
    /// Yes or no, in the words of the question or their opposites.
    Firm(bool),
    /// Yes and no, in the same words.
    Both,
}

/// A clause: its tokens, those that carry meaning, and whether it says more than a name.
struct Clause<'a> {
    tokens: Vec<&'a Token>,
    content: Vec<&'a Token>,
    is_statement: bool,
}

impl<'a> Clause<'a> {
    fn new(answer: &'a Parsed, tokens: &'a [Token], question: Option<&Question>) -> Self {
        let compares = question.is_some_and(Question::compares);
        let tokens: Vec<&Token> = tokens
            .iter()
            .filter(|t| {
                !t.is_aside
                    || answer.segments[t.segment as usize].opener == Opener::Than && compares
            })
            .collect();
        let content: Vec<&Token> = tokens.iter().filter(|t| t.is_content()).copied().collect();
        let says = |t: &&Token| {
            matches!(
                t.role,
                Role::Verb
                    | Role::Affirm
                    | Role::Negation
                    | Role::NegationBack
                    | Role::No
                    | Role::Yes
            )
        };
        let is_statement = tokens.iter().any(says);
        Self {
            tokens,
            content,
            is_statement,
        }
    }
}

/// "No other nodules": the denial is not of what is asked.
fn names_others(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    let asks_others = question.has(&[
        "other",
        "another",
        "additional",
        "further",
        "new",
        "else",
        "其他",
        "其它",
        "另外",
    ]);
    !asks_others
        && clause.tokens.iter().any(|t| {
            matches!(
                answer.word(t),
                "other"
                    | "another"
                    | "additional"
                    | "further"
                    | "new"
                    | "else"
                    | "其他"
                    | "其它"
                    | "另"
                    | "新"
            )
        })
}

/// Tokens of each clause of a sentence: a segment with a verb of its own begins a new one.
fn clauses<'a>(answer: &'a Parsed, sentence: &'a [Token]) -> impl Iterator<Item = &'a [Token]> {
    sentence.chunk_by(move |a, b| {
        if a.segment == b.segment {
            return true;
        }
        let segment = &answer.segments[b.segment as usize];
        // "absent on the right and present on the left"
        let is_said_anew = matches!(segment.opener, Opener::And | Opener::List) && {
            let mut tokens = answer
                .of(segment)
                .iter()
                .skip_while(|t| t.role == Role::And);
            tokens
                .next()
                .is_some_and(|t| matches!(t.role, Role::Affirm | Role::NegationBack))
                && tokens.any(is_side)
        };
        !is_said_anew && b.before == Break::Comma && matches!(answer.word(b), "that" | "which" | "who") // "it is the liver, not the spleen, that is …"
            || !(is_said_anew
                || segment.opener == Opener::Contrast
                || segment.opener == Opener::Start
                || segment.opener == Opener::List
                    && !answer.word(b).is_ascii()
                    && says_of_place(answer.of(segment)) // "肝脏肿大，脾脏正常"
                || segment.has_verb
                    && matches!(
                        segment.opener,
                        Opener::And | Opener::List | Opener::Relative
                    ))
    })
}

fn statement(answer: &Parsed, question: Option<&Question>) -> Stated {
    let mut found = Found::default();
    let said = OnceCell::new();
    for sentence in answer.sentences() {
        let whole = Clause::new(answer, sentence, question);
        if whole.tokens.is_empty() {
            if let Some(question) = question {
                found.note(sentence, question); // "No nodule was seen yesterday. Now there is one."
            }
            continue;
        }
        let mut of_sentence = Stated::Nothing;
        if let Some(question) = question {
            for tokens in clauses(answer, sentence) {
                let clause = Clause::new(answer, tokens, Some(question));
                let says = match clause_says(answer, &clause, question, &said) {
                    Stated::Nothing => found.taken_up(answer, &clause, question),
                    says => says,
                };
                let says = found.of_both(says, answer, &clause, question);
                found.note(tokens, question);
                if clause.content.is_empty()
                    && found.stated == Stated::Firm(true)
                    && takes_up_and_denies(answer, tokens, &clause)
                {
                    found.stated = Stated::Firm(false); // "it is obscured and cannot be seen"
                }
                found.place_is_clear |= says_place_clear(answer, &clause, question);
                match says {
                    Stated::Firm(_) if found.add(says, answer, &clause, question) => {
                        return Stated::Both
                    }
                    // "L3 is normal, L4 is broken"
                    Stated::Weak(said)
                        if found.is_of_part(Stated::Firm(said), &clause, question) =>
                    {
                        found.add(Stated::Firm(said), answer, &clause, question);
                    }
                    Stated::Weak(_) if of_sentence == Stated::Nothing => of_sentence = says,
                    _ => {}
                }
            }
            if of_sentence == Stated::Nothing && !found.is_firm() {
                of_sentence = clause_says(answer, &whole, question, &said);
                if matches!(of_sentence, Stated::Firm(_))
                    && found.add(of_sentence, answer, &whole, question)
                {
                    return Stated::Both;
                }
            }
        }
        if of_sentence == Stated::Nothing && found.stated == Stated::Nothing {
            of_sentence = bare_statement(answer, &whole, question);
            if of_sentence == Stated::Nothing {
                of_sentence = leading_yes(answer, sentence, question);
            }
        }
        if found.stated == Stated::Nothing {
            found.stated = of_sentence;
        }
    }
    if found.stated == Stated::Nothing && question.is_some_and(|q| puts_aside(answer, q)) {
        return Stated::Weak(false);
    }
    if found.stated == Stated::Firm(true) && !found.names_place && found.place_is_clear {
        return Stated::Firm(false); // "the blood is in the retina; the vitreous is clear"
    }
    found.stated
}

/// "Ileus rather than obstruction" where an obstruction is asked: another finding takes its place.
fn puts_aside(answer: &Parsed, question: &Question) -> bool {
    let core = &question.proposition.core;
    let names_core = |segment: &&super::clauses::Segment| {
        let tokens = answer.of(segment);
        tokens.first().is_some_and(|t| {
            t.role == Role::Instead
                && !matches!(
                    answer.word(t),
                    "except" | "except for" | "apart from" | "other than" | "除了" | "除"
                )
        }) && core.iter().any(is_finding_like)
            && core.iter().all(|a| {
                tokens
                    .iter()
                    .any(|t| t.key == a.key && !t.is_negated || lies_under(t, a))
            })
    };
    let names_another =
        |t: &Token| t.is_stated() && matches!(t.category, Category::Finding | Category::Unknown);
    !question.asks_for_content
        && answer.segments.iter().any(|s| names_core(&s))
        && answer.tokens.iter().any(names_another)
}

/// "The vitreous is clear" where something in it is asked, with nothing else said of it.
fn says_place_clear(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    if !clause
        .content
        .iter()
        .any(|t| t.category == Category::Normality)
    {
        return false;
    }
    let asked = &question.proposition;
    let is_rest = |t: &&Token| {
        matches!(
            answer.word(t),
            "otherwise" | "rest" | "remaining" | "remainder" | "其余" | "其他"
        )
    };
    let mut content = clause.content.iter().peekable();
    (asked.is_existence || asked.is_of_subject)
        && content.peek().is_some()
        && content.all(|t| {
            t.category == Category::Normality && is_normal(t)
                || t.is_stated() && asked.place.iter().any(|a| a.key == t.key)
        })
        && clause
            .content
            .iter()
            .any(|t| t.category != Category::Normality)
        && !clause.tokens.iter().any(is_rest)
}

/// "… and cannot be seen": a clause without a subject that only denies.
fn takes_up_and_denies(answer: &Parsed, tokens: &[Token], clause: &Clause<'_>) -> bool {
    let opens = tokens
        .first()
        .is_some_and(|t| answer.segments[t.segment as usize].opener == Opener::And);
    // "A pneumothorax was seen yesterday. It has resolved."
    let is_gone = tokens
        .first()
        .is_some_and(|t| matches!(answer.word(t), "it" | "they" | "this" | "that"))
        && tokens.iter().any(|t| t.role == Role::NegationBack);
    (is_gone || opens && !tokens.iter().any(|t| t.role == Role::Determiner))
        && bare_says(&clause.tokens) == Some(false)
}

/// What has been found so far, and whether it is said of the subject of the question and in its words alone.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
struct Found {
    stated: Stated,
    names_subject: bool,
    is_plain: bool,
    /// The statement names the place asked about, or the question has none.
    names_place: bool,
    /// Another clause says that the place asked about is normal.
    place_is_clear: bool,
    /// What the statement is limited to and the question is not: "no fracture of the ulna".
    limits: Vec<u64>,
    /// The sides on which it is found, where both are asked about.
    sides: u8,
    /// A clause before has named what is asked for.
    was_named: bool,
    /// And denied it somewhere.
    was_denied: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            stated: Stated::Nothing,
            names_subject: false,
            is_plain: false,
            names_place: true,
            place_is_clear: false,
            limits: Vec::new(),
            sides: 0,
            was_named: false,
            was_denied: false,
        }
    }
}

impl Found {
    const fn is_firm(&self) -> bool {
        matches!(self.stated, Stated::Firm(_))
    }

    /// Takes over a firm statement; true where it says the opposite of the one before in the same words.
    fn add(
        &mut self,
        says: Stated,
        answer: &Parsed,
        clause: &Clause<'_>,
        question: &Question,
    ) -> bool {
        let asked = &question.proposition;
        let is_subject =
            |t: &&Token| asked.is_of_subject && asked.place.iter().any(|a| a.key == t.key);
        let names_subject = clause.content.iter().any(is_subject);
        let is_plain = clause.content.iter().all(|t| question.names(t));
        let is_site = |t: &&Token| matches!(t.category, Category::Organ | Category::Unknown);
        let is_organ = |t: &&Token| t.category == Category::Organ;
        let mut sites = asked
            .place
            .iter()
            .filter(is_site)
            .chain(asked.core.iter().filter(is_organ))
            .peekable();
        let has_site = sites.peek().is_some();
        let names_site = sites.any(|a| {
            let is_it = |t: &&Token| t.key == a.key || is_related(t, a) || is_part(a, t);
            clause.content.iter().any(is_it)
        });
        // "there is a fracture of the ramus. No hip fracture": the one that names the place asked about decides
        let is_nearer = asked.is_existence && names_site && !self.names_place;
        let is_elsewhere = self.is_of_part(says, clause, question);
        // "There was a pneumothorax. Now none is seen."
        let is_now = asked.is_existence
            && self.stated != says
            && clause.tokens.iter().any(|t| says_now(answer.word(t)));
        if self.is_firm()
            && !is_nearer
            && !is_elsewhere
            && !is_now
            && (self.names_subject || !names_subject)
        {
            return self.stated != says
                && self.is_plain
                && is_plain
                && self.names_subject == names_subject;
        }
        (self.stated, self.names_subject, self.is_plain) = (says, names_subject, is_plain);
        self.names_place = !has_site || names_site;
        self.limits = limits_of(clause, question);
        false
    }

    /// Remembers whether what is asked for was named, for a clause that takes it up.
    fn note(&mut self, tokens: &[Token], question: &Question) {
        for token in tokens.iter().filter(|t| names_core(t, question)) {
            self.was_named = true;
            self.was_denied |= token.is_negated;
        }
    }

    /// Where both sides are asked about: one of them alone says nothing yet, and one without it says no.
    fn of_both(
        &mut self,
        says: Stated,
        answer: &Parsed,
        clause: &Clause<'_>,
        question: &Question,
    ) -> Stated {
        let asked = &question.proposition;
        let bits =
            |tokens: &mut dyn Iterator<Item = &Token>| tokens.fold(0, |b, t| b | side_bits(t));
        let said = bits(&mut clause.content.iter().copied());
        let asks_both = asked.is_existence
            && !question.is_negated
            && bits(&mut question.parsed.content()) == 3
            && !asks_in_either(question);
        if !asks_both || !matches!(said, 1 | 2) {
            return says;
        }
        let is_none = || {
            clause
                .tokens
                .iter()
                .any(|t| matches!(answer.word(t), "none" | "not" | "no" | "无" | "没有"))
        };
        let names = |denied: bool| {
            let mut content = clause.content.iter();
            content.any(|t| names_core(t, question) && t.is_negated == denied)
        };
        match says {
            Stated::Nothing if names(true) => Stated::Firm(false),
            Stated::Firm(true) | Stated::Weak(true) | Stated::Nothing
                if names(false) && !is_none() =>
            {
                self.sides |= said;
                if self.sides == 3 {
                    Stated::Firm(true)
                } else {
                    Stated::Nothing
                }
            }
            Stated::Nothing if self.sides != 0 && self.sides & said == 0 && is_none() => {
                Stated::Firm(false)
            }
            _ => says,
        }
    }

    /// Whether one part decides, and the clause is about another one than the statement before: "no fracture of the ulna, but
    /// one of the radius" (there is one), "L3 is normal, L4 is broken" (the spine is not normal).
    fn is_of_part(&self, says: Stated, clause: &Clause<'_>, question: &Question) -> bool {
        let asked = &question.proposition;
        let turns_to =
            |said: bool| (self.stated, says) == (Stated::Firm(!said), Stated::Firm(said));
        let is_one_enough = match asked.normality {
            Some(normal) => turns_to(!normal),
            None => asked.is_existence && turns_to(true),
        };
        if !is_one_enough || question.is_negated || self.limits.is_empty() {
            return false;
        }
        let is_other_site = |t: &&Token| t.category == Category::Organ && !is_general(t);
        let is_related_to =
            |t: &Token, a: &Token| t.key == a.key || is_related(t, a) || is_part(a, t);
        let mut organs = asked.organs().peekable();
        let is_in_site = organs.peek().is_none()
            || !clause.content.iter().any(is_other_site)
            || organs.any(|a| clause.content.iter().any(|t| is_related_to(t, a)));
        is_in_site
            && limits_of(clause, question)
                .iter()
                .any(|l| !self.limits.contains(l))
    }
}

impl Found {
    /// What a clause says that only takes up what the one before named: "… but one on the left", "the left one is not",
    /// "a stone in the right kidney" after "no stone in the left kidney".
    fn taken_up(&self, answer: &Parsed, clause: &Clause<'_>, question: &Question) -> Stated {
        let asked = &question.proposition;
        if question.is_negated || question.asks_for_content || clause.tokens.is_empty() {
            return Stated::Nothing;
        }
        let is_denied = clause.tokens.iter().any(|t| {
            matches!(
                t.role,
                Role::Negation | Role::NegationBack | Role::No | Role::Hedge
            )
        });
        let is_limit = |t: &&Token| t.category == Category::Organ || is_side(t);
        if let (Some(_), Stated::Firm(before)) = (asked.normality, self.stated) {
            // "the right lung is clear, the left is not"
            let is_ellipsis = clause.content.iter().all(is_limit)
                && !clause.content.is_empty()
                && clause
                    .tokens
                    .last()
                    .is_some_and(|t| t.role == Role::Negation);
            return if is_ellipsis && before {
                Stated::Firm(false)
            } else {
                Stated::Nothing
            };
        }
        if !asked.is_existence || is_denied || !is_at_place(answer, clause, question) {
            return Stated::Nothing;
        }
        let is_core = |t: &Token| names_core(t, question);
        let is_of_place = |t: &&Token| {
            is_limit(t)
                || matches!(t.category, Category::Attribute | Category::Other)
                || t.role == Role::Number
                || says_now(answer.word(t))
        };
        let is_place_alone = clause.content.iter().all(is_of_place);
        let is_contrasted = self.was_denied
            && clause.content.iter().any(|t| is_core(t) && t.is_stated())
            && clause.content.iter().all(|t| is_of_place(t) || is_core(t));
        if is_contrasted || is_place_alone && self.was_named && clause.takes_up(answer) {
            Stated::Firm(true)
        } else {
            Stated::Nothing
        }
    }
}

impl Clause<'_> {
    /// "A small one on the left", "the left one does", "present on the left": what is meant was named before.
    fn takes_up(&self, answer: &Parsed) -> bool {
        let word = |at: usize| self.tokens.get(at).map_or("", |t| answer.word(t));
        let is_pronoun = |at: usize| {
            let next = self.tokens.get(at + 1);
            // "the left one" is the side, and not the finding
            matches!(word(at), "one" | "ones")
                && next.is_none_or(|t| t.role == Role::Preposition || t.before >= Break::Comma)
                && !(at > 0 && is_side(self.tokens[at - 1]))
        };
        let last = self.tokens.len().saturating_sub(1);
        let names_organ = self.content.iter().any(|t| t.category == Category::Organ);
        let is_present = || !names_organ && self.tokens.iter().any(|t| t.role == Role::Affirm);
        (0..self.tokens.len()).any(is_pronoun)
            || matches!(word(last), "does" | "do" | "has" | "did")
            || is_present()
    }
}

/// Whether a clause is about the place asked about, or about one that the question leaves open.
fn is_at_place(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    let asked = &question.proposition;
    let names = |a: &Token| clause.content.iter().any(|t| t.key == a.key);
    let mut sides = asked
        .place
        .iter()
        .chain(&asked.core)
        .filter(|t| is_side(t))
        .peekable();
    if sides.peek().is_some() {
        return sides.all(names);
    }
    let is_related_to = |t: &Token, a: &Token| t.key == a.key || is_related(t, a) || is_part(a, t);
    let mut organs = asked.organs().peekable();
    if organs.peek().is_some()
        && clause
            .content
            .iter()
            .any(|t| t.category == Category::Organ && !is_general(t))
    {
        return organs.any(|a| clause.content.iter().any(|t| is_related_to(t, a)));
    }
    !limits_of(clause, question).is_empty()
        || clause.tokens.iter().any(|t| says_now(answer.word(t)))
}

/// Whether the token is what the question asks for, its place left aside.
fn names_core(token: &Token, question: &Question) -> bool {
    let mut core = question.proposition.core.iter();
    core.any(|a| a.key == token.key && !is_side(a))
}

/// Says that something is so at present.
fn says_now(word: &str) -> bool {
    matches!(
        word,
        "now" | "currently" | "today" | "at present" | "presently" | "目前" | "现在" | "现"
    )
}

/// A side, a direction or a level.
const fn is_side(token: &Token) -> bool {
    matches!(
        token.category,
        Category::Side | Category::Direction | Category::Level
    )
}

/// What a clause is limited to and the question is not: its places, and the sort of finding ("subdural hemorrhage"); nothing
/// where the question itself asks of a side.
fn limits_of(clause: &Clause<'_>, question: &Question) -> Vec<u64> {
    if question.proposition.place.iter().any(is_side) {
        return Vec::new();
    }
    let core = &question.proposition.core;
    let is_sort = |t: &Token| {
        t.category == Category::Finding && core.iter().any(|a| a.key != t.key && lies_under(t, a))
    };
    // "a hiatal hernia"
    let is_modifier = |at: usize| {
        clause.content[at].category == Category::Unknown
            && clause.content.get(at + 1).is_some_and(|next| {
                next.before <= Break::Hyphen && core.iter().any(|a| a.key == next.key)
            })
    };
    clause
        .content
        .iter()
        .enumerate()
        .filter(|(at, t)| {
            t.category == Category::Organ || is_side(t) || is_sort(t) || is_modifier(*at)
        })
        .filter(|(_, t)| !question.names(t))
        .map(|(_, t)| t.key)
        .collect()
}

/// What a sentence says that names nothing of the question.
fn bare_statement(answer: &Parsed, sentence: &Clause<'_>, question: Option<&Question>) -> Stated {
    let content = &sentence.content;
    let is_pronoun = |t: &Token| {
        t.role == Role::Number
            && matches!(
                &answer.text[t.start as usize..t.end as usize],
                "one" | "ones" | "some"
            )
    };
    let asks_number = question.is_some_and(|q| !q.proposition.amounts.is_empty());
    if content.iter().all(|t| is_pronoun(t)) && !asks_number {
        if let Some(one) = content.first() {
            return if sentence.is_statement && !is_anyone(answer, one) {
                Stated::Weak(!one.is_negated)
            } else {
                Stated::Nothing
            };
        }
        if let Some(said) = bare_says(&sentence.tokens) {
            // "it has resolved" where that is asked
            let repeats = question.is_some_and(|q| {
                q.is_negated
                    && sentence.tokens.iter().any(|t| {
                        t.role == Role::NegationBack
                            && super::tokens::denial_stem(answer.word(t)).is_some_and(|stem| {
                                q.parsed.denial_stems().any(|asked| asked == stem)
                            })
                    })
            });
            return Stated::Weak(said != repeats);
        }
        if question.is_some_and(|q| q.proposition.is_modal) && says_possible(answer, sentence) {
            return Stated::Weak(true);
        }
        return if is_short_yes(answer, sentence) {
            Stated::Weak(true)
        } else {
            Stated::Nothing
        };
    }
    if question.is_none() && content.iter().all(|t| t.is_negated) {
        return Stated::Firm(false);
    }
    Stated::Nothing
}

/// "有，位于右肺上叶", "There is, in the upper lobe": a yes of its own, and where.
fn leading_yes(answer: &Parsed, sentence: &[Token], question: Option<&Question>) -> Stated {
    let Some(first) = sentence.first() else {
        return Stated::Nothing;
    };
    let length = sentence
        .iter()
        .take_while(|t| t.segment == first.segment)
        .count();
    let (lead, rest) = sentence.split_at(length);
    let says_where = |t: &Token| {
        !t.is_content()
            || t.is_stated()
                && matches!(
                    t.category,
                    Category::Organ | Category::Side | Category::Direction | Category::Level
                )
    };
    let denies = |t: &Token| {
        matches!(
            t.role,
            Role::Negation | Role::NegationBack | Role::No | Role::Hedge | Role::Contrast
        )
    };
    let side = |tokens: &[Token]| tokens.iter().fold(0, |bits, t| bits | side_bits(t));
    let asked = question.map_or(0, |q| {
        let core = q.proposition.core.iter().chain(&q.proposition.place);
        core.fold(0, |bits, t| bits | side_bits(t))
    });
    let is_elsewhere = asked != 0 && side(rest) != 0 && asked & side(rest) == 0;
    let is_told = rest.iter().any(Token::is_content)
        && rest.iter().all(says_where)
        && !sentence.iter().any(denies)
        && !lead.iter().any(Token::is_content);
    if !is_told || is_elsewhere {
        return Stated::Nothing;
    }
    bare_statement(answer, &Clause::new(answer, lead, question), question)
}

/// "One should look for it": anyone, and nothing that was found.
fn is_anyone(answer: &Parsed, one: &Token) -> bool {
    let next = answer.tokens.partition_point(|t| t.start < one.end);
    answer.word(one) == "one"
        && answer.tokens.get(next).is_some_and(|t| {
            matches!(
                answer.word(t),
                "should"
                    | "would"
                    | "could"
                    | "can"
                    | "must"
                    | "may"
                    | "might"
                    | "needs"
                    | "has"
                    | "looks"
                    | "expects"
            )
        })
}

/// "There is.", "It does."
fn is_short_yes(answer: &Parsed, sentence: &Clause<'_>) -> bool {
    let last = sentence
        .tokens
        .last()
        .is_some_and(|t| answer.is_auxiliary(t));
    let has_subject = sentence.tokens.iter().any(|t| t.role == Role::Determiner);
    last && has_subject
        && sentence.tokens.iter().all(|t| {
            matches!(
                t.role,
                Role::Determiner | Role::Verb | Role::Filler | Role::Assent | Role::Yes
            )
        })
}

/// "It is possible."
fn says_possible(answer: &Parsed, sentence: &Clause<'_>) -> bool {
    sentence.tokens.iter().any(|t| is_possible(answer, t))
}

/// "Possible", which answers "Can X cause Y?".
#[must_use]
pub fn is_possible(answer: &Parsed, token: &Token) -> bool {
    token.role == Role::Hedge
        && matches!(
            answer.word(token),
            "possible" | "possibility" | "conceivable" | "有可能"
        )
}

/// "It may" where the question asks "May X cause Y?": a possibility is all that is asked for.
#[must_use]
pub fn grants(answer: &Parsed, token: &Token, question: &Question) -> bool {
    let text = &question.parsed.text;
    let asks_effect = has_any(
        text,
        &[
            " cause",
            " lead ",
            " result",
            " produce",
            " occur",
            " increase",
            " affect",
            " lead",
            " result",
            " predispose",
            " contribute",
            " progress",
            " trigger",
            " spread",
            " recur",
            " worsen",
            "导致",
            "引起",
            "造成",
            "诱发",
        ],
    );
    is_possible(answer, token)
        || asks_effect && matches!(answer.word(token), "may" | "might" | "possibly" | "可能")
}

/// What a clause says to the proposition of the question.
fn clause_says(
    answer: &Parsed,
    clause: &Clause<'_>,
    question: &Question,
    said: &OnceCell<Vec<Quantity>>,
) -> Stated {
    let says = proposition_says(answer, clause, question, said);
    match says {
        // "what is wrong?" can be denied, but restating it affirms nothing
        Stated::Firm(true) | Stated::Weak(true) if question.asks_for_content => Stated::Nothing,
        _ => says,
    }
}

fn proposition_says(
    answer: &Parsed,
    clause: &Clause<'_>,
    question: &Question,
    said: &OnceCell<Vec<Quantity>>,
) -> Stated {
    let asked = &question.proposition;
    if clause.content.is_empty() {
        return Stated::Nothing;
    }
    if names_other_organ(&clause.content, question) {
        let names_kind = clause
            .content
            .iter()
            .any(|t| t.is_stated() && question.names(t) && t.category == Category::Modality);
        let is_elsewhere = asked.is_location
            && clause
                .content
                .iter()
                .any(|t| t.is_stated() && asked.place.iter().any(|a| a.key == t.key))
            && clause
                .content
                .iter()
                .any(|t| t.category == Category::Organ && t.is_stated());
        return if asked.is_identity && names_kind || is_elsewhere {
            Stated::Firm(question.is_negated)
        } else {
            Stated::Nothing
        };
    }
    if !asked.amounts.is_empty() {
        if let Some(said) = amount_says(answer, clause, question, said) {
            return said;
        }
    }
    if let Some(said) = compared_the_other_way(clause, question) {
        return said;
    }
    if let Some(normal) = asked.normality {
        if let Some(said) = one_of_both(answer, clause, question, normal) {
            return said;
        }
        return normality_says(answer, clause, normal, question);
    }
    core_says(answer, clause, question)
}

/// "The cyst is larger than the mass" where it is asked whether the mass is larger than the cyst.
fn compared_the_other_way(clause: &Clause<'_>, question: &Question) -> Option<Stated> {
    if !question.compares() || question.is_negated {
        return None;
    }
    let is_than = |t: &Token| t.role == Role::Than;
    let asked = &question.parsed.tokens;
    let (asked_first, asked_second) = asked.split_at(asked.iter().position(is_than)?);
    let than = clause.tokens.iter().position(|t| is_than(t))?;
    let (first, second) = clause.tokens.split_at(than);
    let is_denied = |t: &&Token| {
        t.is_negated || matches!(t.role, Role::Negation | Role::NegationBack | Role::No)
    };
    if clause.tokens.iter().any(is_denied) {
        return None;
    }
    // what one side of "than" names and the other does not
    let own = |of: &[Token], other: &[Token], said: &[&Token]| {
        of.iter()
            .filter(|t| t.is_content() && t.category != Category::Attribute)
            .filter(|t| !other.iter().any(|o| o.is_content() && o.key == t.key))
            .any(|t| said.iter().any(|s| s.is_content() && s.key == t.key))
    };
    let is_turned = own(asked_second, asked_first, first) && own(asked_first, asked_second, second);
    let says = |is_it: &dyn Fn(&Token, &Token) -> bool| {
        asked_first
            .iter()
            .filter(|a| a.is_content())
            .any(|a| first.iter().any(|t| is_it(a, t)))
    };
    if !is_turned {
        return None;
    }
    if says(&|a, t| a.category == Category::Attribute && a.key == t.key) {
        return Some(Stated::Firm(false));
    }
    says(&|a, t| are_opposite(a, t)).then_some(Stated::Firm(true))
}

/// The clause is about an organ that has nothing to do with the one asked about.
fn names_other_organ(content: &[&Token], question: &Question) -> bool {
    let mut said = content
        .iter()
        .filter(|t| t.category == Category::Organ && !t.is_modifier)
        .peekable();
    if said.peek().is_none() || question.proposition.organs().next().is_none() {
        return false;
    }
    said.all(|t| {
        !question
            .proposition
            .organs()
            .any(|a| a.key == t.key || is_related(a, t) || are_neighbours(a, t))
    })
}

/// More than ten ribs?
fn amount_says(
    answer: &Parsed,
    clause: &Clause<'_>,
    question: &Question,
    said: &OnceCell<Vec<Quantity>>,
) -> Option<Stated> {
    let (first, last) = (clause.tokens.first()?.start, clause.tokens.last()?.start);
    let said = said.get_or_init(|| quantities(answer));
    let from = said.partition_point(|q| answer.tokens[q.token].start < first);
    let mut compared = None;
    for quantity in said[from..]
        .iter()
        .take_while(|q| answer.tokens[q.token].start <= last)
    {
        for asked in &question.proposition.amounts {
            if let Some(fits) = fulfils(quantity, asked) {
                let fits = fits && !answer.tokens[quantity.token].is_negated; // "more than five are not present"
                compared = Some(compared.unwrap_or(true) && fits);
            }
        }
    }
    if let Some(fits) = compared {
        return Some(Stated::Firm(fits != question.is_negated));
    }
    let is_many = |t: &&Token| {
        t.is_stated()
            && matches!(
                answer.word(t),
                "multiple" | "several" | "many" | "numerous" | "多发" | "多个" | "许多"
            )
    };
    let asks_many = |q: &Quantity| {
        q.bound == Bound::Above && q.value <= 1.0 || q.bound == Bound::AtLeast && q.value <= 2.0
    };
    if clause.content.iter().any(is_many) && question.proposition.amounts.iter().any(asks_many) {
        return Some(Stated::Firm(!question.is_negated));
    }
    let counts = question
        .proposition
        .amounts
        .iter()
        .any(|q| q.dimension == Dimension::Count && q.bound != Bound::Exact);
    counts.then_some(Stated::Nothing)
}

/// "Only the left lung is clear" where both are asked about.
fn one_of_both(
    answer: &Parsed,
    clause: &Clause<'_>,
    question: &Question,
    normal: bool,
) -> Option<Stated> {
    let asked = question
        .parsed
        .content()
        .fold(0, |bits, t| bits | side_bits(t));
    let said = clause.content.iter().fold(0, |bits, t| bits | side_bits(t));
    if asked != 3 || !matches!(said, 1 | 2) {
        return None;
    }
    match normality_says(answer, clause, normal, question) {
        Stated::Firm(true) | Stated::Weak(true) => Some(if says_only(answer, clause) {
            Stated::Firm(false)
        } else {
            Stated::Nothing
        }),
        _ => None,
    }
}

/// "Only", "仅".
fn says_only(answer: &Parsed, clause: &Clause<'_>) -> bool {
    clause.tokens.iter().any(|t| {
        let word = answer.word(t);
        word.starts_with("only")
            || matches!(word, "just" | "single" | "仅" | "只" | "只有" | "仅有")
    })
}

/// "The size is normal": of one aspect of what is asked about, which says little of the whole.
fn speaks_of_aspect(answer: &Parsed, tokens: &[&Token], question: &Question) -> bool {
    tokens.iter().any(|t| {
        let word = answer.word(t);
        matches!(
            word,
            "size"
                | "shape"
                | "contour"
                | "position"
                | "location"
                | "outline"
                | "density"
                | "echogenicity"
                | "echotexture"
                | "signal"
                | "attenuation"
                | "in size"
                | "color"
                | "colour"
                | "大小"
                | "形态"
                | "轮廓"
                | "位置"
                | "密度"
                | "信号"
                | "体积"
                | "颜色"
        ) && !question.parsed.text.contains(word)
    })
}

fn normality_says(
    answer: &Parsed,
    clause: &Clause<'_>,
    asked: bool,
    question: &Question,
) -> Stated {
    let (content, tokens) = (&clause.content, &clause.tokens);
    let token = content.iter().find(|t| t.category == Category::Normality);
    if let Some(token) = token {
        let says_normal = is_normal(token) != token.is_negated;
        let said = says_normal == asked;
        return if says_normal && speaks_of_aspect(answer, tokens, question) {
            Stated::Weak(said)
        } else {
            Stated::Firm(said)
        };
    }
    // "neither enlarged nor shrunken" where the size is asked about
    let asks_size = question.has(&["size", "大小", "体积"]);
    let denies_change = content.iter().any(|t| t.is_negated && is_change(t))
        && !content
            .iter()
            .any(|t| t.is_stated() && t.category == Category::Finding);
    if asks_size && denies_change {
        return Stated::Weak(asked);
    }
    // "no cardiomegaly" where it is asked whether the heart is normal
    let denies_own = content.iter().any(|t| {
        t.is_negated
            && t.category == Category::Finding
            && question.proposition.organs().any(|o| is_part(o, t))
    }) && !content
        .iter()
        .any(|t| t.is_stated() && t.category == Category::Finding);
    if denies_own {
        return Stated::Weak(asked);
    }
    if lists_absent(clause, question) {
        return Stated::Weak(asked);
    }
    if names_foci(answer, clause, question) {
        return Stated::Weak(!asked);
    }
    let asks_middle = question.has(&["居中", "midline", "central"]);
    if asks_middle
        && content
            .iter()
            .any(|t| t.is_negated && t.category == Category::Finding && is_moved_aside(t))
    {
        return Stated::Weak(asked); // "not deviated"
    }
    let asks_open = question.has(&["patent", "通畅"]);
    let is_barred = |t: &&&Token| t.category == Category::Finding && t.is_negated;
    if asks_open && content.iter().any(|t| is_barred(&t)) {
        return Stated::Weak(asked); // "not obstructed"
    }
    let is_wrong =
        |t: &&&Token| t.category == Category::Finding && !t.is_negated && !question.names(t);
    if content.iter().any(|t| is_wrong(&t)) {
        return Stated::Weak(!asked);
    }
    Stated::Nothing
}

/// "The gallbladder shows no stones, wall thickening or fluid": several findings, all of them denied.
fn lists_absent(clause: &Clause<'_>, question: &Question) -> bool {
    let is_finding = |t: &&&Token| t.category == Category::Finding;
    let findings = clause.content.iter().filter(is_finding);
    let names_organ = |t: &&Token| {
        t.category == Category::Organ && question.proposition.organs().any(|o| o.key == t.key)
    };
    findings.clone().count() > 1
        && findings.clone().all(|t| t.is_negated)
        && clause.content.iter().any(names_organ)
        && !clause
            .content
            .iter()
            .any(|t| t.is_stated() && matches!(t.category, Category::Unknown | Category::Color))
}

/// "多发低密度灶", "multiple hypodense foci": spots that differ from the rest.
fn names_foci(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    let is_spot = |t: &&Token| {
        let word = answer.word(t);
        matches!(
            word,
            "foci"
                | "focus"
                | "area"
                | "areas"
                | "region"
                | "regions"
                | "zone"
                | "multiple"
                | "patchy"
                | "spots"
                | "灶"
                | "影"
                | "区"
                | "多发"
                | "片状"
                | "斑片状"
                | "结节状"
                | "点状"
        )
    };
    let is_dense = |t: &&&Token| {
        t.category == Category::Color
            && t.is_stated()
            && !question.names(t)
            && [
                "density", "dense", "attenuat", "intens", "signal", "echo", "lucen", "opa", "密度",
                "信号", "回声",
            ]
            .iter()
            .any(|w| answer.word(t).contains(w))
    };
    clause.content.iter().any(|t| is_dense(&t))
        && (clause.tokens.iter().any(is_spot)
            || clause
                .content
                .iter()
                .any(|t| answer.word(t).ends_with('影')))
}

/// "Deviated".
fn is_moved_aside(token: &Token) -> bool {
    super::lexicon::known!("finding.deviation") == Some(token.concept)
}

/// Compares what the clause states with the core of the question.
#[allow(clippy::too_many_lines)] // one decision, read from top to bottom
fn core_says(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> Stated {
    let content = &clause.content;
    let (core, place) = (&question.proposition.core, &question.proposition.place);
    if core.is_empty() {
        return Stated::Nothing;
    }
    let is_meant = |t: &Token, a: &Token| {
        t.key == a.key && (!t.is_han || in_same_run(answer, t, core, a))
            || is_same_word((answer, t), (&question.parsed, a))
            || lies_under(t, a)
                && (t.category == a.category || a.category == Category::Attribute)
                && a.category != Category::Organ
            || t.category != Category::Organ && is_part(t, a)
            || is_part(a, t)
    };
    let differs = |t: &Token| {
        core.iter()
            .any(|a| is_meant(t, a) && t.is_negated != a.is_negated)
    };
    // "no implanted device" where a pacemaker is asked
    let is_kind_denied = || {
        content.iter().any(|t| {
            t.is_negated
                && matches!(t.category, Category::Finding | Category::Other)
                && core.iter().any(|a| lies_under(a, t) && !a.is_negated)
        }) && !names_others(answer, clause, question)
    };
    let is_denied = content.iter().any(|t| differs(t));
    let says_normal = content.iter().any(|t| {
        t.category == Category::Normality
                && is_normal(t)
                && !t.is_negated
                && !question.names(t) // "a normal contour" where that is asked
                && !is_of_other_side(t, content, question)
    });
    let news = || {
        content
            .iter()
            .filter(|t| t.is_stated() && !question.names(t))
    };
    // "the midline is shifted to the left" where a shift is asked
    let is_moved = content
        .iter()
        .any(|t| t.is_stated() && is_change(t) && core.iter().any(|a| a.key == t.key));
    let opposes = news().any(|t| {
        !(is_moved && matches!(t.category, Category::Direction | Category::Side))
            && core.iter().chain(place).any(|a| are_opposite(a, t))
    });
    let replaces = [
        Category::Plane,
        Category::Modality,
        Category::Scale,
        Category::Level,
    ]
    .iter()
    .any(|&category| {
        let is_other = |t: &Token, a: &Token| a.category == category && !is_related(a, t);
        news().any(|t| {
            t.category == category
                && !is_referred_to(answer, t)
                && core.iter().any(|a| is_other(t, a))
        }) && !core.iter().any(|a| {
            a.category == category && content.iter().any(|t| t.is_stated() && t.key == a.key)
        })
    });
    if question.proposition.asks_change && tells_of_before(answer, clause) {
        let same = content
            .iter()
            .any(|t| t.is_stated() && core.iter().any(|a| is_changed(a) && is_meant(t, a)));
        let other = content
            .iter()
            .any(|t| t.is_stated() && core.iter().any(|a| are_opposite(a, t)));
        if same != other {
            return Stated::Firm(other != question.is_negated); // "it was larger before"
        }
    }
    let asked_side = core
        .iter()
        .chain(place)
        .fold(0, |bits, t| bits | side_bits(t));
    let said_side = content.iter().fold(0, |bits, t| bits | side_bits(t));
    let is_one_side = said_side == 1 || said_side == 2;
    if asked_side == 3 && is_one_side && !asks_in_either(question) {
        return if is_denied || says_only(answer, clause) {
            Stated::Firm(question.is_negated)
        } else {
            Stated::Nothing
        };
    }
    let is_other_side = asked_side != 0 && said_side != 0 && asked_side & said_side == 0;
    let has_normal = || {
        content
            .iter()
            .any(|t| t.category == Category::Normality && is_normal(t) && !t.is_negated)
    };
    if is_other_side && (is_denied || has_normal()) {
        return Stated::Nothing; // of the other side
    }
    if (opposes || replaces || is_other_side) && !is_denied {
        return Stated::Firm(question.is_negated);
    }
    let denies_opposite = content.iter().any(|t| {
        t.is_negated
            && matches!(
                t.category,
                Category::Attribute | Category::Side | Category::Direction | Category::Finding
            )
            && side_bits(t) == 0
            && core.iter().any(|a| are_opposite(a, t))
    });
    if denies_opposite && !is_denied {
        return Stated::Weak(!question.is_negated); // "not midline" where a deviation is asked
    }
    // "none in the pancreas"
    let denies_there = clause
        .tokens
        .iter()
        .any(|t| matches!(answer.word(t), "none" | "nothing" | "没有" | "无" | "未见"))
        && content.iter().all(|t| {
            t.is_negated && place.iter().any(|a| a.key == t.key) && t.category == Category::Organ
        });
    if denies_there {
        return Stated::Weak(question.is_negated);
    }
    let is_gone = clause.tokens.iter().any(|t| t.role == Role::NegationBack)
        && content.iter().all(|t| {
            t.is_negated
                && place
                    .iter()
                    .any(|a| a.key == t.key && a.category == Category::Organ)
        });
    if is_gone {
        return Stated::Weak(question.is_negated); // "the gallbladder was removed" where its stones are asked
    }
    let is_elsewhere =
        || answer.hints.has(Hints::CONFINED) && is_confined_elsewhere(answer, clause, question);
    if is_told_of_another(answer, clause, question) || is_elsewhere() {
        return Stated::Firm(question.is_negated);
    }
    // "the margins are free of tumor" where their involvement is asked
    let asks_affected = question.proposition.asks_affected;
    let names_place = || content.iter().any(|t| place.iter().any(|a| a.key == t.key));
    if asks_affected && named_by(answer, clause, &["positive", "阳性"]) && names_place() {
        return Stated::Firm(!question.is_negated);
    }
    if asks_affected && named_by(answer, clause, &["negative", "阴性"]) && names_place() {
        return Stated::Weak(question.is_negated);
    }
    let is_free = asks_affected
        && content.iter().any(|t| {
            t.is_negated
                && matches!(t.category, Category::Finding | Category::Unknown)
                && answer.word(t) != "free"
                && !question.names(t)
        })
        && !content
            .iter()
            .any(|t| t.is_stated() && t.category == Category::Finding && !question.names(t))
        && content
            .iter()
            .any(|t| !t.is_negated && place.iter().any(|a| a.key == t.key));
    if is_free {
        return Stated::Weak(question.is_negated);
    }
    // "above the atrium" is not in it
    let is_beside = question.proposition.is_location
        && !is_denied
        && content
            .iter()
            .any(|t| t.is_stated() && core.iter().any(|a| a.key == t.key))
        && content
            .iter()
            .filter(|t| t.category == Category::Organ && core.iter().any(|a| a.key == t.key))
            .all(|t| lies_beside(answer, t));
    if is_beside && content.iter().any(|t| t.category == Category::Organ) && asks_inside(question) {
        return Stated::Firm(question.is_negated);
    }
    // "…, but the common bile duct is not": what was said before is denied of the subject
    let ends_in_denial = asked_of_subject(question)
        && clause
            .tokens
            .last()
            .is_some_and(|t| t.role == Role::Negation)
        && content
            .iter()
            .all(|t| t.is_negated && place.iter().any(|a| a.key == t.key));
    if ends_in_denial {
        return Stated::Firm(question.is_negated);
    }
    let named = core
        .iter()
        .filter(|a| content.iter().any(|t| is_meant(t, a)))
        .count();
    let asks_finding = core.iter().any(is_finding_like);
    if named == 0 && is_kind_denied() {
        return Stated::Weak(question.is_negated);
    }
    if named == 0 {
        let names_its_organ = content.iter().any(|t| {
            t.category == Category::Organ && !t.is_negated && core.iter().any(|a| is_part(t, a))
        });
        let is_normal =
            says_normal && (names_its_organ || speaks_of_place(answer, content, question));
        return if asks_finding && is_normal {
            Stated::Weak(question.is_negated)
        } else {
            Stated::Nothing
        };
    }
    if asks_finding
        && says_normal
        && !content
            .iter()
            .any(|t| t.category == Category::Finding && t.is_stated() && question.names(t))
    {
        return Stated::Weak(question.is_negated); // "the heart size is normal" where enlargement is asked
    }
    let matching: Vec<&&Token> = content
        .iter()
        .filter(|t| core.iter().any(|a| is_meant(t, a)))
        .collect();
    let is_stated = matching.iter().any(|t| !differs(t));
    let is_sure = named * 2 > core.len() && !(is_denied && is_stated);
    let is_weak = if core.len() > 3 {
        named * 2 <= core.len()
    } else {
        named * 2 < core.len()
    };
    let misses_last = question.proposition.needs_last
        && named * 2 <= core.len()
        && core
            .last()
            .is_some_and(|a| !content.iter().any(|t| is_meant(t, a)));
    if (is_weak || misses_last) && !is_denied || is_denied && names_others(answer, clause, question)
    {
        return Stated::Nothing;
    }
    if !is_denied
        && !clause.is_statement
        && named < core.len()
        && has_other_attribute(answer, content, question)
    {
        return Stated::Nothing;
    }
    let is_echo = question.proposition.is_existence
        && !clause.is_statement
        && !content.iter().any(|t| is_change(t))
        && content.iter().all(|t| {
            question.names(t) && !names_sign(answer.word(t)) && is_word_of(answer, t, question)
        })
        && content.iter().any(|t| {
            matches!(
                t.category,
                Category::Finding | Category::Unknown | Category::Organ | Category::Other
            )
        });
    if is_echo && !is_denied {
        return Stated::Nothing;
    }
    if !is_denied && is_definition(answer, clause, core) {
        return Stated::Nothing;
    }
    let said = !is_denied;
    if is_sure {
        Stated::Firm(said)
    } else {
        Stated::Weak(said)
    }
}

/// The question has the same word: "pneumoperitoneum" is no echo of "free air".
fn is_word_of(answer: &Parsed, token: &Token, question: &Question) -> bool {
    let word = answer.word(token);
    token.category != Category::Finding
        || !word.is_ascii()
        || question
            .parsed
            .text
            .contains(&word[..word.len().min(LEAST_SHARED)])
}

/// Letters that two forms of a word share: "nodule", "nodular".
const LEAST_SHARED: usize = 5;

/// 双肺有无实变: one side is enough.
fn asks_in_either(question: &Question) -> bool {
    let text = &question.parsed.text;
    let asked = ["有无", "有没有", "是否有", "是否可见", "是否见"]
        .iter()
        .find_map(|w| text.find(w));
    asked.is_some_and(|at| text[..at].contains('双') || text[..at].contains('两'))
}

/// "骨皮质中断": the fracture is told by its sign, and nothing of the question is repeated.
fn names_sign(word: &str) -> bool {
    has_any(word, &["cortex", "cortical", "骨皮质"])
}

/// "It is the liver, not the spleen, that is enlarged.": the property is of something else than the subject asked about.
fn is_told_of_another(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    let asked = &question.proposition;
    let content = &clause.content;
    let is_subject = |t: &Token| {
        asked
            .place
            .iter()
            .any(|a| a.key == t.key && a.category == t.category)
    };
    let denied = content
        .iter()
        .find(|t| t.is_negated && t.category == Category::Organ && is_subject(t));
    let Some(denied) = denied.filter(|_| asked.is_of_subject || asked.is_existence) else {
        return false;
    };
    let is_other = |t: &&&Token| {
        t.is_stated()
            && t.category == denied.category
            && t.segment != denied.segment
            && !question.names(t)
            && !is_related(t, denied)
            && !answer.segments[t.segment as usize].is_side_remark
    };
    content.iter().any(|t| is_other(&t))
        && content
            .iter()
            .any(|t| t.is_stated() && asked.core.iter().any(|a| a.key == t.key))
}

/// "Invasion is confined to the lamina propria": what is found is only in a place that was not asked about.
fn is_confined_elsewhere(answer: &Parsed, clause: &Clause<'_>, question: &Question) -> bool {
    let place = &question.proposition.place;
    let is_site = |t: &Token| {
        matches!(
            t.category,
            Category::Organ | Category::Unknown | Category::Direction | Category::Level
        )
    };
    let Some(at) = clause.tokens.iter().position(|t| {
        let word = answer.word(t);
        word.starts_with("confined")
            || word.starts_with("limited")
            || word.starts_with("restricted")
            || matches!(
                word,
                "局限于" | "仅限于" | "限于" | "仅位于" | "仅见于" | "只位于" | "只见于"
            )
    }) else {
        return is_only_at_end(answer, clause)
            && names_other_site(&clause.content, place, question);
    };
    let after: Vec<&Token> = clause.tokens[at + 1..]
        .iter()
        .filter(|t| t.is_content() && is_site(t))
        .copied()
        .collect();
    let is_denied = clause.tokens[..at].iter().any(|t| t.role == Role::Negation);
    !is_denied && names_other_site(&after, place, question)
}

/// "… in the left kidney; the right kidney is normal": the word is said of the side that was not asked about.
fn is_of_other_side(token: &Token, content: &[&Token], question: &Question) -> bool {
    let asked = question
        .proposition
        .core
        .iter()
        .chain(&question.proposition.place)
        .fold(0, |bits, t| bits | side_bits(t));
    let said = content
        .iter()
        .filter(|t| t.segment == token.segment)
        .fold(0, |bits, t| bits | side_bits(t));
    matches!(asked, 1 | 2) && said != 0 && asked & said == 0
}

/// "Above the atrium", "short of the carina": the place is only where something ends or begins.
fn lies_beside(answer: &Parsed, token: &Token) -> bool {
    let at = answer.tokens.partition_point(|t| t.start < token.start);
    answer.tokens[..at]
        .iter()
        .rev()
        .take(4)
        .take_while(|t| t.segment == token.segment)
        .find(|t| {
            matches!(t.role, Role::Preposition | Role::Near)
                || matches!(t.category, Category::Direction)
                    && matches!(answer.word(t), "above" | "below" | "behind" | "in front of")
        })
        .is_some_and(|t| {
            t.role == Role::Near
                || matches!(
                    answer.word(t),
                    "above" | "below" | "behind" | "in front of" | "beyond" | "outside"
                )
        })
}

/// "Is the tip in the atrium?"
fn asks_inside(question: &Question) -> bool {
    question.has(&[" in ", " within ", " inside "])
}

/// "Homonymous hemianopia" where a bitemporal one is asked: another word stands before the noun.
fn has_other_attribute(answer: &Parsed, content: &[&Token], question: &Question) -> bool {
    let core = &question.proposition.core;
    let is_attribute = |t: &Token| {
        matches!(t.category, Category::Unknown | Category::Attribute)
            && t.role == Role::Content
            && !t.is_han
    };
    core.windows(2).any(|pair| {
        let [first, noun] = pair else { return false };
        let is_pair = is_attribute(first)
            && !noun.is_han
            && noun.before == Break::Blank
            && first.end + 1 == noun.start
            && !content.iter().any(|t| {
                t.key == first.key || is_same_word((answer, t), (&question.parsed, first))
            });
        is_pair
            && content.iter().any(|t| {
                let at = answer.tokens.partition_point(|o| o.start < t.start);
                t.key == noun.key
                    && t.before == Break::Blank
                    && at > 0
                    && is_attribute(&answer.tokens[at - 1])
                    && answer.tokens[at - 1].end + 1 == t.start
                    && !question.names(&answer.tokens[at - 1])
            })
    })
}

/// "Is the duct dilated?": something is asked of a subject that the question names.
fn asked_of_subject(question: &Question) -> bool {
    question.proposition.is_of_subject && !question.proposition.place.is_empty()
}

/// "烟" in "吸烟" is not that of "戒烟": a character of an unknown word counts beside a neighbour that it has there.
fn in_same_run(answer: &Parsed, token: &Token, core: &[Token], asked: &Token) -> bool {
    let Some(at) = core.iter().position(|a| a.start == asked.start) else {
        return true;
    };
    let next = core.get(at + 1).filter(|n| n.is_han && n.is_joined);
    let before = at
        .checked_sub(1)
        .map(|i| &core[i])
        .filter(|b| b.is_han && asked.is_joined && b.end == asked.start);
    if next.is_none() && before.is_none() {
        return true;
    }
    let here = answer.tokens.partition_point(|t| t.start < token.start);
    let follows = next.is_some_and(|n| answer.tokens.get(here + 1).is_some_and(|t| t.key == n.key));
    let leads = before.is_some_and(|b| here > 0 && answer.tokens[here - 1].key == b.key);
    follows || leads
}

/// One of the words stands in the clause and is not denied.
fn named_by(answer: &Parsed, clause: &Clause<'_>, words: &[&str]) -> bool {
    let is_it = |t: &&Token| words.contains(&answer.word(t));
    let denies = |t: &&Token| matches!(t.role, Role::Negation | Role::No);
    clause.tokens.iter().any(is_it) && !clause.tokens.iter().any(denies)
}

/// "It was larger on the previous film": tells of an earlier time, not of a change since then.
fn tells_of_before(answer: &Parsed, clause: &Clause<'_>) -> bool {
    let has = |words: &[&str]| {
        clause
            .tokens
            .iter()
            .any(|t| words.contains(&answer.word(t)))
    };
    has(&["was", "were"])
        && has(&[
            "previous",
            "prior",
            "earlier",
            "previously",
            "before",
            "last",
        ])
        && !has(&[
            "than",
            "since",
            "compared with",
            "compared to",
            "from",
            "relative to",
        ])
}

/// "Intraretinal only": the word ends its clause.
fn is_only_at_end(answer: &Parsed, clause: &Clause<'_>) -> bool {
    clause
        .tokens
        .last()
        .is_some_and(|t| matches!(answer.word(t), "only" | "alone" | "exclusively"))
}

/// A site is named, and it neither is the one asked about nor belongs to it.
fn names_other_site(content: &[&Token], place: &[Token], question: &Question) -> bool {
    let is_site = |t: &Token| {
        matches!(
            t.category,
            Category::Organ | Category::Unknown | Category::Direction
        )
    };
    // "propria" is shared by the lamina and the muscularis: the first word tells them apart
    let first = |category: Category| place.iter().find(|t| t.category == category);
    let asked: Vec<&Token> = [Category::Organ, Category::Unknown]
        .into_iter()
        .filter_map(first)
        .collect();
    let belongs = |t: &Token| {
        asked
            .iter()
            .any(|a| a.key == t.key || is_related(a, t) || are_neighbours(a, t))
    };
    let is_core = |t: &Token| question.proposition.core.iter().any(|a| a.key == t.key);
    !asked.is_empty()
        && content
            .iter()
            .any(|t| t.is_stated() && is_site(t) && !is_core(t) && !question.names(t))
        && !content.iter().any(|t| belongs(t))
}

/// "Referring to the chest X-ray": the token only says where something was seen.
fn is_referred_to(answer: &Parsed, token: &Token) -> bool {
    let at = answer.tokens.partition_point(|t| t.start < token.start);
    let lead = answer.tokens[..at]
        .iter()
        .rev()
        .take(4)
        .find(|t| !t.is_content() && t.role != Role::Determiner && t.role != Role::Filler);
    lead.is_some_and(|t| {
        matches!(
            &answer.text[t.start as usize..t.end as usize],
            "to" | "in" | "on"
        )
    })
}

/// "Pneumonia is an infection of the lungs": tells what the thing is, not that it is there.
fn is_definition(answer: &Parsed, clause: &Clause<'_>, core: &[Token]) -> bool {
    let tokens = &clause.tokens;
    if is_generic(answer, clause, core) {
        return true;
    }
    let tells_where_common = |t: &&Token| {
        matches!(
            answer.word(t),
            "常见于"
                | "多见于"
                | "好发于"
                | "是指"
                | "指的是"
                | "是一种"
                | "is defined as"
                | "refers to"
        )
    };
    if tokens.iter().any(tells_where_common) {
        return true;
    }
    let Some(at) = tokens.iter().position(|t| t.is_content()) else {
        return false;
    };
    // "The pancreas is an organ."
    let is_article = |t: &Token| matches!(answer.word(t), "a" | "an");
    let article = tokens[at..].iter().position(|t| is_article(t));
    let says_class = article.is_some_and(|article| {
        let (before, after) = tokens[at..].split_at(article);
        before
            .last()
            .is_some_and(|t| matches!(answer.word(t), "is" | "are"))
            && after.len() == 2
            && after[1].role == Role::Filler
    });
    // "Granulomas are collections of histiocytes."
    let says_sort = tokens[at..]
        .windows(3)
        .find(|w| matches!(answer.word(w[0]), "is" | "are"))
        .is_some_and(|w| {
            let is_sort = w[1].category == Category::Unknown && w[1].role == Role::Content;
            is_sort && answer.word(w[1]).ends_with('s') && answer.word(w[2]) == "of"
        });
    if says_class || says_sort {
        return true;
    }
    let opens_bare = tokens[..at]
        .iter()
        .all(|t| t.role != Role::Determiner && answer.word(t) != "a" && answer.word(t) != "an");
    let last = tokens[at..]
        .iter()
        .take_while(|t| core.iter().any(|a| a.key == t.key) || t.category == Category::Organ)
        .count();
    let Some(verb) = tokens.get(at + last) else {
        return false;
    };
    let is_be = verb.role != Role::Filler
        && matches!(answer.word(verb), "is" | "are" | "是" | "can" | "may");
    let defines = tokens.get(at + last + 1).is_some_and(|t| {
        matches!(
            answer.word(t),
            "a" | "an"
                | "one of"
                | "usually"
                | "commonly"
                | "typically"
                | "often"
                | "defined"
                | "caused"
                | "graded"
                | "classified"
                | "divided"
                | "subdivided"
                | "categorized"
                | "categorised"
                | "characterized by"
                | "characterised by"
                | "diagnosed"
                | "treated"
                | "cause"
                | "common"
        ) || answer.word(verb) == "是"
            || matches!(answer.word(t), "more" | "most")
                && tokens.get(at + last + 2).is_some_and(|n| {
                    matches!(
                        answer.word(n),
                        "common" | "frequent" | "prevalent" | "often"
                    )
                })
    });
    opens_bare
        && last > 0
        && is_be
        && defines
        && !tokens[at..]
            .iter()
            .any(|t| t.role == Role::Affirm && answer.word(t) != "是")
}

/// "An effusion is a common finding", "effusions often accompany heart failure": tells what is so in general.
/// "Malignant lesions have irregular borders": a plural without an article, and what such things have.
fn is_of_a_sort(answer: &Parsed, clause: &Clause<'_>) -> bool {
    let Some(verb) = clause.tokens.iter().position(|t| answer.word(t) == "have") else {
        return false;
    };
    let (lead, rest) = clause.tokens.split_at(verb);
    let is_plural = lead
        .last()
        .is_some_and(|t| t.is_content() && answer.word(t).ends_with('s'));
    let is_perfect = rest.get(1).is_some_and(|t| {
        let word = answer.word(t);
        word.ends_with("ed") || matches!(word, "been" | "spread" | "grown" | "become")
    });
    is_plural
        && lead
            .iter()
            .all(|t| t.is_content() && t.role != Role::Number)
        && !is_perfect
}

fn is_generic(answer: &Parsed, clause: &Clause<'_>, core: &[Token]) -> bool {
    let words = || clause.tokens.iter().map(|t| answer.word(t));
    let is_sort = |w: &str| {
        is_sort_of_finding(w) || matches!(w, "findings" | "causes" | "features" | "signs")
    };
    let mut pairs = clause.tokens.windows(2);
    let says_usual =
        pairs.any(|w| is_usual_finding(answer.word(w[0])) && is_sort(answer.word(w[1])));
    let is_often = words().any(|w| says_how_often(w) || w == "generally");
    let is_definite = words().any(|w| {
        matches!(
            w,
            "the" | "this" | "there" | "here" | "these" | "it" | "本例" | "该"
        )
    });
    let opens = clause
        .tokens
        .iter()
        .find(|t| t.is_content())
        .is_some_and(|t| core.iter().any(|a| a.key == t.key) || t.category == Category::Organ);
    let is_of_case = words().any(|w| matches!(w, "this" | "there" | "here" | "these" | "it"));
    says_usual && !is_of_case
        || is_often && !is_definite && opens
        || opens && is_of_a_sort(answer, clause)
}

/// The clause says "normal" of what the question is about, or of everything.
fn speaks_of_place(answer: &Parsed, content: &[&Token], question: &Question) -> bool {
    let names_place = content.iter().any(|t| {
        question
            .proposition
            .place
            .iter()
            .any(|a| t.key == a.key || t.category == Category::Organ && lies_under(a, t))
    });
    let is_all = question.proposition.is_existence
        && content.iter().all(|t| t.category == Category::Normality)
        && content.iter().any(|t| {
            let word = &answer.text[t.start as usize..t.end as usize];
            !matches!(
                word,
                "normal" | "clear" | "healthy" | "intact" | "正常" | "健康" | "良好"
            )
        });
    names_place || is_all
}

fn bare_says(tokens: &[&Token]) -> Option<bool> {
    let denials = tokens
        .iter()
        .filter(|t| {
            matches!(
                t.role,
                Role::Negation | Role::NegationBack | Role::Difficult
            ) || (t.role == Role::No && !t.is_answer_no())
        })
        .count();
    if denials > 0 {
        return Some(denials % 2 == 0);
    }
    tokens
        .iter()
        .any(|t| t.role == Role::Affirm)
        .then_some(true)
}
