//! An answer as clauses: where each begins, what opens it, and what is denied in it.

use super::claims::Standing;
use super::lexicon::{Category, Role};
use super::relations::is_general;
use super::tokens::{Hints, Parsed, Token, ANSWER_NO, NO_CONCEPT};
use super::words::{has_any, Break};

/// Bytes of a Chinese line that may be an item of a list.
const LONGEST_CHINESE_ITEM: u32 = 12;

/// Brackets in a row that are passed over.
const LONGEST_BRACKETS: usize = 8;

/// Tokens after a negation in which its verb or its object is looked for.
const LONGEST_PREDICATE: usize = 64;

/// Tokens around "versus" among which a number is looked for.
const LONGEST_AMOUNT: usize = 4;

/// What denies something, or sets it aside.
const DENYING: [Role; 6] = [
    Role::Negation,
    Role::NegationBack,
    Role::No,
    Role::Condition,
    Role::Than,
    Role::Instead,
];

/// What opens a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The start of a sentence, or `;` and `:`.
    Start,
    /// A comma or a slash.
    List,
    /// "Such as", "including".
    Examples,
    /// "And".
    And,
    /// "Or".
    Or,
    /// A bracket.
    Bracket,
    /// "But".
    Contrast,
    /// "Because", "which" after a comma.
    Relative,
    /// "Specifically", a participle after a comma.
    Detail,
    /// "Than", "compared to".
    Than,
    /// "Rather than", "instead of".
    Instead,
    /// A colon: what follows is the value of what stands before.
    Value,
}

/// A stretch of tokens between separators.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Segment {
    /// Index of its first token.
    pub first: u32,
    /// Index after its last token.
    pub end: u32,
    /// What opened it.
    pub opener: Opener,
    /// Sentence it belongs to.
    pub sentence: u32,
    /// It holds a verb, so it is a clause rather than a list item.
    pub has_verb: bool,
    /// It explains or compares and is no part of the answer proper.
    pub is_side_remark: bool,
    /// It describes more closely what was just said.
    pub is_detail: bool,
    /// It lists parts or examples of what was just said.
    pub is_example: bool,
    /// Where its first "near" or "adjacent to" begins; what follows only places the answer.
    pub near: u32,
    /// Whether the answer stands by it.
    pub standing: Standing,
    /// It says of what it names that it has the property asked for.
    pub is_firm: bool,
}

impl Parsed {
    /// "…, so the left ear", "So: B": the word concludes where it opens a clause.
    fn mark_conclusions(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let next = || self.tokens.get(at + 1).map_or("", |n| self.word(n));
            if token.role == Role::Filler
                && self.word(&token) == "so"
                && (token.before >= Break::Comma && at > 0)
                && !matches!(next(), "called" | "much" | "many" | "far" | "that" | "to")
            {
                self.tokens[at].role = Role::Conclude;
            }
        }
    }

    /// "Beneath either diaphragm": each of the two; only "either … or" leaves something open.
    fn settle_either(&mut self) {
        for at in 0..self.tokens.len() {
            if self.tokens[at].role != Role::Hedge || self.word(&self.tokens[at]) != "either" {
                continue;
            }
            let names = |t: &Token| matches!(t.category, Category::Organ | Category::Side);
            let follows = self.tokens[at + 1..]
                .iter()
                .take(LONGEST_PREDICATE)
                .take_while(|t| t.before < Break::Sentence);
            let is_pair = self.tokens.get(at + 1).is_some_and(names)
                || self
                    .tokens
                    .get(at + 1)
                    .is_some_and(|t| matches!(self.word(t), "side" | "of"));
            if is_pair && !follows.into_iter().any(|t| t.role == Role::Or) {
                self.tokens[at].role = Role::Filler;
            }
        }
    }

    /// "0.7 versus 0.4" compares; "abscess versus tumor" leaves both open.
    fn settle_versus(&mut self) {
        if !self.hints.has(Hints::VERSUS) {
            return;
        }
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            if token.role != Role::Hedge || !matches!(self.word(&token), "versus" | "vs") {
                continue;
            }
            let is_number = |t: &Token| t.role == Role::Number;
            let before = &self.tokens[at.saturating_sub(LONGEST_AMOUNT)..at];
            let after = self.tokens[at + 1..].iter().take(LONGEST_AMOUNT);
            if before.iter().any(is_number) && after.into_iter().any(is_number) {
                self.tokens[at].role = Role::Than;
            }
        }
    }

    /// "右侧大于左侧", "与左侧相比": what stands after the first, and before the second, is only compared with.
    fn settle_chinese_comparison(&mut self) {
        if self.text.is_ascii() {
            return;
        }
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let word = self.word(&token);
            let is_more = matches!(
                word,
                "大于" | "长于" | "高于" | "厚于" | "宽于" | "多于" | "重于"
            );
            let is_compared = matches!(word, "相比" | "相比较" | "相比之下" | "对比");
            let names = |t: &Token| matches!(t.category, Category::Side | Category::Organ);
            if is_more && at > 0 && self.tokens.get(at + 1).is_some_and(names) {
                let rest = self.tokens[at + 1..].iter_mut().take(LONGEST_BRACKETS);
                for other in rest.take_while(|t| t.before < Break::Comma) {
                    other.is_aside = true;
                }
            }
            if !is_compared {
                continue;
            }
            let from = self.tokens[at.saturating_sub(LONGEST_BRACKETS)..at]
                .iter()
                .rposition(|t| matches!(self.word(t), "与" | "和" | "同" | "跟" | "较"))
                .map(|i| at.saturating_sub(LONGEST_BRACKETS) + i);
            if let Some(from) = from {
                for other in from..at {
                    self.tokens[other].is_aside = true;
                }
            }
        }
    }

    /// "A wart mimicking melanoma": what something only looks like is not claimed.
    fn settle_likeness(&mut self) {
        if !self.hints.has(Hints::LIKENESS) {
            return;
        }
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            let is_likeness = matches!(
                self.word(&token),
                "mimicking"
                    | "mimics"
                    | "mimic"
                    | "simulating"
                    | "simulates"
                    | "imitating"
                    | "imitates"
                    | "masquerading"
                    | "酷似"
            );
            let names = |t: &&Token| {
                matches!(t.category, Category::Finding | Category::Unknown)
                    && t.is_content()
                    && !is_general(t)
            };
            // "it resembles melanoma but is a keratosis"
            let is_contrasted = matches!(
                self.word(&token),
                "resembles" | "resemble" | "resembling" | "looks like" | "similar to"
            ) && self.tokens[at + 1..]
                .iter()
                .take(LONGEST_PREDICATE)
                .take_while(|t| t.before < Break::Semicolon)
                .any(|t| t.role == Role::Contrast);
            if is_contrasted && token.before < Break::Comma {
                self.tokens[at].role = Role::Instead;
            }
            if !is_likeness {
                continue;
            }
            let low = at.saturating_sub(LONGEST_PREDICATE);
            let from = self.tokens[low..at]
                .iter()
                .rposition(|t| t.before >= Break::Semicolon)
                .map_or(low, |i| low + i);
            let mut sentence = self.tokens[from..at].iter();
            if token.before < Break::Comma && sentence.any(|t| names(&t)) {
                self.tokens[at].role = Role::Instead;
            }
        }
    }

    pub(super) fn split_segments(&mut self) {
        self.mark_conclusions();
        self.settle_either();
        self.settle_versus();
        self.settle_likeness();
        self.settle_chinese_comparison();
        let mut sentence = 0;
        let mut is_list = true; // so far, of the sentence
        let mut open: Option<Segment> = None;
        for index in 0..self.tokens.len() {
            if is_list && self.continues_list(index) {
                self.tokens[index].before = Break::Comma;
            }
            let token = self.tokens[index];
            let opener = match (token.before, token.role) {
                (Break::Sentence | Break::Semicolon, Role::Than | Role::Instead)
                    if self.leads_up(index) =>
                {
                    Some(Opener::Than)
                }
                (Break::Sentence | Break::Semicolon, _) => Some(Opener::Start),
                (Break::Colon, _) => Some(Opener::Value),
                (_, Role::And) => Some(Opener::And),
                (_, Role::Or) => Some(Opener::Or),
                (_, Role::Contrast) => Some(Opener::Contrast),
                (_, Role::Relative) | (Break::Comma, Role::Pronoun) => Some(Opener::Relative),
                (_, Role::Detail) => Some(Opener::Detail),
                (_, Role::List) => Some(Opener::Examples),
                (Break::Comma, Role::Preposition) if self.word(&token) == "as" => {
                    Some(Opener::Relative)
                }
                (Break::Comma, _) if self.is_participle(&token) => Some(Opener::Detail),
                (_, Role::Than) => Some(Opener::Than),
                (_, Role::Instead) => Some(Opener::Instead),
                (Break::Comma | Break::Slash, _) => Some(Opener::List),
                (Break::Bracket, _) => Some(Opener::Bracket),
                _ => None,
            };
            if token.before == Break::Sentence && index > 0 {
                sentence += 1;
                is_list = true;
            }
            is_list &= is_bare_line(&token);
            if opener.is_some() || open.is_none() {
                self.segments.extend(open.take());
                let is_lead = matches!(token.role, Role::Than | Role::Instead);
                let opener = if index == 0 && is_lead && self.leads_up(0) {
                    Opener::Than
                } else if index == 0 {
                    Opener::Start
                } else {
                    opener.unwrap_or(Opener::Start)
                };
                open = Some(self.segment_from(index, opener, sentence));
            }
            let token = &mut self.tokens[index];
            token.sentence = sentence;
            token.segment = self.segments.len() as u32;
            if let Some(segment) = &mut open {
                segment.end = index as u32 + 1;
                segment.has_verb |= matches!(token.role, Role::Verb);
                if token.role == Role::Near {
                    segment.near = segment.near.min(token.start);
                }
            }
        }
        self.segments.extend(open);
    }

    /// "Compared with the left, the right …": what the sentence says follows its first comma.
    fn leads_up(&self, index: usize) -> bool {
        self.tokens[index + 1..]
            .iter()
            .take(LONGEST_PREDICATE)
            .find(|t| t.before >= Break::Comma)
            .is_some_and(|t| t.before == Break::Comma)
    }

    /// A segment that begins at token `index`; a side remark lasts until a verb or a contrast takes up the thread.
    fn segment_from(&self, index: usize, opener: Opener, sentence: u32) -> Segment {
        let before = self.segments.last().filter(|s| s.sentence == sentence);
        let resumes = self.tokens[index].role == Role::Verb
            || matches!(opener, Opener::Contrast | Opener::Start | Opener::Value);
        let is_side = matches!(opener, Opener::Relative | Opener::Than | Opener::Instead);
        let is_main = opener == Opener::List
            && before.is_some()
            && self.is_of_compared(self.segments.len() - 1); // "unlike the left, which is normal, the right …"
        let continues = !is_main
            && before.is_some_and(|s| {
                s.is_side_remark && !matches!(s.opener, Opener::Than | Opener::Instead)
            });
        // "between the artery and the aorta": both only place what is meant
        let is_between = opener == Opener::And
            && before.is_some_and(|s| {
                s.near != u32::MAX
                    && self
                        .of(s)
                        .iter()
                        .any(|t| t.start == s.near && self.word(t) == "between")
            });
        let is_detail =
            opener == Opener::Detail || (before.is_some_and(|s| s.is_detail) && !resumes);
        Segment {
            first: index as u32,
            end: index as u32,
            opener,
            sentence,
            has_verb: false,
            is_side_remark: is_side || (continues && !resumes),
            is_detail,
            is_example: opener == Opener::Examples
                || (before.is_some_and(|s| s.is_example) && !resumes),
            near: if is_between {
                self.tokens[index].start
            } else {
                u32::MAX
            },
            standing: Standing::Stands,
            is_firm: false,
        }
    }

    /// Bare lines ("1. lung", "2. liver") are the items of one list, not sentences; the line before is a bare one.
    fn continues_list(&self, index: usize) -> bool {
        let (earlier, later) = self.tokens.split_at(index);
        let Some(last) = earlier
            .last()
            .filter(|_| later[0].before == Break::Sentence)
        else {
            return false;
        };
        let gap = self.between(last.end as usize, later[0].start as usize);
        // a Chinese sentence needs no verb: only short ones are items
        let item = later
            .iter()
            .enumerate()
            .take_while(|(i, t)| *i == 0 || t.before != Break::Sentence)
            .last();
        let length = item.map_or(0, |(_, t)| t.end - later[0].start);
        let count = item.map_or(1, |(i, _)| i + 1);
        let is_clause = says_of_place(&later[..count]);
        let is_chinese = self.text.as_bytes()[later[0].start as usize] >= 0x80;
        if is_chinese && (length > LONGEST_CHINESE_ITEM || is_clause) && !gap.contains('\n') {
            return false;
        }
        if !gap.contains('\n') && count > 2 && self.is_verb_of_third_person(&later[1]) {
            return false; // "Chordoma. Seminoma grows far more slowly."
        }
        let mut after = later
            .iter()
            .enumerate()
            .take_while(|(i, t)| *i == 0 || t.before != Break::Sentence);
        !gap.contains('?')
            && after.all(|(i, t)| is_bare_line(t) && (i == 0 || t.before != Break::Colon))
    }

    /// "Grows", "metastasizes": by its form a verb, which no list has.
    pub(super) fn is_verb_of_third_person(&self, token: &Token) -> bool {
        let word = self.word(token);
        token.role == Role::Content
            && token.category == Category::Unknown
            && token.before <= Break::Blank
            && word.ends_with('s')
            && !["ss", "us", "is"].iter().any(|end| word.ends_with(end))
    }

    /// "…, showing the lungs": a participle opens a closer description.
    fn is_participle(&self, token: &Token) -> bool {
        let word = &self.text[token.start as usize..token.end as usize];
        word.ends_with("ing")
            && (token.role == Role::Verb
                || token.concept == NO_CONCEPT && token.role == Role::Content)
    }

    /// Marks what is denied. Two denials with nothing between them cancel ("not absent", "not true that there is no").
    pub(super) fn mark_negation(&mut self) {
        self.settle_leading_no();
        self.settle_purpose();
        self.settle_free();
        self.settle_out();
        let roles = self.roles();
        if roles.has(&[Role::NegationBack]) {
            self.settle_removed();
            self.settle_absent();
            self.settle_objects();
        }
        if !roles.has(&DENYING) {
            return;
        }
        let mut is_denied = false;
        let mut reach = DenialReach::default();
        for index in 0..self.segments.len() {
            reach.enter(&self.segments, &self.tokens, index);
            let segment = self.segments[index];
            let is_list_item = !segment.has_verb
                && matches!(segment.opener, Opener::List | Opener::And | Opener::Bracket);
            let continues = (segment.opener == Opener::Or
                || segment.opener == Opener::Relative
                || is_list_item)
                && !self.reads_what_was_said(&segment);
            let begins_anew = segment.opener == Opener::List && self.begins_anew(index)
                || segment.opener == Opener::And && self.argues_for(&segment);
            let concludes = self
                .of(&segment)
                .first()
                .is_some_and(|t| t.role == Role::Conclude); // "…, so septic arthritis"
            if !continues || begins_anew || concludes {
                is_denied = false;
            }
            let range = segment.first as usize..segment.end as usize;
            let mut is_aside = matches!(segment.opener, Opener::Than | Opener::Instead)
                || self.is_of_compared(index);
            let mut is_condition = false;
            let mut is_pending = false; // a denial has been read, and no word that it could deny
            let mut taken_back = range.start; // what stands before is denied no more
            let mut is_of_clause = false; // "it is not true that": denies the whole clause, with the denial in it
            for at in range.clone() {
                self.tokens[at].is_aside |= is_condition;
                match self.tokens[at].role {
                    Role::Negation | Role::NegationBack if is_of_clause => {
                        reach.undo(at, &mut self.tokens);
                        self.undo_denied(taken_back..at);
                        taken_back = at;
                        (is_denied, is_of_clause) = (false, false);
                    }
                    Role::Negation => {
                        is_of_clause = self.denies_clause(at);
                        is_denied = !(is_pending && is_denied);
                        if self.denies_backwards(at, range.end) {
                            if is_denied {
                                reach.deny_before(at, &mut self.tokens);
                            } else {
                                reach.undo(at, &mut self.tokens);
                            }
                        }
                        is_pending = true;
                    }
                    Role::No if self.tokens[at].key == ANSWER_NO => {
                        (is_denied, is_pending) = (false, false);
                    }
                    Role::No if is_of_clause && !is_pending => {
                        self.undo_denied(taken_back..at);
                        taken_back = at;
                        (is_denied, is_of_clause) = (false, false);
                    }
                    Role::No => {
                        is_denied = !(is_pending && is_denied);
                        is_pending = true;
                    }
                    Role::Condition => (is_aside, is_condition) = (true, true),
                    Role::NegationBack if is_pending => {
                        reach.undo(at, &mut self.tokens);
                        is_denied = false;
                    }
                    Role::NegationBack => reach.deny_before(at, &mut self.tokens),
                    Role::Content | Role::Number => {
                        is_pending = false;
                        self.tokens[at].is_negated |= is_denied;
                        self.tokens[at].is_aside |= is_aside;
                    }
                    _ => {}
                }
            }
        }
        self.settle_departure();
    }

    /// "Compared with the right one, which is normal, …": the relative clause is of what is compared with.
    fn is_of_compared(&self, index: usize) -> bool {
        let Some(before) = index.checked_sub(1).map(|i| &self.segments[i]) else {
            return false;
        };
        let segment = &self.segments[index];
        let opens = index == 1 || self.segments[index - 2].sentence != before.sentence;
        opens
            && before.opener == Opener::Than
            && before.sentence == segment.sentence
            && self
                .of(segment)
                .first()
                .is_some_and(|t| self.word(t).starts_with("wh"))
    }

    /// "… against a cyst and for an abscess": the second is claimed.
    fn argues_for(&self, segment: &Segment) -> bool {
        let first = self.of(segment).iter().find(|t| t.role != Role::And);
        first.is_some_and(|t| matches!(self.word(t), "for" | "in favor of" | "in favour of"))
    }

    /// "No deviation from the midline": what something does not depart from is not denied.
    fn settle_departure(&mut self) {
        if !self.hints.has(Hints::DEPARTS) {
            return;
        }
        let Some(deviation) = super::lexicon::known!("finding.deviation") else {
            return;
        };
        for segment in &self.segments {
            let tokens = segment.first as usize..segment.end as usize;
            let mut departs = false;
            let mut is_from = false;
            for at in tokens {
                let token = self.tokens[at];
                departs |= token.is_negated && token.concept == deviation;
                is_from |= departs
                    && matches!(
                        &self.text[token.start as usize..token.end as usize],
                        "from" | "off"
                    );
                if is_from {
                    self.tokens[at].is_negated = false;
                }
            }
        }
    }

    /// "右肾可见结石" after "左肾未见结石", "in the right" after "not in the left": the list item says something of its own.
    fn begins_anew(&self, index: usize) -> bool {
        let is_place = |t: &Token| {
            matches!(
                t.category,
                Category::Side | Category::Organ | Category::Direction
            )
        };
        let tokens = self.of(&self.segments[index]);
        let before = index
            .checked_sub(1)
            .map_or(&[][..], |i| self.of(&self.segments[i]));
        let denial = before
            .iter()
            .position(|t| matches!(t.role, Role::Negation | Role::No));
        let is_only = |t: &Token| {
            matches!(
                self.word(t),
                "only" | "just" | "merely" | "仅" | "只" | "只有" | "仅有"
            )
        };
        if tokens.first().is_some_and(is_only) {
            return true; // "no right effusion, only a left one"
        }
        let has_denial = tokens
            .iter()
            .any(|t| matches!(t.role, Role::Negation | Role::NegationBack));
        if let Some(denial) = denial.filter(|_| !has_denial) {
            let is_in = |t: &Token| t.role == Role::Preposition;
            if tokens.first().is_some_and(is_in) && before[denial..].iter().any(is_in) {
                return true;
            }
            let own_place = tokens.iter().find(|t| t.is_content()).is_some_and(is_place);
            let says = tokens.iter().any(|t| t.is_content() && !is_place(t));
            if own_place && says && before[..denial].iter().any(is_place) {
                return true;
            }
        }
        // "心衰不是原因，肾病才是"
        if !has_denial && tokens.len() > 1 && tokens.last().is_some_and(|t| self.word(t) == "是") {
            return true;
        }
        let affirms = tokens.iter().position(|t| t.role == Role::Affirm);
        let is_own = |at: usize| at > 0 || !self.word(&tokens[0]).is_ascii(); // "不是左肺，是右肺"
        affirms.is_some_and(|at| is_own(at) && tokens[at + 1..].iter().any(Token::is_content))
            && !has_denial
    }

    /// "Staging CT for metastases": why the picture was made, not what it shows.
    fn settle_purpose(&mut self) {
        if !self.hints.has(Hints::PURPOSE) {
            return;
        }
        for at in 1..self.tokens.len() {
            let (before, token) = (self.tokens[at - 1], self.tokens[at]);
            let is_exam = before.category == Category::Modality
                || is_operation(&before)
                || before.role == Role::NegationBack // "removed for stones"
                || matches!(
                    self.word(&before),
                    "scan"
                        | "examination"
                        | "exam"
                        | "study"
                        | "workup"
                        | "screening"
                        | "staging"
                        | "imaging"
                );
            if matches!(self.word(&token), "用于" | "用来") && self.is_for_screening(&token) {
                self.tokens[at].role = Role::Condition;
                continue;
            }
            if !is_exam || token.role != Role::Preposition || self.word(&token) != "for" {
                continue;
            }
            let end = self.segments[token.segment as usize].end as usize;
            if !self.tokens[at..end].iter().any(|t| t.role == Role::Verb) {
                self.tokens[at].role = Role::Condition;
            }
        }
    }

    /// "用于肿瘤筛查": says what the picture is for.
    fn is_for_screening(&self, token: &Token) -> bool {
        let segment = &self.segments[token.segment as usize];
        let end = self.tokens[segment.end as usize - 1].end as usize;
        let from = self.tokens.partition_point(|t| t.start < token.start);
        let last = self.tokens[from..]
            .iter()
            .take(LONGEST_PREDICATE)
            .take_while(|t| t.end as usize <= end)
            .last();
        let rest = &self.text
            [token.end as usize..last.map_or(end, |t| t.end as usize).max(token.end as usize)];
        has_any(rest, &["筛查", "评估", "随访", "监测", "排除", "诊断"])
    }

    /// "Pneumonia is out.": denies what stands before it.
    fn settle_out(&mut self) {
        if !self.hints.has(Hints::OUT) {
            return;
        }
        for at in 2..self.tokens.len() {
            let token = self.tokens[at];
            let is_last = self
                .tokens
                .get(at + 1)
                .is_none_or(|next| next.segment != token.segment);
            let is_out = self.word(&token) == "out"
                || self.word(&token) == "table" && self.word(&self.tokens[at - 1]) == "the";
            let segment = &self.segments[token.segment as usize];
            let is_told = self.tokens[segment.first as usize..at]
                .iter()
                .rev()
                .take(3)
                .any(|t| matches!(self.word(t), "is" | "are"));
            if is_last && is_out && is_told {
                self.tokens[at].role = Role::NegationBack;
            }
        }
    }

    /// "吸收营养", "stopped the infusion": with an object of its own the verb does not deny what it is told of.
    fn settle_objects(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            if token.role != Role::NegationBack {
                continue;
            }
            let is_verb = matches!(
                self.word(&token),
                "吸收"
                    | "停止"
                    | "消退"
                    | "遮挡"
                    | "治愈"
                    | "取出"
                    | "stopped"
                    | "rejected"
                    | "discarded"
                    | "dismissed"
            );
            let has_object = self.tokens.get(at + 1).is_some_and(|next| {
                next.segment == token.segment
                    && (next.is_content() && next.before <= Break::Hyphen
                        || matches!(self.word(next), "the" | "a" | "an" | "了" | "by"))
            });
            if is_verb && has_object {
                self.tokens[at].role = Role::Verb;
            }
        }
    }

    /// "Absent cardiac activity", "shows absent flow": before its noun the word denies what follows.
    fn settle_absent(&mut self) {
        if !self.hints.has(Hints::ABSENT) {
            return;
        }
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let is_adjective = token.role == Role::NegationBack
                && matches!(
                    self.word(&token),
                    "absent" | "missing" | "nonexistent" | "resolved" | "invisible"
                );
            let names = self.tokens.get(at + 1).is_some_and(|next| {
                next.is_content() && next.segment == token.segment && next.before <= Break::Hyphen
            });
            if !is_adjective || !names {
                continue;
            }
            let before = at
                .checked_sub(1)
                .map(|i| self.tokens[i])
                .filter(|t| t.segment == token.segment);
            let is_attribute = before.is_none_or(|t| match t.role {
                Role::Verb if self.is_auxiliary(&t) => {
                    at > 1 && self.word(&self.tokens[at - 2]) == "there"
                }
                Role::Verb | Role::Preposition | Role::Determiner | Role::And => true,
                Role::Filler => matches!(self.word(&t), "a" | "an" | "completely"),
                _ => false,
            });
            if is_attribute {
                self.tokens[at].role = Role::Negation;
            }
        }
    }

    /// "The resected specimen", "removed from the patient": no denial of what is shown.
    fn settle_removed(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            if token.role != Role::NegationBack {
                continue;
            }
            let is_participle = matches!(
                self.word(&token),
                "resected"
                    | "removed"
                    | "excised"
                    | "extracted"
                    | "evacuated"
                    | "cut out"
                    | "taken out"
            );
            let next = self
                .tokens
                .get(at + 1)
                .filter(|n| n.segment == token.segment);
            // "a stone was removed yesterday" tells what was done
            let is_told = at > 0
                && matches!(
                    self.word(&self.tokens[at - 1]),
                    "was" | "were" | "been" | "has been" | "have been" | "is" | "are"
                );
            let is_attribute = next.is_some_and(|n| {
                (n.is_content() || n.role == Role::Filler) && !is_told || self.word(n) == "from"
            });
            if is_participle && is_attribute {
                self.tokens[at].role = Role::Filler;
            }
        }
    }

    /// "Nodule-free", "the lung is nodule free": the word denies what stands before it.
    fn settle_free(&mut self) {
        if !self.hints.has(Hints::FREE) {
            return;
        }
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            let is_word = token.end - token.start == 4
                && token.role == Role::Content
                && token.category == Category::Unknown;
            if !is_word {
                continue;
            }
            let is_free = &self.text[token.start as usize..token.end as usize] == "free";
            let is_last = self
                .tokens
                .get(at + 1)
                .is_none_or(|next| next.segment != token.segment || !next.is_content());
            let before = self.tokens[at - 1];
            // "the angles are free"
            let ends_clause = || {
                before.role == Role::Verb
                    && self.is_auxiliary(&before)
                    && self
                        .tokens
                        .get(at + 1)
                        .is_none_or(|next| next.segment != token.segment)
                    && at >= 2
                    && self.tokens[at - 2].segment == token.segment
                    && self.tokens[at - 2].category == Category::Organ
            };
            if is_free
                && is_last
                && token.segment == before.segment
                && (before.is_content() || ends_clause())
            {
                self.tokens[at].role = Role::NegationBack;
            }
        }
    }

    /// "左侧……不，右侧…": a 不 with marks on both sides takes back.
    fn settle_lone_no(&mut self) {
        for at in 1..self.tokens.len().saturating_sub(1) {
            let token = self.tokens[at];
            if token.role == Role::Negation
                && token.before >= Break::Comma
                && self.tokens[at + 1].before >= Break::Comma
                && self.word(&token) == "不"
            {
                self.tokens[at].role = Role::No;
                self.tokens[at].key = ANSWER_NO;
            }
        }
    }

    /// Tells "no" that answers ("No, …", "no it is …") from "no" that denies ("no effusion").
    fn settle_leading_no(&mut self) {
        if self.tokens.len() > 1
            && self.tokens[0].role == Role::Negation
            && self.tokens[1].before >= Break::Comma
        {
            self.tokens[0].role = Role::No; // "不，…"
        }
        let ends = self.tokens.get(1).is_none_or(|n| n.before >= Break::Comma);
        let more = self.tokens.len() > 1;
        if let Some(first) = self.tokens.first_mut().filter(|_| ends) {
            match &self.text[first.start as usize..first.end as usize] {
                "对" => first.role = Role::Yes,
                "有的" if more => first.role = Role::Yes, // "有的，位于左侧"
                "错" => first.role = Role::No,
                _ => {}
            }
        }
        let answering = [Role::Yes, Role::Assent, Role::No, Role::Negation];
        if !self.roles().has(&answering) {
            return;
        }
        self.settle_lone_no();
        for at in 0..self.tokens.len() {
            // "absolutely not"
            let next = self.tokens.get(at + 1).copied();
            if matches!(self.tokens[at].role, Role::Yes | Role::Assent)
                && next.is_some_and(|n| {
                    matches!(n.role, Role::Negation | Role::No) && n.before <= Break::Hyphen
                })
            {
                self.tokens[at].role = Role::Filler;
            }
            if self.tokens[at].role != Role::No {
                continue;
            }
            if next.is_some_and(|n| {
                n.role == Role::Negation && n.before <= Break::Hyphen && self.is_noun_of_denial(&n)
            }) {
                continue; // "no absence of"
            }
            let follows_or = at > 0 && self.tokens[at - 1].role == Role::Or;
            let answers = follows_or
                || self.tokens.get(at + 1).is_none_or(|next| {
                    next.before > Break::Hyphen
                        || matches!(
                            next.role,
                            Role::Determiner
                                | Role::Verb
                                | Role::Yes
                                | Role::No
                                | Role::Or
                                | Role::And
                                | Role::Contrast
                                | Role::Relative
                                | Role::Negation
                        )
                });
            if answers {
                self.tokens[at].key = ANSWER_NO;
            }
        }
    }

    /// "Absence", "lack": a noun that "no" can deny.
    fn is_noun_of_denial(&self, token: &Token) -> bool {
        let word = &self.text[token.start as usize..token.end as usize];
        word.starts_with("absence")
            || word.starts_with("lack")
            || word.ends_with("resolution of")
            || word.ends_with("clearing of")
            || word.starts_with("disappearance")
    }

    /// "…, indicating torsion", "…, consistent with a pneumothorax": says what was said before means.
    fn reads_what_was_said(&self, segment: &Segment) -> bool {
        let tokens = self.of(segment);
        let Some(first) = tokens.first().filter(|t| t.before >= Break::Comma) else {
            return false;
        };
        let rest = &self.text[first.start as usize..];
        READINGS.iter().any(|r| rest.starts_with(r))
    }

    fn undo_denied(&mut self, range: std::ops::Range<usize>) {
        for token in &mut self.tokens[range] {
            token.is_negated = false;
        }
    }

    /// "It is not the case that", "it is wrong to say that": what is denied is a whole clause.
    fn denies_clause(&self, at: usize) -> bool {
        let word = self.word(&self.tokens[at]);
        word.ends_with("that")
            || word.ends_with("be said")
            || word.contains(" to ")
            || matches!(word, "deny" | "doubt" | "不能说" | "不是说" | "并不是说")
    }

    /// "Not seen", "not visible in the lung": the negation denies what was named before it.
    fn denies_backwards(&self, at: usize, end: usize) -> bool {
        let mut has_verb = false;
        let rest = self.between(
            self.tokens[at].end as usize,
            self.tokens[end - 1].end as usize,
        );
        if NAMES_OF_ASKED.iter().any(|name| rest.ends_with(name)) {
            return true; // "心衰不是水肿的原因"
        }
        for token in self.tokens[at + 1..end].iter().take(LONGEST_PREDICATE) {
            // "necrosis is not a feature of the tumor"
            has_verb |= matches!(
                self.word(token),
                "feature"
                    | "features"
                    | "part"
                    | "parts"
                    | "component"
                    | "element"
                    | "characteristic"
                    | "constituent"
            );
            if is_name_of_asked(self.word(token)) {
                has_verb = true; // "… is not the cause of it"
                continue;
            }
            match token.role {
                Role::Content if has_verb && self.is_frame_of_denial(token) => {}
                Role::Affirm => return true,
                Role::Preposition if has_verb => return true,
                Role::Content | Role::Number => return false,
                Role::Verb => has_verb |= !self.is_auxiliary(token),
                _ => {}
            }
        }
        true
    }

    fn is_frame_of_denial(&self, token: &Token) -> bool {
        matches!(
            self.word(token),
            "component" | "element" | "characteristic" | "constituent"
        )
    }

    pub(super) fn is_auxiliary(&self, token: &Token) -> bool {
        matches!(
            &self.text[token.start as usize..token.end as usize],
            "is" | "are"
                | "was"
                | "were"
                | "be"
                | "been"
                | "being"
                | "has"
                | "have"
                | "had"
                | "do"
                | "does"
                | "did"
                | "can"
                | "could"
                | "will"
                | "would"
                | "should"
                | "为"
                | "呈"
        )
    }
}

/// "Heart failure is not the cause": the predicate only calls the subject what is asked.
fn is_name_of_asked(word: &str) -> bool {
    matches!(
        word,
        "cause"
            | "reason"
            | "culprit"
            | "explanation"
            | "answer"
            | "diagnosis"
            | "etiology"
            | "aetiology"
            | "responsible"
            | "blame"
    )
}

/// The same in Chinese, where it ends a clause.
const NAMES_OF_ASKED: [&str; 5] = ["原因", "病因", "病根", "元凶", "答案"];

/// What opens the reading of what was seen.
pub(super) const READINGS: [&str; 32] = [
    "which is characteristic of",
    "which is typical of",
    "which is consistent with",
    "which is diagnostic of",
    "which suggests",
    "which is compatible with",
    "indicating",
    "suggesting",
    "representing",
    "meaning",
    "consistent with",
    "compatible with",
    "in keeping with",
    "indicative of",
    "suggestive of",
    "diagnostic of",
    "characteristic of",
    "typical of",
    "typical for",
    "classic for",
    "classical for",
    "pathognomonic of",
    "pathognomonic for",
    "which represents",
    "which indicates",
    "提示",
    "考虑",
    "考虑为",
    "符合",
    "说明",
    "表明",
    "诊断为",
];

/// What a denial that follows ("… are not seen") denies: its segment so far and the list items that lead up to it.
#[derive(Clone, Copy, Default)]
struct DenialReach {
    /// First token of the list.
    first: usize,
    /// Tokens before this one, from `first` on, are denied already.
    done: usize,
    /// Where the last denial begins.
    from: usize,
}

impl DenialReach {
    /// Goes on to segment `index`, the one after the last.
    fn enter(&mut self, segments: &[Segment], tokens: &[Token], index: usize) {
        let segment = &segments[index];
        // "… is dilated (hydronephrosis), that of the right is not": the bracket is part of the clause before
        let before = (0..index)
            .rev()
            .take(LONGEST_BRACKETS)
            .find(|&i| segments[i].opener != Opener::Bracket)
            .unwrap_or(0);
        let is_in_list = matches!(
            segment.opener,
            Opener::And | Opener::Or | Opener::List | Opener::Bracket | Opener::Value
        ) && index > 0
            && !segments[before].has_verb
            && segments[index - 1].sentence == segment.sentence
            && (segment.opener != Opener::List || !is_own_clause(segments, tokens, index));
        if !is_in_list && !dismisses_what_precedes(segments, tokens, index) {
            self.first = segment.first as usize;
        }
    }

    fn deny_before(&mut self, at: usize, tokens: &mut [Token]) {
        self.from = self.first.max(self.done);
        for token in &mut tokens[self.from..at] {
            token.is_negated |= token.is_content();
        }
        self.done = at;
    }

    /// Takes back the last denial: "not absent".
    fn undo(&mut self, at: usize, tokens: &mut [Token]) {
        for token in &mut tokens[self.from..at] {
            token.is_negated = false;
        }
        (self.done, self.from) = (at, at);
    }
}

/// "双肺清晰": says something of a place, so it is a clause though it has no verb.
#[must_use]
pub fn says_of_place(tokens: &[Token]) -> bool {
    let is_place = |t: &Token| matches!(t.category, Category::Organ | Category::Side);
    let is_said = |t: &Token| {
        t.role == Role::Number
            || matches!(
                t.category,
                Category::Finding | Category::Normality | Category::Attribute
            )
    };
    tokens.iter().any(|t| t.is_content() && is_place(t)) && tokens.iter().any(is_said)
}

/// "… but ruled out", "… . It is unlikely": names nothing, denies, and the clause before does not affirm anything.
fn dismisses_what_precedes(segments: &[Segment], tokens: &[Token], index: usize) -> bool {
    let of = |s: &Segment| &tokens[s.first as usize..s.end as usize];
    let own = of(&segments[index]);
    let Some(before) = index.checked_sub(1).map(|i| of(&segments[i])) else {
        return false;
    };
    let affirms = |t: &Token| matches!(t.role, Role::Affirm | Role::Yes | Role::No);
    let is_dismissal = |t: &Token| matches!(t.role, Role::Negation | Role::NegationBack);
    let follows = match segments[index].opener {
        Opener::Contrast => true,
        Opener::Start => own
            .first()
            .is_some_and(|t| matches!(t.role, Role::Determiner | Role::Contrast | Role::Filler)),
        _ => false,
    };
    follows
        && own.iter().any(is_dismissal)
        && !own.iter().any(|t| t.is_content() || affirms(t))
        && !before.iter().any(|t| affirms(t) || is_dismissal(t))
}

/// "左肾没有" after "结石在右肾": the one before says where something is, this one only names a place.
fn is_own_clause(segments: &[Segment], tokens: &[Token], index: usize) -> bool {
    let of = |s: &Segment| &tokens[s.first as usize..s.end as usize];
    let is_place = |t: &Token| {
        matches!(
            t.category,
            Category::Side | Category::Organ | Category::Direction
        )
    };
    let before = of(&segments[index - 1]);
    let mut content = of(&segments[index])
        .iter()
        .filter(|t| t.is_content())
        .peekable();
    content.peek().is_some()
        && content.all(is_place)
        && before.iter().any(is_place)
        && before.iter().any(|t| t.is_content() && !is_place(t))
}

/// "Cholecystectomy": what it was done for is not there any more.
fn is_operation(token: &Token) -> bool {
    let lexicon = super::lexicon::Lexicon::get();
    super::lexicon::known!("other.surgery").is_some_and(|surgery| {
        token.concept == surgery
            || lexicon
                .concepts
                .get(token.concept as usize)
                .is_some_and(|c| c.broader.contains(&surgery))
    })
}

fn is_bare_line(token: &Token) -> bool {
    matches!(
        token.role,
        Role::Content | Role::Number | Role::Filler | Role::Preposition | Role::Determiner
    )
}
