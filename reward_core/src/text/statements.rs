//! An answer in words, compared with a reference sentence by sentence.

mod remarks;

use std::cell::OnceCell;

use rustc_hash::FxHashSet;

use super::clauses::{Opener, Segment, READINGS};
use super::lexicon::{Category, Lexicon, Role};
use super::numbers::{quantities, Quantity};
use super::polarity::{is_bare, polarity, Polarity};
use super::question::Question;
use super::relations::{
    are_opposite, entails, is_change, is_exclusive, is_general, is_related, is_same_word,
    side_bits, sides,
};
use super::targets::TextTarget;
use super::tokens::{Parsed, Token, NO_CONCEPT};
use super::verdict::{Rule, Verdict, REJECTED_MAXIMUM};
use super::words::Break;

/// Words of a question that a sentence repeats at its head to answer it.
const LONGEST_FRAME: usize = 8;

/// Tokens of a description before the name that it leads to.
const LEAST_SEEN: u32 = 6;

/// Words of a clause that are looked at beside one of its words.
const LONGEST_CLAUSE: usize = 64;

/// Judges `answer` against one reference in words.
///
/// The first sentence that answers decides; what follows may only take it back.
#[must_use]
#[allow(clippy::too_many_lines)] // one decision, read from top to bottom
pub fn judge(
    answer: &Parsed,
    reference: &Parsed,
    target: &TextTarget,
    question: Option<&Question>,
) -> Verdict {
    if target.asks_normal(reference) && is_bare(answer) && polarity(answer, None) == Polarity::No {
        return Verdict::accept(Rule::Complete);
    }
    if target.required.is_empty() && target.amounts.is_empty() {
        return Verdict::reject(Rule::Different);
    }
    let said = OnceCell::new();
    let sentences: Vec<&[Segment]> = answer
        .segments
        .chunk_by(|a, b| a.sentence == b.sentence)
        .collect();
    let scope = |sentence| Scope {
        answer,
        sentence,
        said: &said,
        question,
        reference,
        target,
        takes_examples: false,
        is_strict: true,
        is_reading: false,
    };
    let takes_up = Last::default();
    let restates = Last::default();
    let mut nearest = Verdict::reject(Rule::Different);
    for (index, sentence) in sentences.iter().enumerate() {
        let scope = scope(*sentence).with_examples_if_needed();
        let covered = scope.covered();
        if covered < 1.0 && scope.names_thing() && scope.reading_covers() {
            return Verdict::accept(Rule::Complete);
        }
        if covered < 1.0
            && question.is_some_and(|q| q.asks_organ)
            && (Scope {
                is_strict: false,
                ..scope
            })
            .covered()
                >= 1.0
        {
            nearest = Verdict::reject(Rule::TooSpecific);
            continue;
        }
        let answers = !scope.only_says_normal() && !scope.is_about_else() && scope.answers();
        if covered == 0.0 && !answers {
            continue;
        }
        let mut contradiction = scope.contradiction();
        if contradiction == Some(Rule::ExtraItem)
            && (scope.names_thing() || !scope.names_place())
            && scope.reading_covers()
        {
            contradiction = None; // "blunting with a meniscus, consistent with an effusion"
        }
        if covered >= 1.0 && contradiction.is_none() && scope.only_remarks() {
            return Verdict::reject(Rule::ExtraItem);
        }
        if covered >= 1.0 && contradiction.is_none() {
            let is_taken_back = sentences[index + 1..].iter().any(|later| {
                (Scope {
                    sentence: later,
                    ..scope
                })
                .denies_all()
            });
            let is_overruled = !is_taken_back
                && !scope.names_question()
                && sentences[index + 1..].iter().any(|later| {
                    (Scope {
                        sentence: later,
                        ..scope
                    })
                    .answers_otherwise()
                });
            if is_overruled {
                return Verdict::reject(Rule::ExtraItem);
            }
            return if is_taken_back {
                Verdict::reject(Rule::NegationDiffers)
            } else {
                Verdict::accept(Rule::Complete)
            };
        }
        if contradiction.is_some() || answers {
            let may_go_on = matches!(
                contradiction,
                None | Some(Rule::ExtraItem | Rule::Different)
            );
            let names_thing = contradiction.is_none() || scope.names_thing();
            if may_go_on
                && names_thing
                && takes_up.is_after(index, &sentences, scope, Scope::takes_up)
            {
                return Verdict::accept(Rule::Complete);
            }
            if let Some(rule) = contradiction {
                return Verdict::reject(rule);
            }
            if covered == 0.0
                && !scope.names_question()
                && restates.is_after(index, &sentences, scope, Scope::restates_and_covers)
            {
                return Verdict::accept(Rule::Complete);
            }
        }
        let graded = REJECTED_MAXIMUM * covered;
        if graded > nearest.graded {
            nearest = Verdict {
                graded,
                ..Verdict::reject(Rule::Incomplete)
            };
        }
        if answers {
            break;
        }
    }
    nearest
}

/// The last sentence of which something holds, looked for once: without and with the examples of sentences.
#[derive(Default)]
struct Last([OnceCell<Option<usize>>; 2]);

impl Last {
    /// Whether it holds of a sentence after the one at `index`, whose scope is given.
    fn is_after<'a>(
        &self,
        index: usize,
        sentences: &[&'a [Segment]],
        scope: Scope<'a>,
        holds: fn(&Scope<'a>) -> bool,
    ) -> bool {
        let last = self.0[usize::from(scope.takes_examples)].get_or_init(|| {
            sentences
                .iter()
                .rposition(|sentence| holds(&Scope { sentence, ..scope }))
        });
        last.is_some_and(|last| last > index)
    }
}

/// One sentence of an answer, beside the reference.
#[derive(Clone, Copy)]
struct Scope<'a> {
    answer: &'a Parsed,
    /// Its segments.
    sentence: &'a [Segment],
    /// Amounts that the whole answer gives, counted when they are first asked for.
    said: &'a OnceCell<Vec<Quantity>>,
    question: Option<&'a Question>,
    reference: &'a Parsed,
    target: &'a TextTarget,
    /// Examples ("such as …") belong to the answer: they do where the rest does not cover the reference.
    takes_examples: bool,
    /// A disease of an organ does not name the organ that is asked for.
    is_strict: bool,
    /// The sentence begins with what the things seen are read as: "…, indicating perforation".
    is_reading: bool,
}

impl<'a> Scope<'a> {
    /// "Both lungs are clear." where something else is asked.
    fn only_says_normal(&self) -> bool {
        let mut normal = self
            .main()
            .filter(|t| t.is_stated() && t.category == Category::Normality)
            .peekable();
        let denies = self
            .target
            .required
            .iter()
            .any(|w| w.category == Category::Finding)
            && self.main().any(|t| t.is_negated)
            && !self
                .target
                .required
                .iter()
                .any(|w| w.is_negated || self.main().any(|t| t.key == w.key));
        (normal.peek().is_some() || denies)
            && normal.all(super::question::is_normal)
            && !self
                .main()
                .any(|t| t.category == Category::Finding && t.is_stated())
            && !self
                .target
                .required
                .iter()
                .any(|w| w.category == Category::Normality)
    }

    /// Nothing but places is wanted.
    fn wants_only_places(&self) -> bool {
        let required = &self.target.required;
        !required.is_empty() && required.iter().all(|w| kind_of(w.category) == Kind::Place)
    }

    /// "The exposure is adequate." where a place is wanted: words of no known kind say something of each other.
    fn is_about_else(&self) -> bool {
        let wants_place = self.wants_only_places();
        let has_verb = self.sentence.iter().any(|s| s.has_verb);
        if !wants_place || !has_verb {
            return false;
        }
        let mut said = self.main().filter(|t| !self.is_restated(t)).peekable();
        let count = self.main().filter(|t| !self.is_restated(t)).count();
        said.peek().is_some() && count > 1 && said.all(|t| t.category == Category::Unknown)
    }

    /// The same, with the examples of the sentence where the rest does not cover the reference.
    fn with_examples_if_needed(mut self) -> Self {
        self.takes_examples = self.sentence.iter().any(|s| s.is_example) && self.covered() < 1.0;
        self
    }

    /// "This represents pneumonia.", "这是一个肾囊肿。" after what was seen: says what it is, completely.
    fn takes_up(&self) -> bool {
        let tokens = self.sentence.first().map_or(&[][..], |s| self.answer.of(s));
        if self.reading_covers() {
            return true;
        }
        if self.is_last_fragment() {
            return self.covered() >= 1.0 && self.contradiction().is_none();
        }
        let argues = |t: &Token| {
            let word = self.answer.word(t);
            word.starts_with("argue") || word.starts_with("speak")
        };
        tokens
            .iter()
            .find(|t| t.role != Role::Filler)
            .is_some_and(|t| t.role == Role::Determiner)
            && tokens
                .iter()
                .take(5)
                .any(|t| t.role == Role::Verb || t.role == Role::Affirm || argues(t))
            && self.covered() >= 1.0
            && self.contradiction().is_none()
    }

    /// "There is extraluminal air, indicating perforation": what the things seen are read as answers.
    fn reading_covers(&self) -> bool {
        let opens_reading = |s: &Segment| {
            self.answer.of(s).first().is_some_and(|t| {
                let rest = &self.answer.text[t.start as usize..];
                READINGS.iter().any(|r| rest.starts_with(r))
            })
        };
        // "several echogenic foci with shadowing: gallstones"
        let concludes = |s: &Segment| {
            let tokens = self.answer.of(s);
            !s.has_verb
                && tokens.first().is_some_and(|t| t.before == Break::Colon)
                && self.sentence[0].first + LEAST_SEEN <= s.first
        };
        let reads = |s: &Segment| {
            matches!(s.opener, Opener::Relative | Opener::Detail | Opener::List) && opens_reading(s)
                || concludes(s)
        };
        let Some(from) = self.sentence.iter().position(reads) else {
            return false;
        };
        let reading = Scope {
            sentence: &self.sentence[from..],
            is_reading: true,
            ..*self
        };
        reading.covered() >= 1.0 && reading.contradiction().is_none()
    }

    /// The answer ends with what is wanted and nothing else: "…. Bowel obstruction."
    fn is_last_fragment(&self) -> bool {
        let is_last = self
            .sentence
            .last()
            .is_some_and(|s| s.end as usize == self.answer.tokens.len());
        is_last
            && self.sentence.iter().all(|s| !s.has_verb && s.first > 0)
            && self.main().all(|t| {
                self.is_restated(t) || self.target.required.iter().any(|w| self.means(t, w))
            })
    }

    /// A disease or another thing is wanted, not a place.
    fn names_thing(&self) -> bool {
        self.target
            .required
            .iter()
            .any(|w| kind_of(w.category) == Kind::Thing)
    }

    /// A place is wanted.
    fn names_place(&self) -> bool {
        self.target
            .required
            .iter()
            .any(|w| kind_of(w.category) == Kind::Place)
    }

    /// A word of the question is named, or what it asks for by its property.
    fn names_question(&self) -> bool {
        let verbs = |parsed: &'a Parsed| {
            parsed
                .tokens
                .iter()
                .filter(|t| t.role == Role::Verb && !parsed.is_auxiliary(t))
        };
        let shares_verb = || {
            let repeats = |t: &Token| {
                t.role == Role::Verb
                    && self
                        .question
                        .is_some_and(|q| verbs(&q.parsed).any(|v| v.key == t.key))
            };
            self.segments().any(|s| {
                self.answer
                    .of(s)
                    .iter()
                    .any(|t| !t.is_aside && !self.answer.is_auxiliary(t) && repeats(t))
            })
        };
        self.segments().any(|s| s.is_firm)
            || self.main().any(|t| !t.is_modifier && self.is_restated(t))
            || shares_verb()
    }

    /// "The arrow points to the pancreas." where that is asked: another place, with subject and verb of the question.
    fn answers_otherwise(&self) -> bool {
        let wants_place = self
            .target
            .required
            .iter()
            .all(|w| kind_of(w.category) == Kind::Place);
        let verbs = |parsed: &'a Parsed, tokens: &'a [Token]| {
            tokens
                .iter()
                .filter(|t| t.is_content() || t.role == Role::Verb && !parsed.is_auxiliary(t))
                .take(LONGEST_FRAME)
                .map(|t| t.key)
                .collect::<Vec<u64>>()
        };
        let Some(question) = self.question.filter(|_| wants_place) else {
            return false;
        };
        let frame = verbs(&question.parsed, &question.parsed.tokens);
        let said = self
            .sentence
            .first()
            .map_or_else(Vec::new, |s| verbs(self.answer, self.answer.of(s)));
        frame.len() > 1
            && said.starts_with(&frame)
            && self.covered() < 1.0
            && (self.contradiction().is_some() || said.len() > frame.len() && self.covered() == 0.0)
    }

    /// A later sentence that answers completely in words of the question.
    fn restates_and_covers(&self) -> bool {
        let is_new = |w: &Token| !self.is_restated(w);
        self.names_question()
            && self.target.required.iter().any(is_new)
            && self.covered() >= 1.0
            && self.contradiction().is_none()
            && !self.only_remarks()
    }

    /// "Abscess" after "liver": the words name the disease, not the organ.
    fn names_disease(&self, token: &Token) -> bool {
        let at = self.answer.tokens.partition_point(|t| t.start < token.end);
        let follows = |n: &&Token| n.before <= Break::Hyphen && n.segment == token.segment;
        let mut next = self.answer.tokens.get(at).filter(follows);
        // "bone marrow edema"
        if next.is_some_and(|n| {
            n.is_content() && matches!(n.category, Category::Unknown | Category::Organ)
        }) {
            next = self.answer.tokens.get(at + 1).filter(follows);
        }
        // "hepatomegaly" where the enlarged organ is asked for
        let names_what_is_asked = |t: &Token| {
            let lexicon = Lexicon::get();
            let parts = lexicon
                .concepts
                .get(t.concept as usize)
                .map_or(&[][..], |c| &c.parts);
            let is_size = |part: &u16| lexicon.concepts[*part as usize].id == "finding.enlargement";
            let asked = |part: &u16| {
                lexicon.concepts[*part as usize].category == Category::Organ
                    || is_size(part)
                        && self
                            .question
                            .is_some_and(|q| q.parsed.content().any(|o| o.concept == *part))
            };
            parts.len() > 1 && parts.iter().all(asked)
        };
        let is_disease = |t: &Token| {
            t.category == Category::Finding
                && !names_what_is_asked(t)
                && !self.question.is_some_and(|q| q.names(t))
                && !self.is_wanted(t)
        };
        let run = self.answer.tokens[at..]
            .iter()
            .take(4)
            .take_while(|t| t.is_joined && t.is_content());
        let names_in_run = || {
            run.filter(|t| t.category == Category::Finding)
                .any(is_disease)
        };
        token.category == Category::Finding && is_disease(token)
            || next.is_some_and(is_disease)
            || names_in_run()
    }

    fn segments(&self) -> impl Iterator<Item = &'a Segment> + 'a {
        let takes_examples = self.takes_examples;
        self.sentence
            .iter()
            .filter(move |s| takes_examples || !s.is_example)
    }

    /// Tokens of the answer proper: no side remarks, no closer description.
    fn main(&self) -> impl Iterator<Item = &'a Token> + 'a {
        let (answer, is_reading) = (self.answer, self.is_reading);
        self.segments()
            .filter(move |s| is_reading || !s.is_side_remark && !s.is_detail)
            .flat_map(move |s| answer.of(s))
            .filter(|t| t.is_content() && !t.is_aside)
    }

    /// Tokens that may cover the reference: the answer proper and its closer description.
    fn tokens(&self) -> impl Iterator<Item = &'a Token> + 'a {
        let (answer, is_reading) = (self.answer, self.is_reading);
        self.segments()
            .filter(move |s| is_reading || !s.is_side_remark)
            .flat_map(move |s| answer.of(s))
            .filter(|t| t.is_content() && !t.is_aside)
    }

    /// The token only restates the question.
    fn is_restated(&self, token: &Token) -> bool {
        self.question
            .is_some_and(|q| q.names(token) && !q.offers(token))
    }

    fn is_wanted(&self, token: &Token) -> bool {
        self.reference.content().any(|w| w.key == token.key)
    }

    /// Something beside the kind of picture is named: "chest" in "the chest X-ray shows the heart" is no answer then.
    fn has_other_subject(&self) -> bool {
        self.main().any(|t| {
            !t.is_modifier
                && !self.is_restated(t)
                && matches!(
                    t.category,
                    Category::Organ | Category::Finding | Category::Other
                )
        })
    }

    /// The sentence says something of the kind that the reference says.
    fn answers(&self) -> bool {
        let wants = |kind: Kind| {
            self.target
                .required
                .iter()
                .any(|w| kind_of(w.category) == kind)
        };
        let wants_unknown = self
            .target
            .required
            .iter()
            .any(|w| w.category == Category::Unknown);
        let wants_denial = self.target.required.iter().any(|w| w.is_negated);
        self.main().any(|t| {
            let fits = match t.category {
                Category::Unknown => wants(Kind::Place) || wants(Kind::Thing),
                Category::Organ => wants_unknown || wants(Kind::Place),
                category => wants(kind_of(category)),
            };
            fits && !self.is_measure(t)
                && !self.is_restated(t)
                && !t.is_modifier
                && (!t.is_negated || wants_denial)
        })
    }

    /// A number or its unit, where no amount is asked for.
    fn is_measure(&self, token: &Token) -> bool {
        if !self.target.amounts.is_empty() {
            return false;
        }
        token.role == Role::Number
            || token.category == Category::Unknown && {
                let said = self.said.get_or_init(|| quantities(self.answer));
                let before =
                    said.partition_point(|q| self.answer.tokens[q.token].start < token.start);
                before > 0 && {
                    let last = &said[before - 1];
                    self.answer.tokens[last.token..=last.token + last.unit_tokens]
                        .iter()
                        .any(|t| t.start == token.start)
                }
            }
    }

    /// Share of what is required that is there, with its negation.
    fn covered(&self) -> f64 {
        let target = self.target;
        if target.is_any {
            return target
                .items
                .iter()
                .map(|item| self.share(item))
                .fold(0.0, f64::max);
        }
        let share = self.share(&target.required);
        let says_present = |t: &Token| matches!(t.role, Role::Affirm | Role::Yes);
        let is_echo = target.required.iter().all(|w| self.is_restated(w))
            && self.reference.tokens.iter().any(says_present);
        if is_echo
            && !self
                .segments()
                .any(|s| self.answer.of(s).iter().any(says_present))
        {
            return share / 2.0; // "fetus present" is more than the word of the question
        }
        if share >= 1.0 && target.must_pair() && !self.pairs() {
            return 0.5;
        }
        if share >= 1.0 && !target.amounts.is_empty() {
            let said = self.said.get_or_init(|| quantities(self.answer));
            let there = target
                .amounts
                .iter()
                .filter(|w| said.iter().any(|s| s.agrees_with(w)))
                .count();
            return (there as f64 / target.amounts.len() as f64)
                .max(if target.required.is_empty() { 0.0 } else { 0.5 });
        }
        share
    }

    fn share(&self, required: &[Token]) -> f64 {
        if required.is_empty() {
            return 1.0;
        }
        let there = (0..required.len())
            .filter(|&i| self.has(&required[i], required.get(i + 1)))
            .count();
        there as f64 / required.len() as f64
    }

    fn has(&self, want: &Token, next: Option<&Token>) -> bool {
        let is_run = want.is_han && next.is_some_and(|n| n.is_han && n.is_joined);
        let skips_modifiers = want.category == Category::Organ && self.has_other_subject();
        let takes_landmarks = self.reference.tokens.iter().any(|t| t.role == Role::Near)
            || self
                .question
                .is_some_and(|q| q.parsed.tokens.iter().any(|t| t.role == Role::Near));
        let asks_organ = self.is_strict
            && want.category == Category::Organ
            && self.question.is_some_and(|q| q.asks_organ);
        let mut tokens = self
            .tokens()
            .filter(|t| !(skips_modifiers && t.is_modifier))
            .filter(|t| takes_landmarks || !self.is_landmark(t))
            .filter(|t| !self.is_served(t) && !self.is_nested_place(t))
            .peekable();
        while let Some(token) = tokens.next() {
            let is_own_word = token.key != want.key && self.is_restated(token);
            let is_it = token.is_negated == want.is_negated
                && !is_own_word
                && !(asks_organ && self.names_disease(token))
                && self.means(token, want);
            let run_goes_on = !is_run
                || tokens
                    .peek()
                    .is_some_and(|after| Some(after.key) == next.map(|n| n.key));
            if is_it && run_goes_on {
                return true;
            }
        }
        if want.category == Category::Side {
            return side_bits(want) != 0
                && sides(self.tokens().filter(|t| !self.is_clear(t))) == side_bits(want);
        }
        self.spells_out(want)
    }

    /// "左肾未见扩张": of that side the finding is denied.
    fn is_clear(&self, token: &Token) -> bool {
        let tokens = self
            .answer
            .of(&self.answer.segments[token.segment as usize]);
        let mut findings = tokens
            .iter()
            .filter(|t| t.category == Category::Finding)
            .peekable();
        findings.peek().is_some() && findings.all(|t| t.is_negated)
    }

    /// "The heart is enlarged" spells out cardiomegaly.
    fn spells_out(&self, want: &Token) -> bool {
        if want.concept == NO_CONCEPT {
            return false;
        }
        let parts = &Lexicon::get().concepts[want.concept as usize].parts;
        !parts.is_empty()
            && parts.iter().all(|&part| {
                self.tokens().any(|t| {
                    t.concept == part
                        && (t.is_negated == want.is_negated || t.category == Category::Organ)
                })
            })
    }

    fn means(&self, token: &Token, want: &Token) -> bool {
        token.key == want.key
            || token.concept == NO_CONCEPT && Some(token.key) == self.target.acronym
            || entails(token, want)
            || is_same_word((self.answer, token), (self.reference, want))
            || self.is_within_term(token, want)
            || self.is_adjective_of(token, want)
    }

    /// "Maxillary" names the maxillary sinus where it is asked which sinus.
    fn is_adjective_of(&self, token: &Token, want: &Token) -> bool {
        if want.concept == NO_CONCEPT || want.category != Category::Organ || !token.is_content() {
            return false;
        }
        let said = self.answer.word(token);
        // "the sixth cervical nerve" is not the sixth nerve
        let is_of_another = || {
            let at = self.answer.tokens.partition_point(|t| t.start < token.end);
            self.answer.tokens.get(at).is_some_and(|next| {
                next.is_content()
                    && next.before <= Break::Hyphen
                    && !self.question.is_some_and(|q| q.names(next))
                    && !self.is_wanted(next)
            })
        };
        said.len() >= 5
            && said.is_ascii()
            && self.question.is_some_and(|q| {
                Lexicon::get().concepts[want.concept as usize]
                    .terms
                    .iter()
                    .any(|term| {
                        term.strip_prefix(said)
                            .and_then(|rest| rest.strip_prefix(' '))
                            .is_some_and(|head| q.parsed.text.contains(head))
                    })
            })
            && !is_of_another()
    }

    /// "Subdural" is named by "subdural hematoma", and by "SDH".
    fn is_within_term(&self, token: &Token, want: &Token) -> bool {
        let wanted = self.reference.word(want);
        let asks_system = || {
            self.question
                .is_some_and(|q| q.parsed.text.contains("system"))
        };
        if want.concept != NO_CONCEPT && token.role == Role::Content && asks_system() {
            let said = self.answer.word(token); // "respiratory" where a system is asked
            return Lexicon::get().concepts[want.concept as usize]
                .terms
                .iter()
                .any(|t| t.strip_suffix(" system") == Some(said));
        }
        if want.concept != NO_CONCEPT
            || want.category != Category::Unknown
            || token.concept == NO_CONCEPT
            || wanted.len() < 5
            || !wanted.is_ascii()
        {
            return false;
        }
        let has_word = |term: &str| term.contains(' ') && term.split(' ').any(|w| w == wanted);
        let said = self.answer.word(token);
        let is_short = said.len() <= 4 && said.is_ascii();
        has_word(said)
            || is_short
                && Lexicon::get().concepts[token.concept as usize]
                    .terms
                    .iter()
                    .any(|t| has_word(t))
    }

    /// Every item is covered by one segment of the answer.
    fn pairs(&self) -> bool {
        self.target.items.iter().all(|item| {
            self.segments().any(|s| {
                item.iter()
                    .all(|want| self.answer.of(s).iter().any(|t| self.means(t, want)))
            })
        })
    }

    /// A later sentence that denies everything the reference states.
    fn denies_all(&self) -> bool {
        !self.target.required.is_empty()
            && self.target.required.iter().all(|want| {
                self.main()
                    .any(|t| t.key == want.key && t.is_negated != want.is_negated)
            })
    }

    fn contradiction(&self) -> Option<Rule> {
        self.negation()
            .or_else(|| self.side())
            .or_else(|| self.rival())
            .or_else(|| self.extra_item())
    }

    fn negation(&self) -> Option<Rule> {
        let differs =
            |t: &Token, want: &Token| t.key == want.key && t.is_negated != want.is_negated;
        // "no effusion; effusion": one item says nothing but the opposite
        let is_item = |want: &Token| {
            self.segments().any(|s| {
                let mut content = self
                    .answer
                    .of(s)
                    .iter()
                    .filter(|t| t.is_content())
                    .peekable();
                content.peek().is_some() && content.all(|t| differs(t, want) && !t.is_aside)
            })
        };
        let is_denied = |want: &Token| {
            let mut same = self.main().filter(|t| t.key == want.key).peekable();
            same.peek().is_some() && same.all(|t| differs(t, want)) || is_item(want)
        };
        self.target
            .required
            .iter()
            .any(is_denied)
            .then_some(Rule::NegationDiffers)
    }

    fn side(&self) -> Option<Rule> {
        let wanted = match sides(self.reference.content()) {
            0 => self.question.map_or(0, Question::side_asked),
            wanted => wanted,
        };
        let said = sides(
            self.main()
                .filter(|t| !self.is_restated(t) || self.is_wanted(t)),
        );
        (wanted != 0 && said & !wanted != 0).then_some(Rule::SideDiffers)
    }

    /// A stated word that is the opposite of a wanted one, or another value of the same kind.
    fn rival(&self) -> Option<Rule> {
        let names_picture = self.reference.content().any(|w| w.is_modifier);
        for token in self.main().filter(|t| t.is_stated()) {
            let is_adjective_of_wanted = || {
                self.target
                    .required
                    .iter()
                    .any(|w| self.is_adjective_of(token, w))
            };
            if self.is_wanted(token)
                || is_adjective_of_wanted()
                || self.is_landmark_before(token)
                || self.is_restated(token)
                || (token.is_modifier && !names_picture)
                || self.is_landmark(token)
                || self.is_adjective(token)
                || self.is_described_change(token)
            {
                continue;
            }
            if token.category == Category::Unknown {
                continue;
            }
            let is_opposite = self
                .reference
                .content()
                .any(|w| !w.is_negated && are_opposite(token, w));
            let is_part_of_both = sides(self.reference.content()) == 3
                && matches!(token.category, Category::Organ | Category::Side);
            let is_other_choice =
                !is_part_of_both && self.question.is_some_and(|q| q.offers(token));
            let competes = is_exclusive(token.category)
                && self
                    .reference
                    .content()
                    .any(|w| w.category == token.category && !is_general(w))
                && !self.reference.content().any(|w| is_related(token, w))
                && !is_general(token)
                && !self.is_beside_choice(token);
            if is_opposite || competes || is_other_choice {
                return Some(match token.category {
                    Category::Plane => Rule::PlaneDiffers,
                    Category::Modality | Category::Sequence => Rule::ModalityDiffers,
                    Category::Side => Rule::SideDiffers,
                    _ if is_opposite => Rule::Opposite,
                    _ => Rule::ExtraItem,
                });
            }
        }
        None
    }

    /// "The pancreas is swollen with fat stranding" where it or the spleen is asked: the fat is no choice.
    fn is_beside_choice(&self, token: &Token) -> bool {
        token.category == Category::Organ
            && self.question.is_some_and(|q| {
                q.has_alternatives && self.target.required.iter().all(|w| q.offers(w))
            })
    }

    /// "The appendix is thickened" beside the abscess that is wanted: tells of a part, and is no other disease.
    fn is_described_change(&self, token: &Token) -> bool {
        if !is_change(token) {
            return false;
        }
        let segment = &self.answer.segments[token.segment as usize];
        let at = self
            .answer
            .tokens
            .partition_point(|t| t.start < token.start);
        let first = (segment.first as usize).max(at.saturating_sub(LONGEST_CLAUSE));
        let end = (segment.end as usize).min(at + LONGEST_CLAUSE);
        let tokens = &self.answer.tokens[first..end];
        tokens.iter().any(|t| t.category == Category::Organ)
            && !tokens.iter().any(|t| self.is_wanted(t))
            && !self.reference.content().any(is_change)
    }

    /// "MRI, sagittal plane" where the modality is asked: the plane is no other candidate.
    fn tells_more_of_picture(&self, token: &Token) -> bool {
        is_picture(token.category)
            && !self
                .target
                .required
                .iter()
                .any(|w| kind_of(w.category) == kind_of(token.category))
    }

    /// "Abdominal" in "abdominal aorta", where the aorta is wanted.
    fn is_adjective(&self, token: &Token) -> bool {
        let is_attribute = token.category == Category::Finding && {
            let word = self.answer.word(token);
            ["ic", "al", "ar", "ous", "ed", "ing"]
                .iter()
                .any(|end| word.ends_with(end))
                && !word.starts_with("metasta")
        };
        if token.category != Category::Organ && !is_attribute {
            return false;
        }
        if is_attribute {
            return self.leads_to_wanted(token); // "nodular basal cell carcinoma"
        }
        let at = self.answer.tokens.partition_point(|t| t.start < token.end);
        self.answer.tokens.get(at).is_some_and(|next| {
            next.category == Category::Organ
                && next.before <= Break::Hyphen
                && next.segment == token.segment
                && self.target.required.iter().any(|w| w.key == next.key)
        })
    }

    /// The words that follow the token at once, without a mark between them, are those that are wanted.
    fn leads_to_wanted(&self, token: &Token) -> bool {
        let at = self.answer.tokens.partition_point(|t| t.start < token.end);
        self.answer.tokens[at..]
            .iter()
            .take(LONGEST_FRAME)
            .take_while(|t| {
                t.is_content() && t.before <= Break::Hyphen && t.segment == token.segment
            })
            .any(|t| self.target.required.iter().any(|w| w.key == t.key))
    }

    /// The token follows "near", "adjacent to" in its segment: it places the answer and is not it.
    fn is_landmark(&self, token: &Token) -> bool {
        let segment = &self.answer.segments[token.segment as usize];
        // "周围可见脓肿", "next to it there is a mass": the verb begins what is found there
        let found_there = || {
            let before = |t: &Token| t.start < token.start;
            let end = self.answer.tokens.partition_point(before);
            let first = (segment.first as usize).max(end.saturating_sub(LONGEST_CLAUSE));
            self.answer.tokens[first..end]
                .iter()
                .rev()
                .take_while(|t| t.start > segment.near)
                .any(|t| matches!(t.role, Role::Verb | Role::Affirm))
        };
        let is_beside = || {
            let near = &self.answer.text[segment.near as usize..];
            [
                "level",
                "one level",
                "just ",
                "immediately ",
                "next to",
                "adjacent to",
                "beneath",
                "under",
            ]
            .iter()
            .any(|w| near.starts_with(w))
        };
        segment.near < token.start
            && (token.category != Category::Level || is_beside())
            && !found_there()
    }

    /// "The coronary artery is a vessel that supplies blood to the heart": the vessel is named, and not what it serves.
    fn is_served(&self, token: &Token) -> bool {
        if token.category != Category::Organ || self.question.is_some_and(|q| q.has(&SERVING)) {
            return false;
        }
        let segment = &self.answer.segments[token.segment as usize];
        let end = self
            .answer
            .tokens
            .partition_point(|t| t.start < token.start);
        let first = (segment.first as usize).max(end.saturating_sub(LONGEST_CLAUSE));
        let lead = &self.answer.tokens[first..end];
        let serves = |t: &Token| {
            let word = self.answer.word(t);
            SERVING.iter().any(|stem| word.starts_with(stem))
        };
        lead.iter().rposition(serves).is_some_and(|at| {
            lead[..at]
                .iter()
                .any(|t| t.category == Category::Organ && t.is_content() && t.key != token.key)
        })
    }

    /// "Vesicles in the lumen of the capillary" where it is asked what is present: the capillary only says where.
    fn is_nested_place(&self, token: &Token) -> bool {
        let asks_what_is_there = || {
            self.question.is_some_and(|q| {
                [
                    "what is ",
                    "what are ",
                    "what does ",
                    "what do ",
                    "图中",
                    "可见什么",
                ]
                .iter()
                .any(|w| q.parsed.text.starts_with(w))
                    && q.has(&[
                        "present",
                        "seen",
                        "shown",
                        "show",
                        "visible",
                        "可见",
                        "有什么",
                    ])
            })
        };
        if !matches!(token.category, Category::Organ | Category::Unknown) || !asks_what_is_there() {
            return false;
        }
        let tokens = &self.answer.tokens;
        let at = tokens.partition_point(|t| t.start < token.start);
        let is_of_segment = |t: &&Token| t.segment == token.segment;
        // "… [in] the lumen [of] the capillary", read from its end
        let mut lead = tokens[..at]
            .iter()
            .rev()
            .take_while(is_of_segment)
            .filter(|t| t.role != Role::Determiner);
        let is_of = lead.next().is_some_and(|t| self.answer.word(t) == "of");
        let is_part = lead
            .next()
            .is_some_and(|t| PARTS.contains(&self.answer.word(t)));
        let is_in = lead.next().is_some_and(|t| {
            matches!(
                self.answer.word(t),
                "in" | "within" | "inside" | "along" | "on" | "of" | "at"
            )
        });
        is_of && is_part && is_in && lead.any(Token::is_content)
    }

    /// "Below the diaphragm in the gastric fundus": the first only says where to look.
    fn is_landmark_before(&self, token: &Token) -> bool {
        if token.category != Category::Organ {
            return false;
        }
        let at = self
            .answer
            .tokens
            .partition_point(|t| t.start < token.start);
        let lead = self.answer.tokens[..at]
            .iter()
            .rev()
            .take_while(|t| t.segment == token.segment)
            .find(|t| t.role != Role::Determiner);
        lead.is_some_and(|t| {
            matches!(
                self.answer.word(t),
                "above" | "below" | "behind" | "in front of"
            ) && !self.reference.text.contains(self.answer.word(t))
        })
    }

    /// A list item or alternative beside the right one.
    fn extra_item(&self) -> Option<Rule> {
        let segments: Vec<&Segment> = self.segments().collect();
        let has_firm = self.sentence.iter().any(|s| s.is_firm);
        let lists = OnceCell::new();
        let is_beside_wanted = |position: usize| {
            lists
                .get_or_init(|| self.lists(&segments))
                .is_beside_wanted(position)
        };
        for (position, segment) in segments.iter().enumerate() {
            if segment.is_side_remark || segment.is_detail || segment.opener == Opener::Bracket {
                continue;
            }
            if segment.opener == Opener::Or
                && self.is_alternative(&segments, position)
                && is_beside_wanted(position)
            {
                return Some(Rule::Alternatives);
            }
            if segment.opener == Opener::And
                && position > 0
                && self.opens_complement(segments[position - 1])
            {
                continue;
            }
            if self.names_together(segment) {
                return Some(Rule::ExtraItem);
            }
            if !self.is_foreign(segment, has_firm) {
                continue;
            }
            let concludes = |s: &Segment| {
                self.answer
                    .of(s)
                    .first()
                    .is_some_and(|t| t.role == Role::Conclude)
            };
            let is_item = matches!(
                segment.opener,
                Opener::List | Opener::And | Opener::Examples
            ) && (!segment.has_verb || self.says_together(segment))
                && !concludes(segment);
            let opens_list = segments.get(position + 1).is_some_and(|next| {
                matches!(next.opener, Opener::List | Opener::And | Opener::Or)
                    && !next.has_verb
                    && !concludes(next)
                    && self.names_wanted(next)
            });
            if is_item && is_beside_wanted(position) || opens_list {
                return Some(
                    if segments
                        .get(position + 1)
                        .is_some_and(|n| n.opener == Opener::Or)
                    {
                        Rule::Alternatives
                    } else {
                        Rule::ExtraItem
                    },
                );
            }
        }
        None
    }

    /// "A granuloma composed of histiocytes": what follows with "and" is more of what it is made of.
    fn opens_complement(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        let wanted = tokens
            .iter()
            .position(|t| t.is_stated() && self.target.required.iter().any(|w| self.means(t, w)));
        wanted.is_some_and(|at| {
            tokens[at..]
                .iter()
                .position(|t| {
                    [
                        "compos",
                        "consist",
                        "contain",
                        "made up",
                        "comprising",
                        "formed by",
                        "surrounded",
                    ]
                    .iter()
                    .any(|w| self.answer.word(t).starts_with(w))
                })
                .is_some_and(|verb| tokens[at + verb + 1..].iter().any(Token::is_content))
        })
    }

    /// "… and the other both do": the clause has a verb and ends a list all the same.
    fn says_together(&self, segment: &Segment) -> bool {
        segment.opener == Opener::And
            && self.answer.of(segment).iter().any(|t| {
                matches!(
                    self.answer.word(t),
                    "both" | "alike" | "all" | "均" | "都" | "皆"
                )
            })
    }

    /// "肝脾均增大" where the spleen is wanted: two are named in one breath.
    fn names_together(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        let Some(mark) = tokens
            .iter()
            .position(|t| matches!(self.answer.word(t), "均" | "都" | "皆"))
        else {
            return false;
        };
        let is_place = |t: &&Token| t.is_stated() && t.category == Category::Organ;
        let names_wanted = |t: &Token| {
            self.target
                .required
                .iter()
                .any(|w| self.means(t, w) || is_related(t, w))
        };
        let places: Vec<&Token> = tokens[..mark].iter().filter(is_place).collect();
        places.len() > 1
            && places.iter().any(|t| names_wanted(t))
            && places
                .iter()
                .any(|t| !names_wanted(t) && !self.is_restated(t))
    }

    /// "X or Y" that are not two names of one thing.
    fn is_alternative(&self, segments: &[&Segment], position: usize) -> bool {
        if self.reference.tokens.iter().any(|t| t.role == Role::Or) {
            return false;
        }
        let named = |segment: &Segment| -> FxHashSet<u64> {
            let stated = self
                .answer
                .of(segment)
                .iter()
                .filter(|t| t.is_stated() && !self.is_restated(t));
            stated.map(|t| t.key).collect()
        };
        let after = named(segments[position]);
        let before = position
            .checked_sub(1)
            .map(|i| named(segments[i]))
            .unwrap_or_default();
        !after.is_empty() && !before.is_subset(&after)
    }

    /// The lists of the sentence, and how many of the wanted items each has.
    fn lists(&self, segments: &[&Segment]) -> Lists {
        let goes_on = |s: &Segment| {
            !s.has_verb
                && matches!(
                    s.opener,
                    Opener::List | Opener::And | Opener::Or | Opener::Examples
                )
        };
        let mut lists = Lists {
            wanted_before: vec![0],
            heads: Vec::with_capacity(segments.len()),
            ends: vec![segments.len(); segments.len()],
        };
        let mut head = 0;
        for (position, segment) in segments.iter().enumerate() {
            let wanted = lists.wanted_before[position] + usize::from(self.names_wanted(segment));
            lists.wanted_before.push(wanted);
            lists.heads.push(head);
            if !goes_on(segment) {
                head = position;
            }
        }
        for position in (1..segments.len()).rev() {
            lists.ends[position - 1] = if goes_on(segments[position]) {
                lists.ends[position]
            } else {
                position
            };
        }
        lists
    }

    fn names_wanted(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        // in "the fever is spread by ticks, mice and dogs" the list is about the ticks
        let verb = tokens
            .iter()
            .rposition(|t| t.role == Role::Verb)
            .unwrap_or(0);
        let is_list_head = tokens[verb..].iter().any(Token::is_content);
        let tokens = if is_list_head {
            &tokens[verb..]
        } else {
            tokens
        };
        tokens.iter().any(|t| {
            t.is_stated()
                && self
                    .target
                    .required
                    .iter()
                    .any(|w| self.means(t, w) || is_related(t, w))
        })
    }

    /// "…, 肾积水继发于此" where a place is wanted: a finding is no other place.
    fn tells_only_of_finding(&self, tokens: &[Token]) -> bool {
        self.wants_only_places()
            && tokens
                .iter()
                .any(|t| t.is_stated() && t.category == Category::Finding)
            && !tokens
                .iter()
                .any(|t| t.is_content() && kind_of(t.category) == Kind::Place)
            && tokens
                .iter()
                .filter(|t| t.is_content())
                .all(|t| t.category != Category::Unknown || t.is_han)
    }

    /// The segment names something and nothing of it belongs to the reference or the question.
    fn is_foreign(&self, segment: &Segment, has_firm: bool) -> bool {
        let tokens = self.answer.of(segment);
        if tokens.iter().any(|t| self.is_described_change(t)) || describes_place(tokens) {
            return false;
        }
        // "胰腺，可见假性囊肿": what is seen in the place is no other place
        let shows_more = tokens.first().is_some_and(|t| t.role == Role::Affirm)
            && !self.target.required.is_empty()
            && self.target.required.iter().all(|w| is_picture(w.category))
            && !tokens
                .iter()
                .any(|t| t.is_content() && is_picture(t.category));
        let tells_what_is_there = self.wants_only_places()
            && tokens.first().is_some_and(|t| t.role == Role::Affirm)
            && tokens.iter().filter(|t| t.is_content()).all(|t| {
                matches!(t.category, Category::Finding | Category::Attribute)
                    || t.role == Role::Number
            });
        if tells_what_is_there || shows_more || self.tells_only_of_finding(tokens) {
            return false;
        }
        // beside "the right kidney is compressed" words of no known kind name no other candidate
        let is_plain = |t: &Token| {
            !t.is_content()
                || matches!(
                    t.category,
                    Category::Unknown | Category::Other | Category::Attribute | Category::Color
                )
        };
        if !segment.is_firm && has_firm && tokens.iter().all(is_plain) {
            return false;
        }
        let is_adverbial = tokens
            .iter()
            .find(|t| t.role != Role::And)
            .is_some_and(|t| matches!(t.role, Role::Preposition | Role::Near));
        let counts = |t: &&Token| {
            t.is_stated() && (t.role == Role::Content || !self.target.amounts.is_empty())
        };
        let mut content = tokens
            .iter()
            .filter(counts)
            .filter(|t| !self.is_measure(t))
            .peekable();
        // "adrenaline, 0.5 mg into the thigh"
        let opens_with_measure = tokens.first().is_some_and(|t| t.role == Role::Number)
            && tokens
                .get(1)
                .is_some_and(|t| t.category == Category::Unknown && self.is_measure(t));
        if is_adverbial || opens_with_measure || content.peek().is_none() {
            return false;
        }
        let wants_plane = self
            .target
            .required
            .iter()
            .any(|w| w.category == Category::Plane);
        let wants_value = !self.target.required.is_empty()
            && self
                .target
                .required
                .iter()
                .all(|w| matches!(w.category, Category::Scale | Category::Level));
        let wants_picture = !self.target.required.is_empty()
            && self.target.required.iter().all(|w| is_picture(w.category));
        let is_open = |t: &&Token| {
            let is_more = wants_picture && self.tells_more_of_picture(t);
            !is_more
                && !self.is_restated(t)
                && !self.is_landmark(t)
                && !self.is_described_change(t)
                && (t.category != Category::Direction || wants_plane)
                && !matches!(
                    t.category,
                    Category::Attribute | Category::Color | Category::Side | Category::Normality
                )
        };
        // "category 4, suspicious": the adjective is no other value
        let is_comment = |t: &&&Token| wants_value && t.category == Category::Unknown;
        let all: Vec<&Token> = content.filter(|t| !is_comment(&t)).collect();
        let belongs = all.iter().any(|t| {
            self.reference
                .content()
                .any(|w| self.means(t, w) || is_related(t, w))
        });
        !belongs && all.iter().any(is_open)
    }
}

/// A plane or a kind of picture.
const fn is_picture(category: Category) -> bool {
    matches!(
        category,
        Category::Plane | Category::Modality | Category::Sequence
    )
}

/// "肺组织压缩约40%": tells how a place is, without a verb, and names no disease.
fn describes_place(tokens: &[Token]) -> bool {
    let mut content = tokens.iter().filter(|t| t.is_content()).peekable();
    let is_place = |t: &Token| {
        matches!(
            t.category,
            Category::Organ | Category::Side | Category::Direction
        )
    };
    let says = |t: &Token| {
        t.role == Role::Number
            || matches!(
                t.category,
                Category::Other | Category::Attribute | Category::Color | Category::Normality
            )
    };
    let names_place = content.peek().is_some_and(|t| is_place(t));
    names_place
        && tokens.iter().any(|t| t.is_content() && says(t))
        && content.all(|t| is_place(t) || says(t))
}

/// Where the list around each segment begins and ends.
struct Lists {
    /// Number of segments before each that name something wanted.
    wanted_before: Vec<usize>,
    /// The head of the list that leads up to each segment.
    heads: Vec<usize>,
    /// The end of the list that each segment belongs to or opens.
    ends: Vec<usize>,
}

impl Lists {
    /// The list around the segment has a wanted item, before or after.
    fn is_beside_wanted(&self, position: usize) -> bool {
        self.wanted_before[self.ends[position]] > self.wanted_before[self.heads[position]]
    }
}

/// Kinds of answers: a sentence about the plane does not answer where the lesion is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plane,
    Modality,
    Place,
    Property,
    Thing,
}

const fn kind_of(category: Category) -> Kind {
    match category {
        Category::Plane => Kind::Plane,
        Category::Modality | Category::Sequence => Kind::Modality,
        Category::Side | Category::Direction | Category::Organ | Category::Level => Kind::Place,
        Category::Color | Category::Attribute | Category::Normality | Category::Scale => {
            Kind::Property
        }
        Category::Unknown | Category::Finding | Category::Other => Kind::Thing,
    }
}
/// Beginnings of verbs by which one structure serves another or leads to it.
const SERVING: [&str; 13] = [
    "suppl", "drain", "feeds", "feeding", "perfus", "nourish", "innervat", "carries", "carrying",
    "delivers", "empties", "leads to", "供应",
];

/// Parts of a structure that only say where in it something lies.
const PARTS: [&str; 16] = [
    "lumen",
    "lumina",
    "wall",
    "walls",
    "endothelium",
    "epithelium",
    "cytoplasm",
    "nucleus",
    "nuclei",
    "parenchyma",
    "lining",
    "interior",
    "surface",
    "cavity",
    "capsule",
    "substance",
];
