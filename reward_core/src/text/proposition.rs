//! What a yes/no question asks to be confirmed: its core, and what only says where to look.
//!
//! "Is there a nodule in the left lung on this CT?" asks for the nodule; the lung is its place, the CT the picture.

use super::clauses::Opener;
use super::lexicon::{Category, Role};
use super::numbers::{quantities, Quantity};
use super::relations::{is_affected, is_changed, is_general};
use super::tokens::{Parsed, Token};
use super::words::Break;

/// A yes/no question, taken apart.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Proposition {
    /// What has to be confirmed or denied.
    pub core: Vec<Token>,
    /// Where it is asked about, and the thing that it is asked of.
    pub place: Vec<Token>,
    /// It asks whether something is there, not how something is.
    pub is_existence: bool,
    /// It asks whether something is possible ("Can X cause Y?").
    pub is_modal: bool,
    /// It asks what kind of picture this is ("Is this an MRI of the knee?").
    pub is_identity: bool,
    /// It asks whether something is in a place ("Is the tube in the trachea?").
    pub is_location: bool,
    /// The last word of the core has to be named: the others are its subject ("Does the lesion enhance?").
    pub needs_last: bool,
    /// It says something of a subject that it names ("Is the heart enlarged?").
    pub is_of_subject: bool,
    /// It asks whether something is affected.
    pub asks_affected: bool,
    /// It asks whether something has changed.
    pub asks_change: bool,
    /// Numbers it asks about ("more than 10 ribs").
    pub amounts: Vec<Quantity>,
    /// `Some(true)`: asks whether something is normal; `Some(false)`: whether it is abnormal.
    pub normality: Option<bool>,
}

const PLACES: [&str; 14] = [
    "in",
    "on",
    "at",
    "within",
    "inside",
    "of",
    "from",
    "throughout",
    "over",
    "along",
    "to",
    "在",
    "于",
    "with",
];

const SHOWING: [&str; 24] = [
    "show",
    "shows",
    "have",
    "has",
    "contain",
    "contains",
    "demonstrate",
    "demonstrates",
    "reveal",
    "reveals",
    "display",
    "depict",
    "suggest",
    "indicate",
    "include",
    "exhibit",
    "see",
    "有",
    "存在",
    "可见",
    "包含",
    "出现",
    "显示",
    "发现",
];

const EXISTING_CHINESE: [&str; 15] = [
    "有",
    "存在",
    "可见",
    "见",
    "见到",
    "看到",
    "看见",
    "发现",
    "包含",
    "包括",
    "含有",
    "出现",
    "显示",
    "有无",
    "有没有",
];

impl Proposition {
    /// Takes the question apart.
    #[must_use]
    #[allow(clippy::too_many_lines)] // one decision, read from top to bottom
    pub fn new(parsed: &Parsed) -> Self {
        let first = first_words(parsed);
        let is_existence = is_existence(parsed, &first);
        let is_be = matches!(first.0, "is" | "are" | "was" | "were" | "isn" | "aren");
        let phrases = phrases_of_place(parsed, is_be || is_existence);
        let is_pronoun = matches!(first.1, "this" | "it" | "that" | "these" | "they");
        let normality = normality(parsed, &phrases, is_be && is_pronoun);
        let mut proposition = Self {
            is_existence,
            is_modal: matches!(first.0, "can" | "could" | "may" | "might")
                || parsed.text.contains('能')
                || parsed.text.contains("可以"),
            amounts: quantities(parsed),
            normality,
            ..Self::default()
        };
        let mut is_counted = vec![false; parsed.tokens.len()];
        for amount in &proposition.amounts {
            let last = (amount.token + amount.unit_tokens + 1).min(is_counted.len());
            is_counted[amount.token.min(last)..last].fill(true);
        }
        let all: Vec<(usize, Token)> = parsed
            .tokens
            .iter()
            .enumerate()
            .filter(|(i, t)| t.is_content() && t.category != Category::Normality && !is_counted[*i])
            .map(|(i, t)| (i, *t))
            .collect();
        let is_picture = |t: &Token| {
            matches!(
                t.category,
                Category::Modality | Category::Plane | Category::Sequence
            )
        };
        let is_site = |t: &Token| {
            matches!(
                t.category,
                Category::Organ | Category::Side | Category::Direction
            )
        };
        let outside: Vec<(usize, Token)> =
            all.iter().filter(|(i, _)| !phrases[*i]).copied().collect();
        let others = |list: &[(usize, Token)]| -> Vec<(usize, Token)> {
            list.iter()
                .filter(|(_, t)| !is_picture(t) && !is_site(t))
                .copied()
                .collect()
        };
        let mut core = others(&outside);
        // "… since the prior study?", "… compared with the last film?" says with what to compare
        let is_measure = |t: &Token| {
            parsed
                .segments
                .get(t.segment as usize)
                .is_some_and(|s| matches!(s.opener, Opener::Relative | Opener::Than) && s.first > 0)
        };
        if core.iter().any(|(_, t)| !is_measure(t)) && core.iter().any(|(_, t)| is_changed(t)) {
            core.retain(|(_, t)| !is_measure(t));
        }
        if let Some(verb) = is_existence.then(|| showing_verb(parsed)).flatten() {
            // "Does the biopsy show granulomas?" asks of the biopsy, and for the granulomas
            if core.iter().any(|(i, _)| *i > verb) {
                core.retain(|(i, _)| *i > verb);
            }
        }
        if core.is_empty() {
            core = outside
                .iter()
                .filter(|(_, t)| !is_picture(t) && !t.is_modifier)
                .copied()
                .collect();
        }
        if core.is_empty() {
            core.clone_from(&outside);
        }
        let links = |t: &Token| matches!(word(parsed, t), "look" | "appear" | "seem");
        let is_be = matches!(first.0, "is" | "are" | "was" | "were" | "isn" | "aren")
            || matches!(first.0, "does" | "do" | "did") && parsed.tokens.iter().any(links);
        let is_pronoun = matches!(first.1, "this" | "it" | "that" | "these" | "they");
        let first_phrase = phrases.iter().position(|p| *p).unwrap_or(usize::MAX);
        let has_predicate = outside.last().is_some_and(|(i, _)| *i > first_phrase);
        // "Is the ureter dilated down to the bladder?"
        let has_participle = outside.len() > 1
            && outside.last().is_some_and(|(i, t)| {
                *i < first_phrase && is_finding_told(t) && word(parsed, t).ends_with("ed")
            });
        let is_location = is_be
            && !has_participle
            && !is_existence
            && !is_pronoun
            && !has_predicate
            && is_site_phrase(parsed, &phrases);
        proposition.is_location = is_location;
        let is_this = ["这", "该", "此"]
            .iter()
            .any(|w| parsed.text.starts_with(w))
            && parsed.text.contains('是');
        proposition.is_identity =
            (is_be && is_pronoun || is_this) && outside.iter().any(|(_, t)| is_picture(t));
        if core.is_empty()
            || (is_location || parsed.text.contains('在')) && !is_existence && normality.is_none()
        {
            let inside: Vec<(usize, Token)> = all
                .iter()
                .filter(|(i, t)| phrases[*i] && !is_picture(t))
                .copied()
                .collect();
            let inside = if inside.is_empty() {
                all.iter().filter(|(i, _)| phrases[*i]).copied().collect()
            } else {
                inside
            };
            if !inside.is_empty() {
                core = inside;
            }
        } else if !is_existence {
            core = predicate(parsed, core, is_be, &first);
        }
        if normality.is_some() {
            core.clear();
        }
        // "mass effect" is one thing
        let is_compound = match core.as_slice() {
            [(first, a), (last, b)] => {
                first + 1 == *last
                    && matches!(b.before, Break::Blank | Break::Hyphen)
                    && a.category == Category::Finding
                    && b.category == Category::Unknown
                    && !b.is_han
            }
            _ => false,
        };
        proposition.needs_last = (is_compound || !is_be && !is_existence) && normality.is_none();
        proposition.is_of_subject = is_be && !is_existence && !is_pronoun;
        let mut is_core = vec![false; parsed.tokens.len()];
        for (i, _) in &core {
            is_core[*i] = true;
        }
        proposition.place = all
            .iter()
            .filter(|(i, _)| !is_core[*i])
            .map(|(_, t)| *t)
            .collect();
        proposition.core = core.into_iter().map(|(_, t)| t).collect();
        proposition.asks_affected =
            !proposition.core.is_empty() && proposition.core.iter().all(is_affected);
        proposition.asks_change = proposition.core.iter().any(is_changed);
        proposition
    }

    /// Organs that the question names.
    pub fn organs(&self) -> impl Iterator<Item = &Token> {
        self.core
            .iter()
            .chain(&self.place)
            .filter(|t| t.category == Category::Organ && !t.is_modifier)
    }
}

fn is_finding_told(token: &Token) -> bool {
    matches!(token.category, Category::Finding | Category::Attribute)
}

/// The first two words of the question.
fn first_words(parsed: &Parsed) -> (&str, &str) {
    let mut words = parsed
        .text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty());
    (words.next().unwrap_or(""), words.next().unwrap_or(""))
}

fn word<'a>(parsed: &'a Parsed, token: &Token) -> &'a str {
    &parsed.text[token.start as usize..token.end as usize]
}

fn is_existence(parsed: &Parsed, first: &(&str, &str)) -> bool {
    let is_be = matches!(
        first.0,
        "is" | "are" | "was" | "were" | "isn" | "aren" | "has" | "have"
    );
    if is_be && matches!(first.1, "there" | "any" | "evidence")
        || matches!(first.0, "any" | "evidence")
    {
        return true;
    }
    let is_english = !first.0.is_empty() && first.0.is_ascii() && !parsed.text.contains('吗');
    parsed.tokens.iter().any(|t| {
        let word = word(parsed, t);
        let shows = !is_be && t.role == Role::Verb && SHOWING.contains(&word);
        let affirms = t.role == Role::Affirm
            && is_english
            && !matches!(word, "positive" | "evident" | "included");
        shows || affirms || is_shown_in(word) || EXISTING_CHINESE.contains(&word)
    })
}

/// "Is a nodule seen in this CT?": one term each.
fn is_shown_in(word: &str) -> bool {
    matches!(word, "seen in" | "noted in" | "found in")
}

/// Where the verb stands of which one thing is the subject and another the object: "show", "contain", "have".
fn showing_verb(parsed: &Parsed) -> Option<usize> {
    let is_it = |t: &Token| t.role == Role::Verb && SHOWING.contains(&word(parsed, t));
    parsed.tokens.iter().position(is_it)
}

/// For each token, whether it stands in a phrase such as "in the left lung".
fn phrases_of_place(parsed: &Parsed, is_be: bool) -> Vec<bool> {
    let mut inside = false;
    let mut has_site = false;
    let mut phrases = Vec::with_capacity(parsed.tokens.len());
    let existential = |t: &Token| {
        matches!(t.role, Role::Affirm | Role::Filler) && EXISTING_CHINESE.contains(&word(parsed, t))
    };
    let first_existential = parsed.tokens.iter().position(existential);
    let asks_what_is =
        first_existential.is_some_and(|at| parsed.tokens[at..].iter().any(Token::is_content));
    for (index, token) in parsed.tokens.iter().enumerate() {
        match token.role {
            Role::Preposition | Role::Near
                if token.role == Role::Near || PLACES.contains(&word(parsed, token)) =>
            {
                inside = true;
            }
            // "seen in", "noted in" are one term each
            Role::Filler | Role::Verb if word(parsed, token).ends_with(" in") => inside = true,
            Role::Verb | Role::Affirm | Role::Contrast => inside = false,
            Role::Content
                if matches!(
                    token.category,
                    Category::Finding | Category::Attribute | Category::Color | Category::Normality
                ) =>
            {
                inside = false;
            }
            _ => {}
        }
        // "can a mass in the pancreatic head cause …": the verb ends the phrase
        if token.before >= Break::Colon
            || !is_be && has_site && token.is_content() && token.category == Category::Unknown
        {
            inside = false;
        }
        has_site |= inside
            && matches!(
                token.category,
                Category::Organ | Category::Side | Category::Direction
            );
        let is_site = matches!(
            token.category,
            Category::Organ
                | Category::Side
                | Category::Direction
                | Category::Modality
                | Category::Plane
        );
        // "胃黏膜有无溃疡": what is written together with the organ belongs to the place
        let goes_on =
            token.is_joined && token.is_han && phrases.last() == Some(&true) && asks_what_is;
        let is_before_verb = first_existential.is_some_and(|at| index < at) && (is_site || goes_on);
        phrases.push(inside || is_before_verb);
    }
    phrases
}

/// The phrase names a place of the body.
fn is_site_phrase(parsed: &Parsed, phrases: &[bool]) -> bool {
    parsed.tokens.iter().zip(phrases).any(|(t, p)| {
        *p && t.is_content()
            && !matches!(
                t.category,
                Category::Modality | Category::Plane | Category::Sequence
            )
    })
}

/// Normality where it is what is asked, not where it only describes ("the normal kidney").
fn normality(parsed: &Parsed, phrases: &[bool], is_pronoun: bool) -> Option<bool> {
    let last = parsed
        .tokens
        .iter()
        .rposition(|t| t.category == Category::Normality)?;
    // "Are these normal kidneys?"
    let is_last = is_pronoun
        || parsed
            .tokens
            .iter()
            .zip(phrases)
            .skip(last + 1)
            .all(|(t, p)| {
                !t.is_content()
                    || *p
                    || matches!(
                        t.category,
                        Category::Organ | Category::Modality | Category::Plane
                    ) && t.before >= Break::Blank
                        && is_after_preposition(parsed, t)
            });
    is_last.then(|| super::question::is_normal(&parsed.tokens[last]))
}

fn is_after_preposition(parsed: &Parsed, token: &Token) -> bool {
    let at = parsed.tokens.partition_point(|t| t.start < token.start);
    parsed.tokens[..at]
        .iter()
        .rev()
        .take_while(|t| !t.is_content())
        .any(|t| t.role == Role::Preposition)
}

/// What is said of the subject: "enlarged" in "Is the heart enlarged?", "a malignant tumor" after "a".
fn predicate(
    parsed: &Parsed,
    core: Vec<(usize, Token)>,
    is_be: bool,
    first: &(&str, &str),
) -> Vec<(usize, Token)> {
    if core.len() < 2 {
        return core;
    }
    if !is_be {
        let starts_general = is_general(&core[0].1) && core[0].1.category == Category::Finding;
        return if starts_general {
            core[1..].to_vec()
        } else {
            core
        };
    }
    let is_article = |t: &Token| matches!(word(parsed, t), "a" | "an");
    let article = parsed.tokens.iter().rposition(is_article);
    let is_pronoun = matches!(first.1, "this" | "it" | "that" | "these" | "they");
    if is_pronoun && article == Some(2) {
        return core;
    }
    if let Some(article) = article.filter(|&a| a > core[0].0 || is_pronoun) {
        return core.into_iter().filter(|(i, _)| *i > article).collect();
    }
    core[core.len() - 1..].to_vec()
}
