//! "Alpha cells; the beta cells make glucagon": a bare name answers, and a remark about another thing does not.

use super::Scope;
use crate::text::clauses::{Opener, Segment};
use crate::text::lexicon::{Category, Role};
use crate::text::relations::is_related;
use crate::text::tokens::Token;

/// Clauses that are looked at for remarks after a bare name.
const MOST_REMARKS: usize = 64;

/// Words with a meaning of their own in a bare name.
const LONGEST_NAME: usize = 4;

impl Scope<'_> {
    /// "Deltoid. Supraspinatus is tested by the lift-off test.": a bare name answers first, and what is wanted is only the
    /// subject of a remark of its own.
    pub(super) fn only_remarks(&self) -> bool {
        if self.question.is_none_or(|q| q.is_polar) {
            return false;
        }
        let end = self.sentence.last().map_or(0, |s| s.end);
        let mut said = self
            .answer
            .segments
            .iter()
            .take_while(|s| s.end <= end)
            .take(MOST_REMARKS)
            .filter(|s| self.answer.of(s).iter().any(Token::is_content));
        let answers_first = |s: &Segment| {
            s.opener == Opener::Start && (self.is_bare_name(s) || self.singles_out_another(s))
        };
        if !said.next().is_some_and(answers_first) {
            return false;
        }
        let mut about_wanted = said
            .filter(|s| {
                let mut tokens = self.answer.of(s).iter();
                tokens.any(|t| !t.is_aside && !self.is_restated(t) && self.is_of_wanted(t))
            })
            .peekable();
        about_wanted.peek().is_some() && about_wanted.all(|s| self.is_remark(s))
    }

    /// The token names what is wanted, or something of it.
    fn is_of_wanted(&self, token: &Token) -> bool {
        self.target
            .required
            .iter()
            .any(|w| self.means(token, w) || is_related(token, w))
    }

    /// "It is the ulnar nerve that …", where another one is wanted.
    fn singles_out_another(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        let Some((first, last)) = tokens.first().zip(tokens.last()) else {
            return false;
        };
        let text = self.answer.between(first.start as usize, last.end as usize);
        ["it is the ", "it's the ", "this is the "]
            .iter()
            .any(|w| text.starts_with(w))
            && text.contains(" that ")
            && !tokens
                .iter()
                .any(|t| t.is_content() && self.is_of_wanted(t) && !self.is_restated(t))
    }

    /// "Deltoid.", "It is a seminoma": a few words that name something no list has, and nothing of what is wanted.
    fn is_bare_name(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        let names = |t: &Token| {
            let is_new =
                matches!(t.category, Category::Unknown | Category::Other) && !self.is_of_wanted(t);
            t.is_stated() && t.role == Role::Content && (is_new || self.is_restated(t))
        };
        let is_frame = |t: &Token| {
            let is_verb = t.role == Role::Verb && self.answer.is_auxiliary(t);
            is_verb
                || matches!(t.role, Role::Determiner | Role::Filler | Role::Conclude)
                || self.answer.word(t) == "of"
        };
        !segment.is_side_remark
            && tokens.iter().filter(|t| t.is_content()).count() <= LONGEST_NAME
            && tokens.iter().all(|t| {
                if t.is_content() {
                    names(t)
                } else {
                    is_frame(t)
                }
            })
            && tokens.iter().any(|t| t.is_stated() && !self.is_restated(t))
    }

    /// What is wanted opens the clause, and the clause says something that neither question nor reference does.
    fn is_remark(&self, segment: &Segment) -> bool {
        let tokens = self.answer.of(segment);
        let Some(subject) = tokens.iter().position(|t| self.is_of_wanted(t)) else {
            return false;
        };
        let is_told = tokens.iter().rposition(|t| t.role == Role::Verb) > Some(subject)
            || self.is_followed_by_verb(tokens, subject);
        let affirms = tokens
            .iter()
            .any(|t| matches!(t.role, Role::Affirm | Role::Hedge | Role::Conclude));
        let is_own = |t: &Token| {
            t.is_content() && !self.is_restated(t) && !self.is_of_wanted(t) && !self.is_wanted(t)
        };
        let is_set_apart = tokens.first().is_some_and(|t| {
            matches!(
                self.answer.word(t),
                "after" | "before" | "while" | "whereas" | "unlike"
            )
        });
        is_told && !affirms && (is_set_apart || tokens.iter().any(|t| is_own(t) || t.is_negated))
    }

    /// "Seminoma grows far more slowly", "the median nerve passing outside": a verb that no list has.
    fn is_followed_by_verb(&self, tokens: &[Token], subject: usize) -> bool {
        tokens[subject + 1..]
            .iter()
            .find(|t| !self.is_of_wanted(t) && !self.is_restated(t))
            .is_some_and(|next| {
                let is_participle = next.role == Role::Content
                    && next.category == Category::Unknown
                    && self.answer.word(next).ends_with("ing");
                is_participle || self.answer.is_verb_of_third_person(next)
            })
    }
}
