//! What an answer claims in the end.
//!
//! A clause may ask or request, concede what is taken back later ("at first glance"), be withdrawn ("correction: …"),
//! speak of the other side ("the left lung is normal" where the abnormal one is asked), or of something else. Such
//! clauses are set aside here, once, so that every rule after this one sees only what the answer stands by.

use super::clauses::{Opener, Segment};
use super::lexicon::{Category, Role};
use super::question::{is_normal, Question};
use super::relations::{
    are_opposite, is_finding_like, is_general, is_part, is_related, is_same_word, lies_under,
};
use super::tokens::{Parsed, Token};
use super::words::Break;

/// Whether an answer stands by a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// It does.
    Stands,
    /// It is a request or a question.
    Requests,
    /// It is granted first and denied later.
    Conceded,
    /// It is taken back.
    Retracted,
    /// It names what the question does not mean: the other side, the healthy organ.
    Contrast,
    /// It speaks of something else.
    Beside,
    /// A conclusion takes its place.
    Superseded,
}

impl Standing {
    /// The name that explanations use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Requests => "asks",
            Self::Conceded => "conceded",
            Self::Retracted => "retracted",
            Self::Contrast => "contrast",
            Self::Beside => "beside the point",
            Self::Superseded => "superseded",
        }
    }
}

/// A clause as explanations show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its words.
    pub text: String,
    /// What it names, "not " before what it denies.
    pub says: Vec<String>,
    /// Whether the answer stands by it.
    pub standing: Standing,
}

/// What a clause says of the property that the question asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Nothing: "the left one".
    Nothing,
    /// Something else: "the left lung is visible".
    Other,
    /// That it has the property.
    Has,
    /// That it has not.
    HasNot,
}

impl Says {
    const fn turned(self) -> Self {
        match self {
            Self::Has => Self::HasNot,
            Self::HasNot => Self::Has,
            other => other,
        }
    }
}

/// "Would show", "was suspected": what the clause names is thought or asked for, not found.
fn is_hypothesis(words: &str) -> bool {
    words.starts_with("would")
        || words.contains("suspected")
        || words.starts_with("was ")
        || words.starts_with("mention")
}

/// A word at the head of a sentence that makes it a request.
fn is_request_word(word: &str) -> bool {
    matches!(
        word,
        "please"
            | "kindly"
            | "describe"
            | "assess"
            | "evaluate"
            | "analyze"
            | "analyse"
            | "explain"
            | "determine"
            | "examine"
            | "provide"
            | "give"
            | "tell"
            | "请"
            | "描述"
            | "评估"
            | "分析"
            | "请问"
            | "请描述"
    )
}

/// Retractions that are looked at in one answer.
const MOST_RETRACTIONS: usize = 8;

/// Words after a retraction that may take the place of earlier ones, and words before a mark that are looked at.
const LONGEST_CORRECTION: usize = 64;
const LONGEST_LEAD: usize = 8;

/// "This represents", "these findings indicate": what follows says what the things seen before are.
const INTERPRETING: [&str; 13] = [
    "represents",
    "represent",
    "indicates",
    "indicate",
    "suggests",
    "suggest",
    "corresponds",
    "correspond",
    "reflects",
    "reflect",
    "means",
    "mean",
    "反映",
];

const INTERPRETING_PHRASES: [&str; 11] = [
    "consistent with",
    "compatible with",
    "suggestive of",
    "diagnostic of",
    "indicative of",
    "characteristic of",
    "提示",
    "符合",
    "说明",
    "表明",
    "考虑",
];

impl Parsed {
    /// The clauses of the answer, as they were read.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        let lexicon = super::lexicon::Lexicon::get();
        let name = |token: &Token| {
            let denied = if token.is_negated { "not " } else { "" };
            let said = lexicon
                .concepts
                .get(token.concept as usize)
                .map_or_else(|| self.word(token), |c| c.id.as_str());
            format!("{denied}{said}")
        };
        let claim = |segment: &Segment| {
            let tokens = self.of(segment);
            let is_shown = |t: &&Token| {
                t.is_content()
                    || matches!(
                        t.role,
                        Role::Yes
                            | Role::No
                            | Role::Negation
                            | Role::NegationBack
                            | Role::Affirm
                            | Role::Hedge
                            | Role::Refusal
                    )
            };
            let (first, last) = (tokens.first()?, tokens.last()?);
            Some(Claim {
                text: self.text[first.start as usize..last.end as usize].to_string(),
                says: tokens.iter().filter(is_shown).map(name).collect(),
                standing: segment.standing,
            })
        };
        self.segments.iter().filter_map(claim).collect()
    }

    /// Sets aside what is requested, conceded or taken back.
    pub(super) fn settle_discourse(&mut self) {
        self.set_aside_requests();
        let mut roles = 0_u64;
        for token in &self.tokens {
            roles |= 1 << token.role as u64;
        }
        let has = |list: &[Role]| list.iter().any(|&role| roles >> role as u64 & 1 == 1);
        if !has(&[
            Role::Concede,
            Role::Condition,
            Role::Retract,
            Role::Refusal,
            Role::No,
        ]) {
            return;
        }
        if has(&[Role::Condition]) {
            self.set_aside_hypotheses();
        }
        if has(&[Role::Concede]) {
            self.set_aside_concessions();
        }
        let words: Vec<usize> = (1..self.tokens.len())
            .filter(|&at| is_retraction_word(&self.tokens[at]) || self.is_that_is_wrong(at))
            .take(MOST_RETRACTIONS)
            .collect();
        for at in words {
            if self.is_retraction(at) {
                self.retract_before(at);
            }
        }
    }

    /// Marks the tokens and their segments.
    fn set_aside(&mut self, range: std::ops::Range<usize>, standing: Standing) {
        for at in range.clone() {
            self.tokens[at].is_aside = true;
            let segment = &mut self.segments[self.tokens[at].segment as usize];
            segment.standing = standing;
        }
    }

    /// The spelling of the token.
    #[must_use]
    pub fn word(&self, token: &Token) -> &str {
        &self.text[token.start as usize..token.end as usize]
    }

    /// "Please describe …", "Assess the presence or absence of …".
    fn set_aside_requests(&mut self) {
        let mut first = 0;
        while first < self.tokens.len() {
            let sentence = self.tokens[first].sentence;
            let length = self.tokens[first..]
                .iter()
                .take_while(|t| t.sentence == sentence)
                .count();
            let end = first + length;
            let word = self.word(&self.tokens[first]);
            let is_request = length > 1 && is_request_word(word);
            if !is_request {
                first = end;
                continue;
            }
            let next = self.tokens.get(first + 1).map(|t| self.word(t));
            let is_label = self
                .tokens
                .get(first + 1)
                .is_some_and(|t| t.before == Break::Colon);
            if is_request && !is_label && !matches!(next, Some("note" | "注意")) {
                self.set_aside(first..end, Standing::Requests);
            }
            first = end;
        }
    }

    /// "A pneumothorax would show a pleural line.": the whole clause is only thought.
    fn set_aside_hypotheses(&mut self) {
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            let segment = self.segments[token.segment as usize];
            let subject =
                &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at];
            let names = subject.iter().any(|t| {
                matches!(t.category, Category::Finding | Category::Unknown) && t.is_content()
            });
            let answers = subject.iter().any(|t| t.role == Role::Conclude);
            if token.role == Role::Condition && is_hypothesis(self.word(&token)) {
                if names && !answers {
                    self.set_aside(
                        segment.first as usize..segment.end as usize,
                        Standing::Conceded,
                    );
                } else {
                    // "the diagnosis would be pneumonia" claims it
                    for later in &mut self.tokens[at..segment.end as usize] {
                        later.is_aside = false;
                    }
                }
            }
        }
    }

    /// "At first glance the left lung is abnormal, but …": up to the contrast, the conclusion or the end of the sentence.
    fn set_aside_concessions(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let token = self.tokens[at];
            let segment = self.segments[token.segment as usize];
            let lead =
                &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at];
            let opens = lead
                .iter()
                .all(|t| !t.is_content() && t.role != Role::Negation)
                || self.word(&token).starts_with("mistaken");
            if token.role != Role::Concede || !opens {
                at += 1;
                continue;
            }
            let is_over = |t: &Token| {
                t.sentence != token.sentence
                    || matches!(t.role, Role::Contrast | Role::Conclude | Role::Retract)
                    || t.before == Break::Semicolon
                    || t.before >= Break::Comma && matches!(self.word(t), "so" | "and" | "which")
            };
            let rest = self.tokens[at + 1..].iter().position(is_over);
            let end = rest.map_or(self.tokens.len(), |r| at + 1 + r);
            self.set_aside(at..end, Standing::Conceded);
            at = end;
        }
    }

    /// A word that may take back what came before: it opens its segment, and something follows.
    fn is_retraction(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let word = self.word(token);
        let is_weak = matches!(
            word,
            "actually"
                | "in fact"
                | "in reality"
                | "其实"
                | "实际上"
                | "事实上"
                | "准确地说"
                | "准确来说"
                | "确切地说"
        );
        let segment = &self.segments[token.segment as usize];
        let opens = token.before >= Break::Bracket
            || self.tokens[segment.first as usize..at].iter().all(|t| {
                matches!(
                    t.role,
                    Role::Filler
                        | Role::Determiner
                        | Role::No
                        | Role::Contrast
                        | Role::And
                        | Role::Or
                        | Role::Retract
                )
            });
        let refuses = token.role == Role::Refusal
            && self.tokens[at + 1..]
                .iter()
                .any(|t| t.role == Role::Refusal);
        let says = |t: &Token| {
            t.is_content() || matches!(t.role, Role::Yes | Role::No | Role::Negation | Role::Affirm)
        };
        (opens || !is_weak)
            && !token.is_aside
            && !refuses
            && (!is_weak || opens)
            && self.tokens[at + 1..].iter().any(says)
            && self.tokens[..at].iter().any(says)
    }

    /// "…，不对，…": a "no" amid the answer that says that it was wrong.
    fn is_that_is_wrong(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        token.role == Role::No
            && token.before >= Break::Comma
            && matches!(self.word(token), "不对" | "错误" | "incorrect")
    }

    /// Sets aside what the tokens after `at` replace.
    fn retract_before(&mut self, at: usize) {
        let end = self.tokens[at + 1..]
            .iter()
            .take(LONGEST_CORRECTION)
            .position(is_retraction_word)
            .map_or(self.tokens.len().min(at + 1 + LONGEST_CORRECTION), |p| {
                at + 1 + p
            });
        let after = at + 1..end;
        self.tokens[at].role = Role::Retract;
        // "wait, no, it is in the spleen": that "no" only takes back
        let lead = after
            .clone()
            .take_while(|&i| !self.tokens[i].is_content())
            .collect::<Vec<_>>();
        let has_content = self.tokens[after.clone()].iter().any(Token::is_content);
        if has_content {
            for &index in &lead {
                if self.tokens[index].is_answer_no() {
                    self.tokens[index].role = Role::Filler;
                }
            }
        }
        let new: Vec<Token> = self.tokens[after].to_vec();
        let names =
            |category: Category| new.iter().any(|t| t.is_content() && t.category == category);
        let (names_organ, names_unknown) = (names(Category::Organ), names(Category::Unknown));
        let is_bare = !has_content;
        let says_yes_or_no = new
            .iter()
            .any(|t| matches!(t.role, Role::Yes | Role::No | Role::Negation | Role::Affirm));
        for index in 0..at {
            let old = self.tokens[index];
            let is_replaced = if old.is_content() {
                is_bare && says_yes_or_no
                    || new.iter().any(|t| replaces(t, &old))
                    || old.category == Category::Organ && !names_organ && names_unknown
                    || old.category == Category::Unknown
                        && names_organ
                        && !names_unknown
                        && old.role == Role::Content
            } else {
                matches!(
                    old.role,
                    Role::Yes
                        | Role::No
                        | Role::Negation
                        | Role::NegationBack
                        | Role::Affirm
                        | Role::Hedge
                )
            };
            if is_replaced {
                self.set_aside(index..index + 1, Standing::Retracted);
            }
        }
    }

    /// "Liver. No, spleen.": a "no" that answers nothing takes back what came before.
    pub(super) fn retract_at_no(&mut self) {
        let first = self.tokens.iter().position(Token::is_content);
        let last = self.tokens.iter().rposition(Token::is_content);
        let (Some(first), Some(last)) = (first, last) else {
            return;
        };
        let answers = |t: &Token| matches!(t.role, Role::Yes | Role::No);
        let Some(at) = self
            .tokens
            .iter()
            .position(answers)
            .filter(|&at| first < at && at < last)
        else {
            return;
        };
        if self.tokens[at].is_answer_no() && self.tokens[at].before >= Break::Comma {
            self.retract_before(at);
        }
    }

    /// Where the conclusion begins: the first "therefore" or "the answer" with something before and after it; where
    /// there is none and `interprets`, the first "these findings indicate".
    fn conclusion(&self, interprets: bool) -> Option<usize> {
        let lead = |at: usize| {
            let segment = &self.segments[self.tokens[at].segment as usize];
            &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at]
        };
        let last = self
            .tokens
            .iter()
            .rposition(|t| t.is_content() || matches!(t.role, Role::Yes | Role::No))?;
        let concludes = |&at: &usize| {
            let token = &self.tokens[at];
            token.role == Role::Conclude
                && !token.is_aside
                && lead(at).iter().all(|t| {
                    matches!(
                        t.role,
                        Role::Determiner | Role::Filler | Role::And | Role::Conclude
                    )
                })
        };
        let takes_up = |&at: &usize| {
            let token = &self.tokens[at];
            let is_verb = token.role == Role::Verb && INTERPRETING.contains(&self.word(token))
                || matches!(token.role, Role::Filler | Role::Affirm | Role::Relative)
                    && INTERPRETING_PHRASES.contains(&self.word(token));
            let lead = lead(at);
            is_verb
                && !token.is_aside
                && lead.first().is_some_and(|t| t.role == Role::Determiner)
                && lead.iter().all(|t| {
                    matches!(
                        t.role,
                        Role::Determiner | Role::Filler | Role::Verb | Role::And
                    )
                })
        };
        (1..last)
            .find(concludes)
            .or_else(|| (1..last).filter(|_| interprets).find(takes_up))
    }

    /// Sets aside the words before a conclusion that says something of one of the `kinds`.
    pub(super) fn settle_conclusion(&mut self, question: Option<&Question>, kinds: Kinds) {
        let restated = || {
            question
                .filter(|q| q.asks_for_content)
                .and_then(|q| q.restated_in(self))
        };
        let Some(start) = self
            .conclusion(kinds.has(Category::Finding))
            .or_else(restated)
        else {
            return;
        };
        let says = |t: &Token| t.is_stated() && kinds.has(t.category) && !t.is_modifier;
        if !self.tokens[start..].iter().any(says) {
            return;
        }
        for at in 0..start {
            let token = self.tokens[at];
            let is_firm = self.segments[token.segment as usize].is_firm;
            if token.is_content() && !token.is_aside && !is_firm {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// Sets aside the numbers before a conclusion or a total ("there are 3 in total").
    pub(super) fn settle_total(&mut self) {
        let is_total = |t: &Token| {
            matches!(
                self.word(t),
                "total" | "altogether" | "共" | "共有" | "总共" | "合计" | "总计"
            )
        };
        let total = self.tokens.iter().find(|t| is_total(t)).map(|t| t.sentence);
        let of_total = || self.tokens.iter().position(|t| Some(t.sentence) == total);
        let Some(start) = self.conclusion(false).or_else(of_total) else {
            return;
        };
        if !self.tokens[start..]
            .iter()
            .any(|t| t.role == Role::Number && !t.is_aside)
        {
            return;
        }
        for at in 0..start {
            if self.tokens[at].role == Role::Number {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// The same for a yes or no: what was observed before gives way to it, an explicit yes or no does not.
    pub(super) fn settle_polar_conclusion(&mut self) {
        let Some(start) = self.conclusion(false) else {
            return;
        };
        if !self.tokens[start..]
            .iter()
            .any(|t| matches!(t.role, Role::Yes | Role::No) && !t.is_aside)
        {
            return;
        }
        for at in 0..start {
            let token = self.tokens[at];
            if !matches!(token.role, Role::Yes | Role::No) && !token.is_aside {
                self.set_aside(at..at + 1, Standing::Superseded);
            }
        }
    }

    /// "Image right, that is the patient's left": the patient's side is meant.
    pub(super) fn settle_image_side(&mut self) {
        if !self.text.contains("patient")
            && !self.text.contains("患者")
            && !self.text.contains("病人")
        {
            return;
        }
        let owner = |parsed: &Self, segment: &Segment| {
            let has = |words: &[&str]| {
                parsed
                    .of(segment)
                    .iter()
                    .any(|t| words.iter().any(|w| parsed.word(t).contains(w)))
            };
            let (patient, image) = (
                has(&["patient", "患者", "病人"]),
                has(&["image", "picture", "screen", "film", "图"]),
            );
            let has_side = parsed
                .of(segment)
                .iter()
                .any(|t| t.category == Category::Side);
            (has_side && patient && !image, has_side && image && !patient)
        };
        let owners: Vec<(bool, bool)> = self.segments.iter().map(|s| owner(self, s)).collect();
        if !owners.iter().any(|o| o.0) || !owners.iter().any(|o| o.1) {
            return;
        }
        for (index, (_, is_image)) in owners.into_iter().enumerate() {
            let segment = self.segments[index];
            if !is_image {
                self.segments[index].is_detail = false;
                self.segments[index].is_side_remark = false;
                continue;
            }
            for at in segment.first as usize..segment.end as usize {
                if self.tokens[at].category == Category::Side {
                    self.set_aside(at..at + 1, Standing::Beside);
                }
            }
        }
    }

    /// Where one of several is asked for by a property ("Which lung is abnormal?"), sets aside the clauses that say
    /// of another that it has not the property, or something else of it.
    pub(super) fn settle_selection(
        &mut self,
        question: &Question,
        property: &[Token],
        kinds: Kinds,
    ) {
        if property.is_empty() || kinds.is_empty() && !question.has_alternatives {
            return;
        }
        let clauses = self.clauses(question, property, kinds);
        let is_meant = clauses
            .iter()
            .any(|c| c.has_subject && matches!(c.says, Says::Has | Says::Nothing));
        self.settle_comparison(&clauses, property, kinds);
        for clause in clauses {
            for index in clause.first..clause.end {
                let names = self
                    .of(&self.segments[index])
                    .iter()
                    .any(|t| kinds.has(t.category) || question.offers(t));
                self.segments[index].is_firm |= clause.says == Says::Has && names;
            }
            let standing = match clause.says {
                Says::HasNot => Standing::Contrast,
                Says::Other if is_meant && clause.has_subject => Standing::Beside,
                _ => {
                    if clause.is_turned {
                        self.undo_denial(clause.first..clause.end);
                    }
                    continue;
                }
            };
            for index in clause.first..clause.end {
                let segment = self.segments[index];
                self.set_aside(segment.first as usize..segment.end as usize, standing);
            }
        }
    }

    /// "The left kidney is smaller than the right": the other one is larger.
    fn settle_comparison(&mut self, clauses: &[Clause], property: &[Token], kinds: Kinds) {
        let compares = |t: &Token| matches!(t.category, Category::Attribute | Category::Direction);
        if !property.iter().any(compares) {
            return;
        }
        for clause in clauses
            .iter()
            .filter(|c| c.says == Says::HasNot && c.has_subject)
        {
            let Some(segment) = self.segments.get(clause.end).copied() else {
                continue;
            };
            let tokens = segment.first as usize..segment.end as usize;
            let names = self.tokens[tokens.clone()]
                .iter()
                .any(|t| kinds.has(t.category));
            if segment.opener != Opener::Than || !names {
                continue;
            }
            self.segments[clause.end].is_side_remark = false;
            for token in &mut self.tokens[tokens] {
                token.is_aside = false;
                token.is_negated = false;
            }
        }
    }

    fn undo_denial(&mut self, segments: std::ops::Range<usize>) {
        for index in segments {
            let segment = self.segments[index];
            for token in &mut self.tokens[segment.first as usize..segment.end as usize] {
                token.is_negated = false;
            }
        }
    }

    /// The clauses of the answer, each with what it says of the property.
    fn clauses(&self, question: &Question, property: &[Token], kinds: Kinds) -> Vec<Clause> {
        let mut clauses: Vec<Clause> = Vec::new();
        let mut last = Says::Nothing;
        for (index, segment) in self.segments.iter().enumerate() {
            if segment.is_side_remark || segment.standing != Standing::Stands {
                continue;
            }
            let next = self.clause_of(index, segment, question, property, kinds, last);
            if matches!(next.says, Says::Has | Says::HasNot) {
                last = next.says;
            }
            match clauses.last_mut() {
                Some(open)
                    if open.sentence == next.sentence
                        && open.end == index
                        && self.joins(open, &next, segment) =>
                {
                    open.absorb(&next);
                }
                _ => clauses.push(next),
            }
        }
        clauses
    }

    fn clause_of(
        &self,
        index: usize,
        segment: &Segment,
        question: &Question,
        property: &[Token],
        kinds: Kinds,
        last: Says,
    ) -> Clause {
        let tokens = self.of(segment);
        let is_subject = |t: &&Token| {
            t.is_content()
                && !t.is_modifier
                && !t.is_aside
                && (kinds.has(t.category)
                    || question.offers(t)
                    || kinds.has(Category::Organ) && names_organ(t))
        };
        let has_subject = tokens.iter().any(|t| is_subject(&t));
        let mut says = Says::Nothing;
        for token in tokens.iter().filter(|t| t.is_content() && !t.is_aside) {
            // the last word decides: "the maxillary sinus is not displaced"
            match self.says_of(token, property, kinds, question) {
                Says::Nothing => {}
                Says::Other => says = stronger(says, Says::Other),
                of_property => says = of_property,
            }
        }
        let names_only = tokens.iter().any(|t| {
            t.role == Role::Affirm && self.word(t) != "是"
                || t.role == Role::Verb
                    && matches!(
                        self.word(t),
                        "shows"
                            | "show"
                            | "displays"
                            | "demonstrates"
                            | "depicts"
                            | "reveals"
                            | "contains"
                            | "显示"
                    )
        });
        // "I looked at both sides." points at nothing
        let points = |t: &Token| {
            matches!(
                self.word(t),
                "it" | "they" | "this" | "that" | "these" | "one" | "ones"
            ) || t.role == Role::Conclude
        };
        let is_observer = |t: &Token| matches!(self.word(t), "i" | "we");
        let is_looking = |t: &Token| {
            matches!(
                self.word(t),
                "compare" | "inspect" | "examine" | "比较" | "观察" | "对比" | "查看" | "看"
            )
        };
        let observes = (segment.has_verb && tokens.first().is_some_and(is_observer)
            || tokens.iter().any(is_looking))
            && !tokens.iter().any(points);
        // "the kidney contains it"
        let has_it = names_only
            && has_subject
            && tokens
                .iter()
                .skip(1)
                .any(|t| matches!(self.word(t), "it" | "one" | "this"));
        if says == Says::Nothing && has_it {
            says = Says::Has;
        }
        if says == Says::Nothing && (names_only || observes) {
            says = Says::Other;
        }
        // "… but the lung is not"
        let ends_in_denial = tokens
            .iter()
            .rev()
            .take_while(|t| !t.is_content())
            .any(|t| t.role == Role::Negation);
        let is_turned =
            says == Says::Nothing && ends_in_denial && has_subject && last != Says::Nothing;
        if is_turned {
            says = last.turned();
        }
        Clause {
            first: index,
            end: index + 1,
            sentence: segment.sentence,
            says,
            has_subject,
            has_verb: segment.has_verb,
            is_turned,
        }
    }

    /// Whether the next segment goes on with the clause.
    fn joins(&self, open: &Clause, next: &Clause, segment: &Segment) -> bool {
        if !next.has_subject {
            return !matches!(segment.opener, Opener::Start)
                || !open.has_subject
                || segment.opener == Opener::Value;
        }
        if !open.has_subject {
            return open.says == Says::Nothing || !next.has_verb && next.says == Says::Nothing;
        }
        let is_list = matches!(
            segment.opener,
            Opener::And | Opener::Or | Opener::List | Opener::Examples
        );
        if next.says == Says::Nothing && !next.has_verb {
            let has_value = self
                .segments
                .get(next.end)
                .is_some_and(|s| s.opener == Opener::Value);
            return is_list && !has_value;
        }
        let is_shared = self.of(segment).iter().any(|t| {
            matches!(
                self.word(t),
                "are"
                    | "were"
                    | "appear"
                    | "look"
                    | "show"
                    | "seem"
                    | "have"
                    | "both"
                    | "都"
                    | "均"
                    | "皆"
            )
        });
        let is_chinese_pair = segment.opener == Opener::And && !segment.has_verb;
        is_list && open.says == Says::Nothing && !open.has_verb && (is_shared || is_chinese_pair)
    }
}

/// A run of segments about one thing.
#[derive(Clone, Copy, Debug)]
struct Clause {
    first: usize,
    end: usize,
    sentence: u32,
    says: Says,
    has_subject: bool,
    has_verb: bool,
    is_turned: bool,
}

impl Clause {
    fn absorb(&mut self, next: &Self) {
        self.end = next.end;
        self.says = stronger(self.says, next.says);
        self.has_subject |= next.has_subject;
        self.has_verb |= next.has_verb;
        self.is_turned |= next.is_turned;
    }
}

const fn stronger(left: Says, right: Says) -> Says {
    match (left, right) {
        (Says::Has, _) | (_, Says::Has) => Says::Has,
        (Says::HasNot, _) | (_, Says::HasNot) => Says::HasNot,
        (Says::Other, _) | (_, Says::Other) => Says::Other,
        _ => Says::Nothing,
    }
}

impl Parsed {
    /// What a word says of the property.
    fn says_of(
        &self,
        token: &Token,
        property: &[Token],
        kinds: Kinds,
        question: &Question,
    ) -> Says {
        let of = |has: bool| if has { Says::Has } else { Says::HasNot };
        let asks_finding = property
            .iter()
            .any(|p| is_finding_like(p) && !(p.category == Category::Normality && is_normal(p)));
        if token.category == Category::Normality {
            if let Some(asked) = property.iter().find(|p| p.category == Category::Normality) {
                return of((is_normal(asked) == is_normal(token)) != token.is_negated);
            }
            return match asks_finding {
                true => of(is_normal(token) == token.is_negated),
                false => Says::Other,
            };
        }
        for asked in property {
            let is_it = token.key == asked.key
                || lies_under(token, asked)
                || is_part(asked, token)
                || is_same_word((self, token), (&question.parsed, asked));
            if is_it {
                return of(token.is_negated == asked.is_negated);
            }
            if are_opposite(token, asked) {
                return of(token.is_negated);
            }
            let is_any_finding =
                is_general(asked) || asked.category == Category::Normality || is_affected(asked);
            if is_any_finding && token.category == Category::Finding {
                let wants_normal = asked.category == Category::Normality && is_normal(asked);
                return of(token.is_negated == wants_normal);
            }
        }
        if kinds.has(token.category) || question.names(token) || token.role == Role::Number {
            return Says::Nothing;
        }
        match token.category {
            Category::Finding | Category::Unknown | Category::Attribute | Category::Color
                if !token.is_negated =>
            {
                Says::Other
            }
            _ => Says::Nothing,
        }
    }
}

/// "Cardiomegaly" names the heart.
fn names_organ(token: &Token) -> bool {
    use super::lexicon::Lexicon;
    let concepts = &Lexicon::get().concepts;
    let parts = concepts
        .get(token.concept as usize)
        .map_or(&[][..], |c| &c.parts);
    parts
        .iter()
        .any(|&part| concepts[part as usize].category == Category::Organ)
}

/// "Larger", "smaller".
#[must_use]
pub fn is_comparative(token: &Token) -> bool {
    use super::lexicon::Lexicon;
    let id = Lexicon::get()
        .concepts
        .get(token.concept as usize)
        .map_or("", |c| c.id.as_str());
    matches!(id, "attribute.larger" | "attribute.smaller")
}

/// "Affected", "involved".
fn is_affected(token: &Token) -> bool {
    use super::lexicon::Lexicon;
    Lexicon::get().concept("attribute.affected") == Some(token.concept)
}

fn is_retraction_word(token: &Token) -> bool {
    token.role == Role::Retract || token.role == Role::Refusal && token.key == sorry()
}

fn sorry() -> u64 {
    super::words::word_key("sorry")
}

/// Whether a new word takes the place of an old one: of the same kind, with another value.
fn replaces(new: &Token, old: &Token) -> bool {
    let differs = new.key != old.key || new.is_negated != old.is_negated;
    let kind = |t: &Token| match (t.role, t.category) {
        (Role::Number, _) => 1,
        (_, Category::Finding | Category::Unknown | Category::Other) => 2,
        (_, Category::Modality | Category::Sequence) => 3,
        (_, Category::Normality | Category::Attribute | Category::Color) => 4,
        (_, category) => 16 + category as u8,
    };
    let states = |t: &Token| matches!(kind(t), 2 | 4);
    new.is_content()
        && !new.is_aside
        && differs
        && (kind(new) == kind(old) && !is_related(new, old)
            || states(new) && states(old) && kind(new) != kind(old))
}

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// The categories of the tokens.
    pub fn of<'t>(tokens: impl Iterator<Item = &'t Token>) -> Self {
        let bits: u32 = tokens.fold(0, |bits, t| bits | 1 << t.category as u8);
        let things = [Category::Finding, Category::Unknown, Category::Other]
            .iter()
            .fold(0_u32, |b, &c| b | 1 << c as u8);
        Self(if bits & things == 0 {
            bits
        } else {
            bits | things
        })
    }

    /// Only those that name one of several things: sides, directions, organs, levels.
    #[must_use]
    pub fn places(self) -> Self {
        let places = [
            Category::Side,
            Category::Direction,
            Category::Organ,
            Category::Level,
        ];
        let wanted = places.iter().fold(0_u32, |bits, &c| bits | 1 << c as u8);
        Self(self.0 & wanted)
    }

    /// Whether only places are in it.
    #[must_use]
    pub fn is_places(self) -> bool {
        self == self.places()
    }

    /// Whether the set has the category.
    #[must_use]
    pub const fn has(self, category: Category) -> bool {
        self.0 & (1 << category as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
