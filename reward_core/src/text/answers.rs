//! Whether a careful reader would accept an answer as complete and uncontradicted.
//!
//! Rules are tried from the surest to the loosest; the one that decided is part of the verdict. Contradictions
//! (side, negation, plane, modality, opposite words, extra items, hedges) win over any overlap.

use super::choices::Options;
use super::lexicon::{Category, Lexicon, Role};
use super::numbers::{quantities, Dimension, Quantity};
use super::polarity::{is_bare, polarity, Polarity};
use super::question::Question;
use super::tokens::{Opener, Parsed, Segment, Token, NO_CONCEPT};

/// The rule that decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// There is no reference: the row is not judged.
    NoReference,
    /// The answer tag is missing, repeated, nested or unclosed.
    NoAnswerTag,
    /// The answer has no words.
    Empty,
    /// The answer only repeats the question.
    QuestionRepeated,
    /// Same words as the reference.
    Exact,
    /// Yes or no, decided by polarity.
    YesNo,
    /// Says both yes and no.
    YesNoContradictory,
    /// Says neither yes nor no.
    YesNoOpen,
    /// Option letter.
    ChoiceLetter,
    /// Option text.
    ChoiceText,
    /// Several options, or letter and text that disagree.
    ChoiceAmbiguous,
    /// No option is named.
    ChoiceOpen,
    /// Numbers with units.
    Number,
    /// All parts of the reference are there and nothing contradicts them.
    Complete,
    /// Parts of the reference are missing.
    Incomplete,
    /// Nothing of the reference is there.
    Different,
    /// Left, right or both differ.
    SideDiffers,
    /// What the reference states is denied, or the other way round.
    NegationDiffers,
    /// The plane differs.
    PlaneDiffers,
    /// The modality or sequence differs.
    ModalityDiffers,
    /// An opposite word is stated.
    Opposite,
    /// A further item is named that is wrong.
    ExtraItem,
    /// Several alternatives are left open.
    Alternatives,
    /// The answer is only held possible.
    Hedged,
    /// The answer is refused.
    Refused,
}

/// Names of the rules, in the order of their numbers.
pub const RULES: [&str; 25] = [
    "no_reference",
    "no_answer_tag",
    "empty",
    "question_repeated",
    "exact",
    "yes_no",
    "yes_no_contradictory",
    "yes_no_open",
    "choice_letter",
    "choice_text",
    "choice_ambiguous",
    "choice_open",
    "number",
    "complete",
    "incomplete",
    "different",
    "side_differs",
    "negation_differs",
    "plane_differs",
    "modality_differs",
    "opposite",
    "extra_item",
    "alternatives",
    "hedged",
    "refused",
];

impl Rule {
    /// Name of the rule, as explanations show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        RULES[self as usize]
    }
}

/// The judgement of one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// A careful reader accepts it.
    pub is_accepted: bool,
    /// 1 when accepted; below .5 otherwise.
    pub graded: f64,
    /// What decided.
    pub rule: Rule,
    /// Index of the reference that was nearest.
    pub reference: usize,
}

impl Verdict {
    const fn accept(rule: Rule) -> Self {
        Self {
            is_accepted: true,
            graded: 1.0,
            rule,
            reference: 0,
        }
    }

    const fn reject(rule: Rule) -> Self {
        Self {
            is_accepted: false,
            graded: 0.0,
            rule,
            reference: 0,
        }
    }
}

/// Highest graded score of a rejected answer.
pub const REJECTED_MAXIMUM: f64 = 0.49;

/// What a row asks and accepts, read once for all its completions.
#[derive(Clone, Debug)]
pub struct Prompt {
    question: Option<Question>,
    references: Vec<Reference>,
    options: Options,
}

#[derive(Clone, Debug)]
struct Reference {
    parsed: Parsed,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    YesNo(bool),
    Quantities(Vec<Quantity>),
    Choice(Vec<usize>),
    Text(TextTarget),
}

#[derive(Clone, Debug, Default)]
struct TextTarget {
    /// Tokens an answer must have.
    required: Vec<Token>,
    /// Required tokens by item, where items must not mix (left lung, lower right).
    items: Vec<Vec<Token>>,
    /// Any one item is enough ("supine or prone").
    is_any: bool,
}

impl Prompt {
    /// Reads question, accepted references and options; a reference `a#b` stands for `a` or `b`.
    #[must_use]
    pub fn new<S: AsRef<str>>(question: Option<&str>, references: &[S], options: Options) -> Self {
        let options = match question {
            Some(text) if options.is_empty() => Options::in_question(text),
            _ => options,
        };
        let question = question.filter(|q| !q.trim().is_empty()).map(Question::new);
        let references = references
            .iter()
            .flat_map(|r| r.as_ref().split('#'))
            .filter(|r| !r.trim().is_empty())
            .map(|r| Reference::new(r, question.as_ref(), &options))
            .collect();
        Self {
            question,
            references,
            options,
        }
    }

    /// Whether there is nothing to compare with.
    #[must_use]
    pub fn is_unanswerable(&self) -> bool {
        self.references.is_empty()
    }

    /// Judges one answer; `scratch` only saves allocations.
    #[must_use]
    pub fn judge(&self, answer: &str, scratch: &mut Parsed) -> Verdict {
        if self.references.is_empty() {
            return Verdict::reject(Rule::NoReference);
        }
        scratch.read(answer);
        let answer_parsed = &*scratch;
        if answer_parsed.tokens.is_empty() {
            return Verdict::reject(Rule::Empty);
        }
        if self
            .question
            .as_ref()
            .is_some_and(|q| q.is_repeated_by(answer_parsed))
        {
            return Verdict::reject(Rule::QuestionRepeated);
        }
        let mut best: Option<Verdict> = None;
        for (index, reference) in self.references.iter().enumerate() {
            let mut verdict = self.judge_one(answer, answer_parsed, reference);
            verdict.reference = index;
            if best.is_none_or(|b| verdict.graded > b.graded) {
                best = Some(verdict);
            }
            if verdict.is_accepted {
                break;
            }
        }
        best.unwrap_or(Verdict::reject(Rule::NoReference))
    }

    fn judge_one(&self, raw: &str, answer: &Parsed, reference: &Reference) -> Verdict {
        let question = self.question.as_ref();
        if let Target::Choice(wanted) = &reference.target {
            return self.judge_choice(raw, answer, wanted, reference);
        }
        if is_same(answer, &reference.parsed) {
            return Verdict::accept(Rule::Exact);
        }
        if let Some(rule) = open_rule(answer, &reference.parsed, question) {
            return Verdict::reject(rule);
        }
        match &reference.target {
            Target::YesNo(wanted) => match polarity(answer, question) {
                Polarity::Contradictory => Verdict::reject(Rule::YesNoContradictory),
                Polarity::Open => Verdict::reject(Rule::YesNoOpen),
                said if said == Polarity::of(*wanted) => Verdict::accept(Rule::YesNo),
                _ => Verdict::reject(Rule::YesNo),
            },
            Target::Quantities(wanted) => judge_quantities(answer, wanted, question),
            Target::Text(target) => judge_text(answer, &reference.parsed, target, question),
            Target::Choice(_) => Verdict::reject(Rule::ChoiceOpen),
        }
    }

    fn judge_choice(
        &self,
        raw: &str,
        answer: &Parsed,
        wanted: &[usize],
        reference: &Reference,
    ) -> Verdict {
        let letters = self.options.letters_in(raw);
        let named = self.options_named(answer);
        if !letters.is_empty() {
            let disagrees = named.iter().any(|n| !letters.contains(n))
                && !named.iter().any(|n| letters.contains(n));
            return match (letters == wanted, disagrees) {
                (true, false) => Verdict::accept(Rule::ChoiceLetter),
                (true, true) => Verdict::reject(Rule::ChoiceAmbiguous),
                (false, _) => Verdict::reject(Rule::ChoiceLetter),
            };
        }
        if let Some(rule) = open_rule(answer, &reference.parsed, self.question.as_ref()) {
            return Verdict::reject(rule);
        }
        if named.is_empty() {
            return Verdict::reject(Rule::ChoiceOpen);
        }
        if named == wanted {
            return Verdict::accept(Rule::ChoiceText);
        }
        Verdict::reject(if named.len() > wanted.len() {
            Rule::ChoiceAmbiguous
        } else {
            Rule::ChoiceText
        })
    }

    /// Options whose text the answer gives; one that is part of a longer one given is left out.
    fn options_named(&self, answer: &Parsed) -> Vec<usize> {
        let exact: Vec<usize> = (0..self.options.items.len())
            .filter(|&i| is_same(answer, &self.options.items[i].1))
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        let mut named: Vec<usize> = (0..self.options.items.len())
            .filter(|&i| {
                let option = &self.options.items[i].1;
                if is_bare(option) {
                    let said = polarity(answer, None);
                    return said != Polarity::Open && said == polarity(option, None);
                }
                let mut content = option.content().peekable();
                content.peek().is_some()
                    && content.all(|w| {
                        answer
                            .tokens
                            .iter()
                            .any(|t| t.key == w.key && t.is_negated == w.is_negated && !t.is_aside)
                    })
            })
            .collect();
        let all = named.clone();
        named.retain(|&i| {
            let mine: Vec<u64> = self.options.items[i].1.content().map(|t| t.key).collect();
            !all.iter().any(|&other| {
                let theirs: Vec<u64> = self.options.items[other]
                    .1
                    .content()
                    .map(|t| t.key)
                    .collect();
                other != i && theirs.len() > mine.len() && mine.iter().all(|k| theirs.contains(k))
            })
        });
        named
    }
}

impl Reference {
    fn new(raw: &str, question: Option<&Question>, options: &Options) -> Self {
        let parsed = Parsed::new(raw);
        let target = target_of(raw, &parsed, question, options);
        Self { parsed, target }
    }
}

fn target_of(raw: &str, parsed: &Parsed, question: Option<&Question>, options: &Options) -> Target {
    if !options.is_empty() {
        let letters = options.letters_in(raw);
        if !letters.is_empty() {
            return Target::Choice(letters);
        }
        let same: Vec<usize> = (0..options.items.len())
            .filter(|&i| is_same(parsed, &options.items[i].1))
            .collect();
        if !same.is_empty() {
            return Target::Choice(same);
        }
    }
    let has_answer_word = parsed
        .tokens
        .first()
        .is_some_and(|t| t.role == Role::Yes || t.is_answer_no());
    let is_asked_polar = question.is_none_or(|q| q.is_polar && !q.has_alternatives);
    let is_normality_only = parsed
        .tokens
        .iter()
        .any(|t| t.category == Category::Normality);
    let takes_yes_no =
        has_answer_word || (is_bare(parsed) && (is_asked_polar || !is_normality_only));
    if takes_yes_no {
        match polarity(parsed, question) {
            Polarity::Yes => return Target::YesNo(true),
            Polarity::No => return Target::YesNo(false),
            Polarity::Contradictory | Polarity::Open => {}
        }
    }
    let amounts = quantities(parsed);
    if !amounts.is_empty() {
        let spelt: Vec<usize> = amounts
            .iter()
            .flat_map(|q| q.token..=q.token + q.unit_tokens)
            .collect();
        let has_more = parsed.tokens.iter().enumerate().any(|(i, t)| {
            t.is_content()
                && !spelt.contains(&i)
                && !is_times(parsed, t)
                && !question.is_some_and(|q| q.names(t))
        });
        if !has_more {
            return Target::Quantities(amounts);
        }
    }
    Target::Text(TextTarget::new(parsed, question))
}

fn is_times(parsed: &Parsed, token: &Token) -> bool {
    matches!(
        &parsed.text[token.start as usize..token.end as usize],
        "x" | "*" | "×" | "乘"
    )
}

impl TextTarget {
    fn new(parsed: &Parsed, question: Option<&Question>) -> Self {
        let is_optional =
            |t: &Token| t.is_aside || parsed.segments[t.segment as usize].opener == Opener::Bracket;
        let mut all: Vec<Token> = parsed
            .content()
            .filter(|t| !is_optional(t))
            .copied()
            .collect();
        if all.is_empty() {
            all = parsed.content().copied().collect();
        }
        let has_modality = all
            .iter()
            .any(|t| matches!(t.category, Category::Modality | Category::Sequence));
        let needed = |t: &Token| {
            let is_body_of_picture = has_modality && t.category == Category::Organ;
            let is_implied = t.category == Category::Modality
                && all.iter().any(|o| o.key != t.key && entails(o, t));
            let is_in_question =
                question.is_some_and(|q| q.names(t)) && !is_distinctive(t.category);
            !is_body_of_picture && !is_implied && !is_in_question
        };
        let mut required: Vec<Token> = all.iter().filter(|t| needed(t)).copied().collect();
        if required.is_empty() {
            required.clone_from(&all);
        }
        let mut items: Vec<Vec<Token>> = Vec::new();
        for index in 0..parsed.segments.len() {
            let item: Vec<Token> = required
                .iter()
                .filter(|t| t.segment as usize == index)
                .copied()
                .collect();
            if !item.is_empty() {
                items.push(item);
            }
        }
        let is_any = items.len() > 1 && parsed.segments.iter().any(|s| s.opener == Opener::Or);
        Self {
            required,
            items,
            is_any,
        }
    }

    /// Items differ in side or direction, so their words must not be mixed.
    fn must_pair(&self) -> bool {
        let places = self
            .items
            .iter()
            .filter(|i| i.iter().any(|t| is_place(t.category)))
            .count();
        self.items.len() > 1 && places > 1
    }
}

const fn is_place(category: Category) -> bool {
    matches!(category, Category::Side | Category::Direction)
}

/// Categories that stay required even where the question names the same word.
const fn is_distinctive(category: Category) -> bool {
    matches!(
        category,
        Category::Side
            | Category::Direction
            | Category::Plane
            | Category::Modality
            | Category::Sequence
            | Category::Normality
            | Category::Color
    )
}

/// Same tokens in the same order.
fn is_same(left: &Parsed, right: &Parsed) -> bool {
    let keys = |p: &Parsed| -> Vec<(u64, bool)> {
        p.tokens
            .iter()
            .filter(|t| !matches!(t.role, Role::Determiner | Role::Filler | Role::Preposition))
            .map(|t| (t.key, t.is_negated))
            .collect()
    };
    let (left, right) = (keys(left), keys(right));
    !left.is_empty() && left == right
}

/// A refusal or a hedge that the reference and the question do not have.
fn open_rule(answer: &Parsed, reference: &Parsed, question: Option<&Question>) -> Option<Rule> {
    let is_shared = |t: &Token| {
        reference.tokens.iter().any(|r| r.role == t.role)
            || question.is_some_and(|q| {
                q.parsed
                    .tokens
                    .iter()
                    .any(|o| o.role == t.role && o.key == t.key)
            })
    };
    let first = first_sentence(answer);
    for token in &answer.tokens {
        if !matches!(token.role, Role::Hedge | Role::Refusal) || is_shared(token) {
            continue;
        }
        let segment = &answer.segments[token.segment as usize];
        if token.sentence != first || segment.opener == Opener::Relative {
            continue;
        }
        return Some(if token.role == Role::Hedge {
            Rule::Hedged
        } else {
            Rule::Refused
        });
    }
    None
}

/// First sentence that says anything.
fn first_sentence(answer: &Parsed) -> u16 {
    let says = |t: &&Token| {
        !matches!(
            t.role,
            Role::Filler | Role::Determiner | Role::Preposition | Role::Verb
        )
    };
    answer.tokens.iter().find(says).map_or(0, |t| t.sentence)
}

fn judge_quantities(answer: &Parsed, wanted: &[Quantity], question: Option<&Question>) -> Verdict {
    let all = quantities(answer);
    let sentence = all.first().map(|q| answer.tokens[q.token].sentence);
    let said: Vec<Quantity> = all
        .into_iter()
        .filter(|q| Some(answer.tokens[q.token].sentence) == sentence)
        .filter(|q| {
            wanted.iter().any(|w| q.agrees_with(w))
                || !question.is_some_and(|x| x.names(&answer.tokens[q.token]))
        })
        .collect();
    if said.is_empty() {
        let is_none =
            wanted.len() == 1 && wanted[0].value == 0.0 && wanted[0].dimension == Dimension::Count;
        let says_none = answer
            .tokens
            .iter()
            .any(|t| matches!(t.role, Role::No | Role::Negation | Role::NegationBack));
        return if is_none && says_none {
            Verdict::accept(Rule::Number)
        } else {
            Verdict::reject(Rule::Number)
        };
    }
    let agrees = Quantity::agrees_with;
    let all_there = wanted.iter().all(|w| said.iter().any(|s| agrees(s, w)));
    let none_else = said.iter().all(|s| wanted.iter().any(|w| agrees(s, w)));
    if all_there && none_else {
        Verdict::accept(Rule::Number)
    } else {
        Verdict::reject(Rule::Number)
    }
}

fn judge_text(
    answer: &Parsed,
    reference: &Parsed,
    target: &TextTarget,
    question: Option<&Question>,
) -> Verdict {
    if target.required.is_empty() {
        return Verdict::reject(Rule::Different);
    }
    let sentences = answer.tokens.last().map_or(0, |t| t.sentence + 1);
    let mut nearest = Verdict::reject(Rule::Different);
    for sentence in 0..sentences {
        let scope = Scope {
            answer,
            sentence,
            question,
        };
        let covered = scope.covered(target);
        if let Some(rule) = scope.contradiction(reference, target) {
            let is_about = covered > 0.0
                || matches!(
                    rule,
                    Rule::SideDiffers
                        | Rule::PlaneDiffers
                        | Rule::ModalityDiffers
                        | Rule::NegationDiffers
                        | Rule::ExtraItem
                );
            if is_about {
                return Verdict {
                    graded: 0.0,
                    ..Verdict::reject(rule)
                };
            }
        }
        if covered >= 1.0 {
            return Verdict::accept(Rule::Complete);
        }
        let graded = REJECTED_MAXIMUM * covered;
        if graded > nearest.graded {
            nearest = Verdict {
                graded,
                ..Verdict::reject(Rule::Incomplete)
            };
        }
    }
    nearest
}

/// One sentence of an answer, compared with a reference.
struct Scope<'a> {
    answer: &'a Parsed,
    sentence: u16,
    question: Option<&'a Question>,
}

impl<'a> Scope<'a> {
    fn segments(&self) -> impl Iterator<Item = &'a Segment> + '_ {
        self.answer
            .segments
            .iter()
            .filter(|s| s.sentence == self.sentence)
    }

    /// Tokens that make up the answer: not what is compared with, not what only explains.
    fn main(&self) -> impl Iterator<Item = &'a Token> + '_ {
        self.segments()
            .filter(|s| !matches!(s.opener, Opener::Relative | Opener::Than | Opener::Instead))
            .flat_map(|s| self.answer.of(s))
            .filter(|t| t.is_content())
    }

    fn tokens(&self) -> impl Iterator<Item = &'a Token> + '_ {
        self.answer
            .tokens
            .iter()
            .filter(|t| t.sentence == self.sentence && t.is_content() && !t.is_aside)
    }

    /// Share of what is required that is there, with its negation.
    fn covered(&self, target: &TextTarget) -> f64 {
        if target.is_any {
            return target
                .items
                .iter()
                .map(|item| self.share(item))
                .fold(0.0, f64::max);
        }
        let share = self.share(&target.required);
        if share >= 1.0 && target.must_pair() && !self.pairs(target) {
            return 0.5;
        }
        share
    }

    fn share(&self, required: &[Token]) -> f64 {
        let there = required
            .iter()
            .enumerate()
            .filter(|(i, want)| self.has(want, required.get(i + 1)))
            .count();
        there as f64 / required.len() as f64
    }

    fn has(&self, want: &Token, next: Option<&Token>) -> bool {
        let is_run = want.is_han && next.is_some_and(|n| n.is_han && n.is_joined);
        let tokens: Vec<&Token> = self.tokens().collect();
        let found = |i: usize, t: &&Token| {
            t.is_negated == want.is_negated
                && (t.key == want.key || entails(t, want))
                && (!is_run
                    || tokens
                        .get(i + 1)
                        .is_some_and(|after| Some(after.key) == next.map(|n| n.key)))
        };
        if tokens.iter().enumerate().any(|(i, t)| found(i, t)) {
            return true;
        }
        want.category == Category::Side && sides(tokens.iter().copied()) == side_bits(want)
    }

    /// Every item is covered by one segment of the answer.
    fn pairs(&self, target: &TextTarget) -> bool {
        target.items.iter().all(|item| {
            self.segments().any(|s| {
                item.iter().all(|want| {
                    self.answer
                        .of(s)
                        .iter()
                        .any(|t| t.key == want.key || entails(t, want))
                })
            })
        })
    }

    fn contradiction(&self, reference: &Parsed, target: &TextTarget) -> Option<Rule> {
        let lexicon = Lexicon::get();
        let wanted: Vec<&Token> = reference.content().collect();
        let has_choice = self.question.is_some_and(|q| q.has_alternatives);
        let in_question = |t: &Token| self.question.is_some_and(|q| q.names(t));
        // denied, or stated where the reference denies
        for want in &target.required {
            let same: Vec<&Token> = self.main().filter(|t| t.key == want.key).collect();
            if !same.is_empty() && same.iter().all(|t| t.is_negated != want.is_negated) {
                return Some(Rule::NegationDiffers);
            }
        }
        // another side
        let wanted_sides = sides(wanted.iter().copied());
        if wanted_sides != 0 {
            let said = sides(self.main().filter(|t| {
                t.is_stated()
                    && (has_choice || !in_question(t) || wanted.iter().any(|w| w.key == t.key))
            }));
            if said != 0 && said & !wanted_sides != 0 {
                return Some(Rule::SideDiffers);
            }
        }
        for token in self.main().filter(|t| t.is_stated()) {
            if wanted.iter().any(|w| w.key == token.key) || (in_question(token) && !has_choice) {
                continue;
            }
            if token.concept != NO_CONCEPT {
                let concept = &lexicon.concepts[token.concept as usize];
                if wanted.iter().any(|w| {
                    w.concept != NO_CONCEPT
                        && !w.is_negated
                        && concept.opposites.contains(&w.concept)
                }) {
                    return Some(match token.category {
                        Category::Plane => Rule::PlaneDiffers,
                        Category::Side => Rule::SideDiffers,
                        Category::Sequence => Rule::ModalityDiffers,
                        _ => Rule::Opposite,
                    });
                }
            }
            if !is_exclusive(token.category) || !wanted.iter().any(|w| w.category == token.category)
            {
                continue;
            }
            if wanted.iter().any(|w| is_related(token, w)) || is_general(lexicon, token) {
                continue;
            }
            return Some(match token.category {
                Category::Plane => Rule::PlaneDiffers,
                Category::Modality | Category::Sequence => Rule::ModalityDiffers,
                _ => Rule::ExtraItem,
            });
        }
        self.extra_item(&wanted, target)
    }

    /// A list item or alternative beside the right one.
    fn extra_item(&self, wanted: &[&Token], target: &TextTarget) -> Option<Rule> {
        let is_known = |t: &Token| wanted.iter().any(|w| w.key == t.key || is_related(w, t));
        for segment in self.segments() {
            let tokens = self.answer.of(segment);
            let content: Vec<&Token> = tokens.iter().filter(|t| t.is_stated()).collect();
            if content.is_empty() || content.iter().any(|t| is_known(t)) {
                continue;
            }
            let is_alternative = segment.opener == Opener::Or;
            let is_item = matches!(segment.opener, Opener::List | Opener::And) && !segment.has_verb;
            let is_adverbial = tokens.first().is_some_and(|t| t.role == Role::Preposition)
                || tokens
                    .get(1)
                    .is_some_and(|t| t.role == Role::Preposition && tokens[0].role == Role::And);
            let names_question = content.iter().all(|t| {
                self.question
                    .is_some_and(|q| q.names(t) && !q.has_alternatives)
            });
            let is_description = content.iter().all(|t| {
                matches!(
                    t.category,
                    Category::Attribute
                        | Category::Color
                        | Category::Direction
                        | Category::Side
                        | Category::Normality
                )
            });
            if is_alternative && !names_question {
                return Some(Rule::Alternatives);
            }
            if is_item
                && !is_adverbial
                && !names_question
                && !is_description
                && self.covered(target) > 0.0
            {
                return Some(Rule::ExtraItem);
            }
        }
        None
    }
}

/// Kinds of which an answer names one (or the listed ones) and no other.
const fn is_exclusive(category: Category) -> bool {
    matches!(
        category,
        Category::Plane
            | Category::Modality
            | Category::Sequence
            | Category::Organ
            | Category::Finding
            | Category::Color
    )
}

/// Words such as "lobe" that only frame a place, and "lesion" or "mass" that only frame a finding.
fn is_general(lexicon: &Lexicon, token: &Token) -> bool {
    token.concept != NO_CONCEPT
        && matches!(
            lexicon.concepts[token.concept as usize].id.as_str(),
            "organ.lobe"
                | "organ.hemisphere"
                | "finding.lesion"
                | "organ.vessel"
                | "organ.bone"
                | "organ.muscle"
        )
}

/// Whether naming `token` names `want` as well; an organ does not stand for the region it lies in.
fn entails(token: &Token, want: &Token) -> bool {
    token.category != Category::Organ && lies_under(token, want)
}

/// Whether one of the two is the broader concept of the other, so that naming both contradicts nothing.
fn is_related(left: &Token, right: &Token) -> bool {
    lies_under(left, right) || lies_under(right, left)
}

fn lies_under(token: &Token, broad: &Token) -> bool {
    token.concept != NO_CONCEPT
        && broad.concept != NO_CONCEPT
        && Lexicon::get().concepts[token.concept as usize]
            .broader
            .contains(&broad.concept)
}

fn side_bits(token: &Token) -> u8 {
    if token.category != Category::Side {
        return 0;
    }
    match Lexicon::get().concepts[token.concept as usize].id.as_str() {
        "side.left" => 1,
        "side.right" => 2,
        "side.both" => 3,
        _ => 0,
    }
}

fn sides<'t>(tokens: impl Iterator<Item = &'t Token>) -> u8 {
    tokens
        .filter(|t| !t.is_negated && !t.is_aside)
        .fold(0, |bits, t| bits | side_bits(t))
}
