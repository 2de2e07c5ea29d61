//! An answer as a row of tokens: concepts, words and numbers, each with its sentence, segment and negation.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{LazyLock, OnceLock};

use memchr::memmem;
use rustc_hash::FxHashMap;

use super::clauses::Segment;
use super::earlier::EARLIER;
use super::lexicon::{Category, ConceptId, Entry, Lexicon, Role};
use super::normalise::{is_plain_han, normalise};
use super::notation;
use super::similarity::exact_key;
use super::words::{raw_words, word_key, Break};
use super::wrappers::{collapse_blanks, drop_lead, unwrapped};

thread_local! {
    /// Short texts that were read lately: many answers, and references, are the same few words.
    static LATELY: RefCell<Vec<(String, Parsed)>> = const { RefCell::new(Vec::new()) };
}

/// Texts that each thread keeps, and the bytes that one of them has at most.
const KEPT: usize = 512;
const LONGEST_KEPT: usize = 64;

/// Bytes that are read from the start, and from the end, of a text that is longer than both together. Rules hold each word
/// of an answer against each of a reference: without an end to both, a text of some megabytes would take hours.
pub const READ_FROM_EACH_END: usize = 16 * 1024;

/// Marks a token whose word is in no group of synonyms.
pub const NO_CONCEPT: ConceptId = ConceptId::MAX;

/// Words after the first one that a term of the table may have; the longest has fewer.
const LONGEST_TERM: usize = 24;

/// What follows repeats the options of a question.
const CHOOSE_FROM: &str = "please choose from";
static CHOICE: LazyLock<memmem::Finder> = LazyLock::new(|| memmem::Finder::new(CHOOSE_FROM));

/// One token of an answer.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Token {
    /// Equal for tokens that mean the same.
    pub key: u64,
    /// Concept of the table, or [`NO_CONCEPT`].
    pub concept: ConceptId,
    /// Kind of the concept.
    pub category: Category,
    /// What the token does.
    pub role: Role,
    /// Its statement is denied.
    pub is_negated: bool,
    /// It belongs to what is compared with or set aside, not to the answer.
    pub is_aside: bool,
    /// An organ that only names the picture: "chest" in "chest X-ray".
    pub is_modifier: bool,
    /// Written together with the token before (Chinese characters of one run).
    pub is_joined: bool,
    /// It is a single Chinese character outside the table.
    pub is_han: bool,
    /// Punctuation before it.
    pub before: Break,
    /// Sentence it stands in.
    pub sentence: u32,
    /// Segment (list item, clause) it stands in, counted over the whole answer.
    pub segment: u32,
    /// Byte range in the normalised text.
    pub start: u32,
    /// End of the byte range.
    pub end: u32,
    /// Value of a number.
    pub value: f64,
    /// What was said of the number: "more than", "at most".
    pub bound: Bound,
}

/// Roles that occur in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles(u64);

impl Roles {
    /// Whether one of `list` occurs.
    pub fn has(self, list: &[Role]) -> bool {
        list.iter().any(|&role| self.0 >> role as u64 & 1 == 1)
    }
}

/// How a number limits what is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The number itself.
    Exact,
    /// "Less than".
    Below,
    /// "At most".
    AtMost,
    /// "More than".
    Above,
    /// "At least".
    AtLeast,
}

/// Words before a number that make it a bound; the longest first where one ends like another.
const BOUNDS: [(&[&str], Bound); 48] = [
    (&["小", "于", "等", "于"], Bound::AtMost),
    (&["大", "于", "等", "于"], Bound::AtLeast),
    (&["小", "于", "或", "等", "于"], Bound::AtMost),
    (&["大", "于", "或", "等", "于"], Bound::AtLeast),
    (&["no", "more", "than"], Bound::AtMost),
    (&["not", "more", "than"], Bound::AtMost),
    (&["no", "larger", "than"], Bound::AtMost),
    (&["not", "larger", "than"], Bound::AtMost),
    (&["no", "less", "than"], Bound::AtLeast),
    (&["not", "less", "than"], Bound::AtLeast),
    (&["no", "fewer", "than"], Bound::AtLeast),
    (&["less", "than"], Bound::Below),
    (&["fewer", "than"], Bound::Below),
    (&["smaller", "than"], Bound::Below),
    (&["lower", "than"], Bound::Below),
    (&["shorter", "than"], Bound::Below),
    (&["more", "than"], Bound::Above),
    (&["greater", "than"], Bound::Above),
    (&["larger", "than"], Bound::Above),
    (&["bigger", "than"], Bound::Above),
    (&["higher", "than"], Bound::Above),
    (&["longer", "than"], Bound::Above),
    (&["in", "excess", "of"], Bound::Above),
    (&["at", "least"], Bound::AtLeast),
    (&["at", "most"], Bound::AtMost),
    (&["up", "to"], Bound::AtMost),
    (&["under"], Bound::Below),
    (&["below"], Bound::Below),
    (&["over"], Bound::Above),
    (&["above"], Bound::Above),
    (&["exceeding"], Bound::Above),
    (&["exceeds"], Bound::Above),
    (&["小", "于"], Bound::Below),
    (&["少", "于"], Bound::Below),
    (&["低", "于"], Bound::Below),
    (&["不", "到"], Bound::Below),
    (&["不", "足"], Bound::Below),
    (&["不", "超", "过"], Bound::AtMost),
    (&["不", "大", "于"], Bound::AtMost),
    (&["不", "小", "于"], Bound::AtLeast),
    (&["不", "少", "于"], Bound::AtLeast),
    (&["至", "少"], Bound::AtLeast),
    (&["至", "多"], Bound::AtMost),
    (&["大", "于"], Bound::Above),
    (&["超", "过"], Bound::Above),
    (&["多", "于"], Bound::Above),
    (&["高", "于"], Bound::Above),
    (&["未", "超", "过"], Bound::AtMost),
];

/// An answer, read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Normalised text.
    pub text: String,
    /// Tokens in order.
    pub tokens: Vec<Token>,
    /// Segments in order.
    pub segments: Vec<Segment>,
    /// Which rare words the text has, so that rules for them are looked at only then.
    pub hints: Hints,
    /// Words of denial that the question asks about, so that they deny nothing here.
    pub asked: Vec<Asked>,
    /// Tells apart what was left out in the middle of a text that is too long to be read whole; 0: nothing was.
    pub left_out: u64,
    words: Vec<(u64, u32, u32, Break)>,
}

/// As much of a text as is read, and what tells apart the middle that is not; 0 where it is read whole.
#[must_use]
pub fn within_reach(text: &str) -> (Cow<'_, str>, u64) {
    if text.len() <= 2 * READ_FROM_EACH_END {
        return (Cow::Borrowed(text), 0);
    }
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=READ_FROM_EACH_END).rfind(is_boundary).unwrap_or(0);
    let tail = (text.len() - READ_FROM_EACH_END..=text.len()).find(is_boundary);
    let tail = tail.unwrap_or(text.len());
    let left_out = exact_key(&text[head..tail]).max(1);
    let ends = format!("{}\n{}", &text[..head], &text[tail..]);
    (Cow::Owned(ends), left_out)
}

impl Parsed {
    /// Reads `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parsed = Self::default();
        parsed.read(text);
        parsed
    }

    /// An empty text that is read beside a question about the denials `asked`.
    #[must_use]
    pub fn beside(asked: Vec<Asked>) -> Self {
        Self {
            asked,
            ..Self::default()
        }
    }

    /// Reads `text` into this value, reusing its memory; what was read lately is copied.
    pub fn read(&mut self, text: &str) {
        if text.len() > LONGEST_KEPT || !self.asked.is_empty() {
            self.read_anew(text);
            return;
        }
        let place = word_key(text) as usize % KEPT;
        let is_known = LATELY.with_borrow(|kept| {
            let known = kept.get(place).filter(|(known, _)| known == text);
            if let Some((_, parsed)) = known {
                self.copy_from(parsed);
            }
            known.is_some()
        });
        if is_known {
            return;
        }
        self.read_anew(text);
        LATELY.with_borrow_mut(|kept| {
            kept.resize_with(KEPT, Default::default);
            let (known, parsed) = &mut kept[place];
            text.clone_into(known);
            parsed.copy_from(self);
        });
    }

    /// Becomes what `other` is, but for the denials that are asked about.
    fn copy_from(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.tokens.clone_from(&other.tokens);
        self.segments.clone_from(&other.segments);
        self.words.clone_from(&other.words);
        self.hints = other.hints;
        self.left_out = other.left_out;
    }

    fn read_anew(&mut self, text: &str) {
        let mut normal = std::mem::take(&mut self.text);
        let (text, left_out) = within_reach(text);
        self.left_out = left_out;
        normalise(&unwrapped(&text), &mut normal);
        collapse_blanks(&mut normal);
        drop_lead(&mut normal);
        spell_signs(&mut normal);
        self.text = normal;
        self.read_normalised();
    }

    /// Tokens of the segment.
    #[must_use]
    pub fn of(&self, segment: &Segment) -> &[Token] {
        &self.tokens[segment.first as usize..segment.end as usize]
    }

    /// The scale that a question asks for.
    #[must_use]
    pub fn scale_asked(&self) -> Option<&'static str> {
        notation::scale_asked(&self.text, &self.words)
    }

    /// Tokens of each sentence, in order.
    pub fn sentences(&self) -> impl Iterator<Item = &[Token]> {
        self.tokens.chunk_by(|a, b| a.sentence == b.sentence)
    }

    /// Tokens that carry meaning, in order.
    pub fn content(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|t| t.is_content())
    }

    /// What the tokens do, all of them together.
    pub(super) fn roles(&self) -> Roles {
        let bits = self.tokens.iter();
        Roles(bits.fold(0, |bits, token| bits | 1 << token.role as u64))
    }

    fn read_normalised(&mut self) {
        self.tokens.clear();
        self.segments.clear();
        self.split_words();
        self.look_up();
        self.read_asked();
        self.mark_modifiers();
        self.join_directions();
        self.join_non();
        self.read_involved();
        self.read_preferred();
        self.read_called_wrong();
        self.read_emphasis();
        self.split_segments();
        self.mark_negation();
        self.turn_denied_normality();
        self.mark_refusals();
        self.set_aside_questions();
        self.settle_discourse();
    }

    /// "It is definitely an abscess": the adverb is no yes of its own.
    fn read_emphasis(&mut self) {
        for at in 1..self.tokens.len().saturating_sub(1) {
            let (before, token) = (&self.tokens[at - 1], &self.tokens[at]);
            let is_emphasis = token.role == Role::Yes
                && matches!(self.word(token), "definitely" | "absolutely" | "indeed")
                && matches!(self.word(before), "is" | "are" | "was" | "were")
                && token.before < Break::Comma
                && self.tokens[at + 1].before < Break::Comma;
            if is_emphasis {
                self.tokens[at].role = Role::Filler;
            }
        }
    }

    /// The text between two bytes; empty where one word reaches into the next.
    pub(super) fn between(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// "No abnormality" says normal, "not normal" says abnormal.
    fn turn_denied_normality(&mut self) {
        let lexicon = Lexicon::get();
        for token in self
            .tokens
            .iter_mut()
            .filter(|t| t.category == Category::Normality && t.is_negated)
        {
            if let Some(&opposite) = lexicon.concepts[token.concept as usize].opposites.first() {
                token.concept = opposite;
                token.key = concept_key(opposite);
                token.is_negated = false;
            }
        }
    }

    /// "Cannot be determined", "difficult to conclude".
    fn mark_refusals(&mut self) {
        if !self.roles().has(&[Role::Epistemic]) {
            return;
        }
        let (mut segment, mut declines) = (0, false);
        for token in &mut self.tokens {
            if token.segment != segment {
                (segment, declines) = (token.segment, false);
            }
            match token.role {
                Role::Negation | Role::Difficult => declines = true,
                Role::Epistemic => token.role = if declines { Role::Refusal } else { Role::Verb },
                _ => {}
            }
        }
    }

    /// A sentence that ends with a question mark asks; it does not answer.
    fn set_aside_questions(&mut self) {
        if memchr::memchr(b'?', self.text.as_bytes()).is_none() {
            return;
        }
        let mut end = self.tokens.len();
        while end > 0 {
            let sentence = self.tokens[end - 1].sentence;
            let stop = self
                .tokens
                .get(end)
                .map_or(self.text.len(), |next| next.start as usize);
            let asks = self
                .between(self.tokens[end - 1].end as usize, stop)
                .contains('?');
            let mut first = end;
            while first > 0 && self.tokens[first - 1].sentence == sentence {
                first -= 1;
                self.tokens[first].is_aside |= asks;
            }
            end = first;
        }
    }

    /// Whether the text only asks.
    #[must_use]
    pub fn only_asks(&self) -> bool {
        !self.tokens.is_empty() && self.text.contains('?') && self.tokens.iter().all(|t| t.is_aside)
    }

    fn split_words(&mut self) {
        self.words.clear();
        self.words.reserve(self.text.len() / 4);
        if self.text.len() > CHOOSE_FROM.len() {
            if let Some(at) = CHOICE.find(self.text.as_bytes()) {
                self.text.truncate(at);
            }
        }
        let not = word_key("not");
        for word in raw_words(&self.text) {
            let (start, end) = (word.start as u32, (word.start + word.text.len()) as u32);
            // "isn't" is two words: raw_words sees "isn" and "t"
            if word.text == "t" && self.text[..word.start].ends_with("n'") {
                if let Some(last) = self.words.last_mut() {
                    let base = &self.text[last.1 as usize..last.2 as usize];
                    let base = if base == "can" {
                        base
                    } else {
                        &base[..base.len() - 1]
                    };
                    last.0 = word_key(base);
                }
                self.words.push((not, start, end, Break::Blank));
                continue;
            }
            // "pT3", "cN1": the letter says how the category was found
            if is_staged_category(word.text) {
                self.words
                    .push((word_key(&word.text[1..]), start + 1, end, word.before));
                continue;
            }
            if let Some([tumor, node]) = parts_of_tnm(word.text) {
                let (t, n) = (start + tumor, start + node);
                for (from, to, mark) in [
                    (start, t, word.before),
                    (t, n, Break::Blank),
                    (n, end, Break::Blank),
                ] {
                    let part = &self.text[from as usize..to as usize];
                    self.words.push((word_key(part), from, to, mark));
                }
                continue;
            }
            if word.text == "cannot" {
                self.words.push((word_key("can"), start, end, word.before));
                self.words.push((not, start, end, Break::Blank));
                continue;
            }
            self.words
                .push((word_key(word.text), start, end, word.before));
        }
    }

    #[allow(clippy::too_many_lines)] // one pass, read from top to bottom
    fn look_up(&mut self) {
        let lexicon = Lexicon::get();
        let facts = Facts::table();
        self.tokens.reserve(self.words.len());
        let mut at = 0;
        self.hints = Hints::default();
        let asks_whether = !self.text.is_ascii() && self.text.contains("是否");
        while at < self.words.len() {
            let (key, start, end, before) = self.words[at];
            let text = &self.text[start as usize..end as usize];
            let facts = facts.get(&key).copied().unwrap_or_default();
            self.hints.0 |= facts.hints.0;
            let number = parse_number(text);
            let is_han = text.chars().next().is_some_and(is_plain_han);
            let mut token = Token {
                key,
                concept: NO_CONCEPT,
                category: Category::Unknown,
                role: Role::Content,
                is_negated: false,
                is_aside: false,
                is_modifier: false,
                is_joined: before == Break::Joined,
                is_han: false,
                before,
                sentence: 0,
                segment: 0,
                start,
                end,
                value: f64::NAN,
                bound: Bound::Exact,
            };
            let is_word = !facts.may_be_notation && notation::is_plain_word(text);
            let read = if is_word {
                None
            } else {
                notation::read(&self.text, &self.words, at)
            };
            if let Some(read) = read {
                token.category = read.category;
                token.end = self.words[at + read.words - 1].2;
                for key in read.keys.into_iter().flatten() {
                    token.key = key;
                    self.tokens.push(token);
                    token.before = Break::Blank; // the second level of "L3-4" stands in the same place
                }
                at += read.words;
                continue;
            }
            let number = number.or_else(|| self.is_one_unit(at).then_some(1.0));
            if let Some(number) = number {
                token.role = Role::Number;
                token.value = number;
                token.key = number.to_bits();
                token.bound = self.bound_before(at);
                token.key ^= bound_mark(token.bound);
            }
            // a term does not reach over punctuation stronger than a hyphen or slash
            let reach = if asks_whether {
                self.before_question_mark(at)
            } else {
                LONGEST_TERM
            };
            let following = self.words[at + 1..].iter().take(reach);
            let following = following.take_while(|w| w.3 <= Break::Slash).map(|w| w.0);
            let found = match facts.node {
                0 => None,
                node => lexicon.longest_from(node, following),
            };
            let known = found.map_or(0, |found| found.1);
            if let Some(concept) = self.side_letter(at, lexicon).filter(|_| known < 2) {
                token.concept = concept;
                token.category = Category::Side;
                token.key = concept_key(concept);
                self.tokens.push(token);
                at += 1;
                continue;
            }
            if let Some((key, length)) = self.non_word(at, known) {
                token.key = key;
                token.end = self.words[at + length - 1].2;
                self.tokens.push(token);
                at += length;
                continue;
            }
            let found = found.or_else(|| glued(&self.text[start as usize..end as usize], lexicon));
            let Some((entry, length)) = found else {
                token.is_han = is_han;
                self.tokens.push(token);
                at += 1;
                continue;
            };
            token.end = self.words[at + length - 1].2;
            match entry {
                Entry::Function(role) => {
                    token.role = *role;
                    self.tokens.push(token);
                }
                Entry::Number(value) => {
                    token.role = Role::Number;
                    token.value = *value;
                    token.key = value.to_bits();
                    if token.before != Break::Joined
                        || !self.tokens.last().is_some_and(|t| t.role == Role::Number)
                    {
                        token.bound = self.bound_before(at);
                        token.key ^= bound_mark(token.bound);
                    }
                    self.push_number(token);
                }
                Entry::Ordinal(value) => {
                    token.key = ordinal_key(*value);
                    token.category = Category::Level;
                    self.tokens.push(token);
                }
                Entry::Concepts(concepts) => {
                    for (position, &concept) in concepts.iter().enumerate() {
                        token.role = Role::Content;
                        token.concept = concept;
                        token.category = lexicon.categories[concept as usize];
                        token.key = concept_key(concept);
                        if position > 0 {
                            token.before = Break::Blank;
                        }
                        self.tokens.push(token);
                    }
                }
            }
            at += length;
        }
    }

    /// "Smaller than a centimetre": the article counts.
    fn is_one_unit(&self, at: usize) -> bool {
        let word = |i: usize| {
            self.words
                .get(i)
                .map_or("", |w| &self.text[w.1 as usize..w.2 as usize])
        };
        matches!(word(at), "a" | "an")
            && at > 0
            && matches!(
                word(at + 1),
                "cm" | "mm"
                    | "centimeter"
                    | "centimetre"
                    | "millimeter"
                    | "millimetre"
                    | "inch"
                    | "litre"
                    | "liter"
                    | "week"
                    | "month"
                    | "year"
            )
            && matches!(
                word(at - 1),
                "than"
                    | "about"
                    | "under"
                    | "below"
                    | "over"
                    | "above"
                    | "exceeding"
                    | "almost"
                    | "nearly"
            )
    }

    /// Words after the one at `at` that a term may have: none of them is the 是 of 是否, as in "结论是否支持".
    fn before_question_mark(&self, at: usize) -> usize {
        let is = |i: usize, text: &str| {
            self.words
                .get(i)
                .is_some_and(|w| &self.text[w.1 as usize..w.2 as usize] == text)
        };
        (0..LONGEST_TERM)
            .find(|&i| is(at + i + 1, "是") && is(at + i + 2, "否"))
            .unwrap_or(LONGEST_TERM)
    }

    /// "Non-calcified", "noncalcified": one word of its own, and no denial of the sentence.
    fn non_word(&self, at: usize, known: usize) -> Option<(u64, usize)> {
        let word = |i: usize| {
            self.words
                .get(i)
                .map(|w| &self.text[w.1 as usize..w.2 as usize])
        };
        let text = word(at)?;
        let next = self.words.get(at + 1).filter(|w| w.3 <= Break::Hyphen);
        match (text, next) {
            ("non", Some(next)) if known <= 1 => Some((meaning_key(next.0) ^ NON, 2)),
            (_, _) if known == 0 && text.len() > 7 && text.starts_with("non") => {
                Some((meaning_key(word_key(&text[3..])) ^ NON, 1))
            }
            (_, _) if known == 0 && text.len() > 6 && text.starts_with("un") => {
                Some((meaning_key(word_key(&text[2..])) ^ NON, 1))
            }
            _ => None,
        }
    }

    /// "R" and "L" before an organ or a direction are sides.
    fn side_letter(&self, at: usize, lexicon: &Lexicon) -> Option<ConceptId> {
        let word = |i: usize| {
            self.words
                .get(i)
                .map(|w| &self.text[w.1 as usize..w.2 as usize])
        };
        let name = match word(at)? {
            "r" => "side.right",
            "l" => "side.left",
            _ => return None,
        };
        if self.words.len() == 1 {
            return lexicon.concept(name); // "R." and nothing else
        }
        let next = self.words.get(at + 1).filter(|w| w.3 <= Break::Hyphen)?;
        match lexicon.longest(std::iter::once(next.0))?.0 {
            Entry::Concepts(concepts) => {
                let category = lexicon.categories[concepts[0] as usize];
                let is_place = matches!(category, Category::Organ | Category::Direction);
                lexicon.concept(name).filter(|_| is_place)
            }
            _ => None,
        }
    }

    /// What is said of the number at `at`, whose words before become part of it.
    fn bound_before(&mut self, at: usize) -> Bound {
        let gap_start = at.checked_sub(1).map_or(0, |i| self.words[i].2 as usize);
        let gap = &self.text[gap_start..self.words[at].1 as usize];
        let is_mark = |c: char| c.is_whitespace() || matches!(c, '*' | '"' | '`' | '(' | ':' | '[');
        let sign = match gap.trim_matches(is_mark).trim_end_matches('=') {
            "<" if gap.contains('=') => Some(Bound::AtMost),
            ">" if gap.contains('=') => Some(Bound::AtLeast),
            "<" => Some(Bound::Below),
            ">" => Some(Bound::Above),
            "≤" | "⩽" => Some(Bound::AtMost),
            "≥" | "⩾" => Some(Bound::AtLeast),
            _ => None,
        };
        if let Some(bound) = sign {
            return bound;
        }
        let word = |i: usize| &self.text[self.words[i].1 as usize..self.words[i].2 as usize];
        let mut end = at;
        if end > 0
            && matches!(
                word(end - 1),
                "about"
                    | "approximately"
                    | "around"
                    | "a"
                    | "the"
                    | "约"
                    | "有"
                    | "是"
                    | "为"
                    | "存在"
            )
        {
            end -= 1;
        }
        let found = BOUNDS.iter().find(|(words, _)| {
            words.len() <= end
                && words
                    .iter()
                    .rev()
                    .enumerate()
                    .all(|(i, w)| word(end - 1 - i) == *w)
        });
        let Some(&(words, bound)) = found else {
            return Bound::Exact;
        };
        let start = self.words[end - words.len()].1;
        while self.tokens.last().is_some_and(|t| t.start >= start) {
            self.tokens.pop();
        }
        bound
    }

    /// "Twenty five" is one number.
    fn push_number(&mut self, token: Token) {
        // "三点二"
        if let [.., whole, point] = self.tokens.as_mut_slice() {
            let is_decimal = whole.role == Role::Number
                && token.is_joined
                && token.value < 10.0
                && point.is_joined
                && &self.text[point.start as usize..point.end as usize] == "点";
            if is_decimal {
                whole.value += token.value / 10.0;
                whole.key = whole.value.to_bits() ^ bound_mark(whole.bound);
                whole.end = token.end;
                self.tokens.pop();
                return;
            }
        }
        if let Some(last) = self.tokens.last_mut().filter(|t| t.role == Role::Number) {
            let unit = if last.value % 100.0 == 0.0 {
                100.0
            } else {
                10.0
            };
            let is_sum = last.value >= 20.0
                && last.value % 10.0 == 0.0
                && token.value < unit
                && token.value > 0.0;
            if is_sum && token.before <= Break::Hyphen {
                last.value += token.value;
                last.key = last.value.to_bits();
                last.end = token.end;
                return;
            }
        }
        self.tokens.push(token);
    }

    /// "上" in "上颌窦" is no direction where the word around it is not in the table.
    fn join_directions(&mut self) {
        if self.text.is_ascii() {
            return;
        }
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let is_bone = token.category == Category::Organ
                && &self.text[token.start as usize..token.end as usize] == "骨";
            if token.category != Category::Direction && !is_bone
                || token.end - token.start > 3
                || self.text.as_bytes()[token.start as usize].is_ascii()
            {
                continue;
            }
            let before = at > 0 && token.is_joined && self.tokens[at - 1].is_han;
            let after = self
                .tokens
                .get(at + 1)
                .is_some_and(|t| t.is_joined && t.is_han);
            if before || after && !is_bone {
                let token = &mut self.tokens[at];
                token.concept = NO_CONCEPT;
                token.category = Category::Unknown;
                token.is_han = true;
                token.key = word_key(&self.text[token.start as usize..token.end as usize]);
            }
        }
    }

    /// "不清楚" is no refusal where it is asked whether something is clear.
    pub(super) fn read_unclear(&mut self) {
        let Some(abnormal) = super::lexicon::known!("normality.abnormal") else {
            return;
        };
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let is_unclear = token.role == Role::Refusal
                && matches!(self.word(&token), "不清楚" | "不明确" | "不明");
            if is_unclear {
                let token = &mut self.tokens[at];
                token.role = Role::Content;
                token.concept = abnormal;
                token.category = Category::Normality;
                token.key = concept_key(abnormal);
            }
        }
    }

    /// "Stopped" where it is asked what stopped: the word tells what is asked about, and denies nothing.
    fn read_asked(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            if !matches!(token.role, Role::Negation | Role::NegationBack) {
                continue;
            }
            let Some(stem) = denial_stem(self.word(&token)) else {
                continue;
            };
            if let Some(asked) = self.asked.iter().find(|a| a.stem == stem) {
                self.tokens[at].role = asked.role;
            }
        }
    }

    /// Words of denial with a meaning of their own ("stopped", "ruled out") that the text has.
    pub fn denial_stems(&self) -> impl Iterator<Item = u64> + '_ {
        self.tokens
            .iter()
            .filter(|t| matches!(t.role, Role::Negation | Role::NegationBack))
            .filter_map(|t| denial_stem(self.word(t)))
    }

    /// The same stems where the text has them in a noun: "rejection".
    pub fn stems_of_nouns(&self) -> impl Iterator<Item = u64> + '_ {
        self.tokens
            .iter()
            .filter(|t| t.role == Role::Content)
            .filter_map(|t| denial_stem(self.word(t)))
    }

    /// "I favor a glioblastoma over a metastasis": what follows "over" is not meant.
    fn read_preferred(&mut self) {
        if !self.hints.has(Hints::LIKELIEST) {
            return;
        }
        let mut prefers = false;
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            prefers &= token.before < Break::Semicolon;
            let word = self.word(&token);
            prefers |= word.starts_with("favor")
                || word.starts_with("favour")
                || word.starts_with("prefer");
            if prefers && word == "over" {
                self.tokens[at].role = Role::Instead;
            }
        }
    }

    /// "The margins are involved": says that they are affected; "is involved in" does not.
    fn read_involved(&mut self) {
        if !self.hints.has(Hints::INVOLVED) {
            return;
        }
        let Some(affected) = super::lexicon::known!("attribute.affected") else {
            return;
        };
        for at in 1..self.tokens.len() {
            let token = self.tokens[at];
            if token.role != Role::Verb || self.word(&token) != "involved" {
                continue;
            }
            let ends = self.tokens.get(at + 1).is_none_or(|next| {
                next.before >= Break::Comma
                    || matches!(
                        next.role,
                        Role::And | Role::Contrast | Role::Relative | Role::Pronoun
                    )
                    || self.word(next) == "by"
            });
            let before = self.tokens[at - 1];
            let is_told = before.before >= Break::Joined
                && matches!(
                    before.role,
                    Role::Verb | Role::Negation | Role::Filler | Role::Content
                );
            if ends && is_told {
                let token = &mut self.tokens[at];
                token.role = Role::Content;
                token.concept = affected;
                token.category = Category::Attribute;
                token.key = concept_key(affected);
            }
        }
    }

    /// "非坏死性肉芽肿": 非 written before a word makes another word of it, and denies nothing after that.
    fn join_non(&mut self) {
        if !self.hints.has(Hints::NON) {
            return;
        }
        for at in 1..self.tokens.len() {
            let (prefix, token) = (self.tokens[at - 1], self.tokens[at]);
            let is_prefix = prefix.role == Role::Negation
                && token.is_joined
                && token.is_content()
                && self.word(&prefix) == "非";
            if is_prefix {
                self.tokens[at - 1].role = Role::Filler;
                self.tokens[at].key ^= NON;
            }
        }
    }

    fn mark_modifiers(&mut self) {
        for at in 1..self.tokens.len() {
            // "fat-containing", "brain-like"
            let is_compound = self.tokens[at].before == Break::Hyphen
                && matches!(
                    self.word(&self.tokens[at]),
                    "containing" | "like" | "saturated" | "suppressed" | "related" | "based"
                );
            self.tokens[at - 1].is_modifier |= is_compound;
            let (organ, picture) = (self.tokens[at - 1], self.tokens[at]);
            let is_close = picture.before <= Break::Hyphen || picture.start == organ.start;
            if organ.category == Category::Organ
                && picture.category == Category::Modality
                && is_close
            {
                self.tokens[at - 1].is_modifier = true;
            }
            if organ.category == Category::Modality
                && picture.category == Category::Organ
                && picture.start == organ.start
            {
                self.tokens[at].is_modifier = true;
            }
        }
    }
}

/// Key of the concept that a single word names, or of the word itself.
fn meaning_key(word: u64) -> u64 {
    match Lexicon::get().longest(std::iter::once(word)) {
        Some((Entry::Concepts(concepts), _)) => concept_key(concepts[0]),
        _ => word,
    }
}

/// Turns the key of a word into the key of its "non-" form.
pub const NON: u64 = 0x5bd1_e995_9d2c_5680;

/// Key of a "no" that answers the question.
pub const ANSWER_NO: u64 = 1;

impl Token {
    /// Whether the token carries meaning.
    #[must_use]
    pub fn is_content(&self) -> bool {
        matches!(self.role, Role::Content | Role::Number)
    }

    /// Whether the token is stated, not denied or set aside.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.is_content() && !self.is_negated && !self.is_aside
    }

    /// Whether the token is the answer "no".
    #[must_use]
    pub fn is_answer_no(&self) -> bool {
        self.role == Role::No && self.key == ANSWER_NO
    }
}

/// Tells "less than 1" from "1".
const fn bound_mark(bound: Bound) -> u64 {
    match bound {
        Bound::Exact => 0,
        Bound::Below | Bound::AtMost => 1,
        Bound::Above | Bound::AtLeast => 2,
    }
}

impl Parsed {
    /// "Lateral" names the view where views are asked for, not the outer side.
    pub(super) fn read_lateral_as_view(&mut self) {
        let (Some(side), Some(view)) = (
            super::lexicon::known!("direction.lateral"),
            super::lexicon::known!("plane.lateral"),
        ) else {
            return;
        };
        let is_part = |next: &Token| {
            next.before <= Break::Hyphen
                && (next.category == Category::Finding
                    || [
                        "ventric",
                        "menisc",
                        "condyl",
                        "malleol",
                        "wall",
                        "mass",
                        "recess",
                        "lobe",
                        "segment",
                        "aspect",
                        "epicondyl",
                        "ligament",
                        "border",
                        "margin",
                        "side",
                        "part",
                        "half",
                        "third",
                    ]
                    .iter()
                    .any(|w| self.text[next.start as usize..].starts_with(w)))
        };
        let parts: Vec<bool> = (0..self.tokens.len())
            .map(|at| self.tokens.get(at + 1).is_some_and(is_part))
            .collect();
        for (token, is_of_part) in self.tokens.iter_mut().zip(parts) {
            if token.concept != side || is_of_part {
                continue;
            }
            token.concept = view;
            token.category = Category::Plane;
            token.key = concept_key(view);
        }
    }
}

pub(super) const fn concept_key(concept: ConceptId) -> u64 {
    (1 << 62) | concept as u64
}

pub(super) const fn ordinal_key(value: u32) -> u64 {
    (3 << 61) | value as u64
}

/// "(+)", "(-)" and the sign in "ER+" are words.
fn spell_signs(text: &mut String) {
    let bytes = text.as_bytes();
    if memchr::memchr2(b'+', b'(', bytes).is_none() {
        return;
    }
    for (sign, word) in [("(+)", " positive "), ("(-)", " negative ")] {
        if text.contains(sign) {
            *text = text.replace(sign, word);
        }
    }
    if let Some(at) = memchr::memchr(b'+', text.as_bytes()) {
        let bytes = text.as_bytes();
        let is_letter =
            at > 1 && bytes[at - 1].is_ascii_alphabetic() && bytes[at - 2].is_ascii_alphabetic();
        let is_end = bytes
            .get(at + 1)
            .is_none_or(|b| matches!(b, b' ' | b'.' | b',' | b';'));
        if is_letter && is_end {
            text.replace_range(at..=at, " positive");
        }
    }
}

/// Rare words that rules of their own are for, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints(u16);

impl Hints {
    /// "Versus".
    pub const VERSUS: Self = Self(1);
    /// "Mimicking".
    pub const LIKENESS: Self = Self(2);
    /// "Absent", "resolved".
    pub const ABSENT: Self = Self(4);
    /// "Is out".
    pub const OUT: Self = Self(8);
    /// "Would".
    pub const WOULD: Self = Self(16);
    /// "Involved".
    pub const INVOLVED: Self = Self(32);
    /// "Confined", "only".
    pub const CONFINED: Self = Self(64);
    /// "Most likely", "best".
    pub const LIKELIEST: Self = Self(128);
    /// 非.
    pub const NON: Self = Self(256);
    /// "Common", "often", 常.
    pub const GENERAL: Self = Self(512);
    /// "For", 用于.
    pub const PURPOSE: Self = Self(1024);
    /// "Free".
    pub const FREE: Self = Self(2048);
    /// "From", "off".
    pub const DEPARTS: Self = Self(4096);
    /// "Presents with", 主诉.
    pub const PRESENTS: Self = Self(8192);

    /// "Wrong", "not right", 不对.
    pub const WRONG: Self = Self(16384);

    /// "Previous", "thought", 曾.
    pub const EARLIER: Self = Self(32768);

    /// Whether one of `others` was seen.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// What is known of a single word, so that one look at the tables is enough for most.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// Where the terms that begin with it stand in the lexicon; 0 where there are none.
    node: u32,
    hints: Hints,
    /// A level, a date or a value on a scale may begin or end with it.
    may_be_notation: bool,
}

impl Facts {
    /// The words of which anything is known, by their keys.
    fn table() -> &'static FxHashMap<u64, Self> {
        static TABLE: OnceLock<FxHashMap<u64, Facts>> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table: FxHashMap<u64, Self> = FxHashMap::default();
            for (key, node) in Lexicon::get().first_words() {
                table.entry(key).or_default().node = node;
            }
            for (hint, words) in HINT_WORDS {
                for word in words {
                    table.entry(word_key(word)).or_default().hints.0 |= hint.0;
                }
            }
            for word in notation::names() {
                table.entry(word_key(&word)).or_default().may_be_notation = true;
            }
            table
        })
    }
}

/// Words that a rule of their own is for.
const HINT_WORDS: [(Hints, &[&str]); 17] = [
    (Hints::EARLIER, &EARLIER),
    (
        Hints::EARLIER,
        &[
            "last",
            "used",
            "thought",
            "believed",
            "assumed",
            "suspected",
            "referring",
            "referrer",
            "outside",
            "mistaken",
            "misdiagnosed",
            "father",
            "mother",
            "brother",
            "sister",
            "son",
            "wife",
            "husband",
            "relatives",
            "relative",
            "family",
            "家",
            "父",
            "母",
            "considered",
            "suggested",
            "discussed",
            "proposed",
            "recommended",
            "术",
            "去",
            "上",
            "昨",
            "前",
            "既",
            "曾",
            "起",
            "最",
            "人",
            "外",
            "误",
            "初",
        ],
    ),
    (
        Hints::WRONG,
        &[
            "wrong",
            "incorrect",
            "false",
            "untrue",
            "mistake",
            "mistaken",
            "misleading",
            "inaccurate",
            "error",
            "erroneous",
            "correct",
            "true",
            "accurate",
            "justified",
            "tenable",
            "说",
            "认",
            "称",
            "判",
            "诊",
            "以",
            "声",
            "描",
        ],
    ),
    (
        Hints::PRESENTS,
        &[
            "presents",
            "presented",
            "presenting",
            "complains",
            "complained",
            "history",
            "patient",
            "患",
            "病",
            "诉",
            "诊",
            "院",
            "史",
        ],
    ),
    (Hints::PURPOSE, &["for", "用"]),
    (Hints::FREE, &["free"]),
    (Hints::DEPARTS, &["from", "off"]),
    (Hints::VERSUS, &["versus", "vs"]),
    (
        Hints::LIKENESS,
        &[
            "mimicking",
            "mimics",
            "mimic",
            "simulating",
            "simulates",
            "imitating",
            "imitates",
            "masquerading",
            "酷",
            "resembles",
            "resemble",
            "resembling",
            "looks",
            "similar",
        ],
    ),
    (
        Hints::ABSENT,
        &["absent", "missing", "nonexistent", "resolved", "invisible"],
    ),
    (Hints::OUT, &["out", "table"]),
    (Hints::WOULD, &["would"]),
    (Hints::INVOLVED, &["involved"]),
    (
        Hints::CONFINED,
        &[
            "confined",
            "limited",
            "restricted",
            "only",
            "alone",
            "exclusively",
            "限",
            "仅",
            "只",
        ],
    ),
    (
        Hints::LIKELIEST,
        &[
            "most",
            "likeliest",
            "favored",
            "favoured",
            "best",
            "favor",
            "favour",
            "prefer",
        ],
    ),
    (Hints::NON, &["非"]),
    (
        Hints::GENERAL,
        &[
            "common",
            "commonly",
            "commonest",
            "typical",
            "typically",
            "often",
            "usual",
            "usually",
            "frequent",
            "frequently",
            "rare",
            "rarely",
            "classic",
            "classical",
            "classically",
            "known",
            "recognized",
            "recognised",
            "uncommon",
            "leading",
            "important",
            "nonspecific",
            "characteristic",
            "characteristically",
            "pathognomonic",
            "defined",
            "treated",
            "diagnosed",
            "managed",
            "classified",
            "characterized",
            "characterised",
            "associated",
            "sometimes",
            "occasionally",
            "may",
            "might",
            "can",
            "possible",
            "常",
            "多",
            "通",
            "一",
            "往",
            "好",
            "易",
            "于",
            "现",
            "由",
            "most",
            "cases",
            "general",
            "generally",
            "tends",
            "tend",
            "prone",
            "likely",
            "rule",
            "normally",
            "favour",
            "favor",
            "favours",
            "favors",
            "predilection",
            "更",
            "数",
            "般",
            "patients",
            "people",
            "individuals",
            "persons",
            "adults",
            "children",
            "infants",
            "women",
            "men",
            "males",
            "females",
            "为",
            "发",
        ],
    ),
];

/// A word of denial that the question asks about.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What its forms share.
    pub stem: u64,
    /// What it does in the answer.
    pub role: Role,
}

/// Beginnings of verbs and adjectives that deny by their meaning; "no", "not", "absent" are none of them.
const DENIAL_STEMS: [&str; 33] = [
    "stop",
    "ceas",
    "subsid",
    "scar",
    "scant",
    "reject",
    "dismiss",
    "discard",
    "discount",
    "exclu",
    "rul",
    "remov",
    "excis",
    "resect",
    "extract",
    "evacuat",
    "retriev",
    "resol",
    "unlikel",
    "less likel",
    "improbab",
    "argu",
    "den",
    "doubt",
    "spar",
    "停止",
    "排除",
    "不考虑",
    "否认",
    "切除",
    "吸收",
    "消失",
    "消退",
];

/// The stem of a word of denial that has a meaning of its own.
pub(super) fn denial_stem(word: &str) -> Option<u64> {
    let word = ["has ", "have ", "was ", "已被", "已", "被"]
        .iter()
        .find_map(|lead| word.strip_prefix(lead))
        .unwrap_or(word);
    DENIAL_STEMS
        .iter()
        .find(|stem| word.starts_with(**stem))
        .map(|stem| word_key(stem))
}

/// "Iscalcified", "thelung": a blank is missing before a word of the table.
fn glued<'l>(text: &str, lexicon: &'l Lexicon) -> Option<(&'l Entry, usize)> {
    if text.len() < 6 || !text.as_bytes()[0].is_ascii_lowercase() {
        return None;
    }
    let rest = ["is", "the", "are", "of"]
        .iter()
        .find_map(|w| text.strip_prefix(w))
        .filter(|r| r.len() >= 4)?;
    let found = lexicon.longest(std::iter::once(word_key(rest)))?;
    matches!(found.0, Entry::Concepts(_)).then_some(found)
}

/// Bytes of "t1n0m0".
const SHORTEST_TNM: usize = 6;

/// Where "n" and "m" begin in "t2n0m0".
fn parts_of_tnm(word: &str) -> Option<[u32; 2]> {
    if word.len() < SHORTEST_TNM || word.as_bytes()[0] != b't' {
        return None;
    }
    let node = word.find('n')?;
    let rest = word[node..].find('m')?;
    let is_part = |part: &str| {
        let mut bytes = part.bytes().skip(1);
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_digit() || b == b'x')
            && bytes.all(|b| matches!(b, b'a'..=b'd'))
    };
    let (tumor, nodes, spread) = (
        &word[..node],
        &word[node..node + rest],
        &word[node + rest..],
    );
    (tumor.starts_with('t') && is_part(tumor) && is_part(nodes) && is_part(spread))
        .then_some([node as u32, (node + rest) as u32])
}

/// "pt3", "yn0", "cm1": a TNM category after the letter that says how it was found.
fn is_staged_category(text: &str) -> bool {
    let bytes = text.as_bytes();
    (3..=4).contains(&bytes.len())
        && matches!(bytes[0], b'p' | b'c' | b'y')
        && matches!(bytes[1], b't' | b'n' | b'm')
        && (b'0'..=b'4').contains(&bytes[2])
        && bytes.get(3).is_none_or(|b| (b'a'..=b'd').contains(b))
}

fn parse_number(text: &str) -> Option<f64> {
    if !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let is_decimal = text
        .rsplit_once(',')
        .is_some_and(|(_, digits)| digits.len() < 3 && !digits.contains('.'));
    text.replace(',', if is_decimal { "." } else { "" })
        .parse()
        .ok()
}
