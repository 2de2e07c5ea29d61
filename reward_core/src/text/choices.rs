//! Multiple choice: option letters and option texts.

use std::borrow::Cow;

use memchr::memchr;

use super::tokens::Parsed;
use super::words::markup_length;
use super::wrappers::{lead_length, unwrapped};

/// The options of one question.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Letter (upper case) and text of each option, in order.
    pub items: Vec<(char, Parsed)>,
    /// The question asks for the one that is false: "A is true" is no choice then, "C is false" is one.
    pub asks_false: bool,
}

impl Options {
    /// Options from letters and texts.
    #[must_use]
    pub fn new<S: AsRef<str>>(items: &[(char, S)]) -> Self {
        Self {
            items: items
                .iter()
                .map(|(c, t)| (c.to_ascii_uppercase(), Parsed::new(t.as_ref())))
                .collect(),
            asks_false: false,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Position of the option with this letter.
    #[must_use]
    pub fn position(&self, letter: char) -> Option<usize> {
        self.items.iter().position(|(c, _)| *c == letter)
    }

    /// Options written into a question: "… A) X-ray, B) MRI, C) CT".
    #[must_use]
    pub fn in_question(question: &str) -> Self {
        let mut marks: Vec<(usize, usize, char)> = Vec::new();
        let bytes = question.as_bytes();
        for at in 0..bytes.len() {
            let letter = bytes[at];
            let expected = b'A' + marks.len() as u8;
            let is_bounded = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
            if letter != expected || !is_bounded {
                continue;
            }
            let tail = &question[at + 1..];
            let mark = [")", ".", ":", "、", "．", "：", "）"]
                .iter()
                .find(|m| tail.starts_with(**m));
            if let Some(mark) = mark {
                marks.push((at, at + 1 + mark.len(), letter as char));
            }
        }
        if marks.len() < 2 {
            return Self::default();
        }
        let items: Vec<(char, String)> = marks
            .iter()
            .enumerate()
            .map(|(i, &(_, start, letter))| {
                let end = marks.get(i + 1).map_or(question.len(), |next| next.0);
                let text = question[start..end].trim_matches(|c: char| {
                    c.is_whitespace() || matches!(c, ',' | ';' | '(' | '，' | '；')
                });
                (letter, text.to_string())
            })
            .collect();
        Self::new(&items)
    }

    /// The options whose letters an answer chooses, sorted.
    ///
    /// A letter that is denied ("A is wrong", "not A", "排除A") is not chosen; one that is taken back is not either; the
    /// letters of a conclusion ("the answer is B") and those called the best win over letters that are only discussed.
    #[must_use]
    pub fn letters_in(&self, answer: &str) -> Letters {
        let plain: String = unwrapped(answer).chars().map(wide_to_plain).collect();
        let plain = without_markup(&plain);
        let plain = plain.trim();
        let words = words(&plain[lead_length(plain)..]);
        let mut groups = self.groups(&words);
        if groups.is_empty() {
            return self.last_letter(&words);
        }
        if let Some(start) = last_retraction(&words, &groups) {
            groups.retain(|g| g.start >= start);
        }
        let mut chosen = Letters {
            are_named: true,
            ..Letters::default()
        };
        let best = groups.iter().filter(|g| !g.is_denied).map(|g| g.rank).max();
        for group in groups
            .iter()
            .filter(|g| !g.is_denied && Some(g.rank) == best)
        {
            chosen.options.extend(&group.options);
            chosen.is_hedged |= group.is_hedged;
        }
        chosen.options.sort_unstable();
        chosen.options.dedup();
        chosen
    }

    /// The letter with which an answer ends that names none elsewhere: "I would tick D."
    fn last_letter(&self, words: &[Word<'_>]) -> Letters {
        let [.., before, last] = words else {
            return Letters::default();
        };
        let letter =
            last.text.chars().next().filter(|c| {
                last.text.len() == 1 && c.is_ascii_uppercase() && *c != 'I' && *c != 'A'
            });
        let position = letter.and_then(|c| self.position(c));
        let denies = words.iter().any(|w| {
            is_contraction(w.text)
                || DENIALS_BEFORE
                    .iter()
                    .any(|d| d.eq_ignore_ascii_case(w.text))
        });
        match position
            .filter(|_| !is_lettered(before.text) && before.text.len() > 1 && !denies && !last.asks)
        {
            Some(position) => Letters {
                options: vec![position],
                are_named: true,
                is_hedged: false,
            },
            None => Letters::default(),
        }
    }

    /// Runs of letters joined by commas and conjunctions, each with what is said of it.
    fn groups(&self, words: &[Word<'_>]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let Some(options) = self.letters_of(words, at, word) else {
                continue;
            };
            let joins = groups.last().is_some_and(|g| {
                let between = &words[g.end..at];
                let is_list = !word.is_after_colon
                    && between.iter().all(|w| is_connective(w.text))
                    && words[g.end..=at].iter().all(|w| w.before < Stop::Sentence);
                // "A. liver or B. spleen"
                let is_named_list = between.len() <= LONGEST_OPTION
                    && between
                        .last()
                        .is_some_and(|w| matches!(w.text, "or" | "and" | "或" | "和"))
                    && between
                        .iter()
                        .skip(1)
                        .chain([word])
                        .all(|w| w.before < Stop::Sentence)
                    && !between
                        .iter()
                        .any(|w| is_predicate(w.text) || DENIALS_AFTER.contains(&w.text));
                is_list || is_named_list
            });
            if joins {
                let group = groups.last_mut().expect("joins looks at the last group");
                group.options.extend(options);
                group.end = at + 1;
            } else {
                groups.push(Group {
                    options,
                    start: at,
                    end: at + 1,
                    ..Group::default()
                });
            }
        }
        for index in 0..groups.len() {
            let from = index.checked_sub(1).map_or(0, |i| groups[i].end);
            let to = groups.get(index + 1).map_or(words.len(), |g| g.start);
            let (start, end) = (groups[index].start, groups[index].end);
            let lead = &words[from + clause_start(&words[from..=start], from > 0)..start];
            let rest = &words[end..to];
            let tail = &rest[..clause_end(rest, to < words.len())];
            groups[index].judge(lead, &words[start..end], tail, self.asks_false);
        }
        groups
    }

    /// The options that a word names as letters: "B", "(b)", "AC" alone.
    fn letters_of(&self, words: &[Word<'_>], at: usize, word: &Word<'_>) -> Option<Vec<usize>> {
        let text = word.text;
        if !text.is_ascii() || text.len() > 5 {
            return None;
        }
        let letters: Option<Vec<usize>> = text
            .chars()
            .map(|c| self.position(c.to_ascii_uppercase()))
            .collect();
        let letters = letters?;
        let previous = at.checked_sub(1).map(|i| words[i].text);
        if text.len() > 1 {
            let is_all = words.len() == 1 || words.len() <= 4 && previous.is_none_or(is_lead);
            let is_upper = text.bytes().all(|b| b.is_ascii_uppercase());
            let are_new = letters
                .iter()
                .enumerate()
                .all(|(i, l)| !letters[..i].contains(l));
            return (is_all && is_upper && are_new && words.len() - at <= 2).then_some(letters);
        }
        let next = words.get(at + 1);
        let is_upper = text.as_bytes()[0].is_ascii_uppercase();
        let is_marked = word.is_bracketed || word.is_marked || next.is_none();
        let is_called = previous.is_some_and(is_lead);
        let opens = word.before >= Stop::Clause || word.is_after_colon || at == 0;
        if !is_upper {
            let is_named = previous.is_some_and(|p| {
                matches!(
                    p,
                    "answer" | "option" | "choice" | "letter" | "选" | "项" | "案"
                ) || p == "is"
                    && at >= 2
                    && matches!(words[at - 2].text, "answer" | "option" | "choice")
            });
            return (words.len() == 1
                || word.is_bracketed && word.is_closed
                || (opens || is_named) && (word.is_marked || is_named && next.is_none())
                || is_named && text != "a")
                .then_some(letters);
        }
        let is_predicated = next.is_some_and(|n| {
            n.before <= Stop::Blank && (is_predicate(n.text) || n.text.eq_ignore_ascii_case("it"))
        });
        let is_listed =
            next.is_some_and(|n| is_connective(n.text)) || previous.is_some_and(is_connective);
        let is_before_han = next.is_some_and(|n| !n.text.is_ascii());
        let is_article = text == "A"
            && !word.is_marked
            && next.is_some_and(|n| {
                n.before == Stop::Blank
                    && !is_predicate(n.text)
                    && !is_connective(n.text)
                    && !["the", "it", "as", "over", "than", "rather", "instead"]
                        .iter()
                        .any(|w| w.eq_ignore_ascii_case(n.text))
                    && n.text.is_ascii()
            });
        let is_pronoun =
            text == "I" && next.is_some_and(|n| n.before == Stop::Blank && n.text.is_ascii());
        if is_article && !word.is_bracketed || is_pronoun {
            return None;
        }
        let is_it = is_marked && (opens || is_called || is_listed || word.is_bracketed)
            || is_called
            || is_predicated && !previous.is_some_and(is_lettered)
            || is_listed
                && (opens
                    || previous.is_some_and(|p| is_connective(p) || is_lead(p))
                    || next.is_some_and(|n| n.before >= Stop::Clause))
            || is_before_han
            || opens && next.is_some_and(|n| n.before >= Stop::Clause || n.is_after_dash);
        is_it.then_some(letters)
    }
}

/// What the letters of an answer say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Positions of the chosen options, sorted.
    pub options: Vec<usize>,
    /// Letters are named at all, chosen or denied.
    pub are_named: bool,
    /// The choice is only held possible.
    pub is_hedged: bool,
}

/// What stands before a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    #[default]
    Joined,
    Blank,
    Clause,
    Sentence,
}

/// A word of an answer, upper and lower case kept.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
struct Word<'a> {
    text: &'a str,
    before: Stop,
    /// A bracket opens before it.
    is_bracketed: bool,
    /// A bracket closes after it.
    is_closed: bool,
    /// A bracket, full stop or colon follows at once.
    is_marked: bool,
    is_after_dash: bool,
    /// A question mark follows at once.
    asks: bool,
    /// A colon stands before it.
    is_after_colon: bool,
}

/// Words of the text; each Chinese character is one.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut found: Vec<Word<'_>> = Vec::new();
    let (mut before, mut is_bracketed, mut is_after_dash) = (Stop::Sentence, false, false);
    let mut is_after_colon = false;
    let mut chars = text.char_indices().peekable();
    while let Some((start, character)) = chars.next() {
        if !character.is_alphanumeric() {
            let is_close = matches!(character, ')' | ']' | '）' | '】' | '}');
            if let Some(last) = found.last_mut().filter(|_| before == Stop::Joined) {
                last.is_marked |= is_close
                    || matches!(
                        character,
                        '.' | ':'
                            | '、'
                            | ','
                            | ';'
                            | '。'
                            | '，'
                            | '；'
                            | '：'
                            | '!'
                            | '*'
                            | '"'
                            | '?'
                    );
                last.is_closed |= is_close;
                last.asks |= matches!(character, '?' | '？');
            }
            is_bracketed |= matches!(character, '(' | '[' | '（' | '【' | '{');
            is_after_colon |= matches!(character, ':' | '：');
            is_after_dash |= matches!(character, '-' | '—' | '–');
            before = before.max(match character {
                '.' | '!' | '?' | '。' | '！' | '？' | '\n' | ';' | '；' => Stop::Sentence,
                ',' | '，' | '、' | '—' | '–' | '(' | '（' | '>' | '*' | '"' | '#' => {
                    Stop::Clause
                }
                '\'' | '’' | '-' => before,
                _ => Stop::Blank,
            });
            if matches!(character, '-') && chars.peek().is_some_and(|c| c.1 == ' ') {
                before = before.max(Stop::Clause);
            }
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '\'' || c == '’';
        let is_quote = |c: char| c == '\'' || c == '’';
        let mut end = start + character.len_utf8();
        if character.is_ascii() {
            while let Some(&(at, c)) = chars.peek().filter(|(_, c)| is_word(*c)) {
                end = at + c.len_utf8();
                chars.next();
            }
            if text[..end].ends_with(is_quote) && !text[end..].starts_with(char::is_alphanumeric) {
                end -= text[..end].chars().next_back().map_or(0, char::len_utf8);
            }
            // "B-cell", "X-ray" are no letters
            let rest = &text[end..];
            if rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
                while let Some(&(at, c)) = chars.peek().filter(|(_, c)| is_word(*c) || *c == '-') {
                    end = at + c.len_utf8();
                    chars.next();
                }
            }
        }
        let word = Word {
            text: &text[start..end],
            before,
            is_bracketed,
            is_closed: false,
            is_marked: false,
            is_after_dash,
            asks: false,
            is_after_colon,
        };
        found.push(word);
        (before, is_bracketed, is_after_dash) = (Stop::Joined, false, false);
        is_after_colon = false;
    }
    found
}

/// Letters named together, and what is said of them.
#[derive(Clone, Debug, Default)]
struct Group {
    options: Vec<usize>,
    start: usize,
    end: usize,
    is_denied: bool,
    is_hedged: bool,
    /// A question mark follows: "C? I'd rather say D."
    is_asked: bool,
    /// 0: only discussed; 1: named; 2: called the best; 3: the conclusion.
    rank: u8,
}

impl Group {
    #[allow(clippy::too_many_lines)] // mostly lists of words
    fn judge(
        &mut self,
        lead: &[Word<'_>],
        letter: &[Word<'_>],
        tail: &[Word<'_>],
        asks_false: bool,
    ) {
        let before = letter[0].before;
        let count = |words: &[Word<'_>], list: &[&str]| {
            words
                .iter()
                .filter(|w| {
                    list.iter().any(|l| l.eq_ignore_ascii_case(w.text)) || is_contraction(w.text)
                })
                .count()
        };
        let has = |words: &[Word<'_>], list: &[&str]| {
            words
                .iter()
                .any(|w| list.iter().any(|l| l.eq_ignore_ascii_case(w.text)))
        };
        let has_run = |words: &[Word<'_>], runs: &[&str]| {
            let text: String = words.iter().map(|w| w.text).collect();
            runs.iter().any(|r| text.contains(r))
        };
        // "B项正确，其余均错误" says that of the others
        let of_others = tail
            .iter()
            .position(|w| matches!(w.text, "其" | "others" | "rest" | "remaining" | "other"));
        let tail = &tail[..of_others.unwrap_or(tail.len())];
        let ruled_out = tail.windows(2).any(|w| {
            w[0].text.eq_ignore_ascii_case("ruled") && w[1].text.eq_ignore_ascii_case("out")
        });
        let mut denials = count(lead, &DENIALS_BEFORE) + count(tail, &DENIALS_AFTER);
        denials -= usize::from(ruled_out); // one denial in two words
        denials += usize::from(has_run(
            lead,
            &[
                "不选",
                "不是",
                "排除",
                "而非",
                "除了",
                "并非",
                "不能选",
                "不应选",
                "不应该选",
                "不会选",
                "不该选",
                "不可能是",
                "不可能选",
                "别选",
                "不宜选",
                "不考虑",
                "不支持",
                "错选",
                "误选",
                "不能是",
            ],
        ));
        denials += usize::from(has_run(
            tail,
            &[
                "错",
                "不对",
                "不正确",
                "不符",
                "排除",
                "不是",
                "不成立",
                "不合",
            ],
        ));
        let is_question = |words: &[Word<'_>]| words.iter().any(|w| w.asks);
        if asks_false {
            let says_false = count(tail, &["wrong", "incorrect", "false"])
                + usize::from(has_run(tail, &["错", "不对", "不正确"]));
            denials = denials.saturating_sub(says_false);
            denials += usize::from(has(tail, &["true"]) && !lead.iter().any(|w| is_lead(w.text)));
        }
        self.is_denied = denials % 2 == 1;
        self.is_asked = is_question(letter) || is_question(tail);
        let may_be = lead.windows(2).any(|w| {
            ["could", "may"]
                .iter()
                .any(|m| m.eq_ignore_ascii_case(w[0].text))
                && w[1].text.eq_ignore_ascii_case("be")
        });
        self.is_hedged = may_be
            || has(lead, &["maybe", "perhaps", "possibly", "might", "probably"])
            || has(tail, &["maybe", "perhaps", "possibly", "might", "unsure"])
                && !has(tail, &["not"])
            || may_be_in_chinese(lead);
        let concludes = has(
            lead,
            &[
                "answer",
                "therefore",
                "thus",
                "hence",
                "so",
                "choose",
                "pick",
                "select",
                "final",
                "conclusion",
                "leaves",
                "leaving",
                "remains",
                "remaining",
                "consequently",
                "accordingly",
                "settle",
                "choosing",
                "picking",
                "selecting",
                "chosen",
                "go",
                "going",
                "opt",
            ],
        ) || has_run(
            lead,
            &[
                "答案", "故选", "应选", "选择", "因此", "所以", "综上", "选", "剩下", "只剩",
                "剩余", "结论", "唯有", "只有",
            ],
        );
        let says_false = asks_false
            && (has(tail, &["wrong", "incorrect", "false"]) || has_run(tail, &["错", "不正确"]));
        let is_best = says_false
            || has(
                tail,
                &[
                    "best", "better", "correct", "right", "fits", "true", "answer", "matches",
                    "winner",
                ],
            )
            || has_run(tail, &["正确", "最", "符合", "对"]);
        let is_considered = has(
            lead,
            &[
                "considered",
                "considering",
                "thought",
                "initially",
                "consider",
                "tempting",
                "suspected",
            ],
        ) || has_run(lead, &["考虑过", "起初", "最初", "一开始"]);
        let is_discussed = is_considered
            || tail
                .iter()
                .any(|w| is_predicate(w.text) || matches!(w.text, "as" | "because"));
        self.rank = match (concludes, is_best && !self.is_denied) {
            (true, _) => 3,
            (_, true) => 2,
            _ if lead.is_empty() && before >= Stop::Sentence && !is_discussed => {
                if tail.is_empty() {
                    3
                } else {
                    2
                }
            }
            _ => u8::from(!is_discussed),
        };
        if is_considered || self.is_asked {
            self.rank = 0;
        }
        if self.rank == 2 && is_best && !lead.iter().any(|w| is_lead(w.text)) {
            self.rank = 3;
        }
    }
}

const DENIALS_BEFORE: [&str; 17] = [
    "over",
    "against",
    "discard",
    "not",
    "nor",
    "neither",
    "than",
    "instead",
    "unlike",
    "exclude",
    "excluding",
    "excludes",
    "eliminate",
    "eliminating",
    "rule",
    "ruling",
    "except",
];

const DENIALS_AFTER: [&str; 15] = [
    "wrong",
    "incorrect",
    "false",
    "excluded",
    "eliminated",
    "ruled",
    "not",
    "unlikely",
    "cannot",
    "inconsistent",
    "rejected",
    "implausible",
    "impossible",
    "out",
    "isnt",
];

/// "Isn't", "CAN'T".
fn is_contraction(word: &str) -> bool {
    word.len() > 3
        && word
            .get(word.len() - 3..)
            .is_some_and(|end| end.eq_ignore_ascii_case("n't"))
}

/// A word after which a letter is an option.
fn is_lead(word: &str) -> bool {
    const LEADS: &[&str] = &[
        "answer",
        "option",
        "options",
        "choice",
        "is",
        "be",
        "as",
        "pick",
        "choose",
        "select",
        "chose",
        "picked",
        "therefore",
        "thus",
        "hence",
        "so",
        "not",
        "letter",
        "statement",
        "either",
        "neither",
        "both",
        "than",
        "boxed",
        "with",
        "remains",
        "leaves",
        "leaving",
        "out",
        "eliminate",
        "exclude",
        "ruling",
        "excluding",
        "eliminating",
        "for",
        "of",
        "on",
        "to",
        "supports",
        "suggests",
        "indicates",
        "favors",
        "favours",
        "towards",
        "it's",
        "that's",
        "say",
        "saying",
        "toward",
        "tick",
        "mark",
        "go",
        "take",
        "prefer",
        "get",
        "but",
        "rather",
        "makes",
        "make",
        "making",
        "choosing",
        "picking",
        "selecting",
        "chosen",
        "over",
        "prefer",
        "preferring",
        "favor",
        "favour",
    ];
    const CHINESE: [&str; 18] = [
        "选", "案", "是", "为", "项", "除", "即", "故", "和", "或", "非", "下", "剩", "余", "有",
        "了", "择", "认",
    ];
    LEADS.iter().any(|l| l.eq_ignore_ascii_case(word)) || CHINESE.contains(&word)
}

/// A word that takes a letter of its own: "vitamin C", "hepatitis B".
fn is_lettered(word: &str) -> bool {
    [
        "vitamin",
        "hepatitis",
        "type",
        "group",
        "class",
        "factor",
        "stage",
        "grade",
        "influenza",
        "protein",
        "line",
        "segment",
        "level",
        "figure",
        "panel",
        "image",
        "streptococcus",
        "hemoglobin",
        "haemoglobin",
        "cyclosporin",
        "child",
        "pugh",
        "rads",
        "lines",
    ]
    .iter()
    .any(|w| w.eq_ignore_ascii_case(word))
}

fn is_connective(word: &str) -> bool {
    [
        "and", "or", "nor", "to", "possibly", "maybe", "perhaps", "either", "also", "then",
    ]
    .iter()
    .any(|c| c.eq_ignore_ascii_case(word))
        || matches!(word, "和" | "或" | "与" | "及" | "还" | "是" | "者")
}

/// A word that says something of a letter.
fn is_predicate(word: &str) -> bool {
    [
        "is",
        "are",
        "was",
        "were",
        "isn't",
        "aren't",
        "fits",
        "fit",
        "seems",
        "can",
        "could",
        "would",
        "cannot",
        "can't",
        "looks",
        "matches",
        "describes",
        "does",
        "doesn't",
        "has",
        "should",
        "must",
        "shows",
        "appears",
        "remains",
        "may",
        "might",
        "best",
        "because",
        "since",
        "wrong",
        "correct",
        "right",
        "incorrect",
    ]
    .iter()
    .any(|p| p.eq_ignore_ascii_case(word))
}

/// Where the clause of a letter begins, counted from the start of `words`, whose last is the letter.
///
/// After another letter a new clause begins at the last mark or conjunction.
fn clause_start(words: &[Word<'_>], follows: bool) -> usize {
    let count = words.len();
    let limit = count.saturating_sub(LONGEST_SIDE);
    let sentence = (limit..count)
        .rev()
        .find(|&i| words[i].before >= Stop::Sentence && i > 0 || i == 0 && !follows);
    let from = sentence.unwrap_or(limit);
    if !follows || words[from].before >= Stop::Sentence && from > 0 {
        return if count > 0 && words[count - 1].before >= Stop::Sentence {
            count - 1
        } else {
            from
        };
    }
    let is_border = |i: &usize| words[*i].before >= Stop::Clause || is_border_word(words[*i].text);
    (from..count).rev().find(is_border).unwrap_or(count - 1)
}

/// Where what is said of a letter ends: at the end of its sentence, and before the clause of the next letter.
fn clause_end(words: &[Word<'_>], is_followed: bool) -> usize {
    let words = &words[..words.len().min(LONGEST_SIDE)];
    let sentence = words
        .iter()
        .position(|w| w.before >= Stop::Sentence)
        .unwrap_or(words.len());
    if !is_followed || sentence < words.len() {
        return sentence;
    }
    let is_border = |w: &Word<'_>| w.before >= Stop::Clause || is_border_word(w.text);
    words.iter().rposition(is_border).unwrap_or(words.len())
}

fn is_border_word(word: &str) -> bool {
    [
        "and",
        "but",
        "so",
        "therefore",
        "thus",
        "hence",
        "while",
        "whereas",
        "rather",
        "instead",
        "not",
        "unlike",
        "leaving",
        "than",
        "over",
        "makes",
        "making",
        "leaves",
    ]
    .iter()
    .any(|b| b.eq_ignore_ascii_case(word))
        || matches!(word, "而" | "但" | "故" | "所" | "因")
}

/// "可能", but not "最可能的诊断".
fn may_be_in_chinese(words: &[Word<'_>]) -> bool {
    let text: String = words.iter().map(|w| w.text).collect();
    let text = text.replace("最可能", "").replace("最有可能", "");
    ["可能", "也许", "大概", "或许"]
        .iter()
        .any(|w| text.contains(w))
}

/// Words of an option's text between two letters.
const LONGEST_OPTION: usize = 8;

/// Words before and after a letter that are looked at.
const LONGEST_SIDE: usize = 24;

/// Where the part of the answer begins that takes back what was before.
fn last_retraction(words: &[Word<'_>], groups: &[Group]) -> Option<usize> {
    let is_word = |i: usize| {
        let word = words[i].text.to_ascii_lowercase();
        matches!(
            word.as_str(),
            "wait" | "correction" | "sorry" | "oops" | "actually"
        ) || word == "mean" && i > 0 && words[i - 1].text == "I"
            || matches!(
                (words[i].text, words.get(i + 1).map(|w| w.text)),
                ("更" | "纠", Some("正")) | ("不", Some("对")) | ("等", Some("等"))
            )
    };
    let first = groups.first()?.start;
    let last = groups.last()?.start;
    (first + 1..last).rev().find(|&i| is_word(i))
}

/// "<b>B</b>" is B.
fn without_markup(text: &str) -> Cow<'_, str> {
    if memchr(b'<', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut kept, mut at) = (0, 0);
    while let Some(offset) = memchr(b'<', &text.as_bytes()[at..]) {
        let start = at + offset;
        at = start + 1;
        if let Some(length) = markup_length(&text.as_bytes()[start..]) {
            out.push_str(&text[kept..start]);
            at = start + length;
            kept = at;
        }
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

fn wide_to_plain(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        other => other,
    }
}
