//! What a question asks, as far as the answer's meaning depends on it.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::choices::Options;
use super::claims::{Kinds, Standing};
use super::clauses::Opener;
use super::lexicon::{Category, Role};
use super::numbers::{unit_named, Dimension};
use super::proposition::Proposition;
use super::relations::{is_affected, sides};
use super::tokens::{Parsed, Token, NO_CONCEPT};
use super::words::{has_any, Break, Pairs};

/// A question, read once for all its completions.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Question {
    /// The question itself.
    pub parsed: Parsed,
    pairs: Pairs,
    /// Options written into it: "… A) X-ray, B) MRI".
    pub options: Options,
    /// Keys of its content tokens, sorted.
    keys: Vec<u64>,
    /// Keys of the alternatives it offers, sorted.
    offered: Vec<u64>,
    /// It offers alternatives ("left or right?", "还是").
    pub has_alternatives: bool,
    /// It can be answered with yes or no.
    pub is_polar: bool,
    /// It asks what, where, how many: restating it answers nothing.
    pub asks_for_content: bool,
    /// What it asks to be confirmed.
    pub proposition: Proposition,
    /// Its statement is negative ("Is there no effusion?").
    pub is_negated: bool,
    /// It asks for an organ.
    pub asks_organ: bool,
    /// It asks for a plane or view.
    pub asks_view: bool,
    /// The scale on which it asks for a value: "stage" in "What stage is it?".
    pub scale: Option<&'static str>,
    /// It asks which of several is absent.
    pub asks_absence: bool,
    /// It asks for what is diseased.
    pub asks_defect: bool,
    /// It asks for the most frequent.
    pub asks_most: bool,
    /// It asks how severe something is.
    pub asks_degree: bool,
    /// It asks whether something is clear to see ("边界是否清楚"), so that "unclear" is an answer.
    pub asks_clearness: bool,
    /// Stems of the words of denial that it asks about.
    pub denials: Vec<u64>,
    /// Its adjectives.
    pub properties: Vec<Token>,
    acronyms: OnceLock<Vec<(String, String)>>,
    /// The unit in which it asks for an amount ("How old …?", "… in mm?"), and its factor to the base unit.
    pub unit: Option<(Dimension, f64)>,
}

const POLAR_OPENERS: &[&str] = &[
    "is", "are", "was", "were", "does", "do", "did", "can", "could", "has", "have", "had", "will",
    "would", "should", "isn", "aren", "doesn", "any", "evidence",
];

const POLAR_MARKS: &[&str] = &[
    "吗",
    "是否",
    "是不是",
    "有没有",
    "有无",
    "能否",
    "可否",
    "能不能",
    "会不会",
    "是否有",
    "对不对",
];

const CONTENT_OPENERS: &[&str] = &[
    "what", "which", "where", "how", "who", "whose", "when", "why", "describe", "in", "name",
    "list", "identify",
];

const CONTENT_MARKS: &[&str] = &["什么", "哪", "多少", "几", "如何", "怎么", "怎样", "为何"];

impl Question {
    /// Reads a question with the options in it; none where there is no text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self {
            options: Options::in_question(text),
            ..Self::new(text)
        })
    }

    /// Reads a question.
    #[must_use]
    #[allow(clippy::too_many_lines)] // one look at the words, read from top to bottom
    pub fn new(text: &str) -> Self {
        let mut parsed = Parsed::new(text);
        let pairs = Pairs::of(&parsed.text);
        let has = |words: &[&str]| pairs.have_any(&parsed.text, words);
        for token in &mut parsed.tokens {
            token.is_aside = false; // a question mark sets an answer aside, not a question
        }
        for segment in &mut parsed.segments {
            segment.standing = Standing::Stands;
        }
        let mut keys: Vec<u64> = parsed.content().map(|t| t.key).collect();
        keys.extend(parsed.content().filter_map(|t| parsed.head_of(t)));
        keys.sort_unstable();
        keys.dedup();
        let first = parsed
            .text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .find(|w| !w.is_empty())
            .unwrap_or("");
        let has_alternatives = parsed.segments.iter().enumerate().any(|(i, s)| {
            (s.opener == Opener::Or || s.opener == Opener::And && names_pair(&parsed, i))
                && has_content(&parsed, s)
        });
        let is_polar = POLAR_OPENERS.contains(&first) || has(POLAR_MARKS);
        let asks_which = parsed
            .tokens
            .iter()
            .take(4)
            .any(|t| matches!(parsed.word(t), "which" | "what" | "where"));
        let asks_for_content =
            !is_polar && (asks_which || CONTENT_OPENERS.contains(&first) || has(CONTENT_MARKS));
        let proposition = Proposition::new(&parsed);
        let is_negated = parsed
            .content()
            .any(|t| t.is_negated && t.category != Category::Normality);
        let offered = alternatives(&parsed);

        let names_only_places = parsed.content().all(|t| {
            is_affected(t)
                || !matches!(
                    t.category,
                    Category::Finding | Category::Normality | Category::Attribute
                )
        });
        let asks_organ = has(&["organ", "body part", "器官", "脏器"])
            || names_only_places
                && has(&[
                    "which vessel",
                    "what vessel",
                    "which structure",
                    "what structure",
                    "which bone",
                    "what bone",
                    "which muscle",
                    "which artery",
                    "which vein",
                    "which gland",
                    "which tissue",
                    "what tissue",
                    "part of the body is affected",
                    "part of the body is involved",
                    "哪个组织",
                    "什么组织",
                    "什么结构",
                    "哪个结构",
                    "哪根血管",
                    "什么血管",
                    "哪块骨",
                    "哪个腺体",
                    "什么腺体",
                ]);
        let scale = parsed.scale_asked();
        let unit = unit_asked(&parsed.text, has);
        let has_token = |is: &dyn Fn(&Token) -> bool| parsed.content().any(is);
        let is_said_normal = |t: &Token| t.category == Category::Normality && is_normal(t);
        let asks_defect = !has_token(&is_said_normal)
            && has_token(&|t| {
                matches!(t.category, Category::Finding | Category::Normality) || is_affected(t)
            });
        let asks_most = has(&[
            "predomina",
            "most ",
            "main ",
            "mainly",
            "majority",
            "主要",
            "为主",
            "最多",
        ]);
        let asks_degree = has(&["degree", "severity", "how severe", "extent", "程度"]);
        let asks_clearness = has(&["清楚", "清晰", "明确"]);
        let denials: Vec<u64> = parsed.denial_stems().collect();
        let is_property = |t: &&Token| {
            matches!(t.category, Category::Attribute | Category::Color)
                && !t.is_negated
                && offered.binary_search(&t.key).is_err()
        };
        let properties: Vec<Token> = parsed.content().filter(is_property).copied().collect();
        let is_taken_out = |t: &Token| {
            let word = parsed.word(t);
            ["remov", "excis", "resect", "切除", "摘除"]
                .iter()
                .any(|stem| word.starts_with(stem))
        };
        let asks_absence = !is_polar
            && (parsed.tokens.iter().any(|t| {
                t.role == Role::NegationBack && !matches!(parsed.word(t), "negative" | "阴性")
            }) && parsed.denial_stems().next().is_none()
                || parsed
                    .tokens
                    .iter()
                    .any(|t| t.role == Role::NegationBack && is_taken_out(t)));
        let asks_view = has(&[
            "view",
            "projection",
            "plane",
            "orientation",
            "投照",
            "体位",
            "切面",
            "平面",
            "视图",
        ]);
        Self {
            parsed,
            pairs,
            options: Options::default(),
            keys,
            offered,
            has_alternatives,
            is_polar,
            asks_for_content,
            proposition,
            is_negated,
            asks_organ,
            asks_view,
            scale,
            asks_absence,
            asks_defect,
            asks_most,
            asks_degree,
            asks_clearness,
            denials,
            properties,
            acronyms: OnceLock::new(),
            unit,
        }
    }

    /// Whether one of `words` is part of it.
    #[must_use]
    pub fn has(&self, words: &[&str]) -> bool {
        self.pairs.have_any(&self.parsed.text, words)
    }

    /// Initials of neighbouring words ("ER"), and the words.
    pub fn acronyms(&self) -> &[(String, String)] {
        self.acronyms.get_or_init(|| acronyms(&self.parsed))
    }

    /// Whether the question names what the token names.
    #[must_use]
    pub fn names(&self, token: &Token) -> bool {
        self.keys.binary_search(&token.key).is_ok()
    }

    /// Whether the token is one of the alternatives between which the question lets choose.
    #[must_use]
    pub fn offers(&self, token: &Token) -> bool {
        self.offered.binary_search(&token.key).is_ok()
    }

    /// Side of the body that the question is about, as bits; 0 where it names none or means the side of the picture.
    #[must_use]
    pub fn side_asked(&self) -> u8 {
        let means_picture = self.has(&["image", "picture", "图"]);
        let side = sides(self.parsed.content());
        if self.has_alternatives || means_picture || side == 3 {
            return 0;
        }
        side
    }

    /// Whether the question compares ("larger than").
    #[must_use]
    pub fn compares(&self) -> bool {
        self.parsed
            .segments
            .iter()
            .any(|s| s.opener == Opener::Than)
    }

    /// What the question says of the thing that it asks for: "abnormal" in "Which lung is abnormal?".
    ///
    /// `kinds` are the categories of the answer; words of these kinds, and alternatives, are no property.
    #[must_use]
    pub fn property(&self, kinds: Kinds) -> Vec<Token> {
        if !(self.asks_for_content || self.has_alternatives) {
            return Vec::new();
        }
        let is_property = |t: &&Token| {
            !kinds.has(t.category)
                && !self.offers(t)
                && !t.is_modifier
                && !matches!(
                    t.category,
                    Category::Organ
                        | Category::Side
                        | Category::Plane
                        | Category::Modality
                        | Category::Sequence
                )
        };
        let tokens = &self.parsed.tokens[self.frame()..];
        // 眶 of 眼眶 belongs to the noun
        let is_of_noun = |t: &Token| {
            let at = self.parsed.tokens.partition_point(|o| o.start < t.start);
            t.is_han
                && t.is_joined
                && at > 0
                && self.parsed.tokens[at - 1].category == Category::Organ
        };
        let mut times: FxHashMap<u64, usize> = FxHashMap::default();
        for token in self.parsed.content() {
            *times.entry(token.key).or_default() += 1;
        }
        let is_repeated = |t: &Token| times.get(&t.key).is_some_and(|&n| n > 1);
        let all: Vec<Token> = tokens
            .iter()
            .filter(|t| t.is_content())
            .filter(is_property)
            .copied()
            .collect();
        let mut property: Vec<Token> = all.iter().filter(|t| !is_repeated(t)).copied().collect();
        if property.iter().any(|t| t.concept != NO_CONCEPT) {
            property.retain(|t| !is_of_noun(t));
        }
        if property.is_empty() {
            property.extend(all.last().filter(|t| t.concept != NO_CONCEPT)); // "置换了假体"
        }
        // "On which side is the parathyroid necrotic?": the last word is said of the others
        let is_said = |t: &Token| {
            matches!(
                t.category,
                Category::Unknown | Category::Finding | Category::Normality | Category::Attribute
            )
        };
        match property.as_slice() {
            [.., before, last]
                if !last.is_han
                    && !last.is_joined
                    && before.category == Category::Unknown
                    && is_said(last)
                    && self.asks_be() =>
            {
                vec![*last]
            }
            _ => property,
        }
    }

    /// Where the words begin that say something of what is asked: after the verb of "which maxillary sinus is …".
    fn frame(&self) -> usize {
        let tokens = &self.parsed.tokens;
        let asks = |t: &Token| matches!(self.parsed.word(t), "which" | "what");
        tokens.iter().take(4).position(asks).map_or(0, |which| {
            let is_verb =
                |t: &Token| matches!(t.role, Role::Verb | Role::Affirm | Role::Preposition);
            tokens[which..]
                .iter()
                .position(is_verb)
                .map_or(0, |verb| which + verb)
        })
    }

    /// The verb is "is" or "are".
    fn asks_be(&self) -> bool {
        self.parsed.tokens.iter().any(|t| {
            matches!(
                self.parsed.word(t),
                "is" | "are" | "was" | "were" | "looks" | "appears"
            )
        })
    }

    /// Where the first sentence begins that answers in the words of the question: "The cause of the obstruction is …".
    #[must_use]
    pub fn restated_in(&self, answer: &Parsed) -> Option<usize> {
        let is_link = |t: &Token| {
            matches!(
                answer.word(t),
                "is" | "are" | "was" | "were" | "located" | "lies" | "为" | "是" | "位于" | "在"
            )
        };
        let mut first = 0;
        for sentence in answer.sentences() {
            let verb = sentence.iter().position(is_link);
            let lead = &sentence[..verb.unwrap_or(0)];
            let mut content = lead.iter().filter(|t| t.is_content()).peekable();
            if content.peek().is_some() && content.all(|t| self.names(t) && t.is_stated()) {
                return Some(first);
            }
            first += sentence.len();
        }
        None
    }

    /// Keys of the content tokens, sorted.
    #[must_use]
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Whether `answer` is nothing but the question again, word for word.
    #[must_use]
    pub fn is_repeated_by(&self, answer: &Parsed) -> bool {
        fn words(parsed: &Parsed) -> impl Iterator<Item = u64> + '_ {
            let said = parsed.tokens.iter().filter(|t| !is_speaker(parsed, t));
            said.map(|t| t.key)
        }
        !self.parsed.tokens.is_empty() && words(&self.parsed).eq(words(answer))
    }
}

impl Parsed {
    /// The key of "disc" where the token is "optic disc": the last word names the same thing once more.
    fn head_of(&self, token: &Token) -> Option<u64> {
        let (_, head) = self.word(token).rsplit_once(' ')?;
        let head = Self::new(head);
        match head.tokens.as_slice() {
            [one] if one.category == Category::Organ && token.category == Category::Organ => {
                Some(one.key)
            }
            _ => None,
        }
    }
}

/// The initials of two to four neighbouring words, in capitals, where they are no word of the table.
fn acronyms(parsed: &Parsed) -> Vec<(String, String)> {
    let lexicon = super::lexicon::Lexicon::get();
    let mut found = Vec::new();
    for (index, token) in parsed.tokens.iter().enumerate() {
        let is_word = |t: &Token| t.role == Role::Content && parsed.word(t).is_ascii();
        let after = parsed.tokens[index + 1..]
            .iter()
            .take(3)
            .take_while(|t| is_word(t) && t.before == Break::Blank)
            .count();
        if !is_word(token) {
            continue;
        }
        for last in index..=index + after {
            let words = &parsed.text[token.start as usize..parsed.tokens[last].end as usize];
            let initials: String = words.split(' ').filter_map(|w| w.chars().next()).collect();
            let is_known = lexicon
                .longest(std::iter::once(super::words::word_key(&initials)))
                .is_some();
            if (2..=5).contains(&initials.len())
                && initials.bytes().all(|b| b.is_ascii_lowercase())
                && !is_known
            {
                found.push((initials.to_ascii_uppercase(), words.to_string()));
            }
        }
    }
    found
}

/// What stands on both sides of "or": its first content word, the last one before it, the items of a list that
/// leads up to it, and what is of the same kind ("in the left or right lung").
fn alternatives(parsed: &Parsed) -> Vec<u64> {
    let mut keys = Vec::new();
    for (index, segment) in parsed.segments.iter().enumerate() {
        let is_pair = segment.opener == Opener::And && names_pair(parsed, index);
        if segment.opener != Opener::Or && !is_pair {
            continue;
        }
        let after: Vec<&Token> = parsed
            .of(segment)
            .iter()
            .filter(|t| t.is_content())
            .collect();
        // "肝左叶还是肝右叶": what both name is no alternative
        let is_common = |t: &Token| {
            index > 0
                && parsed
                    .of(&parsed.segments[index - 1])
                    .iter()
                    .any(|o| o.key == t.key && o.is_negated == t.is_negated)
        };
        let own = after.iter().find(|t| !is_common(t));
        let Some(first) = own.or(after.first()) else {
            continue;
        };
        keys.push(first.key);
        keys.extend(run_after(&after));
        for earlier in (0..index).rev() {
            let before: Vec<&Token> = parsed
                .of(&parsed.segments[earlier])
                .iter()
                .filter(|t| t.is_content())
                .collect();
            let is_shared = |t: &Token| after.iter().any(|a| a.key == t.key);
            // in "which organ is abnormal, heart or lung?" the first segment is no item
            let is_item = earlier + 1 == index || parsed.segments[earlier].opener == Opener::List;
            keys.extend(
                before
                    .last()
                    .filter(|t| is_item && !is_shared(t))
                    .map(|t| t.key),
            );
            keys.extend(run_before(&before).filter(|_| is_item));
            if is_item && first.category == Category::Unknown && !first.is_han {
                keys.extend(name_of(&parsed.tokens, &before, &after));
            }
            let same_kind =
                |t: &&&Token| t.category == first.category && t.category != Category::Unknown;
            keys.extend(before.iter().filter(same_kind).map(|t| t.key));
            if parsed.segments[earlier].opener != Opener::List {
                break;
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// "肝脏和脾脏中哪个…": two names between which to choose.
fn names_pair(parsed: &Parsed, index: usize) -> bool {
    let segment = &parsed.segments[index];
    let from = parsed.tokens[segment.first as usize].start as usize;
    let end = parsed.tokens[segment.end as usize - 1].end as usize;
    let text = &parsed.text[from..end];
    let lead = &parsed.text[..from];
    let is_english = lead.starts_with("of ") && parsed.text[end..].contains("which")
        || lead.contains("which of ")
        || lead.contains("between ") && parsed.text.contains("which");
    is_english
        || has_any(
            text,
            &["中", "之间", "哪个", "哪一个", "哪者", "哪项", "哪只"],
        ) && text.contains('哪')
}

/// Words of the name before "or" that the name after it has not: "nasogastric" in "nasogastric tube or endotracheal tube".
fn name_of<'t>(
    tokens: &'t [Token],
    before: &'t [&'t Token],
    after: &'t [&'t Token],
) -> impl Iterator<Item = u64> + 't {
    let is_close = |left: &Token, right: &Token| {
        let at = tokens.partition_point(|t| t.start < left.end);
        tokens.get(at).is_some_and(|t| t.start == right.start)
    };
    let joined = before
        .windows(2)
        .rev()
        .take_while(move |w| is_close(w[0], w[1]))
        .count();
    let name = &before[before.len().saturating_sub(joined + 1)..];
    name.iter()
        .filter(move |t| !after.iter().any(|a| a.key == t.key))
        .map(|t| t.key)
}

/// Chinese characters outside the table that follow the first one at once: they make one word with it.
fn run_after<'t>(after: &'t [&'t Token]) -> impl Iterator<Item = u64> + 't {
    let is_run = after.first().is_some_and(|t| t.is_han);
    let joined = after
        .windows(2)
        .take_while(|w| w[1].is_han && w[0].end == w[1].start)
        .map(|w| w[1].key);
    joined.take(if is_run { 2 } else { 0 })
}

/// The same before the last one.
fn run_before<'t>(before: &'t [&'t Token]) -> impl Iterator<Item = u64> + 't {
    let last = before.len().saturating_sub(1);
    let is_run = before.last().is_some_and(|t| t.is_han && t.is_joined);
    let joined = before[..last]
        .iter()
        .rev()
        .take_while(|t| t.is_han)
        .map(|t| t.key);
    joined.take(if is_run { 2 } else { 0 })
}

/// The unit that the question names or implies.
fn unit_asked(text: &str, has: impl Fn(&[&str]) -> bool) -> Option<(Dimension, f64)> {
    let asks_age = text.contains("age")
        && text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "age");
    if asks_age || has(&["how old", "years old", "年龄", "几岁", "多少岁"]) {
        return unit_named("years");
    }
    if has(&["percentage", "percent", "百分比", "百分之几", "百分率"]) {
        return unit_named("%");
    }
    if has(&[
        "heart rate",
        "pulse rate",
        "respiratory rate",
        "心率",
        "脉率",
        "呼吸频率",
    ]) {
        return unit_named("per minute");
    }
    let named = [" in ", "how many ", "多少", "几"].iter().find_map(|lead| {
        let at = text.find(lead)? + lead.len();
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(rest.len());
        unit_named(&rest[..end])
    });
    named.filter(|(dimension, _)| *dimension != Dimension::Count)
}

fn has_content(parsed: &Parsed, segment: &super::clauses::Segment) -> bool {
    parsed.of(segment).iter().any(Token::is_content)
}

fn is_speaker(parsed: &Parsed, token: &Token) -> bool {
    matches!(token.role, Role::Filler | Role::Conclude)
        && matches!(
            &parsed.text[token.start as usize..token.end as usize],
            "human" | "assistant" | "answer" | "question" | "user"
        )
}

/// Whether a token of the category normality says "normal".
#[must_use]
pub fn is_normal(token: &Token) -> bool {
    super::lexicon::known!("normality.normal") == Some(token.concept)
}

/// Whether a separator ends a clause.
#[must_use]
pub fn ends_clause(mark: Break) -> bool {
    mark >= Break::Comma
}
