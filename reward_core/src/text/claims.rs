//! What an answer claims in the end: its clauses, and whether it stands by each.
//!
//! `discourse` sets aside what is requested, conceded or taken back, `selection` what is said of the other side, `conclusions`
//! what gives way to a conclusion; every rule after them sees only what the answer stands by.

use super::clauses::Segment;
use super::lexicon::{Category, Role};
use super::tokens::{Parsed, Token};

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
    /// It tells what is so in general.
    General,
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
            Self::General => "in general",
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

    /// Marks the tokens and their segments.
    pub(super) fn set_aside(&mut self, range: std::ops::Range<usize>, standing: Standing) {
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

    /// What a name outside the table may be made of: "ulnar nerve".
    #[must_use]
    pub const fn unknown() -> Self {
        Self(
            1 << Category::Unknown as u32
                | 1 << Category::Organ as u32
                | 1 << Category::Direction as u32,
        )
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
