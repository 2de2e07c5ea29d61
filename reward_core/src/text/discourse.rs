//! Requests, hypotheses, concessions and retractions: clauses that an answer does not stand by.

use super::claims::{Kinds, Standing};
use super::clauses::{Opener, Segment};
use super::lexicon::{Category, Role};
use super::question::Question;
use super::relations::is_related;
use super::tokens::{Hints, Parsed, Token};
use super::words::Break;

/// "Would show", "was suspected": what the clause names is thought or asked for, not found.
fn is_hypothesis(words: &str) -> bool {
    words.starts_with("would")
        || words.contains("suspected")
        || words.starts_with("were the ")
        || words == "prompted"
        || words.starts_with("was ")
        || words.starts_with("mention")
}

/// What opens a sentence that only says what is to be found out.
const TO_BE_FOUND_OUT: [&str; 12] = [
    "需要判断是否",
    "需判断是否",
    "需要确定是否",
    "需要明确是否",
    "需要弄清是否",
    "需要判断有无",
    "应判断是否",
    "要判断是否",
    "请判断是否",
    "问题是是否",
    "有待判断是否",
    "有待明确是否",
];

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

impl Parsed {
    /// Sets aside what is requested, conceded or taken back.
    pub(super) fn settle_discourse(&mut self) {
        self.set_aside_requests();
        let roles = self.roles();
        let has = |list: &[Role]| roles.has(list);
        if has(&[Role::Hedge]) && has(&[Role::Contrast]) {
            self.settle_made_sure();
        }
        let says_would = self.hints.has(Hints::WOULD);
        let marks = [
            Role::Concede,
            Role::Condition,
            Role::Retract,
            Role::Refusal,
            Role::No,
        ];
        if !says_would && !has(&marks) {
            return;
        }
        if says_would || has(&[Role::Condition]) {
            self.set_aside_hypotheses();
            self.set_aside_unreal();
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

    /// "It could not be excluded before, but now it is definitely there": what was open is so no more.
    fn settle_made_sure(&mut self) {
        let is_sure = |segment: &Segment| {
            let tokens = self.of(segment);
            let says = tokens.first().zip(tokens.last()).is_some_and(|(a, b)| {
                let text = self.between(a.start as usize, b.end as usize);
                super::words::has_any(
                    text,
                    &[
                        "可以确定",
                        "能确定",
                        "已确定",
                        "已明确",
                        "可以肯定",
                        "definitely",
                        "certainly",
                        "unequivocally",
                    ],
                )
            });
            let is_open =
                |t: &Token| matches!(t.role, Role::Hedge | Role::Negation | Role::Refusal);
            segment.opener == Opener::Contrast && says && !tokens.iter().any(is_open)
        };
        if let Some(segment) = self.segments.iter().find(|s| is_sure(s)).copied() {
            self.set_aside(0..segment.first as usize, Standing::Conceded);
        }
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
            let opens_question = self.opens_question(first);
            let is_request = length > 1 && (is_request_word(word) || opens_question);
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

    /// "需要判断是否为肺炎": a sentence that only says what is to be found out.
    fn opens_question(&self, first: usize) -> bool {
        let from = first
            .checked_sub(1)
            .map_or(0, |before| self.tokens[before].end as usize);
        let text = self.text[from..].trim_start_matches(|c: char| !c.is_alphanumeric());
        TO_BE_FOUND_OUT
            .iter()
            .any(|opening| text.starts_with(opening))
    }

    /// "建议复查以明确有无结节": what is still to be found out.
    pub(super) fn set_aside_open_points(&mut self) {
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let tokens = self.of(&segment);
            let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
                continue;
            };
            let text = self.between(first.start as usize, last.end as usize);
            if !super::words::has_any(text, &["有无", "是否", "有没有"]) {
                continue;
            }
            let is_sought = super::words::has_any(
                text,
                &[
                    "建议",
                    "需",
                    "应",
                    "请",
                    "待",
                    "以明确",
                    "以评估",
                    "以确定",
                    "以了解",
                    "进一步",
                    "评估",
                    "观察",
                    "明确",
                    "检查",
                ],
            );
            let is_answered = self
                .segments
                .get(index + 1)
                .is_some_and(|s| s.opener == Opener::Value);
            if is_sought && !is_answered {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Requests,
                );
            }
        }
    }

    /// "The patient presents with a dislocated knee. …": why someone came, where what was found follows.
    pub(super) fn settle_presentation(&mut self, question: &Question, kinds: Kinds) {
        if !self.hints.has(Hints::PRESENTS)
            || question.has(&[
                "present", "symptom", "complain", "histor", "admi", "症状", "主诉", "病史", "表现",
            ])
        {
            return;
        }
        let tells = |segment: &Segment| {
            self.of(segment).iter().any(|t| {
                matches!(
                    self.word(t),
                    "presents"
                        | "presented"
                        | "presenting"
                        | "complains"
                        | "complained"
                        | "history"
                        | "主诉"
                        | "就诊"
                        | "入院"
                        | "病史"
                )
            })
        };
        // "The patient has a dislocated knee. Angiography shows …"
        let shows_picture = |after: u32| {
            self.tokens
                .iter()
                .any(|t| t.sentence > after && t.category == Category::Modality)
                && self.tokens.iter().any(|t| {
                    t.sentence > after && t.is_stated() && kinds.has(t.category) && !t.is_modifier
                })
        };
        let is_of_patient = |segment: &Segment| {
            self.of(segment)
                .iter()
                .any(|t| matches!(self.word(t), "patient" | "患者" | "病人"))
                && shows_picture(segment.sentence)
        };
        let told: Vec<u32> = self
            .segments
            .iter()
            .filter(|s| tells(s) || is_of_patient(s))
            .map(|s| s.sentence)
            .collect();
        let last = self.segments.last().map_or(0, |s| s.sentence);
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            if segment.sentence < last && told.contains(&segment.sentence) {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Beside,
                );
            }
        }
    }

    /// "Lymphoma would enhance": what would be so if it were there; "would fit" and "would explain it" claim it.
    fn is_open_would(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        token.role == Role::Verb
            && self.word(token) == "would"
            && !self.tokens[at + 1..].iter().take(3).any(|t| {
                let word = self.word(t);
                matches!(
                    word,
                    "my" | "the"
                        | "best"
                        | "a"
                        | "an"
                        | "favored"
                        | "favoured"
                        | "likely"
                        | "say"
                        | "call"
                ) || ["fit", "explain", "account", "suit", "match"]
                    .iter()
                    .any(|w| word.starts_with(w))
            })
    }

    /// "I would say yes if the scan were positive": a yes that hangs on what is not so.
    fn set_aside_unreal(&mut self) {
        for at in 1..self.tokens.len() {
            if self.word(&self.tokens[at]) != "if" {
                continue;
            }
            let sentence = self.tokens[at].sentence;
            let is_of_sentence = |t: &&Token| t.sentence == sentence;
            let lead = self.tokens[..at]
                .iter()
                .rev()
                .take(LONGEST_LEAD)
                .take_while(is_of_sentence)
                .count();
            let answers = self.tokens[at - lead..at]
                .iter()
                .any(|t| matches!(t.role, Role::Yes | Role::No));
            let is_unreal = self.tokens[at - lead..at]
                .iter()
                .any(|t| self.word(t).starts_with("would"))
                || self.tokens[at..]
                    .iter()
                    .take_while(is_of_sentence)
                    .take(LONGEST_LEAD)
                    .any(|t| matches!(self.word(t), "were" | "had been"));
            if answers && is_unreal {
                self.set_aside(at - lead..at, Standing::Conceded);
            }
        }
    }

    /// "A pneumothorax would show a pleural line.": the whole clause is only thought.
    fn set_aside_hypotheses(&mut self) {
        let mut condition = None; // the sentence of the last "if"
        let mut aside = None; // the segment that was set aside last, as long as all of it is
        for at in 1..self.tokens.len() {
            let before = &self.tokens[at - 1];
            if matches!(
                self.word(before),
                "if" | "if there were" | "were there" | "如果" | "若"
            ) {
                condition = Some(before.sentence);
            }
            // "Had he fallen on the other side, the ulna would be fractured."
            let opens_sentence = at == 1 || self.tokens[at - 2].sentence != before.sentence;
            if opens_sentence && matches!(self.word(before), "had" | "were" | "should" | "without")
            {
                condition = Some(before.sentence);
            }
            let token = self.tokens[at];
            let segment = self.segments[token.segment as usize];
            let is_done = aside == Some(token.segment);
            let subject =
                &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at];
            // "CT would show it better"
            let is_thing = |t: &Token| {
                matches!(t.category, Category::Finding | Category::Unknown)
                    || self.is_open_would(at)
                        && matches!(
                            t.category,
                            Category::Modality | Category::Sequence | Category::Plane
                        )
            };
            let names = subject.iter().any(|t| t.is_content() && is_thing(t));
            let is_occasion = token.role == Role::Condition
                && ["was the ", "were the ", "prompted"]
                    .iter()
                    .any(|w| self.word(&token).starts_with(w));
            let names = names || is_occasion && subject.iter().any(Token::is_content);
            let answers = subject.iter().any(|t| t.role == Role::Conclude);
            if self.is_open_would(at) && names && !answers {
                if !is_done {
                    self.set_aside(
                        segment.first as usize..segment.end as usize,
                        Standing::Conceded,
                    );
                    aside = Some(token.segment);
                }
                continue;
            }
            if token.role == Role::Condition && is_hypothesis(self.word(&token)) {
                let follows_if = condition == Some(token.sentence);
                if (names || follows_if) && !answers {
                    if !is_done {
                        self.set_aside(
                            segment.first as usize..segment.end as usize,
                            Standing::Conceded,
                        );
                        aside = Some(token.segment);
                    }
                } else {
                    aside = None;
                    // "the diagnosis would be pneumonia" claims it
                    let rest = &self.tokens[at + 1..segment.end as usize];
                    let until = rest
                        .iter()
                        .position(|t| t.role == Role::Condition) // "… would be needed to look for"
                        .map_or(segment.end as usize, |next| at + 1 + next);
                    for later in &mut self.tokens[at..until] {
                        later.is_aside = false;
                    }
                }
            }
        }
    }

    /// "At first glance the left lung is abnormal, but …": up to the contrast, the conclusion or the end of the sentence.
    fn set_aside_concessions(&mut self) {
        let (mut at, mut done) = (0, 0);
        while at < self.tokens.len() {
            let token = self.tokens[at];
            let segment = self.segments[token.segment as usize];
            let lead =
                &self.tokens[(segment.first as usize).max(at.saturating_sub(LONGEST_LEAD))..at];
            let opens = lead
                .iter()
                .all(|t| !t.is_content() && t.role != Role::Negation)
                || ["mistaken", "made me", "had me"]
                    .iter()
                    .any(|w| self.word(&token).starts_with(w));
            if token.role == Role::Concede && self.concedes_what_precedes(at) {
                let first = (segment.first as usize).max(done);
                self.set_aside(first..at + 1, Standing::Conceded);
                at += 1;
                done = at;
                continue;
            }
            if token.role != Role::Concede || !opens {
                at += 1;
                continue;
            }
            let is_over = |t: &Token| {
                t.sentence != token.sentence
                    || matches!(t.role, Role::Contrast | Role::Conclude | Role::Retract)
                    || t.before == Break::Semicolon
                    || t.role == Role::Verb && self.word(&token).starts_with("what ")
                    || t.before >= Break::Comma && matches!(self.word(t), "so" | "and" | "which")
            };
            let rest = self.tokens[at + 1..].iter().position(is_over);
            let end = rest.map_or(self.tokens.len(), |r| at + 1 + r);
            self.set_aside(at..end, Standing::Conceded);
            at = end;
        }
    }

    /// "Melanoma was considered, but …": what stands before the word is not claimed where something follows.
    fn concedes_what_precedes(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let word = self.word(token);
        let segment = &self.segments[token.segment as usize];
        let is_last = at + 1 == segment.end as usize
            && self
                .segments
                .get(token.segment as usize + 1)
                .is_some_and(|next| next.opener == Opener::Contrast)
            && !self.tokens[segment.first as usize..at]
                .iter()
                .any(|t| matches!(t.role, Role::Yes | Role::No)); // "it looks like a PET at first, but …"
        let is_thought = ["was ", "were ", "crossed ", "came to "]
            .iter()
            .any(|w| word.starts_with(w));
        (is_thought || is_last)
            && self.tokens[segment.first as usize..at]
                .iter()
                .any(Token::is_content)
            && self.tokens[segment.end as usize..]
                .iter()
                .any(|t| t.is_content() || matches!(t.role, Role::Negation | Role::NegationBack))
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
            && (self.tokens[at + 1..].iter().any(says)
                || is_correction(word) && at + 1 < self.tokens.len())
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
        let mut stands = !is_correction(self.word(&self.tokens[at]));
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
                stands |= old.is_content();
            }
        }
        let is_yes_or_no = |t: &Token| {
            matches!(
                t.role,
                Role::Yes | Role::No | Role::Negation | Role::NegationBack | Role::Affirm
            )
        };
        if !stands && !new.iter().any(is_yes_or_no) {
            self.set_aside(0..at, Standing::Retracted); // "HIV 2. Correction: all of the above."
        }
    }

    /// "It is A. Wait, A is too large. It is B.": why it is taken back is no second claim of it.
    pub(super) fn settle_reason_of_retraction(&mut self) {
        let Some(retracted) = self
            .segments
            .iter()
            .position(|s| s.standing == Standing::Retracted)
        else {
            return;
        };
        let keys: Vec<u64> = self
            .of(&self.segments[retracted])
            .iter()
            .filter(|t| t.is_content())
            .map(|t| t.key)
            .collect();
        let is_of = |t: &Token| keys.contains(&t.key);
        let identifies = |s: &Segment| {
            let tokens = self.of(s);
            let opens = tokens.first().is_some_and(|t| {
                let word = self.word(t);
                matches!(
                    word,
                    "it" | "it is"
                        | "this"
                        | "this is"
                        | "that is"
                        | "so it is"
                        | "是"
                        | "应是"
                        | "应为"
                ) || word.starts_with("it'")
            });
            opens && tokens.iter().any(Token::is_stated) && !tokens.iter().any(is_of)
        };
        let Some(last) = self
            .segments
            .iter()
            .rposition(identifies)
            .filter(|&l| l > retracted)
        else {
            return;
        };
        let is_reason = |s: &&Segment| {
            s.has_verb
                && s.standing == Standing::Stands
                && self
                    .of(s)
                    .iter()
                    .find(|t| t.is_content())
                    .is_some_and(is_of)
        };
        let reasons: Vec<Segment> = self.segments[retracted + 1..last]
            .iter()
            .filter(is_reason)
            .copied()
            .collect();
        for reason in reasons {
            self.set_aside(
                reason.first as usize..reason.end as usize,
                Standing::Retracted,
            );
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
}

/// Words that take back all that was said, whatever follows.
fn is_correction(word: &str) -> bool {
    word.starts_with("correct")
        || word.starts_with("let me correct")
        || word.starts_with("revised")
        || word.contains("更正")
        || word.contains("纠正")
        || word.contains("订正")
        || matches!(
            word,
            "erratum" | "scratch that" | "strike that" | "i take that back" | "i retract that"
        )
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
