//! Which of several is meant: what each clause says of the property that the question asks about.

use super::claims::{Kinds, Standing};
use super::clauses::{Opener, Segment};
use super::lexicon::{Category, Role};
use super::numbers::{quantities, Dimension};
use super::question::{is_normal, Question};
use super::relations::{
    are_opposite, is_affected, is_change, is_finding_like, is_general, is_part, is_same_word,
    lies_under, side_bits,
};
use super::tokens::{Parsed, Token};

/// What a clause says of the property that the question asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Nothing: "the left one".
    Nothing,
    /// Something else: "the left lung is visible".
    Other,
    /// That it has the property.
    Has,
    /// That it has not.
    HasNot,
}

impl Says {
    const fn turned(self) -> Self {
        match self {
            Self::Has => Self::HasNot,
            Self::HasNot => Self::Has,
            other => other,
        }
    }
}

/// Segments of a clause in which its side is looked for.
const LONGEST_CLAUSE: usize = 8;

impl Parsed {
    /// Where one of several is asked for by a property ("Which lung is abnormal?"), sets aside the clauses that say
    /// of another that it has not the property, or something else of it.
    pub(super) fn settle_selection(
        &mut self,
        question: &Question,
        property: &[Token],
        kinds: Kinds,
    ) {
        let asks = !property.is_empty() || question.asks_absence;
        if !asks {
            return;
        }
        if kinds.is_empty() && !question.has_alternatives {
            self.settle_denied_property(question, property);
            return;
        }
        self.set_aside_sparing();
        let clauses = self.clauses(question, property, kinds);
        let is_meant = clauses
            .iter()
            .any(|c| c.has_subject && matches!(c.says, Says::Has | Says::Nothing));
        self.settle_comparison(&clauses, property, kinds);
        self.settle_measured(question, property, kinds);
        for clause in clauses {
            for index in clause.first..clause.end {
                let names = self
                    .of(&self.segments[index])
                    .iter()
                    .any(|t| kinds.has(t.category) || question.offers(t));
                self.segments[index].is_firm |= clause.says == Says::Has && names;
            }
            let standing = match clause.says {
                Says::HasNot => Standing::Contrast,
                Says::Other if is_meant && clause.has_subject => Standing::Beside,
                _ => {
                    if clause.is_turned {
                        self.undo_denial(clause.first..clause.end);
                    }
                    continue;
                }
            };
            let first = if standing == Standing::Contrast {
                self.enumeration_before(clause.first)
            } else {
                clause.first
            };
            for index in first..clause.end {
                let segment = self.segments[index];
                self.set_aside(segment.first as usize..segment.end as usize, standing);
            }
        }
    }

    /// First segment of the run of names that ends with the one at `index`: "肝、脾、胰未见异常".
    fn enumeration_before(&self, index: usize) -> usize {
        let mut first = index;
        while first > 0 {
            let (before, segment) = (&self.segments[first - 1], &self.segments[first]);
            let (last, next) = (
                self.tokens[before.end as usize - 1],
                self.tokens[segment.first as usize],
            );
            let mark = self.between(last.end as usize, next.start as usize).trim();
            if mark != "、" || before.has_verb || before.end <= before.first {
                break;
            }
            first -= 1;
        }
        first
    }

    /// "…, sparing the right": what is spared is not what is asked for.
    fn set_aside_sparing(&mut self) {
        for index in 1..self.segments.len() {
            let segment = self.segments[index];
            let opens = self.of(&segment).first().is_some_and(|t| {
                matches!(self.word(t), "sparing" | "sparing of" | "with sparing of")
            });
            if opens && segment.standing == Standing::Stands {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Contrast,
                );
            }
        }
    }

    /// "High signal on T2 and low signal on T1" where T2 is asked: the other sequence is beside the point.
    pub(super) fn settle_other_sequences(&mut self, question: &Question) {
        let is_sequence = |t: &Token| t.category == Category::Sequence;
        let asked: Vec<u64> = question
            .parsed
            .content()
            .filter(|t| is_sequence(t))
            .map(|t| t.key)
            .collect();
        if asked.is_empty() {
            return;
        }
        let names = |parsed: &Self, s: &Segment, wanted: bool| {
            parsed
                .of(s)
                .iter()
                .any(|t| is_sequence(t) && asked.contains(&t.key) == wanted)
        };
        if !self.segments.iter().any(|s| names(self, s, true)) {
            return;
        }
        let others: Vec<Segment> = self
            .segments
            .iter()
            .filter(|s| {
                names(self, s, false) && !names(self, s, true) && s.standing == Standing::Stands
            })
            .copied()
            .collect();
        for other in others {
            self.set_aside(other.first as usize..other.end as usize, Standing::Beside);
        }
    }

    /// "The median nerve is unaffected" where it is asked which nerve is compressed: the clause names no answer.
    fn settle_denied_property(&mut self, question: &Question, property: &[Token]) {
        if property.is_empty() || self.segments.len() < 2 || !question.has(&["which", "哪"]) {
            return;
        }
        let kinds = Kinds::unknown();
        let told = self.segments.iter().enumerate();
        let clauses: Vec<Clause> = told
            .filter(|(_, s)| !s.is_side_remark && s.standing == Standing::Stands)
            .map(|(i, s)| self.clause_of(i, s, question, property, kinds, Says::Nothing))
            .collect();
        if !clauses.iter().any(|c| c.says == Says::Has) {
            return;
        }
        let mut denied: Option<u32> = None; // the sentence in which a clause denies it
        for clause in clauses {
            let repeats =
                clause.says == Says::Nothing && !clause.has_verb && denied == Some(clause.sentence); // "…, the radial nerve too"
            if !(clause.says == Says::HasNot && clause.has_subject || repeats) {
                denied = None;
                continue;
            }
            denied = Some(clause.sentence);
            for index in clause.first..clause.end {
                let segment = self.segments[index];
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Contrast,
                );
            }
        }
    }

    /// "TSH is normal, cortisol is high" where it is asked which hormone is elevated: the clause names no answer.
    pub(super) fn settle_called_normal(&mut self, question: &Question) {
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let tokens = self.of(&segment);
            let Some(last) = tokens.iter().rposition(Token::is_content) else {
                continue;
            };
            let is_normal = tokens[last].category == Category::Normality
                && is_normal(&tokens[last])
                && tokens[last].is_stated();
            let names = |t: &Token| t.is_stated() && !question.names(t);
            let is_told = segment.standing == Standing::Stands
                && !segment.is_side_remark
                && segment.has_verb
                && tokens[..last].iter().any(names);
            if is_normal && is_told && !question.names(&tokens[last]) {
                let first = self.list_before(index);
                self.set_aside(first..segment.end as usize, Standing::Contrast);
            }
        }
    }

    /// First token of the list whose last item the segment is: "TSH and free T4 are normal".
    fn list_before(&self, index: usize) -> usize {
        let mut first = index;
        while first > 0 && matches!(self.segments[first].opener, Opener::And | Opener::List) {
            let before = &self.segments[first - 1];
            if before.has_verb
                || before.sentence != self.segments[index].sentence
                || before.standing != Standing::Stands
            {
                break;
            }
            first -= 1;
        }
        self.segments[first].first as usize
    }

    /// Sets aside what is said to be normal where a finding is asked for, and what is rare where the commonest is.
    pub(super) fn settle_spared(&mut self, question: &Question) {
        let (asks_defect, asks_most) = (question.asks_defect, question.asks_most);
        self.settle_unasked(question);
        self.settle_opposed(question);
        if !(asks_defect || asks_most) {
            return;
        }
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let tokens = self.of(&segment);
            let last = tokens.iter().rposition(Token::is_content);
            let first = tokens.iter().position(Token::is_content);
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            let is_spared = |t: &Token| t.category == Category::Normality && is_normal(t);
            let is_rare = |t: &Token| {
                matches!(
                    self.word(t),
                    "less"
                        | "fewer"
                        | "milder"
                        | "least"
                        | "few"
                        | "rare"
                        | "sparse"
                        | "infrequent"
                        | "occasional"
                        | "minor"
                        | "少见"
                        | "罕见"
                        | "稀少"
                        | "很少"
                )
            };
            let has_defect = tokens
                .iter()
                .any(|t| t.is_stated() && t.category == Category::Finding);
            let is_told = first < last
                && segment.standing == Standing::Stands
                && !segment.is_side_remark
                && tokens[first..last]
                    .iter()
                    .any(|t| t.role == Role::Verb || !self.word(t).is_ascii());
            let is_out = asks_defect && !has_defect && is_spared(&tokens[last])
                || asks_most && is_rare(&tokens[last]);
            if is_told && is_out {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Contrast,
                );
            }
        }
    }

    /// "Blasts are decreased" where it is asked what is increased.
    fn settle_opposed(&mut self, question: &Question) {
        let asked = &question.properties;
        if asked.is_empty() {
            return;
        }
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let tokens = self.of(&segment);
            let is_opposed = |t: &Token| {
                asked.iter().any(|a| {
                    if t.is_negated {
                        t.key == a.key
                    } else {
                        are_opposite(a, t)
                    }
                })
            };
            let names = |t: &Token| t.is_content() && !is_opposed(t) && !question.names(t);
            let is_told = segment.standing == Standing::Stands
                && !segment.is_side_remark
                && tokens
                    .iter()
                    .any(|t| t.is_content() && !t.is_aside && is_opposed(t))
                && !tokens
                    .iter()
                    .any(|t| t.is_stated() && asked.iter().any(|a| a.key == t.key))
                && tokens.iter().any(names);
            if is_told {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Contrast,
                );
            }
        }
    }

    /// "Glioma usually has a thick rim.", "An abscess is most likely.": what is so in general gives way, and so does all
    /// beside what is called the likeliest.
    pub(super) fn settle_likeliest(&mut self) {
        let is_thing = |t: &Token| {
            t.is_stated()
                && matches!(
                    t.category,
                    Category::Finding | Category::Unknown | Category::Other
                )
        };
        let is_likeliest = |segment: &Segment| {
            let tokens = self.of(segment);
            let mark = tokens.iter().rposition(|t| {
                matches!(
                    self.word(t),
                    "most likely" | "likeliest" | "most probable" | "favored" | "favoured" | "best"
                )
            });
            mark.is_some_and(|mark| {
                let is_end = !tokens[mark + 1..].iter().any(Token::is_content);
                let is_told = tokens[..mark]
                    .iter()
                    .rev()
                    .take(2)
                    .any(|t| t.role == Role::Verb || self.word(t).starts_with("fit"));
                is_end && is_told && tokens[..mark].iter().any(is_thing)
            })
        };
        let chosen: Vec<bool> = self.segments.iter().map(is_likeliest).collect();
        if chosen.contains(&true) {
            for (index, is_chosen) in chosen.into_iter().enumerate() {
                let segment = self.segments[index];
                if !is_chosen && segment.standing == Standing::Stands {
                    self.set_aside(
                        segment.first as usize..segment.end as usize,
                        Standing::Superseded,
                    );
                }
            }
        }
    }

    /// "Stop the aspirin; warfarin may go on" where it is asked what to stop: the clause without that verb is beside the
    /// point.
    fn settle_unasked(&mut self, question: &Question) {
        let stems = &question.denials;
        if stems.is_empty() {
            return;
        }
        let has_verb = |segment: &Segment| {
            self.of(segment).iter().any(|t| {
                t.role == Role::Verb
                    && super::tokens::denial_stem(self.word(t)).is_some_and(|s| stems.contains(&s))
            })
        };
        let asked: Vec<bool> = self.segments.iter().map(has_verb).collect();
        if !asked.contains(&true) {
            return;
        }
        for (index, is_asked) in asked.into_iter().enumerate() {
            let segment = self.segments[index];
            let tokens = self.of(&segment);
            let says_more =
                segment.has_verb || tokens.iter().filter(|t| t.is_content()).count() > 1;
            let is_own = matches!(
                segment.opener,
                Opener::Start | Opener::List | Opener::And | Opener::Contrast
            );
            if !is_asked && says_more && is_own && segment.standing == Standing::Stands {
                self.set_aside(
                    segment.first as usize..segment.end as usize,
                    Standing::Beside,
                );
            }
        }
    }

    /// "The left kidney is smaller than the right": the other one is larger.
    fn settle_comparison(&mut self, clauses: &[Clause], property: &[Token], kinds: Kinds) {
        let compares = |t: &Token| matches!(t.category, Category::Attribute | Category::Direction);
        if !property.iter().any(compares) {
            return;
        }
        for clause in clauses
            .iter()
            .filter(|c| c.says == Says::HasNot && c.has_subject)
        {
            let Some(segment) = self.segments.get(clause.end).copied() else {
                continue;
            };
            let tokens = segment.first as usize..segment.end as usize;
            let names = self.tokens[tokens.clone()]
                .iter()
                .any(|t| kinds.has(t.category));
            if segment.opener != Opener::Than || !names {
                continue;
            }
            self.segments[clause.end].is_side_remark = false;
            for token in &mut self.tokens[tokens] {
                token.is_aside = false;
                token.is_negated = false;
            }
        }
    }

    /// "The left kidney measures 12 cm, the right one 9 cm" where the larger is asked: the smaller is set aside.
    fn settle_measured(&mut self, question: &Question, property: &[Token], kinds: Kinds) {
        let compares = |words: &[&str]| question.has(words);
        let asks_more = compares(&[
            "larger", "bigger", "longer", "thicker", "wider", "greater", "更大", "较大", "更长",
            "较长", "更厚", "更宽", "大于",
        ]);
        let asks_less = compares(&[
            "smaller", "shorter", "thinner", "narrower", "更小", "较小", "更短", "较短", "更薄",
            "更窄",
        ]);
        if asks_more == asks_less || property.is_empty() {
            return;
        }
        let mut measured: Vec<(usize, u64, f64)> = Vec::new();
        for quantity in quantities(self) {
            let index = self.tokens[quantity.token].segment as usize;
            let mut subjects = self.of(&self.segments[index]).iter().filter(|t| {
                question.offers(t) || kinds.has(t.category) && t.category == Category::Side
            });
            let (Some(subject), true) = (subjects.next(), quantity.dimension != Dimension::Count)
            else {
                return;
            };
            measured.push((index, subject.key, quantity.value));
        }
        let [first, second] = measured.as_slice() else {
            return;
        };
        if first.0 == second.0 || first.1 == second.1 || (first.2 - second.2).abs() < 1e-9 {
            return;
        }
        let is_first = (first.2 > second.2) == asks_more;
        let (winner, loser) = if is_first {
            (first.0, second.0)
        } else {
            (second.0, first.0)
        };
        self.segments[winner].is_firm = true;
        let segment = self.segments[loser];
        self.set_aside(
            segment.first as usize..segment.end as usize,
            Standing::Contrast,
        );
    }

    fn undo_denial(&mut self, segments: std::ops::Range<usize>) {
        for index in segments {
            let segment = self.segments[index];
            for token in &mut self.tokens[segment.first as usize..segment.end as usize] {
                token.is_negated = false;
            }
        }
    }

    /// The clauses of the answer, each with what it says of the property.
    fn clauses(&self, question: &Question, property: &[Token], kinds: Kinds) -> Vec<Clause> {
        let mut clauses: Vec<Clause> = Vec::new();
        let mut last = Says::Nothing;
        for (index, segment) in self.segments.iter().enumerate() {
            if segment.is_side_remark || segment.standing != Standing::Stands {
                // "no flow in the right testis, indicating torsion"
                let is_reading = segment.opener == Opener::Relative
                    && self.of(segment).first().is_some_and(|t| {
                        matches!(
                            self.word(t),
                            "indicating" | "suggesting" | "meaning" | "说明" | "表明"
                        )
                    });
                if let Some(open) = clauses.last_mut().filter(|_| is_reading) {
                    let read = self.clause_of(index, segment, question, property, kinds, last);
                    if read.says == Says::Has && !read.has_subject && open.end == index {
                        (open.says, open.is_turned) = (Says::Has, true);
                    }
                }
                continue;
            }
            let next = self.clause_of(index, segment, question, property, kinds, last);
            if matches!(next.says, Says::Has | Says::HasNot) {
                last = next.says;
            }
            match clauses.last_mut() {
                Some(open)
                    if open.sentence == next.sentence
                        && open.end == index
                        && self.joins(open, &next, segment) =>
                {
                    open.absorb(&next);
                }
                _ => clauses.push(next),
            }
        }
        clauses
    }

    /// Whether the segment tells of looking and points at nothing: "I looked at both sides."
    fn observes(&self, segment: &Segment) -> bool {
        let tokens = self.of(segment);
        let points = |t: &Token| {
            matches!(
                self.word(t),
                "it" | "they" | "this" | "that" | "these" | "one" | "ones"
            ) || t.role == Role::Conclude
        };
        let is_observer = |t: &Token| matches!(self.word(t), "i" | "we");
        let is_looking = |t: &Token| {
            matches!(
                self.word(t),
                "compare"
                    | "inspect"
                    | "examine"
                    | "looking"
                    | "comparing"
                    | "inspecting"
                    | "examining"
                    | "reviewing"
                    | "assessing"
                    | "evaluating"
                    | "scanning"
                    | "imaged"
                    | "scanned"
                    | "reviewed"
                    | "compared"
                    | "checked"
                    | "比较"
                    | "观察"
                    | "对比"
                    | "查看"
                    | "看"
                    | "检查"
            )
        };
        (segment.has_verb && tokens.first().is_some_and(is_observer)
            || tokens.iter().any(is_looking))
            && !tokens.iter().any(points)
    }

    fn clause_of(
        &self,
        index: usize,
        segment: &Segment,
        question: &Question,
        property: &[Token],
        kinds: Kinds,
        last: Says,
    ) -> Clause {
        let tokens = self.of(segment);
        let is_subject = |t: &&Token| {
            t.is_content()
                && !t.is_modifier
                && !t.is_aside
                && (kinds.has(t.category)
                    || question.offers(t)
                    || kinds.has(Category::Organ) && names_organ(t))
        };
        let has_subject = tokens.iter().any(|t| is_subject(&t));
        let mut says = Says::Nothing;
        for token in tokens.iter().filter(|t| t.is_content() && !t.is_aside) {
            // the last word decides: "the maxillary sinus is not displaced"
            match self.says_of(token, property, kinds, question) {
                Says::Nothing => {}
                Says::HasNot if says == Says::Has && self.stands_without(segment, token) => {}
                Says::Other => says = stronger(says, Says::Other),
                of_property => says = of_property,
            }
        }
        let names_only = tokens.iter().any(|t| {
            t.role == Role::Affirm && self.word(t) != "是"
                || t.role == Role::Verb
                    && matches!(
                        self.word(t),
                        "shows"
                            | "show"
                            | "displays"
                            | "demonstrates"
                            | "depicts"
                            | "reveals"
                            | "contains"
                            | "显示"
                    )
        });
        // "the kidney contains it"
        let has_it = names_only
            && has_subject
            && tokens
                .iter()
                .skip(1)
                .any(|t| matches!(self.word(t), "it" | "one" | "this"));
        if says == Says::Nothing && has_it {
            says = Says::Has;
        }
        if says == Says::Nothing && (names_only || self.observes(segment)) {
            says = Says::Other;
        }
        // "only benign calcifications" where a mass is asked
        let has_asked = |t: &Token| property.iter().any(|p| p.key == t.key);
        if says == Says::Has && self.says_only(tokens) && !tokens.iter().any(has_asked) {
            says = Says::Other;
        }
        if question.asks_absence {
            return self.clause_of_absence(index, segment, has_subject, question);
        }
        // "… but the lung is not"
        let ends_in_denial = tokens
            .iter()
            .rev()
            .take_while(|t| !t.is_content())
            .any(|t| t.role == Role::Negation);
        let is_turned =
            says == Says::Nothing && ends_in_denial && has_subject && last != Says::Nothing;
        if is_turned {
            says = last.turned();
        }
        Clause {
            first: index,
            end: index + 1,
            sentence: segment.sentence,
            says,
            has_subject,
            has_verb: segment.has_verb,
            is_turned,
        }
    }

    /// "Shows only …", 仅见: nothing else than what follows.
    fn says_only(&self, tokens: &[Token]) -> bool {
        tokens.iter().enumerate().any(|(at, t)| {
            matches!(
                self.word(t),
                "only" | "merely" | "just" | "仅" | "仅见" | "只见" | "仅有" | "只有" | "仅可见"
            ) && tokens[..at].iter().any(|b| b.category == Category::Side)
        })
    }

    /// "Splenomegaly without hepatomegaly": the second only is denied.
    fn stands_without(&self, segment: &Segment, token: &Token) -> bool {
        token.is_negated
            && self.of(segment).iter().any(|t| {
                t.start < token.start && matches!(self.word(t), "without" | "而无" | "不伴")
            })
    }

    /// The same where it is asked what is absent: what is denied has the property.
    fn clause_of_absence(
        &self,
        index: usize,
        segment: &Segment,
        has_subject: bool,
        question: &Question,
    ) -> Clause {
        let tokens = self.of(segment);
        let is_told = tokens.iter().any(|t| t.role == Role::NegationBack)
            || tokens.iter().any(|t| {
                t.role == Role::Verb
                    && super::tokens::denial_stem(self.word(t))
                        .is_some_and(|stem| question.denials.contains(&stem))
            });
        let is_denied = if question.denials.is_empty() {
            is_told || tokens.iter().any(|t| t.is_content() && t.is_negated)
        } else {
            // "the gallbladder was not removed" where it is asked what was
            is_told
                && !tokens
                    .iter()
                    .any(|t| matches!(t.role, Role::Negation | Role::No))
        };
        let says_more = segment.has_verb
            || tokens.iter().any(|t| {
                t.role == Role::Affirm
                    || matches!(t.category, Category::Normality | Category::Finding)
            });
        Clause {
            first: index,
            end: index + 1,
            sentence: segment.sentence,
            says: match (is_denied, says_more) {
                (true, _) => Says::Has,
                (false, true) => Says::HasNot,
                (false, false) => Says::Nothing,
            },
            has_subject,
            has_verb: segment.has_verb,
            is_turned: is_denied,
        }
    }

    /// Whether the next segment goes on with the clause.
    fn joins(&self, open: &Clause, next: &Clause, segment: &Segment) -> bool {
        if self
            .of(segment)
            .first()
            .is_some_and(|t| t.role == Role::Conclude)
        {
            return false; // "…, so the left ear"
        }
        let says_which = self
            .of(segment)
            .windows(2)
            .any(|w| self.word(&w[0]) == "的" && self.word(&w[1]) == "是");
        if says_which {
            return false; // "正中神经未受压，受压的是尺神经"
        }
        let is_absolute = self
            .of(segment)
            .first()
            .is_some_and(|t| self.word(t) == "with")
            && next.says == Says::HasNot
            && open.says != Says::HasNot
            && open.has_subject;
        if is_absolute {
            return false; // "a loss of height at L1, with the adjacent levels spared"
        }
        let names_side = |t: &Token| t.category == Category::Side || self.word(t) == "other";
        if segment.opener == Opener::Bracket
            && segment.has_verb
            && (next.has_subject || self.of(segment).iter().any(names_side))
        {
            return false; // "the left one (the right one is normal)"
        }
        if !next.has_subject {
            return !matches!(segment.opener, Opener::Start)
                || !open.has_subject
                || segment.opener == Opener::Value;
        }
        if !open.has_subject {
            return open.says == Says::Nothing || !next.has_verb && next.says == Says::Nothing;
        }
        let is_list = matches!(
            segment.opener,
            Opener::And | Opener::Or | Opener::List | Opener::Examples
        );
        // "脾脏、肝脏未见异常"
        let is_enumerated = segment.opener == Opener::List
            && segment.first > 0
            && self
                .between(
                    self.tokens[segment.first as usize - 1].end as usize,
                    self.tokens[segment.first as usize].start as usize,
                )
                .contains('、');
        if is_enumerated && open.says == Says::Nothing && !open.has_verb {
            return true;
        }
        if self.says_of_other_side(open, segment) {
            return false; // "左颈动脉通畅，右侧未见血流"
        }
        if next.says == Says::Nothing && !next.has_verb {
            let has_value = self
                .segments
                .get(next.end)
                .is_some_and(|s| s.opener == Opener::Value);
            return is_list && !has_value;
        }
        let is_shared = self.of(segment).iter().any(|t| {
            matches!(
                self.word(t),
                "are"
                    | "were"
                    | "appear"
                    | "look"
                    | "show"
                    | "seem"
                    | "have"
                    | "both"
                    | "都"
                    | "均"
                    | "皆"
            )
        }) || self.has_plural_verb(segment);
        let is_chinese_pair = segment.opener == Opener::And && !segment.has_verb;
        is_list && open.says == Says::Nothing && !open.has_verb && (is_shared || is_chinese_pair)
    }
}

impl Parsed {
    /// The segment denies something of the side that the clause before does not name.
    fn says_of_other_side(&self, open: &Clause, segment: &Segment) -> bool {
        let side = |tokens: &[Token]| tokens.iter().fold(0, |bits, t| bits | side_bits(t));
        let first = open.first.max(open.end.saturating_sub(LONGEST_CLAUSE));
        let before = self.segments[first..open.end]
            .iter()
            .fold(0, |bits, s| bits | side(self.of(s)));
        let tokens = self.of(segment);
        before & side(tokens) == 0
            && before != 0
            && side(tokens) != 0
            && tokens.iter().any(|t| t.role == Role::Negation)
            && tokens.iter().any(|t| t.is_content() && t.is_negated)
    }

    /// "… and T9 keep their height": the verb is of both.
    fn has_plural_verb(&self, segment: &Segment) -> bool {
        let verb = self.of(segment).iter().find(|t| t.role == Role::Verb);
        segment.opener == Opener::And
            && verb.is_some_and(|t| {
                let word = self.word(t);
                word.is_ascii()
                    && !word.ends_with('s')
                    && !word.ends_with("ed")
                    && !word.ends_with("ing")
            })
    }
}

/// A run of segments about one thing.
#[derive(Clone, Copy, Debug)]
struct Clause {
    first: usize,
    end: usize,
    sentence: u32,
    says: Says,
    has_subject: bool,
    has_verb: bool,
    is_turned: bool,
}

impl Clause {
    fn absorb(&mut self, next: &Self) {
        self.end = next.end;
        self.says = stronger(self.says, next.says);
        self.has_subject |= next.has_subject;
        self.has_verb |= next.has_verb;
        self.is_turned |= next.is_turned;
    }
}

const fn stronger(left: Says, right: Says) -> Says {
    match (left, right) {
        (Says::Has, _) | (_, Says::Has) => Says::Has,
        (Says::HasNot, _) | (_, Says::HasNot) => Says::HasNot,
        (Says::Other, _) | (_, Says::Other) => Says::Other,
        _ => Says::Nothing,
    }
}

impl Parsed {
    /// What a word says of the property.
    fn says_of(
        &self,
        token: &Token,
        property: &[Token],
        kinds: Kinds,
        question: &Question,
    ) -> Says {
        let of = |has: bool| if has { Says::Has } else { Says::HasNot };
        if question.offers(token) && token.category == Category::Normality {
            return Says::Nothing; // "normal or decreased?"
        }
        let asks_finding = property
            .iter()
            .any(|p| is_finding_like(p) && !(p.category == Category::Normality && is_normal(p)));
        if token.category == Category::Normality {
            if let Some(asked) = property.iter().find(|p| p.category == Category::Normality) {
                return of((is_normal(asked) == is_normal(token)) != token.is_negated);
            }
            return if asks_finding {
                of(is_normal(token) == token.is_negated)
            } else {
                Says::Other
            };
        }
        if asks_finding && matches!(self.word(token), "empty" | "空虚" | "排空") {
            return of(token.is_negated); // "the esophagus is empty" where a foreign body is asked
        }
        for asked in property {
            let is_it = token.key == asked.key
                || lies_under(token, asked)
                || is_part(asked, token)
                || is_same_word((self, token), (&question.parsed, asked));
            if is_it {
                return of(token.is_negated == asked.is_negated);
            }
            if are_opposite(token, asked) {
                return of(token.is_negated);
            }
            let is_any_finding =
                is_general(asked) || asked.category == Category::Normality || is_affected(asked);
            let is_other_sort = is_mass(asked) && is_change(token); // an atrophy is no mass
            if is_any_finding && token.category == Category::Finding && !is_other_sort {
                let wants_normal = asked.category == Category::Normality && is_normal(asked);
                return of(token.is_negated == wants_normal);
            }
        }
        if kinds.has(token.category) || question.names(token) || token.role == Role::Number {
            return Says::Nothing;
        }
        match token.category {
            Category::Finding | Category::Unknown | Category::Attribute | Category::Color
                if !token.is_negated =>
            {
                Says::Other
            }
            _ => Says::Nothing,
        }
    }
}

/// "Cardiomegaly" names the heart.
fn names_organ(token: &Token) -> bool {
    use super::lexicon::Lexicon;
    let concepts = &Lexicon::get().concepts;
    let parts = concepts
        .get(token.concept as usize)
        .map_or(&[][..], |c| &c.parts);
    parts
        .iter()
        .any(|&part| concepts[part as usize].category == Category::Organ)
}

/// "Larger", "smaller".
#[must_use]
pub fn is_comparative(token: &Token) -> bool {
    use super::lexicon::Lexicon;
    let id = Lexicon::get()
        .concepts
        .get(token.concept as usize)
        .map_or("", |c| c.id.as_str());
    matches!(id, "attribute.larger" | "attribute.smaller")
}

/// "Mass".
fn is_mass(token: &Token) -> bool {
    super::lexicon::known!("finding.mass") == Some(token.concept)
}
