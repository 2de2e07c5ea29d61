//! Whether a careful reader would accept an answer as complete and uncontradicted.
//!
//! Rules are tried from the surest to the loosest; the one that decided is part of the verdict. Contradictions
//! (side, negation, plane, modality, opposite words, extra items, hedges) win over any overlap.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::choices::Options;
use super::claims::Kinds;
use super::clauses::{says_of_place, Opener};
use super::conclusions::asks_side_of_image;
use super::counted::leave_out_other_counts;
use super::criteria::{criteria_of, Criterion};
use super::earlier::{asks_of_now, asks_of_patient, asks_state};
use super::general::asks_in_general;
use super::lexicon::{known, Category, ConceptId, Role};
use super::normalise::normalise;
use super::notation::is_bare_value;
use super::numbers::{quantities, Dimension, Quantity};
use super::polarity::{grants, is_bare, polarity, Polarity};
use super::preference::asks_first;
use super::question::{is_normal, Question};
use super::relations::{is_related, side_bits};
use super::selection::is_comparative;
use super::source::is_blank;
use super::statements;
use super::targets::{is_same, target_of, Target};
use super::ticks::ticked;
use super::tokens::{within_reach, Asked, Hints, Parsed, Token};
use super::verdict::{Rule, Verdict};
use super::wrappers::{collapse_blanks, drop_lead, unwrapped};

/// What a row asks and accepts, read once for all its completions.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Prompt {
    /// Another one for each prompt that is read; copies share it, as they judge alike.
    id: u64,
    question: Option<Arc<Question>>,
    references: Vec<Reference>,
    options: Options,
    /// What kinds of things the references name.
    kinds: Kinds,
    /// The same where one of several places is asked for.
    places: Kinds,
    /// What is said of the place that is asked for: "abnormal" in "Which lung is abnormal?".
    property: Vec<Token>,
    /// "Lateral" is a view here.
    asks_view: bool,
    /// Words of denial that question or reference name as what is asked for.
    asked: Vec<Asked>,
    /// Every reference is a yes or no.
    is_polar: bool,
    /// One of them is an amount.
    asks_amount: bool,
    /// What the finding that is asked for is told by: an intact cortex denies a fracture.
    criteria: Vec<(&'static Criterion, ConceptId)>,
    /// It asks for the first of several: the drug of choice.
    asks_first: bool,
    /// "Which hormone is elevated?": asks what has a property other than being normal.
    asks_property: bool,
    /// What is lacking is asked for, or wanted: a "lack of" it denies nothing.
    asks_deficiency: bool,
    /// No reference writes a sum, so that one in the answer means its total.
    adds_up: bool,
    /// What is so in general claims nothing here: the question is about a picture.
    is_of_case: OnceLock<bool>,
}

#[derive(Clone, Debug)]
struct Reference {
    parsed: Parsed,
    target: Target,
}

/// Prompts that were read so far, and one.
static PROMPTS_READ: AtomicU64 = AtomicU64::new(1);

impl Prompt {
    /// Reads question, accepted references and options; a reference `a#b` stands for `a` or `b`.
    #[must_use]
    pub fn new<S: AsRef<str>>(question: Option<&str>, references: &[S], options: Options) -> Self {
        let question = question.and_then(Question::of).map(Arc::new);
        Self::with_question(question, references, options)
    }

    /// The same with a question that is read already: several prompts may share it.
    #[must_use]
    pub fn with_question<S: AsRef<str>>(
        question: Option<Arc<Question>>,
        references: &[S],
        mut options: Options,
    ) -> Self {
        let shared = question;
        let question = shared.as_deref();
        if let Some(question) = question.filter(|_| options.is_empty()) {
            options.clone_from(&question.options);
        }
        options.asks_false = question.is_some_and(asks_false);
        options.asks_least = question.is_some_and(|q| q.has(&["least", "最不"]));
        let scale = question.and_then(|q| q.scale);
        let asked = asked_denials(question);
        let read: Vec<(Cow<'_, str>, Parsed)> = references
            .iter()
            .flat_map(|r| alternatives(r.as_ref()))
            .map(|r| on_scale(scale, r, false))
            .map(|r| {
                let parsed = read_reference(&r, question, &asked);
                (r, parsed)
            })
            .collect();
        let is_view = |parsed: &Parsed| parsed.content().any(|t| t.category == Category::Plane);
        let asks_view =
            question.is_none_or(|q| q.asks_view) || read.iter().any(|(_, parsed)| is_view(parsed));
        if asks_view {
            for (_, option) in &mut options.items {
                option.read_lateral_as_view();
            }
        }
        let references: Vec<Reference> = read
            .into_iter()
            .map(|(r, parsed)| Reference::new(&r, parsed, question, &options, asks_view))
            .collect();
        let required = || references.iter().flat_map(|r| r.named(&options));
        let kinds = Kinds::of(required());
        let is_new = |t: &&Token| question.is_none_or(|q| !q.names(t) || q.offers(t));
        let named = Kinds::of(required().filter(is_new));
        let places = if named.is_places() {
            named
        } else {
            Kinds::default()
        };
        let mut property = question.map_or_else(Vec::new, |q| q.property(places));
        if property.iter().any(is_comparative) {
            property.retain(is_comparative); // "Which lung has the larger effusion?"
        }
        let is_polar = references
            .iter()
            .all(|r| matches!(r.target, Target::YesNo(_)));
        let asks_amount = references
            .iter()
            .any(|r| matches!(r.target, Target::Quantities(_)));
        let asks_first = question.is_some_and(asks_first);
        let asks_property = !property.is_empty()
            && question.is_some_and(|q| q.has(&["which", "哪"]))
            && !property
                .iter()
                .any(|t| t.category == Category::Normality && is_normal(t));
        let criteria = question
            .filter(|_| is_polar)
            .map_or_else(Vec::new, criteria_of);
        let asks_deficiency = question
            .is_some_and(|q| q.has(&["deficien", "lack", "insufficien", "缺乏", "缺少", "缺陷"]))
            || references
                .iter()
                .any(|r| r.parsed.text.contains("deficien"));
        let adds_up = references.iter().all(|r| sum_in(&r.parsed).is_none());
        Self {
            id: PROMPTS_READ.fetch_add(1, Ordering::Relaxed),
            question: shared,
            references,
            options,
            kinds,
            places,
            property,
            asks_view,
            asked,
            is_polar,
            asks_amount,
            criteria,
            asks_first,
            asks_property,
            asks_deficiency,
            adds_up,
            is_of_case: OnceLock::new(),
        }
    }

    /// What tells this prompt from every other one.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether there is nothing to compare with.
    #[must_use]
    pub fn is_unanswerable(&self) -> bool {
        self.references.is_empty()
    }

    /// Judges one answer; `scratch` only saves allocations and holds what was read of the answer.
    #[must_use]
    pub fn judge(&self, answer: &str, scratch: &mut Parsed) -> Verdict {
        if self.references.is_empty() {
            return Verdict::reject(Rule::NoReference);
        }
        let (answer, left_out) = within_reach(answer);
        let ticked = ticked(&answer);
        let answer = ticked.as_deref().unwrap_or(&answer);
        scratch.asked.clone_from(&self.asked);
        let spelt = self
            .question
            .as_deref()
            .and_then(|q| spell_acronyms(q, answer));
        let scale = self.question.as_deref().and_then(|q| q.scale);
        let said = spelt.as_deref().unwrap_or(answer);
        let lacking = self.asks_deficiency.then(|| as_deficiency(said)).flatten();
        let said = lacking.as_deref().unwrap_or(said);
        scratch.read(&on_scale(scale, said, self.adds_up));
        scratch.left_out = left_out;
        self.settle(scratch);
        let answer_parsed = &*scratch;
        if answer_parsed.tokens.is_empty() {
            return Verdict::reject(Rule::Empty);
        }
        if self
            .question
            .as_deref()
            .is_some_and(|q| q.is_repeated_by(answer_parsed))
        {
            return Verdict::reject(Rule::QuestionRepeated);
        }
        if answer_parsed.only_asks() {
            return Verdict::reject(Rule::AsksBack);
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

    /// Whether the question is about a picture, not about what is so in general.
    fn is_of_case(&self) -> bool {
        *self.is_of_case.get_or_init(|| {
            let question = self.question.as_deref();
            self.options.is_empty() && question.is_some_and(|q| !asks_in_general(q))
        })
    }

    /// Sets aside what the answer does not stand by, or what does not speak to the question.
    fn settle(&self, answer: &mut Parsed) {
        if self.question.as_deref().is_some_and(|q| q.asks_clearness) {
            answer.read_unclear();
        }
        if self.asks_view {
            answer.read_lateral_as_view();
        }
        if answer.hints.has(Hints::GENERAL) && self.is_of_case() {
            answer.settle_general();
        }
        let has_parts = answer.segments.len() > 1;
        if answer.hints.has(Hints::EARLIER) && self.question.as_deref().is_some_and(asks_of_patient)
        {
            answer.settle_relatives();
        }
        if self.is_polar {
            if !answer.text.is_ascii() {
                answer.set_aside_open_points();
            }
            if !self.criteria.is_empty() {
                answer.settle_criteria(&self.criteria);
            }
            if has_parts {
                if answer.hints.has(Hints::EARLIER)
                    && self.question.as_deref().is_some_and(asks_state)
                {
                    answer.settle_earlier_state();
                }
                answer.settle_polar_conclusion();
            }
            return;
        }
        if has_parts && self.asks_amount {
            answer.settle_total();
        }
        if has_parts && self.kinds.has(Category::Side) {
            answer.settle_image_side(self.question.as_deref().is_some_and(asks_side_of_image));
        }
        if self.kinds.has(Category::Side) {
            answer.settle_shift(self.question.as_deref());
        }
        if has_parts {
            answer.retract_at_no();
            answer.settle_reason_of_retraction();
            if let Some(question) = self.question.as_deref() {
                answer.settle_course(question);
                answer.settle_presentation(question, self.kinds);
            }
        }
        if has_parts && self.kinds.has(Category::Finding) && answer.hints.has(Hints::LIKELIEST) {
            answer.settle_likeliest();
        }
        if let Some(question) = self.question.as_deref() {
            if self.asks_first {
                answer.settle_preference(question);
            }
            if has_parts && answer.hints.has(Hints::EARLIER) && asks_of_now(question) {
                answer.settle_earlier(self.kinds);
            }
            answer.settle_other_sequences(question);
            answer.settle_selection(question, &self.property, self.places);
            if question.asks_most {
                answer.settle_rank();
            }
            if self.asks_property {
                answer.settle_called_normal(question);
            }
            if question.asks_for_content && self.places.is_empty() {
                answer.settle_spared(question);
            }
        }
        if has_parts {
            answer.settle_conclusion(self.question.as_deref(), self.kinds);
        }
    }

    fn judge_one(&self, raw: &str, answer: &Parsed, reference: &Reference) -> Verdict {
        let question = self.question.as_deref();
        if let Target::Choice(wanted) = &reference.target {
            return self.judge_choice(raw, answer, wanted, reference);
        }
        let is_text = matches!(reference.target, Target::Text(_));
        if reference.parsed.left_out != 0 && answer.left_out != reference.parsed.left_out {
            return Verdict::reject(Rule::Incomplete); // of so long a reference the middle counts word for word
        }
        if is_text && answer.text.trim() == reference.parsed.text.trim() {
            return Verdict::accept(Rule::Exact);
        }
        if is_same(answer, &reference.parsed) && has_same_amounts(answer, &reference.parsed) {
            return Verdict::accept(Rule::Exact);
        }
        if is_text && one_denies_other(&answer.text, &reference.parsed.text) {
            return Verdict::reject(Rule::NegationDiffers);
        }
        if let Some(rule) = open_rule(answer, &reference.parsed, question) {
            return Verdict::reject(rule);
        }
        if is_catalogue(answer, &reference.parsed, question) {
            return Verdict::reject(Rule::Alternatives);
        }
        match &reference.target {
            Target::YesNo(wanted) => match polarity(answer, question) {
                Polarity::Contradictory => Verdict::reject(Rule::YesNoContradictory),
                Polarity::Open if !*wanted && says_nothing_found(answer, question) => {
                    Verdict::accept(Rule::YesNo)
                }
                Polarity::Open => Verdict::reject(Rule::YesNoOpen),
                said if said == Polarity::of(*wanted) => Verdict::accept(Rule::YesNo),
                _ => Verdict::reject(Rule::YesNo),
            },
            Target::Quantities(_) if sum_in(&reference.parsed).is_some() => {
                if sum_in(answer) == sum_in(&reference.parsed) {
                    Verdict::accept(Rule::Number)
                } else {
                    Verdict::reject(Rule::Number)
                }
            }
            Target::Quantities(wanted) => judge_quantities(answer, wanted, question),
            Target::Text(_)
                if question.is_some_and(|q| degrees_differ(q, answer, &reference.parsed)) =>
            {
                Verdict::reject(Rule::Opposite)
            }
            Target::Text(target) => statements::judge(answer, &reference.parsed, target, question),
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
        if only_lists_options(answer) {
            return Verdict::reject(Rule::ChoiceAmbiguous);
        }
        let letters = self.options.letters_in(raw);
        let mut named = self.options_named(answer);
        if named.len() > wanted.len() && answer.hints.has(Hints::GENERAL) {
            named = self.options_meant(answer).unwrap_or(named);
        }
        if !letters.options.is_empty() {
            let chosen = &letters.options;
            let is_other = |n: &&usize| {
                !chosen.contains(n)
                    && !letters.denied.contains(n)
                    && !self.is_only_in_reason(answer, **n)
            };
            let others = named.iter().filter(is_other).count();
            let disagrees = others > 0
                && !named.iter().any(|n| chosen.contains(n))
                && !(others > 1 && self.are_all_later(answer, &named));
            return match (chosen == wanted, disagrees) {
                _ if chosen.len() > wanted.len() => Verdict::reject(Rule::ChoiceAmbiguous),
                (true, _) if letters.is_hedged => Verdict::reject(Rule::Hedged),
                (true, false) => Verdict::accept(Rule::ChoiceLetter),
                (true, true) => Verdict::reject(Rule::ChoiceAmbiguous),
                (false, _) => Verdict::reject(Rule::ChoiceLetter),
            };
        }
        if letters.are_named && named != wanted {
            return Verdict::reject(Rule::ChoiceOpen);
        }
        if let Some(rule) = open_rule(answer, &reference.parsed, self.question.as_deref()) {
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

    /// "D, because a biopsy would spread the tumor": the option is named in the reason alone.
    fn is_only_in_reason(&self, answer: &Parsed, option: usize) -> bool {
        let is_of = |t: &Token| {
            self.options.items[option]
                .1
                .content()
                .any(|w| w.key == t.key)
        };
        let in_reason = |t: &Token| {
            let segment = &answer.segments[t.segment as usize];
            let first = &answer.tokens[segment.first as usize];
            segment.is_side_remark && matches!(answer.word(first), "because" | "since" | "因为")
        };
        answer.tokens.iter().filter(|t| is_of(t)).all(in_reason)
    }

    /// "答案：D。… CK、AST、LDH在骨骼肌中也有分布": several others, none of them in the first sentence.
    fn are_all_later(&self, answer: &Parsed, named: &[usize]) -> bool {
        let is_named = |t: &Token| {
            named
                .iter()
                .any(|&n| self.options.items[n].1.content().any(|w| w.key == t.key))
        };
        answer.tokens.iter().any(|t| t.sentence > 0)
            && !answer.tokens.iter().any(|t| t.sentence == 0 && is_named(t))
    }

    /// The option that is left where what is said in general is none: "Schwannoma. A meningioma usually has a tail."
    fn options_meant(&self, answer: &Parsed) -> Option<Vec<usize>> {
        if self.question.as_deref().is_some_and(asks_in_general) {
            return None;
        }
        let mut case = answer.clone();
        case.settle_general();
        let named = self.options_named(&case);
        (!named.is_empty()).then_some(named)
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

/// One text is the other with a word of denial before it: "no undergo endoscopy", "不同，…" beside "同，…".
fn one_denies_other(answer: &str, reference: &str) -> bool {
    const DENIALS: [&str; 9] = [
        "no", "not", "without", "没有", "无", "未见", "不是", "不", "非",
    ];
    let (answer, reference) = (ends_trimmed(answer), ends_trimmed(reference));
    let denies = |longer: &str, shorter: &str| {
        let rest = longer.strip_suffix(shorter).map(str::trim_end);
        !shorter.is_empty() && rest.is_some_and(|lead| DENIALS.contains(&lead))
    };
    denies(answer, reference) || denies(reference, answer)
}

fn ends_trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ".。!！".contains(c))
}

/// Whether the numbers agree with their signs and units.
fn has_same_amounts(answer: &Parsed, reference: &Parsed) -> bool {
    if !reference.tokens.iter().any(|t| t.role == Role::Number) {
        return true;
    }
    let (said, wanted) = (quantities(answer), quantities(reference));
    said.len() == wanted.len() && said.iter().zip(&wanted).all(|(s, w)| s.agrees_with(w))
}

/// "Which statement is false?"
fn asks_false(question: &Question) -> bool {
    question.has(&[
        "false",
        "incorrect",
        "not true",
        "not correct",
        "错误的",
        "不正确",
        "不对的",
        "有误",
    ])
}

/// The answer with the initials of the question's words spelt out ("ER" where the estrogen receptor is asked about).
fn spell_acronyms(question: &Question, answer: &str) -> Option<String> {
    let wide = |c: char| matches!(c, '\u{ff01}'..='\u{ff5e}');
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        other => other,
    };
    let has_wide = !answer.is_ascii() && answer.contains(wide);
    let plain: Option<String> = has_wide.then(|| answer.chars().map(narrow).collect());
    let answer = plain.as_deref().unwrap_or(answer);
    let has_capitals = answer
        .as_bytes()
        .windows(2)
        .any(|w| w[0].is_ascii_uppercase() && w[1].is_ascii_uppercase());
    if answer.len() > LONGEST_SPELT || !has_capitals {
        return None;
    }
    question.acronyms().iter().find_map(|(short, words)| {
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        answer.match_indices(short.as_str()).find_map(|(at, _)| {
            let (before, after) = (&answer[..at], &answer[at + short.len()..]);
            (is_edge(before.chars().next_back()) && is_edge(after.chars().next()))
                .then(|| format!("{before}{words}{after}"))
        })
    })
}

/// "A lack of iron" as a deficiency of it.
fn as_deficiency(answer: &str) -> Option<String> {
    const LACKS: [(&str, &str); 4] = [
        ("lack of ", "deficiency of "),
        ("Lack of ", "Deficiency of "),
        ("absence of ", "deficiency of "),
        ("缺乏", "匮乏"),
    ];
    let is_there = answer.len() <= LONGEST_SPELT && LACKS.iter().any(|l| answer.contains(l.0));
    is_there.then(|| {
        LACKS.iter().fold(answer.to_string(), |text, (lack, name)| {
            text.replace(lack, name)
        })
    })
}

/// Bytes of an answer in which initials are looked for.
const LONGEST_SPELT: usize = 2000;

/// A bare "II" where the stage is asked means "stage II"; with `adds_up` a sum means its total.
fn on_scale<'a>(scale: Option<&str>, text: &'a str, adds_up: bool) -> Cow<'a, str> {
    match scale {
        Some(scale) if text.len() <= LONGEST_VALUE => {
            let mut plain = String::new();
            normalise(&unwrapped(text), &mut plain);
            collapse_blanks(&mut plain);
            drop_lead(&mut plain);
            let mut value = without_points(&plain);
            if adds_up {
                value = without_sum(value);
            }
            if is_bare_value(value) {
                Cow::Owned(format!("{scale} {value}"))
            } else {
                Cow::Borrowed(text)
            }
        }
        _ => Cow::Borrowed(text),
    }
}

/// Bytes of an answer that may be a bare value with what stands around it.
const LONGEST_VALUE: usize = 96;

/// "7" of "3 + 4 = 7".
fn without_sum(text: &str) -> &str {
    let is_sum = |parts: &str| {
        parts.contains('+')
            && parts
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'+' || b == b' ')
    };
    match text.rsplit_once('=') {
        Some((parts, total)) if is_sum(parts) => total.trim(),
        _ => text,
    }
}

/// "9 out of 10", "9 points", "9分" are 9.
fn without_points(text: &str) -> &str {
    let is_mark = |c: char| c.is_whitespace() || "*\"'`()[].。".contains(c);
    let text = text.trim_matches(is_mark);
    [" out of 10", "/10", " points", " point", "分"]
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix))
        .unwrap_or(text)
        .trim_end()
}

/// The parts of a reference `a#b`, which stands for `a` or `b`.
pub fn alternatives(reference: &str) -> impl Iterator<Item = &str> {
    reference.split('#').filter(|part| !is_blank(part))
}

impl Reference {
    fn new(
        raw: &str,
        mut parsed: Parsed,
        question: Option<&Question>,
        options: &Options,
        asks_view: bool,
    ) -> Self {
        if asks_view {
            parsed.read_lateral_as_view();
        }
        let target = target_of(raw, &parsed, question, options);
        Self { parsed, target }
    }

    /// The tokens that name what is wanted; of a choice, those of every option.
    fn named<'a>(&'a self, options: &'a Options) -> Box<dyn Iterator<Item = &'a Token> + 'a> {
        match &self.target {
            Target::Text(target) => Box::new(target.required.iter()),
            Target::Choice(_) => Box::new(options.items.iter().flat_map(|item| item.1.content())),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// What a reference says beside its question.
fn read_reference(raw: &str, question: Option<&Question>, asked: &[Asked]) -> Parsed {
    let mut parsed = Parsed::beside(asked.to_vec());
    parsed.read(raw);
    if question.is_some_and(|q| q.asks_clearness) {
        parsed.read_unclear();
    }
    parsed
}

/// Words of denial that the question asks about: "What stopped?" and "It stopped."; "Is there rejection?" and "is being
/// rejected".
fn asked_denials(question: Option<&Question>) -> Vec<Asked> {
    let Some(question) = question else {
        return Vec::new();
    };
    let nouns = question.parsed.stems_of_nouns().map(|stem| Asked {
        stem,
        role: Role::Content,
    });
    let verbs = question
        .parsed
        .denial_stems()
        .filter(|_| question.asks_for_content)
        .map(|stem| Asked {
            stem,
            role: Role::Verb,
        });
    nouns.chain(verbs).collect()
}

/// "Extremely active" where "markedly active" is wanted, and the degree is asked.
fn degrees_differ(question: &Question, answer: &Parsed, reference: &Parsed) -> bool {
    const DEGREES: [&[&str]; 4] = [
        &["mild", "slight", "minimal", "轻度", "轻微", "稍"],
        &["moderate", "中度", "中等"],
        &["marked", "severe", "明显", "显著", "重度", "严重"],
        &["extreme", "极度", "极其"],
    ];
    let degree = |parsed: &Parsed| {
        DEGREES
            .iter()
            .rposition(|words| words.iter().any(|w| parsed.text.contains(w)))
    };
    question.asks_degree
        && match (degree(answer), degree(reference)) {
            (Some(said), Some(wanted)) => said != wanted,
            _ => false,
        }
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
    let names = |t: &Token| {
        question.is_some_and(|q| q.names(t)) || reference.content().any(|w| w.key == t.key)
    };
    let first = first_sentence(answer, names);
    // a reference that leaves something open allows as much, not three alternatives
    let open = hedged_clauses(reference);
    if open > 0 && hedged_clauses(answer) > open + 1 {
        return Some(Rule::Hedged);
    }
    for (index, token) in answer.tokens.iter().enumerate() {
        if !matches!(token.role, Role::Hedge | Role::Refusal) || is_shared(token) {
            continue;
        }
        if question.is_some_and(|q| q.is_polar && asks_possibility(q) && grants(answer, token, q)) {
            continue;
        }
        let segment = &answer.segments[token.segment as usize];
        if token.sentence != first || segment.is_side_remark || token.is_aside {
            continue;
        }
        if only_explains(answer, index) || is_of_another_kind(answer, token, reference) {
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

/// "Can X cause Y?", "Does X lead to Y?": what is so in general is possible.
fn asks_possibility(question: &Question) -> bool {
    question.proposition.is_modal || asks_in_general(question)
}

/// "Possible narrowing, grade II" where a grade is asked: what is open is no grade.
fn is_of_another_kind(answer: &Parsed, token: &Token, reference: &Parsed) -> bool {
    let is_value = |t: &Token| {
        matches!(
            t.category,
            Category::Scale
                | Category::Level
                | Category::Plane
                | Category::Modality
                | Category::Sequence
        )
    };
    let mut wanted = reference.content().peekable();
    wanted.peek().is_some()
        && wanted.all(is_value)
        && !answer
            .tokens
            .iter()
            .any(|t| t.segment == token.segment && is_value(t))
        && answer.tokens.iter().any(|t| t.is_stated() && is_value(t))
}

/// "…, probably from a nerve palsy", "…, possibly due to": the reason is left open, not the answer.
fn only_explains(answer: &Parsed, index: usize) -> bool {
    let token = &answer.tokens[index];
    let segment = &answer.segments[token.segment as usize];
    let opens = answer.tokens[segment.first as usize..index]
        .iter()
        .all(|t| matches!(t.role, Role::Filler | Role::Determiner | Role::And));
    let is_reason = answer.tokens.get(index + 1).is_some_and(|next| {
        next.segment == token.segment
            && (matches!(
                answer.word(next),
                "from"
                    | "due to"
                    | "due"
                    | "secondary to"
                    | "secondary"
                    | "related to"
                    | "because of"
                    | "caused by"
            ))
    });
    let before = segment.first as usize;
    let is_said = answer.tokens[..before].iter().any(|t| {
        t.sentence == token.sentence && (t.is_stated() || t.role == Role::Yes || t.is_answer_no())
    });
    opens && is_reason && is_said
}

/// Clauses that leave something open.
fn hedged_clauses(parsed: &Parsed) -> usize {
    let mut clauses: Vec<u32> = parsed
        .tokens
        .iter()
        .filter(|t| t.role == Role::Hedge && !t.is_aside)
        .map(|t| t.segment)
        .collect();
    clauses.dedup();
    clauses.len()
}

/// So many items beside the point are no answer, of whatever kind.
const CATALOGUE: usize = 12;

/// So many items beside the point are no answer where they are of [`MIXTURE_KINDS`] kinds.
const MIXTURE: usize = 5;

/// Kinds of items that no answer to one question mixes.
const MIXTURE_KINDS: u32 = 3;

/// "Yes, no, axial, left, CT, one, lung, …": a list of candidates, most of them of kinds that nobody asked for.
fn is_catalogue(answer: &Parsed, reference: &Parsed, question: Option<&Question>) -> bool {
    let count = answer.segments.len();
    if count < MIXTURE || 10 * answer.segments.iter().filter(|s| s.has_verb).count() > count {
        return false; // prose has a verb in most of its clauses
    }
    let belongs = |t: &Token| {
        question.is_some_and(|q| q.names(t))
            || reference
                .content()
                .any(|w| w.key == t.key || is_related(w, t))
    };
    let (mut items, mut kinds) = (0, 0_u32);
    for segment in &answer.segments {
        let tokens = answer.of(segment);
        let is_item = !segment.has_verb
            && !says_of_place(tokens)
            && tokens.iter().filter(|t| t.is_content()).count() <= LONGEST_ITEM
            && !tokens.iter().any(belongs);
        let Some(kind) = tokens.iter().find_map(item_kind).filter(|_| is_item) else {
            continue;
        };
        items += 1;
        kinds |= kind;
    }
    let is_list = 3 * items >= 2 * count;
    is_list && (items >= CATALOGUE || items >= MIXTURE && kinds.count_ones() >= MIXTURE_KINDS)
}

/// Words with a meaning of their own that an item of a list has at most.
const LONGEST_ITEM: usize = 3;

/// The kind of item that a token makes, as a bit.
fn item_kind(token: &Token) -> Option<u32> {
    Some(match (token.role, token.category) {
        (Role::Yes | Role::No, _) => 1,
        (Role::Number, _) => 2,
        (_, Category::Side | Category::Direction) => 4,
        (_, Category::Plane) => 8,
        (_, Category::Modality | Category::Sequence) => 16,
        (_, Category::Organ) => 32,
        (_, Category::Finding | Category::Other) => 64,
        (_, Category::Level | Category::Scale) => 256,
        (Role::Content, _) => 128,
        _ => return None,
    })
}

/// "Normal" where the question asks what is there and the reference says "none".
fn says_nothing_found(answer: &Parsed, question: Option<&Question>) -> bool {
    let is_normal_only = |t: &Token| t.category == Category::Normality && is_normal(t);
    question.is_some_and(|q| q.asks_for_content)
        && answer.content().next().is_some()
        && answer
            .content()
            .all(|t| is_normal_only(t) || question.is_some_and(|q| q.names(t)))
        && answer.content().any(is_normal_only)
}

/// First sentence that says anything to the question; where none does, the first that says anything.
fn first_sentence(answer: &Parsed, names: impl Fn(&Token) -> bool) -> u32 {
    let speaks = |t: &&Token| {
        !t.is_aside
            && (t.is_content() && names(t)
                || matches!(t.role, Role::Yes | Role::No | Role::Hedge | Role::Refusal))
    };
    if let Some(token) = answer.tokens.iter().find(speaks) {
        return token.sentence;
    }
    let says = |t: &&Token| {
        !matches!(
            t.role,
            Role::Filler
                | Role::Determiner
                | Role::Preposition
                | Role::Verb
                | Role::Conclude
                | Role::Retract
        ) && !t.is_aside
    };
    answer.tokens.iter().find(says).map_or(0, |t| t.sentence)
}

/// The parts of the sum that a reference such as "3 + 4 = 7" writes.
fn sum_in(parsed: &Parsed) -> Option<(f64, f64)> {
    parsed.tokens.windows(2).find_map(|pair| {
        let gap = parsed.between(pair[0].end as usize, pair[1].start as usize);
        let is_sum = pair.iter().all(|t| t.role == Role::Number) && gap.trim() == "+";
        is_sum.then_some((pair[0].value, pair[1].value))
    })
}

fn judge_quantities(answer: &Parsed, wanted: &[Quantity], question: Option<&Question>) -> Verdict {
    let mut all = quantities(answer);
    let mut wanted = wanted.to_vec();
    if let Some((dimension, factor)) = question.and_then(|q| q.unit) {
        let bare = all.iter_mut().chain(&mut wanted);
        for quantity in bare.filter(|q| q.dimension == Dimension::Count) {
            (quantity.dimension, quantity.value) = (dimension, quantity.value * factor);
        }
    }
    if let Some(share) = share_in(answer).filter(|_| {
        wanted.iter().all(|w| w.dimension == Dimension::Percent)
            && !all.iter().any(|q| q.dimension == Dimension::Percent)
    }) {
        let is_it = wanted.iter().all(|w| (w.value - share).abs() < 0.5);
        let rule = Rule::Number;
        return if is_it {
            Verdict::accept(rule)
        } else {
            Verdict::reject(rule)
        };
    }
    if all.len() > 1 {
        all.retain(|q| !is_of_each(answer, q));
    }
    if let Some(question) = question {
        leave_out_other_counts(answer, question, &mut all);
    }
    keep_what_is_measured(answer, &mut all, &wanted);
    let sentence = all.first().map(|q| answer.tokens[q.token].sentence);
    let said: Vec<Quantity> = all
        .into_iter()
        .filter(|q| Some(answer.tokens[q.token].sentence) == sentence)
        .filter(|q| !is_normal_range(answer, q))
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
        let is_sure = polarity(answer, None) != Polarity::Contradictory;
        let is_pair = wanted.len() == 1
            && (wanted[0].value - 2.0).abs() < f64::EPSILON
            && wanted[0].dimension == Dimension::Count;
        let names_both = answer
            .tokens
            .iter()
            .any(|t| t.is_stated() && side_bits(t) == 3);
        let is_single = wanted.len() == 1
            && (wanted[0].value - 1.0).abs() < f64::EPSILON
            && wanted[0].dimension == Dimension::Count;
        let says_solitary = answer
            .tokens
            .iter()
            .any(|t| t.is_stated() && Some(t.concept) == known!("attribute.solitary"));
        return if is_none && says_none && is_sure
            || is_pair && names_both
            || is_single && says_solitary
        {
            Verdict::accept(Rule::Number)
        } else {
            Verdict::reject(Rule::Number)
        };
    }
    let mut said = total_of(said);
    // "five stones, the largest 7 mm"
    let is_count = |q: &Quantity| q.dimension == Dimension::Count;
    if wanted.iter().all(is_count) && said.iter().any(is_count) {
        said.retain(is_count);
    }
    let agrees = Quantity::agrees_with;
    let all_there = wanted.iter().all(|w| said.iter().any(|s| agrees(s, w)));
    let none_else = said.iter().all(|s| wanted.iter().any(|w| agrees(s, w)));
    let is_size = wanted.len() > 1 && wanted.iter().all(|w| w.dimension == Dimension::Length);
    let has_all_sides = !is_size || said.len() >= wanted.len();
    // "120/80" is no "80/120"
    let is_ordered = wanted.iter().all(|w| w.dimension != Dimension::Pressure)
        || said.iter().zip(&wanted).all(|(s, w)| agrees(s, w));
    if all_there && none_else && has_all_sides && is_ordered {
        Verdict::accept(Rule::Number)
    } else {
        Verdict::reject(Rule::Number)
    }
}

/// "A 9 mm calculus of 1200 HU": where one measure is wanted, others are beside it; of "18 x 12 x 11 mm" a single length
/// that is wanted is the largest.
fn keep_what_is_measured(answer: &Parsed, all: &mut Vec<Quantity>, wanted: &[Quantity]) {
    let [only] = wanted else { return };
    if only.dimension == Dimension::Count {
        return;
    }
    if all.iter().any(|q| q.dimension == only.dimension) {
        all.retain(|q| q.dimension == only.dimension);
    }
    if only.dimension != Dimension::Length {
        return;
    }
    let is_product = |left: &Quantity, right: &Quantity| {
        let gap = answer.between(
            answer.tokens[left.token].end as usize,
            answer.tokens[right.token].start as usize,
        );
        gap.len() <= LONGEST_PRODUCT_GAP
            && (gap.contains('x') || gap.contains('×') || gap.contains('*') || gap.contains(" by "))
    };
    let mut kept: Vec<Quantity> = Vec::with_capacity(all.len());
    let mut last: Option<Quantity> = None;
    for quantity in all.drain(..) {
        let joins = last.is_some_and(|l| is_product(&l, &quantity));
        last = Some(quantity);
        match kept.last_mut() {
            Some(largest) if joins => {
                if quantity.value > largest.value {
                    *largest = quantity;
                }
            }
            _ => kept.push(quantity),
        }
    }
    *all = kept;
}

/// Bytes between two sides of a product: "1.8 cm x 1.2".
const LONGEST_PRODUCT_GAP: usize = 10;

/// "The options are A observation, B antibiotics, …": one sentence that tells what can be chosen.
fn only_lists_options(answer: &Parsed) -> bool {
    let opens = [
        "the options are",
        "options are",
        "the choices are",
        "the options include",
    ];
    answer.tokens.last().is_some_and(|t| t.sentence == 0)
        && opens
            .iter()
            .any(|o| answer.text.trim_start().starts_with(o))
}

/// "One in five", "2 out of 10", 五分之一 as percent.
fn share_in(parsed: &Parsed) -> Option<f64> {
    let numbers: Vec<usize> = (0..parsed.tokens.len())
        .filter(|&i| parsed.tokens[i].role == Role::Number && !parsed.tokens[i].is_negated)
        .collect();
    let [first, second] = numbers.as_slice() else {
        return None;
    };
    let (part, whole) = (&parsed.tokens[*first], &parsed.tokens[*second]);
    let gap = parsed
        .between(part.end as usize, whole.start as usize)
        .trim();
    let (part, whole) = match gap {
        "in" | "out of" | "of" | "in every" | "of every" | "out of every" => {
            (part.value, whole.value)
        }
        "分之" => (whole.value, part.value),
        _ => return None,
    };
    (part > 0.0 && part <= whole).then(|| 100.0 * part / whole)
}

/// "Three lesions, one in each lobe", "两个，左右各一个": what each has is no other count.
fn is_of_each(answer: &Parsed, quantity: &Quantity) -> bool {
    let after = quantity.token + quantity.unit_tokens + 1;
    let follows = answer.tokens[after.min(answer.tokens.len())..]
        .iter()
        .take(2)
        .any(|t| matches!(answer.word(t), "each" | "per" | "apiece" | "every"));
    let leads = quantity.token.checked_sub(1).is_some_and(|i| {
        matches!(
            answer.word(&answer.tokens[i]),
            "各" | "每" | "各有" | "each"
        )
    });
    quantity.dimension == Dimension::Count && (follows || leads)
}

/// "(normal < 3.7 cm)" beside the value found.
fn is_normal_range(answer: &Parsed, quantity: &Quantity) -> bool {
    let segment = &answer.segments[answer.tokens[quantity.token].segment as usize];
    let lead = &answer.tokens[segment.first as usize..quantity.token];
    segment.opener == Opener::Bracket
        && lead.iter().any(|t| {
            is_normal(t) || matches!(answer.word(t), "reference" | "参考" | "normal range")
        })
}

/// "Three lesions: two in the liver and one in the spleen": the parts of a total are no further counts.
fn total_of(said: Vec<Quantity>) -> Vec<Quantity> {
    let is_count = said.iter().all(|q| q.dimension == Dimension::Count);
    let sum: f64 = said.iter().map(|q| q.value).sum();
    match said.as_slice() {
        [first, _, _, ..] if is_count && (2.0 * first.value - sum).abs() < 1e-9 => vec![*first],
        [_, _, .., last] if is_count && (2.0 * last.value - sum).abs() < 1e-9 => vec![*last],
        _ => said,
    }
}

/// Whether a prompt without options takes an answer.
#[cfg(test)]
pub(super) fn accepts(question: &str, reference: &str, answer: &str) -> bool {
    let prompt = Prompt::new(Some(question), &[reference], Options::default());
    prompt.judge(answer, &mut Parsed::default()).is_accepted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sides_and_denials_win_over_overlap() {
        assert!(accepts("Where?", "left lung", "in the left lung"));
        assert!(!accepts("Where?", "left lung", "right lung"));
        assert!(!accepts("What?", "pneumonia", "no evidence of pneumonia"));
        assert!(accepts("异常吗？", "是", "异常"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_judged_without_a_panic(
            question in "\\PC{0,30}|[ -~是不左右肺]{0,30}",
            reference in "\\PC{0,20}|[ -~是不左右肺]{0,20}",
            answer in "\\PC{0,40}|[ -~是不左右肺\n]{0,40}",
        ) {
            let options = Options::in_question(&question);
            let prompt = Prompt::new(Some(&question), &[&reference], options);
            let verdict = prompt.judge(&answer, &mut Parsed::default());
            prop_assert!(verdict.is_accepted == (verdict.graded >= 0.5));
            prop_assert!((0.0..=1.0).contains(&verdict.graded));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let text = String::from_utf8_lossy(&bytes);
            let prompt = Prompt::new(Some(&text), &[&text], Options::in_question(&text));
            let verdict = prompt.judge(&text, &mut Parsed::default());
            prop_assert!(verdict.graded <= 1.0);
        }
    }
}
