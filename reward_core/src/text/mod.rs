//! Rewards on text: what a completion says, and whether a careful reader would accept it.
//!
//! `tags` finds the parts of a completion, `wrappers`, `ticks` and `normalise` unwrap an answer, `words`, `notation` and `tokens`
//! turn it into concepts of the `lexicon`, `clauses` and `claims` (with `discourse`, `general`, `selection`, `conclusions`) into what it stands by; `question` and `proposition` say
//! what a claim has to speak to, `answers` decides whether it is right, and `similarity` gives the usual overlap scores.
//! `scores` gives all of them from one look at a completion.

pub mod answers;
mod called_wrong;
pub mod choices;
pub mod claims;
pub mod clauses;
pub mod conclusions;
mod counted;
mod criteria;
pub mod discourse;
mod earlier;
pub mod fluency;
pub mod general;
pub mod labels;
mod letters;
pub mod lexicon;
pub mod normalise;
pub mod notation;
pub mod numbers;
pub mod polarity;
mod preference;
pub mod proposition;
pub mod question;
pub mod relations;
pub mod scores;
pub mod selection;
pub mod similarity;
pub mod source;
mod squad;
pub mod statements;
pub mod tags;
pub mod targets;
mod ticks;
pub mod tokens;
pub mod verdict;
pub mod words;
pub mod wrappers;
