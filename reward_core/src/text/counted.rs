//! What a count counts: "two effusions and three nodules" answers "How many nodules?" with three.

use super::lexicon::{known, Category, Role};
use super::numbers::{Dimension, Quantity};
use super::question::Question;
use super::tokens::{Parsed, Token};
use super::words::{has_any, Break};

/// Words before and after a number that are looked at for when and where it was measured.
const LONGEST_LEAD: usize = 24;

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
    if all.len() > 1 && !asks_change(question) {
        let is_old = |q: &Quantity| is_of_earlier(answer, q.token);
        if all.iter().any(|q| !is_old(q)) {
            all.retain(|q| !is_old(q));
        }
        leave_out_other_places(answer, question, all);
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

/// Whether the earlier amount may be what is asked, or the difference to it.
fn asks_change(question: &Question) -> bool {
    question.has(&[
        "grow", "increase", "decrease", "change", "previous", "prior", "earlier", "before", "ago",
        " did ", " was ", " were ", "had ", "last", "增", "变", "减", "前", "既往", "曾", "原",
    ])
}

/// "8 mm, previously 6 mm in 2021", "up from 48 mm", "2021年为6毫米": the amount of another time.
fn is_of_earlier(answer: &Parsed, number: usize) -> bool {
    let is_year = answer.tokens[number].value >= 1900.0
        && answer.tokens[number].value <= 2100.0
        && answer
            .tokens
            .get(number + 1)
            .is_some_and(|t| answer.word(t) == "年");
    if is_year {
        return true;
    }
    let segment = &answer.segments[answer.tokens[number].segment as usize];
    let first = (segment.first as usize).max(number.saturating_sub(LONGEST_LEAD));
    let end = (segment.end as usize).min(number + LONGEST_LEAD);
    let lead = answer.between(
        answer.tokens[first].start as usize,
        answer.tokens[number].start as usize,
    );
    let rest = answer.between(
        answer.tokens[number].end as usize,
        answer.tokens[end - 1].end as usize,
    );
    let lead = lead.rsplit([',', ';', '，', '；']).next().unwrap_or(lead);
    has_any(
        lead,
        &[
            "previously",
            "formerly",
            "earlier",
            "prior",
            "up from",
            "down from",
            "increased from",
            "decreased from",
            "grown from",
            "enlarged from",
            "reduced from",
            "compared with",
            "compared to",
            "versus",
            "used to be",
            "last year",
            "baseline",
            "前次",
            "上次",
            "原为",
            "原约",
            "此前",
            "先前",
            "既往",
            "曾为",
            "以前",
            "之前",
            "去年",
            "前片",
            "年为",
            "月为",
            "较前",
            "对比",
        ],
    ) && !has_any(lead, &["now", "today", "currently", "现", "目前", "本次"])
        || has_any(
            rest,
            &[
                "previously",
                "on the prior",
                "on prior",
                "earlier",
                "at baseline",
                "last year",
                " ago",
                "in the previous",
                "on the previous",
                "年前",
                "月前",
                "周前",
            ],
        ) && !has_any(rest, &["now", "compared", "than", "from"])
}

/// "5.2 cm; iliac arteries 1.1 cm": what is measured elsewhere, in a clause of its own, after what is asked.
fn leave_out_other_places(answer: &Parsed, question: &Question, all: &mut Vec<Quantity>) {
    let is_place =
        |t: &Token| t.is_stated() && matches!(t.category, Category::Organ | Category::Finding);
    let clause = |q: &Quantity| {
        let segment = &answer.segments[answer.tokens[q.token].segment as usize];
        &answer.tokens[(segment.first as usize).max(q.token.saturating_sub(LONGEST_LEAD))..q.token]
    };
    let is_elsewhere = |q: &Quantity| {
        let before = clause(q);
        before.iter().any(is_place) && !before.iter().any(|t| t.is_content() && question.names(t))
    };
    let Some(first) = all.first().copied() else {
        return;
    };
    if !is_elsewhere(&first) {
        let own = answer.tokens[first.token].segment;
        all.retain(|q| answer.tokens[q.token].segment == own || !is_elsewhere(q));
    }
}
