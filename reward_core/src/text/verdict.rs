//! What the matcher says of an answer, and by which rule.

/// The rule that decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// There is no reference: the row is not judged.
    NoReference,
    /// The answer tag is missing, nested in another or unclosed.
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
    /// The answer only asks in return.
    AsksBack,
    /// There are several answer tags, and they differ.
    SeveralAnswerTags,
    /// The thought has no end, so nothing is answered.
    UnfinishedThought,
    /// Names more than was asked: a disease of the organ where the organ is asked.
    TooSpecific,
}

/// Names of the rules, in the order of their numbers.
pub const RULES: [&str; 29] = [
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
    "asks_back",
    "several_answer_tags",
    "unfinished_thought",
    "too_specific",
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
    /// Accepted by `rule`.
    #[must_use]
    pub const fn accept(rule: Rule) -> Self {
        Self {
            is_accepted: true,
            graded: 1.0,
            rule,
            reference: 0,
        }
    }

    /// Rejected by `rule`, with nothing for parts.
    #[must_use]
    pub const fn reject(rule: Rule) -> Self {
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
