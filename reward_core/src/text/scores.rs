//! Every text reward of a completion from one look at it: tags are scanned once, each field is read once.

use super::answers::Prompt;
use super::claims::Claim;
use super::fluency::fluency;
use super::labels::Label;
use super::lexicon::ConceptId;
use super::similarity::Words;
use super::source::Source;
use super::tags::{Scan, TagReport, TagSet, TagState};
use super::tokens::Parsed;
use super::verdict::{Rule, Verdict};

/// One reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is described where Python offers it
pub enum Measure {
    Format,
    FormatGraded,
    AnswerMatch,
    AnswerMatchGraded,
    ExactMatch,
    TokenRecall,
    TokenF1,
    WordF1,
    Levenshtein,
    PlaneMatch,
    ModalityMatch,
    Fluency,
}

/// Every reward by its name.
pub const MEASURES: [(&str, Measure); 13] = [
    ("format", Measure::Format),
    ("format_graded", Measure::FormatGraded),
    ("answer_match", Measure::AnswerMatch),
    ("accuracy", Measure::AnswerMatch), // as text-only medical QA calls it
    ("answer_match_graded", Measure::AnswerMatchGraded),
    ("exact_match", Measure::ExactMatch),
    ("token_recall", Measure::TokenRecall),
    ("token_f1", Measure::TokenF1),
    ("word_f1", Measure::WordF1),
    ("levenshtein", Measure::Levenshtein),
    ("plane_match", Measure::PlaneMatch),
    ("modality_match", Measure::ModalityMatch),
    ("fluency", Measure::Fluency),
];

impl Measure {
    /// The reward called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        MEASURES.iter().find(|m| m.0 == name).map(|m| m.1)
    }

    /// Whether it compares words with the references.
    #[must_use]
    pub const fn is_overlap(self) -> bool {
        matches!(
            self,
            Self::ExactMatch | Self::TokenRecall | Self::TokenF1 | Self::WordF1 | Self::Levenshtein
        )
    }

    /// Whether it judges the answer by the rules.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        matches!(self, Self::AnswerMatch | Self::AnswerMatchGraded)
    }
}

/// What a completion is compared with; what no reward asks for may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Question, references and options.
    pub prompt: Option<&'a Prompt>,
    /// The references as the overlap measures see them.
    pub accepted: &'a [Words],
    /// Label of the plane.
    pub plane: Option<&'a Label>,
    /// Label of the modality.
    pub modality: Option<&'a Label>,
    /// Expected language.
    pub language: Option<&'a str>,
}

/// Memory that is reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    scan: Scan,
    parsed: Parsed,
    words: Words,
    labels: ReadLabels,
    judged: Judged,
    classes: Vec<ConceptId>,
    text: String,
}

/// Verdicts on the last short answers to one prompt: many completions of a prompt give the same answer.
#[derive(Debug, Default)]
struct Judged {
    prompt: u64,
    answers: Vec<(String, Verdict)>,
}

impl Judged {
    /// What `prompt` says of `answer`; `parsed` is only written where it was not said before.
    fn verdict(prompt: &Prompt, answer: &str, parsed: &mut Parsed, known: &mut Self) -> Verdict {
        if answer.len() > LONGEST_JUDGED {
            return prompt.judge(answer, parsed);
        }
        if known.prompt != prompt.id() {
            known.prompt = prompt.id();
            known.answers.clear();
        }
        if let Some((_, verdict)) = known.answers.iter().find(|(said, _)| said == answer) {
            return *verdict;
        }
        let verdict = prompt.judge(answer, parsed);
        if known.answers.len() < MOST_JUDGED {
            known.answers.push((answer.to_string(), verdict));
        }
        verdict
    }
}

/// Answers to a prompt that are remembered, and the bytes that one of them has at most.
const MOST_JUDGED: usize = 16;
const LONGEST_JUDGED: usize = 256;

/// Labels as they were read lately: completions name few planes and modalities, again and again.
#[derive(Debug, Default)]
struct ReadLabels {
    known: Vec<(String, Parsed)>,
}

impl ReadLabels {
    /// What `text` says.
    fn read(&mut self, text: &str) -> &Parsed {
        let known = self.known.iter().position(|(label, _)| label == text);
        let place = known.unwrap_or_else(|| {
            if self.known.len() == MOST_LABELS {
                self.known.clear();
            }
            self.known.push((text.to_string(), Parsed::new(text)));
            self.known.len() - 1
        });
        &self.known[place].1
    }
}

/// Labels that are remembered at a time.
const MOST_LABELS: usize = 16;

/// Some rewards over completions of one tag set.
#[derive(Clone, Debug)]
pub struct Scorer {
    measures: Vec<Measure>,
    set: TagSet,
    answer: usize,
    plane: Option<usize>,
    modality: Option<usize>,
    plain: bool,
}

/// Why an answer scores what it scores.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What decided.
    pub verdict: Verdict,
    /// The tags.
    pub report: TagReport,
    /// The range of what was judged.
    pub answer: Option<(usize, usize)>,
    /// What it claims, clause by clause.
    pub claims: Vec<Claim>,
}

/// A completion whose tags are found.
struct Opened<'a> {
    text: Source<'a>,
    report: TagReport,
}

impl Scorer {
    /// The rewards `measures`; with `plain` a completion without an answer tag is the answer itself.
    ///
    /// # Errors
    /// A reward judges the answer and the tag set has no tag "answer".
    pub fn new(measures: Vec<Measure>, set: TagSet, plain: bool) -> Result<Self, String> {
        let needs_answer = measures.iter().any(|m| m.is_overlap() || m.is_verdict());
        let answer = match set.position("answer") {
            Some(position) => position,
            None if needs_answer => return Err("the tag set has no tag \"answer\"".to_string()),
            None => 0,
        };
        Ok(Self {
            answer,
            plane: set.position("plane"),
            modality: set.position("modality"),
            measures,
            set,
            plain,
        })
    }

    /// Writes each reward of `completion` into `scores`; NaN where the row cannot be judged.
    pub fn score(
        &self,
        completion: Source<'_>,
        row: &Row<'_>,
        scratch: &mut Scratch,
        scores: &mut [f64],
    ) {
        let opened = Opened {
            text: completion,
            report: self.set.parse(completion, &mut scratch.scan),
        };
        let mut verdict = None;
        let (mut has_words, mut has_tokens) = (false, false);
        for (score, &measure) in scores.iter_mut().zip(&self.measures) {
            *score = match measure {
                Measure::Format => opened.report.format(&self.set),
                Measure::FormatGraded => opened.report.format_graded(&self.set),
                Measure::AnswerMatch | Measure::AnswerMatchGraded => {
                    let verdict = *verdict.get_or_insert_with(|| {
                        self.verdict(&opened, row.prompt, scratch, Judged::verdict)
                    });
                    value_of(verdict, measure)
                }
                Measure::PlaneMatch => Self::label(&opened, self.plane, row.plane, scratch),
                Measure::ModalityMatch => {
                    Self::label(&opened, self.modality, row.modality, scratch)
                }
                Measure::Fluency => {
                    fluency(completion.text(&mut scratch.text), row.language).score()
                }
                Measure::TokenF1 => {
                    // Without an answer there is nothing that could agree with a reference of articles alone.
                    let answer = self.answer(&opened, &scratch.scan).ok();
                    if let (Some((start, end)), false) = (answer, has_tokens) {
                        let answer = completion.slice(start, end).text(&mut scratch.text);
                        scratch.words.squad.read(answer);
                        has_tokens = true;
                    }
                    match answer {
                        Some(_) => token_f1(&scratch.words, row.accepted),
                        None if row.accepted.is_empty() => f64::NAN,
                        None => 0.0,
                    }
                }
                Measure::ExactMatch
                | Measure::TokenRecall
                | Measure::WordF1
                | Measure::Levenshtein => {
                    if !has_words {
                        let (start, end) = self.answer(&opened, &scratch.scan).unwrap_or((0, 0));
                        let answer = completion.slice(start, end).text(&mut scratch.text);
                        scratch.words.read(answer);
                        has_words = true;
                    }
                    overlap(measure, &scratch.words, row.accepted)
                }
            };
        }
    }

    /// What the matcher says of `completion`, with its tags, the range of its answer and the claims that were read.
    #[must_use]
    pub fn explain(
        &self,
        completion: Source<'_>,
        prompt: &Prompt,
        scratch: &mut Scratch,
    ) -> Explained {
        let report = self.set.parse(completion, &mut scratch.scan);
        let opened = Opened {
            text: completion,
            report,
        };
        let verdict = self.verdict(
            &opened,
            Some(prompt),
            scratch,
            |prompt, answer, parsed, _| prompt.judge(answer, parsed), // the claims have to be read
        );
        let answer = self.answer(&opened, &scratch.scan).ok();
        let is_read = answer.is_some() && !prompt.is_unanswerable();
        Explained {
            verdict,
            report,
            answer,
            claims: if is_read {
                scratch.parsed.claims()
            } else {
                Vec::new()
            },
        }
    }

    /// The range of what is judged as the answer.
    fn answer(&self, opened: &Opened<'_>, scan: &Scan) -> Result<(usize, usize), Rule> {
        let field = self
            .set
            .field(&opened.report, self.answer, opened.text, self.plain, scan);
        field.map_err(|state| match (state, opened.report.states[self.answer]) {
            (TagState::Unclosed, TagState::Missing) => Rule::UnfinishedThought,
            (TagState::Repeated, _) => Rule::SeveralAnswerTags,
            _ => Rule::NoAnswerTag,
        })
    }

    fn verdict(
        &self,
        opened: &Opened<'_>,
        prompt: Option<&Prompt>,
        scratch: &mut Scratch,
        judge: impl FnOnce(&Prompt, &str, &mut Parsed, &mut Judged) -> Verdict,
    ) -> Verdict {
        let Some(prompt) = prompt.filter(|p| !p.is_unanswerable()) else {
            return Verdict::reject(Rule::NoReference);
        };
        let (start, end) = match self.answer(opened, &scratch.scan) {
            Ok(range) => range,
            Err(rule) => return Verdict::reject(rule),
        };
        let answer = opened.text.slice(start, end).text(&mut scratch.text);
        judge(prompt, answer, &mut scratch.parsed, &mut scratch.judged)
    }

    fn label(
        opened: &Opened<'_>,
        position: Option<usize>,
        label: Option<&Label>,
        scratch: &mut Scratch,
    ) -> f64 {
        let (Some(position), Some(label)) = (position, label) else {
            return f64::NAN;
        };
        let Some((start, end)) = opened.report.contents[position] else {
            return 0.0;
        };
        let text = opened.text.slice(start, end).text(&mut scratch.text);
        label.score(scratch.labels.read(text), &mut scratch.classes)
    }
}

/// The score that a verdict gives; NaN without a reference.
fn value_of(verdict: Verdict, measure: Measure) -> f64 {
    if verdict.rule == Rule::NoReference {
        f64::NAN
    } else if measure == Measure::AnswerMatch {
        f64::from(u8::from(verdict.is_accepted))
    } else {
        verdict.graded
    }
}

/// `SQuAD`'s F1 with the nearest reference; those of which nothing is left count only where there is no other.
fn token_f1(answer: &Words, accepted: &[Words]) -> f64 {
    let is_any = accepted.iter().any(|one| !one.squad.is_empty());
    let kept = accepted
        .iter()
        .filter(|one| !is_any || !one.squad.is_empty());
    kept.map(|one| answer.squad.f1(&one.squad))
        .fold(f64::NAN, f64::max)
}

/// One overlap measure with the nearest reference; NaN where there is none.
fn overlap(measure: Measure, answer: &Words, accepted: &[Words]) -> f64 {
    let compare = match measure {
        Measure::ExactMatch => Words::exact_match,
        Measure::TokenRecall => Words::recall,
        Measure::WordF1 => Words::f1,
        _ => Words::levenshtein,
    };
    let scores = accepted.iter().map(|reference| compare(answer, reference));
    scores.fold(f64::NAN, f64::max)
}
