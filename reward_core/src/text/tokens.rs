//! An answer as a row of tokens: concepts, words and numbers, each with its sentence, segment and negation.

use memchr::memmem;

use super::lexicon::{Category, ConceptId, Entry, Lexicon, Role};
use super::normalise::{is_plain_han, normalise};

/// Marks a token whose word is in no group of synonyms.
pub const NO_CONCEPT: ConceptId = ConceptId::MAX;

/// Words after the first one that a term of the table may have; the longest has fewer.
const LONGEST_TERM: usize = 24;

/// What follows repeats the options of a question.
const CHOOSE_FROM: &str = "please choose from";

/// Tokens after a negation in which its verb or its object is looked for.
const LONGEST_PREDICATE: usize = 64;

/// A word of normalised text before it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawWord<'a> {
    /// The spelling; a single character for Chinese.
    pub text: &'a str,
    /// Byte offset of the spelling.
    pub start: usize,
    /// Punctuation that stands between the previous word and this one, the strongest if there are several.
    pub before: Break,
}

/// What separates two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    /// Nothing at all: the two are written together.
    Joined,
    /// A blank, or a mark without meaning here.
    Blank,
    /// A hyphen.
    Hyphen,
    /// `/` between words.
    Slash,
    /// A bracket, opening or closing.
    Bracket,
    /// A comma or `、`.
    Comma,
    /// `;`, `:` or a dash.
    Semicolon,
    /// The end of a sentence or of a line.
    Sentence,
}

/// Splits normalised text into raw words.
#[must_use]
pub fn raw_words(text: &str) -> RawWords<'_> {
    RawWords { text, at: 0 }
}

/// Iterator made by [`raw_words`].
#[derive(Clone)]
pub struct RawWords<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for RawWords<'a> {
    type Item = RawWord<'a>;

    fn next(&mut self) -> Option<RawWord<'a>> {
        let bytes = self.text.as_bytes();
        let mut before = Break::Joined;
        loop {
            let &byte = bytes.get(self.at)?;
            let start = self.at;
            if byte.is_ascii_digit() {
                self.at = number_end(bytes, start);
                return Some(self.word(start, before));
            }
            if byte.is_ascii_lowercase() {
                self.at += bytes[start..]
                    .iter()
                    .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                    .count();
                // a following letter outside ASCII belongs to the word unless it is Chinese
                while let Some(c) = self.text[self.at..]
                    .chars()
                    .next()
                    .filter(|&c| is_word_character(c))
                {
                    self.at += c.len_utf8();
                }
                return Some(self.word(start, before));
            }
            if byte == b'<' {
                if let Some(length) = markup_length(&bytes[start..]) {
                    self.at += length;
                    before = before.max(Break::Blank);
                    continue;
                }
            }
            if byte.is_ascii() {
                self.at += 1;
                before = before.max(self.break_of(byte, start));
                continue;
            }
            let character = self.text[start..].chars().next()?;
            self.at += character.len_utf8();
            if is_plain_han(character) {
                return Some(self.word(start, before));
            }
            if is_word_character(character) {
                while let Some(c) = self.text[self.at..]
                    .chars()
                    .next()
                    .filter(|&c| is_word_character(c))
                {
                    self.at += c.len_utf8();
                }
                return Some(self.word(start, before));
            }
            before = before.max(match character {
                '。' | '！' | '？' | '…' | '\u{2028}' | '\u{2029}' => Break::Sentence,
                '、' | '，' | '·' => Break::Comma,
                '；' | '：' => Break::Semicolon,
                '（' | '）' | '【' | '】' | '《' | '》' => Break::Bracket,
                _ => Break::Blank,
            });
        }
    }
}

impl<'a> RawWords<'a> {
    fn word(&self, start: usize, before: Break) -> RawWord<'a> {
        RawWord {
            text: &self.text[start..self.at],
            start,
            before,
        }
    }

    fn break_of(&self, byte: u8, at: usize) -> Break {
        let next = self.text.as_bytes().get(at + 1).copied();
        let is_followed_by_letter = next.is_some_and(|b| b.is_ascii_alphanumeric());
        match byte {
            b'.' if is_followed_by_letter => Break::Blank,
            b'.' | b'!' | b'?' | b'\n' => Break::Sentence,
            b',' => Break::Comma,
            b';' | b':' => Break::Semicolon,
            b'/' => Break::Slash,
            b'(' | b')' | b'[' | b']' => Break::Bracket,
            b'-' if is_followed_by_letter => Break::Hyphen,
            _ => Break::Blank,
        }
    }
}

/// Length of a short markup tag such as `<b>` or `</p>` at the start of `bytes`.
fn markup_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().take(24).position(|&b| b == b'>')?;
    let name = &bytes[1..end];
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'/' || *b == b' ');
    is_name.then_some(end + 1)
}

fn is_word_character(character: char) -> bool {
    !character.is_ascii() && character.is_alphanumeric() && !is_plain_han(character)
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        at += bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let is_inner_mark = matches!(bytes.get(at), Some(b'.' | b','))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && (bytes[at] == b'.' || has_three_digits(&bytes[at + 1..]));
        if !is_inner_mark {
            break;
        }
        at += 1;
    }
    for suffix in [&b"st"[..], b"nd", b"rd", b"th", b"d"] {
        let end = at + suffix.len();
        let is_last = bytes.get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
        if bytes[at..].starts_with(suffix) && is_last {
            return end;
        }
    }
    at
}

fn has_three_digits(bytes: &[u8]) -> bool {
    bytes.len() >= 3
        && bytes[..3].iter().all(u8::is_ascii_digit)
        && bytes.get(3).is_none_or(|b| !b.is_ascii_digit())
}

/// Key under which a raw word is looked up and compared: equal for singular and plural.
#[must_use]
pub fn word_key(word: &str) -> u64 {
    let bytes = word.as_bytes();
    let length = bytes.len();
    let (stem, ending): (&[u8], &[u8]) =
        if length < 4 || !word.is_ascii() || bytes[length - 1] != b's' || is_singular_in_s(word) {
            (bytes, b"")
        } else if length > 4 && word.ends_with("ies") {
            (&bytes[..length - 3], b"y")
        } else if length > 4
            && ["ses", "xes", "ches", "shes", "zes"]
                .iter()
                .any(|e| word.ends_with(e))
        {
            match IS_PLURALS.contains(&word) {
                true => (&bytes[..length - 2], b"is"),
                false if word.ends_with("sses") || !word.ends_with("ses") => {
                    (&bytes[..length - 2], b"")
                }
                false => (&bytes[..length - 1], b""),
            }
        } else {
            (&bytes[..length - 1], b"")
        };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in stem.iter().chain(ending) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 29)
}

const IS_PLURALS: [&str; 12] = [
    "diagnoses",
    "metastases",
    "stenoses",
    "thromboses",
    "necroses",
    "fibroses",
    "sclerosises",
    "analyses",
    "hypotheses",
    "prognoses",
    "psychoses",
    "anastomoses",
];

fn is_singular_in_s(word: &str) -> bool {
    let bytes = word.as_bytes();
    matches!(bytes[bytes.len() - 2], b's' | b'u' | b'i')
        || matches!(
            word,
            "pancreas"
                | "gas"
                | "biceps"
                | "triceps"
                | "lens"
                | "always"
                | "ascites"
                | "diabetes"
                | "rabies"
                | "scabies"
                | "caries"
                | "facies"
                | "herpes"
                | "series"
                | "pubes"
                | "mumps"
                | "pons"
                | "yes"
                | "does"
                | "has"
                | "was"
                | "rights"
                | "lefts"
        )
}

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
}

/// What opens a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The start of a sentence, or `;` and `:`.
    Start,
    /// A comma or a slash.
    List,
    /// "Such as", "including".
    Examples,
    /// "And".
    And,
    /// "Or".
    Or,
    /// A bracket.
    Bracket,
    /// "But".
    Contrast,
    /// "Because", "which" after a comma.
    Relative,
    /// "Specifically", a participle after a comma.
    Detail,
    /// "Than", "compared to".
    Than,
    /// "Rather than", "instead of".
    Instead,
}

/// A stretch of tokens between separators.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Segment {
    /// Index of its first token.
    pub first: u32,
    /// Index after its last token.
    pub end: u32,
    /// What opened it.
    pub opener: Opener,
    /// Sentence it belongs to.
    pub sentence: u32,
    /// It holds a verb, so it is a clause rather than a list item.
    pub has_verb: bool,
    /// It explains or compares and is no part of the answer proper.
    pub is_side_remark: bool,
    /// It describes more closely what was just said.
    pub is_detail: bool,
    /// It lists parts or examples of what was just said.
    pub is_example: bool,
    /// Where its first "near" or "adjacent to" begins; what follows only places the answer.
    pub near: u32,
}

/// An answer, read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Normalised text.
    pub text: String,
    /// Tokens in order.
    pub tokens: Vec<Token>,
    /// Segments in order.
    pub segments: Vec<Segment>,
    words: Vec<(u64, u32, u32, Break)>,
}

impl Parsed {
    /// Reads `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parsed = Self::default();
        parsed.read(text);
        parsed
    }

    /// Reads `text` into this value, reusing its memory.
    pub fn read(&mut self, text: &str) {
        let mut normal = std::mem::take(&mut self.text);
        normalise(text, &mut normal);
        self.text = normal;
        self.read_normalised();
    }

    /// Tokens of the segment.
    #[must_use]
    pub fn of(&self, segment: &Segment) -> &[Token] {
        &self.tokens[segment.first as usize..segment.end as usize]
    }

    /// Tokens of each sentence, in order.
    pub fn sentences(&self) -> impl Iterator<Item = &[Token]> {
        self.tokens.chunk_by(|a, b| a.sentence == b.sentence)
    }

    /// Tokens that carry meaning, in order.
    pub fn content(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|t| t.is_content())
    }

    fn read_normalised(&mut self) {
        self.tokens.clear();
        self.segments.clear();
        self.split_words();
        self.look_up();
        self.mark_modifiers();
        self.split_segments();
        self.mark_negation();
        self.turn_denied_normality();
        self.mark_refusals();
        self.set_aside_questions();
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
        let mut end = self.tokens.len();
        while end > 0 {
            let sentence = self.tokens[end - 1].sentence;
            let stop = self
                .tokens
                .get(end)
                .map_or(self.text.len(), |next| next.start as usize);
            let asks = self.text[self.tokens[end - 1].end as usize..stop].contains('?');
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
        if self.text.len() > CHOOSE_FROM.len() {
            if let Some(at) = memmem::find(self.text.as_bytes(), CHOOSE_FROM.as_bytes()) {
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
            if word.text == "cannot" {
                self.words.push((word_key("can"), start, end, word.before));
                self.words.push((not, start, end, Break::Blank));
                continue;
            }
            self.words
                .push((word_key(word.text), start, end, word.before));
        }
    }

    fn look_up(&mut self) {
        let lexicon = Lexicon::get();
        let mut at = 0;
        while at < self.words.len() {
            let (key, start, end, before) = self.words[at];
            let text = &self.text[start as usize..end as usize];
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
            };
            if let Some(number) = parse_number(text) {
                token.role = Role::Number;
                token.value = number;
                token.key = number.to_bits();
            }
            // a term does not reach over punctuation stronger than a hyphen or slash
            let reach = self.words[at + 1..]
                .iter()
                .take(LONGEST_TERM)
                .take_while(|w| w.3 <= Break::Slash)
                .count()
                + 1;
            let keys = self.words[at..at + reach].iter().map(|w| w.0);
            let known = lexicon.longest(keys.clone()).map_or(0, |found| found.1);
            if let Some(concept) = self.side_letter(at, lexicon).filter(|_| known < 2) {
                token.concept = concept;
                token.category = Category::Side;
                token.key = concept_key(concept);
                self.tokens.push(token);
                at += 1;
                continue;
            }
            let found = lexicon.longest(keys);
            if let Some((key, length)) = self.non_word(at, found.map_or(0, |f| f.1)) {
                token.key = key;
                token.end = self.words[at + length - 1].2;
                self.tokens.push(token);
                at += length;
                continue;
            }
            let Some((entry, length)) = found else {
                token.is_han = text.chars().next().is_some_and(is_plain_han);
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
                    self.push_number(token);
                }
                Entry::Ordinal(value) => {
                    token.key = ordinal_key(*value);
                    self.tokens.push(token);
                }
                Entry::Concepts(concepts) => {
                    for (position, &concept) in concepts.iter().enumerate() {
                        token.role = Role::Content;
                        token.concept = concept;
                        token.category = lexicon.concepts[concept as usize].category;
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
        let next = self.words.get(at + 1).filter(|w| w.3 <= Break::Hyphen)?;
        match lexicon.longest(std::iter::once(next.0))?.0 {
            Entry::Concepts(concepts) => {
                let category = lexicon.concepts[concepts[0] as usize].category;
                let is_place = matches!(category, Category::Organ | Category::Direction);
                lexicon.concept(name).filter(|_| is_place)
            }
            _ => None,
        }
    }

    /// "Twenty five" is one number.
    fn push_number(&mut self, token: Token) {
        if let Some(last) = self.tokens.last_mut().filter(|t| t.role == Role::Number) {
            let is_sum = last.value >= 20.0
                && last.value % 10.0 == 0.0
                && token.value < 10.0
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

    fn mark_modifiers(&mut self) {
        for at in 1..self.tokens.len() {
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

    fn split_segments(&mut self) {
        let mut sentence = 0;
        let mut is_list = true; // so far, of the sentence
        let mut open: Option<Segment> = None;
        for index in 0..self.tokens.len() {
            if is_list && self.continues_list(index) {
                self.tokens[index].before = Break::Comma;
            }
            let token = self.tokens[index];
            let opener = match (token.before, token.role) {
                (Break::Sentence | Break::Semicolon, _) => Some(Opener::Start),
                (_, Role::And) => Some(Opener::And),
                (_, Role::Or) => Some(Opener::Or),
                (_, Role::Contrast) => Some(Opener::Contrast),
                (_, Role::Relative) | (Break::Comma, Role::Pronoun) => Some(Opener::Relative),
                (_, Role::Detail) => Some(Opener::Detail),
                (_, Role::List) => Some(Opener::Examples),
                (Break::Comma, _) if self.is_participle(&token) => Some(Opener::Detail),
                (_, Role::Than) => Some(Opener::Than),
                (_, Role::Instead) => Some(Opener::Instead),
                (Break::Comma | Break::Slash, _) => Some(Opener::List),
                (Break::Bracket, _) => Some(Opener::Bracket),
                _ => None,
            };
            if token.before == Break::Sentence && index > 0 {
                sentence += 1;
                is_list = true;
            }
            is_list &= is_bare_line(&token);
            if opener.is_some() || open.is_none() {
                self.segments.extend(open.take());
                let opener = if index == 0 {
                    Opener::Start
                } else {
                    opener.unwrap_or(Opener::Start)
                };
                open = Some(self.segment_from(index, opener, sentence));
            }
            let token = &mut self.tokens[index];
            token.sentence = sentence;
            token.segment = self.segments.len() as u32;
            if let Some(segment) = &mut open {
                segment.end = index as u32 + 1;
                segment.has_verb |= matches!(token.role, Role::Verb);
                if token.role == Role::Near {
                    segment.near = segment.near.min(token.start);
                }
            }
        }
        self.segments.extend(open);
    }

    /// A segment that begins at token `index`; a side remark lasts until a verb or a contrast takes up the thread.
    fn segment_from(&self, index: usize, opener: Opener, sentence: u32) -> Segment {
        let before = self.segments.last().filter(|s| s.sentence == sentence);
        let resumes = self.tokens[index].role == Role::Verb
            || matches!(opener, Opener::Contrast | Opener::Start);
        let is_side = matches!(opener, Opener::Relative | Opener::Than | Opener::Instead);
        let continues = before.is_some_and(|s| {
            s.is_side_remark && !matches!(s.opener, Opener::Than | Opener::Instead)
        });
        let is_detail =
            opener == Opener::Detail || (before.is_some_and(|s| s.is_detail) && !resumes);
        Segment {
            first: index as u32,
            end: index as u32,
            opener,
            sentence,
            has_verb: false,
            is_side_remark: is_side || (continues && !resumes),
            is_detail,
            is_example: opener == Opener::Examples
                || (before.is_some_and(|s| s.is_example) && !resumes),
            near: u32::MAX,
        }
    }

    /// Bare lines ("1. lung", "2. liver") are the items of one list, not sentences; the line before is a bare one.
    fn continues_list(&self, index: usize) -> bool {
        let (earlier, later) = self.tokens.split_at(index);
        let Some(last) = earlier
            .last()
            .filter(|_| later[0].before == Break::Sentence)
        else {
            return false;
        };
        let gap = &self.text[last.end as usize..later[0].start as usize];
        let mut after = later
            .iter()
            .enumerate()
            .take_while(|(i, t)| *i == 0 || t.before != Break::Sentence);
        !gap.contains('?') && after.all(|(_, t)| is_bare_line(t))
    }

    /// "…, showing the lungs": a participle opens a closer description.
    fn is_participle(&self, token: &Token) -> bool {
        let word = &self.text[token.start as usize..token.end as usize];
        word.ends_with("ing")
            && (token.role == Role::Verb
                || token.concept == NO_CONCEPT && token.role == Role::Content)
    }

    fn mark_negation(&mut self) {
        self.settle_leading_no();
        let mut is_denied = false;
        let mut reach = DenialReach::default();
        for index in 0..self.segments.len() {
            reach.enter(&self.segments, index);
            let segment = self.segments[index];
            let is_list_item = !segment.has_verb
                && matches!(segment.opener, Opener::List | Opener::And | Opener::Bracket);
            let continues =
                segment.opener == Opener::Or || segment.opener == Opener::Relative || is_list_item;
            if !continues {
                is_denied = false;
            }
            let range = segment.first as usize..segment.end as usize;
            let mut is_aside = matches!(segment.opener, Opener::Than | Opener::Instead);
            for at in range.clone() {
                match self.tokens[at].role {
                    Role::Negation => {
                        is_denied = true;
                        if self.denies_backwards(at, range.end) {
                            reach.deny_before(at, &mut self.tokens);
                        }
                    }
                    Role::No => is_denied = self.tokens[at].key != ANSWER_NO,
                    Role::Condition => is_aside = true,
                    Role::NegationBack => reach.deny_before(at, &mut self.tokens),
                    Role::Content | Role::Number => {
                        self.tokens[at].is_negated |= is_denied;
                        self.tokens[at].is_aside |= is_aside;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Tells "no" that answers ("No, …", "no it is …") from "no" that denies ("no effusion").
    fn settle_leading_no(&mut self) {
        if self.tokens.len() > 1
            && self.tokens[0].role == Role::Negation
            && self.tokens[1].before >= Break::Comma
        {
            self.tokens[0].role = Role::No; // "不，…"
        }
        for at in 0..self.tokens.len() {
            if self.tokens[at].role != Role::No {
                continue;
            }
            let follows_or = at > 0 && self.tokens[at - 1].role == Role::Or;
            let answers = follows_or
                || self.tokens.get(at + 1).is_none_or(|next| {
                    next.before > Break::Hyphen
                        || matches!(
                            next.role,
                            Role::Determiner
                                | Role::Verb
                                | Role::Yes
                                | Role::No
                                | Role::Or
                                | Role::And
                                | Role::Contrast
                                | Role::Relative
                                | Role::Negation
                        )
                });
            if answers {
                self.tokens[at].key = ANSWER_NO;
            }
        }
    }

    /// "Not seen", "not visible in the lung": the negation denies what was named before it.
    fn denies_backwards(&self, at: usize, end: usize) -> bool {
        let mut has_verb = false;
        for token in self.tokens[at + 1..end].iter().take(LONGEST_PREDICATE) {
            match token.role {
                Role::Affirm => return true,
                Role::Preposition if has_verb => return true,
                Role::Content | Role::Number => return false,
                Role::Verb => has_verb |= !self.is_auxiliary(token),
                _ => {}
            }
        }
        true
    }

    fn is_auxiliary(&self, token: &Token) -> bool {
        matches!(
            &self.text[token.start as usize..token.end as usize],
            "is" | "are"
                | "was"
                | "were"
                | "be"
                | "been"
                | "being"
                | "has"
                | "have"
                | "had"
                | "do"
                | "does"
                | "did"
                | "can"
                | "could"
                | "will"
                | "would"
                | "should"
                | "为"
                | "呈"
        )
    }
}

/// What a denial that follows ("… are not seen") denies: its segment so far and the list items that lead up to it.
#[derive(Clone, Copy, Default)]
struct DenialReach {
    /// First token of the list.
    first: usize,
    /// Tokens before this one, from `first` on, are denied already.
    done: usize,
}

impl DenialReach {
    /// Goes on to segment `index`, the one after the last.
    fn enter(&mut self, segments: &[Segment], index: usize) {
        let segment = &segments[index];
        let is_in_list = matches!(
            segment.opener,
            Opener::And | Opener::Or | Opener::List | Opener::Bracket
        ) && index > 0
            && !segments[index - 1].has_verb
            && segments[index - 1].sentence == segment.sentence;
        if !is_in_list {
            self.first = segment.first as usize;
        }
    }

    fn deny_before(&mut self, at: usize, tokens: &mut [Token]) {
        for token in &mut tokens[self.first.max(self.done)..at] {
            token.is_negated |= token.is_content();
        }
        self.done = at;
    }
}

fn is_bare_line(token: &Token) -> bool {
    matches!(
        token.role,
        Role::Content | Role::Number | Role::Filler | Role::Preposition | Role::Determiner
    )
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

const fn concept_key(concept: ConceptId) -> u64 {
    (1 << 62) | concept as u64
}

const fn ordinal_key(value: u32) -> u64 {
    (3 << 61) | value as u64
}

fn parse_number(text: &str) -> Option<f64> {
    if !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    text.replace(',', "").parse().ok()
}
