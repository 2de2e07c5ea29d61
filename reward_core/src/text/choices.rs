//! Multiple choice: option letters and option texts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use memchr::memchr;

use super::letters::{words, Does, Stop, Word};
use super::tokens::Parsed;
use super::words::{has_any, markup_length};
use super::wrappers::{lead_length, unwrapped};

/// The options of one question.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Letter (upper case) and text of each option, in order.
    pub items: Vec<(char, Parsed)>,
    /// The question asks for the one that is false: "A is true" is no choice then, "C is false" is one.
    pub asks_false: bool,
    /// The question asks for the least likely one.
    pub asks_least: bool,
}

/// Bytes of an answer that may list all options.
const LONGEST_LISTING: usize = 4096;

/// The same words, whatever stands between them.
fn is_same_text(one: &Parsed, other: &Parsed) -> bool {
    let keys = |p: &Parsed| p.tokens.iter().map(|t| t.key).collect::<Vec<_>>();
    keys(one) == keys(other)
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
            ..Self::default()
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
        let plain = as_written(answer);
        if let Some(letters) = self.after_arrow(&plain) {
            return letters;
        }
        let plain = plain.trim();
        let plain = &plain[lead_length(plain)..];
        if self.are_all_in(plain) {
            return Letters {
                options: (0..self.items.len()).collect(),
                are_named: true,
                ..Letters::default()
            };
        }
        let words = words(plain);
        if let Some(letters) = self
            .verdicts(&words)
            .or_else(|| self.ranking(plain, &words))
        {
            return letters;
        }
        let mut groups = self.groups(&words, false);
        if groups.is_empty() && !self.ends_in_letter(&words) {
            return Letters::default();
        }
        // where letters are named, every other letter is one too: "B ou C"
        groups = self.groups(&words, true);
        if let Some(start) = last_retraction(&words, &groups) {
            groups.retain(|g| g.start >= start);
        }
        let mut chosen = chosen_of(&words, &groups);
        // "neither A nor B nor D": the one that is left
        let left: Vec<usize> = (0..self.items.len())
            .filter(|option| !chosen.denied.contains(option))
            .collect();
        if chosen.options.is_empty() && left.len() == 1 && self.items.len() > 2 && !self.asks_false
        {
            chosen.options = left;
        }
        chosen
    }

    /// "A. liver, B. spleen, C. lung": all options in their order, and nothing else.
    fn are_all_in(&self, plain: &str) -> bool {
        if self.items.len() < 2 || !plain.starts_with(['A', '(']) || plain.len() > LONGEST_LISTING {
            return false;
        }
        let listed = Self::in_question(plain).items;
        listed.len() == self.items.len()
            && listed
                .iter()
                .zip(&self.items)
                .all(|(said, own)| said.0 == own.0 && is_same_text(&said.1, &own.1))
    }

    /// What follows the last arrow, where letters stand on both sides of it: "A/C → C".
    fn after_arrow(&self, plain: &str) -> Option<Letters> {
        if plain.is_ascii() && memchr(b'>', plain.as_bytes()).is_none() {
            return None;
        }
        let (at, arrow) = ["->", "=>", "→", "⇒"]
            .iter()
            .filter_map(|a| plain.rfind(a).map(|at| (at, a)))
            .max()?;
        let (before, after) = (&plain[..at], &plain[at + arrow.len()..]);
        let is_named = words(before).iter().any(|w| self.is_letter(w));
        let letters = if is_named {
            self.letters_in(after)
        } else {
            return None;
        };
        (!letters.options.is_empty()).then_some(letters)
    }

    /// "C > B > A": the first of a ranking that is nothing else.
    fn ranking(&self, plain: &str, words: &[Word<'_>]) -> Option<Letters> {
        memchr(b'>', plain.as_bytes())?;
        let is_chain = plain
            .chars()
            .all(|c| c.is_ascii_uppercase() || matches!(c, '>' | ' ' | '.' | '\n'));
        let signs = plain.matches('>').count();
        if !is_chain || words.len() != signs + 1 || !words.iter().all(|w| self.is_letter(w)) {
            return None;
        }
        let options: Vec<usize> = words.iter().filter_map(|w| self.letter(w)).collect();
        let (first, others) = options.split_first()?;
        (!others.contains(first)).then(|| Letters {
            options: vec![*first],
            denied: others.to_vec(),
            are_named: true,
            is_hedged: false,
        })
    }

    /// A list or table that says yes or no of each letter, and nothing else: "A no, B no, C yes", "A×B×C√".
    fn verdicts(&self, words: &[Word<'_>]) -> Option<Letters> {
        let first = words
            .iter()
            .take(LONGEST_HEAD)
            .position(|w| self.is_letter(w))?;
        let mut rest = &words[first..];
        let mut said: Vec<(usize, bool)> = Vec::new();
        while let Some((letter, after)) = rest.split_first() {
            let option = self.letter(letter)?;
            let count = after
                .iter()
                .position(|w| self.is_letter(w))
                .unwrap_or(after.len());
            if count == 0 || count > LONGEST_OPTION || said.iter().any(|(o, _)| *o == option) {
                return None;
            }
            said.push((option, verdict(&after[..count])?));
            rest = &after[count..];
        }
        if said.len() < 2 || self.asks_false || self.asks_least {
            return None;
        }
        let of = |wanted: bool| {
            let mut found: Vec<usize> =
                said.iter().filter(|s| s.1 == wanted).map(|s| s.0).collect();
            found.sort_unstable();
            found
        };
        Some(Letters {
            options: of(true),
            denied: of(false),
            are_named: true,
            is_hedged: false,
        })
    }

    /// Whether the answer ends with a letter: "I would tick D."
    fn ends_in_letter(&self, words: &[Word<'_>]) -> bool {
        let [.., before, last] = words else {
            return false;
        };
        let letter =
            last.text.chars().next().filter(|c| {
                last.text.len() == 1 && c.is_ascii_uppercase() && *c != 'I' && *c != 'A'
            });
        letter.is_some_and(|c| self.position(c).is_some())
            && !is_lettered(words, words.len() - 1)
            && before.text.chars().nth(1).is_some()
            && !last.asks
    }

    /// Runs of letters joined by commas and conjunctions, each with what is said of it.
    fn groups(&self, words: &[Word<'_>], is_loose: bool) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let Some(options) = self.letters_of(words, at, word, is_loose) else {
                continue;
            };
            let joins = groups.last().is_some_and(|g| {
                // "between B and C, C"
                if options.iter().any(|o| g.options.contains(o)) {
                    return false;
                }
                let between = &words[g.end..at];
                if parts(words, g, at) {
                    return false;
                }
                let is_list = !word.is_after_colon
                    && (between.iter().all(|w| w.does(Does::Connectives))
                        || between.len() == 1 && is(&between[0], "with"))
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
                        .any(|w| w.does(Does::Predicates) || w.does(Does::DeniesAfter));
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
            let tail = &rest[..clause_end(rest, words.get(to))];
            // "B项正确，其余均错误" says that of the others
            let of_others = tail.iter().position(|w| w.does(Does::Others));
            let said = Said {
                lead,
                letter: &words[start..end],
                tail: &tail[..of_others.unwrap_or(tail.len())],
            };
            groups[index].judge(&said, self);
            let before = &words[from..start];
            let sentence = before.iter().rposition(|w| w.before >= Stop::Sentence);
            let before = &before[sentence.unwrap_or(0)..];
            let opens = words.get(start).is_some_and(|w| w.before >= Stop::Sentence);
            groups[index].is_unreal = is_unreal(if opens { &[] } else { before }, tail);
            let is_condition = said.tail.first().is_some_and(|w| is(w, "if"));
            groups[index].is_conditional = is_condition && !is_of_speaker(tail);
            groups[index].is_scored =
                is_condition || is_score(rest) || is_score(&words[from..start]);
            // "A is false and so is C"
            let follows_suit = matches!(&words[from..start], [.., so, be]
                if is(so, "so") && (is(be, "is") || is(be, "are")));
            if index > 0 && follows_suit {
                groups[index].is_denied = groups[index - 1].is_denied;
            }
            // "除D以外都可以"
            let is_excepted = words[from..start]
                .iter()
                .rev()
                .take(2)
                .any(|w| w.text == "除")
                && matches!(rest, [out, ..] if out.text == "外")
                || matches!(rest, [to, out, ..] if matches!(to.text, "以" | "之") && out.text == "外");
            groups[index].is_denied |= is_excepted;
            let is_worse = matches!(&words[from..start], [no, like] if no.text == "不" && matches!(like.text, "如" | "及"));
            if index > 0 && is_worse {
                groups[index - 1].is_denied = true;
            }
            if index > 0 && gives_way(words, &groups[index - 1], &words[from..start]) {
                groups[index - 1].is_denied = true;
            }
            groups[index].is_denied |= index > 0 && is_preferred(words, &groups[index - 1], start);
            if index > 0 && loses_comparison(&words[from..start]) {
                groups[index - 1].is_denied ^= true;
                groups[index].is_denied ^= true;
            }
            // "eher C als B"
            groups[index].is_denied |=
                index > 0 && matches!(&words[from..start], [than] if than.does(Does::Than));
        }
        groups
    }

    /// The options that a word names as letters: "B", "(b)", "AC" alone.
    ///
    /// `is_loose`: letters are named elsewhere, so that a capital of its own is one too, unless it belongs to a name.
    fn letters_of(
        &self,
        words: &[Word<'_>],
        at: usize,
        word: &Word<'_>,
        is_loose: bool,
    ) -> Option<Vec<usize>> {
        let text = word.text;
        if !text.is_ascii() || text.len() > 5 {
            return None;
        }
        let letters: Option<Vec<usize>> = text
            .chars()
            .map(|c| self.position(c.to_ascii_uppercase()))
            .collect();
        let letters = letters?;
        let previous = at.checked_sub(1).map(|i| &words[i]);
        let leads = previous.is_some_and(|p| p.does(Does::Leads));
        if text.len() > 1 {
            let is_all = words.len() == 1 || words.len() <= 4 && (at == 0 || leads);
            let is_upper = text.bytes().all(|b| b.is_ascii_uppercase());
            let are_new = letters
                .iter()
                .enumerate()
                .all(|(i, l)| !letters[..i].contains(l));
            let is_alone = is_all && words.len() - at <= 2;
            let is_run = letters.is_sorted() && stands_in_chinese(previous, words.get(at + 1));
            return ((is_alone || is_run) && is_upper && are_new).then_some(letters);
        }
        let next = words.get(at + 1);
        let is_upper = text.as_bytes()[0].is_ascii_uppercase();
        let is_marked = word.is_bracketed || word.is_marked || next.is_none();
        let opens = word.before >= Stop::Clause || word.is_after_colon || at == 0;
        if !is_upper {
            let is_named = previous.is_some_and(|p| {
                p.does(Does::Calls) || p.text == "is" && at >= 2 && words[at - 2].does(Does::Calls)
            });
            return (words.len() == 1
                || word.is_bracketed && word.is_closed
                || (opens || is_named) && (word.is_marked || is_named && next.is_none())
                || is_named && text != "a")
                .then_some(letters);
        }
        let follows = next.filter(|n| n.before <= Stop::Blank);
        let is_predicated =
            follows.is_some_and(|n| n.does(Does::Predicates) || n.text.eq_ignore_ascii_case("it"));
        let is_listed = next.is_some_and(|n| n.does(Does::Connectives))
            || previous.is_some_and(|p| p.does(Does::Connectives));
        let is_before_other_script = follows.is_some_and(Word::is_of_other_script);
        let is_article = text == "A"
            && !word.is_marked
            && next.is_some_and(|n| {
                n.before == Stop::Blank
                    && !n.does(Does::Predicates)
                    && !n.does(Does::Connectives)
                    && (!n.does(Does::Follows) || n.does(Does::Less) || is_quantity(n))
                    && !n.text.eq_ignore_ascii_case("the")
                    && n.text.len() > 1
                    && !n.is_of_other_script()
            });
        // "A: C" is "Answer: C"
        let is_heading = text == "A"
            && word.before >= Stop::Sentence
            && next.is_some_and(|n| n.is_after_colon && self.is_letter(n))
            && words.len() == at + 2;
        if is_heading {
            return None;
        }
        let is_pronoun =
            text == "I" && next.is_some_and(|n| n.before == Stop::Blank && n.text.is_ascii());
        if is_article && !word.is_bracketed || is_pronoun {
            return None;
        }
        let has_lettered = is_lettered(words, at);
        let ends = next.is_none_or(|n| n.before >= Stop::Clause || n.is_after_dash);
        let is_it = is_marked
            && (opens || leads || is_listed && !has_lettered || word.is_bracketed)
            || leads
            || is_predicated && !has_lettered
            || is_listed
                && !has_lettered
                && (opens
                    || previous.is_some_and(|p| p.does(Does::Connectives) || p.does(Does::Leads))
                    || next.is_some_and(|n| n.before >= Stop::Clause))
            || is_before_other_script
            || opens && next.is_some_and(|n| n.before >= Stop::Clause || n.is_after_dash)
            || opens && follows.is_some_and(|n| n.does(Does::Follows));
        let is_of_its_own = || {
            let is_next_known = follows.is_some_and(|n| n.is_known() || self.is_letter(n));
            !has_lettered && (ends || is_next_known || previous.is_some_and(Word::is_known))
        };
        (is_it || is_loose && is_of_its_own()).then_some(letters)
    }

    /// Whether the word is the capital of an option.
    fn is_letter(&self, word: &Word<'_>) -> bool {
        self.letter(word).is_some()
    }

    /// The option whose capital the word is.
    fn letter(&self, word: &Word<'_>) -> Option<usize> {
        let mut chars = word.text.chars();
        let first = chars.next().filter(char::is_ascii_uppercase)?;
        chars.next().is_none().then(|| self.position(first))?
    }
}

/// What the letters of an answer say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Positions of the chosen options, sorted.
    pub options: Vec<usize>,
    /// Positions of the options that are said to be wrong.
    pub denied: Vec<usize>,
    /// Letters are named at all, chosen or denied.
    pub are_named: bool,
    /// The choice is only held possible.
    pub is_hedged: bool,
}

/// Letters named together, and what is said of them.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
struct Group {
    options: Vec<usize>,
    start: usize,
    end: usize,
    is_denied: bool,
    is_hedged: bool,
    /// It is named beside others: "also D".
    is_added: bool,
    /// Nothing but a number is said of it.
    is_scored: bool,
    /// It is held possible: "could be D".
    may_be: bool,
    /// A question mark follows: "C? I'd rather say D."
    is_asked: bool,
    /// "B if the kidneys work": said on a condition.
    is_conditional: bool,
    /// It would be right in another case: "Had he taken it for longer, B would be right."
    is_unreal: bool,
    /// 0: only discussed; 1: named; 2: called the best; 3: the conclusion.
    rank: u8,
}

/// The letters that an answer stands by: those of the highest rank, and those named beside them.
fn chosen_of(words: &[Word<'_>], groups: &[Group]) -> Letters {
    let mut chosen = Letters {
        are_named: true,
        ..Letters::default()
    };
    // "B if the kidneys worked; they do not, so C"
    let is_only_condition = groups.iter().filter(|g| g.is_conditional).count() == 1
        && groups.iter().any(|g| !g.is_conditional && !g.is_denied);
    let is_unreal = |g: &Group| g.is_unreal || is_only_condition && g.is_conditional;
    let stands = |g: &&Group| !g.is_denied && !is_unreal(g);
    let best = groups.iter().filter(stands).map(|g| g.rank).max();
    let first = groups
        .iter()
        .position(|g| stands(&g) && Some(g.rank) == best);
    // "C: 60 %, D: 40 %" spreads over both
    let are_scored = groups.iter().filter(|g| g.is_scored).count() > 1;
    let contradicted = contradicted(words, groups);
    for (index, group) in groups.iter().enumerate() {
        // "C, but it could be D"
        let takes_half = group.may_be && first.is_some_and(|f| f < index);
        let is_spread = group.is_added || are_scored && group.is_scored || takes_half;
        if group.is_denied || is_unreal(group) {
            chosen.denied.extend(&group.options);
        } else if Some(group.rank) == best || is_spread {
            chosen.options.extend(&group.options);
            chosen.is_hedged |= group.is_hedged || group.is_asked || contradicted[index];
        }
    }
    chosen.options.sort_unstable();
    chosen.options.dedup();
    chosen
}

/// What is said around a letter, within its clause.
struct Said<'a, 't> {
    lead: &'a [Word<'t>],
    letter: &'a [Word<'t>],
    tail: &'a [Word<'t>],
}

impl Group {
    /// Denied, doubted, added to another? And if none of it: how much does the answer stand by the letter?
    fn judge(&mut self, said: &Said<'_, '_>, asked: &Options) {
        let denials = said.denials(asked);
        self.is_denied = denials % 2 == 1;
        self.is_added = denials == 0 && said.is_added();
        self.is_asked = said.letter.iter().chain(said.tail).any(|w| w.asks)
            || said.lead.iter().any(|w| is(w, "whether"))
            || has_run(said.lead, &["是否", "是不是"]);
        self.may_be = said.may_be();
        self.is_hedged = self.may_be || said.is_hedged();
        self.rank = if self.is_asked || said.is_considered() || said.is_second() {
            0
        } else {
            said.rank(self.is_denied, asked.asks_false)
        };
    }
}

impl Said<'_, '_> {
    /// How often it is denied: "it is not unlikely" twice.
    fn denials(&self, asked: &Options) -> usize {
        let (lead, tail) = (self.lead, self.tail);
        let mut denials = denials_before(lead, self.letter) + denials_after(tail);
        if asked.asks_false {
            let says_so = count(tail, Does::False) + usize::from(has_run(tail, &FALSE_RUNS));
            denials = denials.saturating_sub(says_so);
            let is_called = has(lead, Does::Leads);
            denials += usize::from(tail.iter().any(|w| is(w, "true")) && !is_called);
        } else {
            denials += usize::from(calls_false(lead));
        }
        let is_least = |words: &[Word<'_>]| words.iter().any(|w| is(w, "least"));
        denials + usize::from(!asked.asks_least && (is_least(lead) || is_least(tail)))
    }

    /// "Also D", "D as well", "as is D".
    fn is_added(&self) -> bool {
        let goes_as = matches!(self.lead, [.., how, is_] if is(how, "as") && is(is_, "is"));
        goes_as || has(self.lead, Does::Also) || has(self.tail, Does::Also)
    }

    /// "It could be D".
    fn may_be(&self) -> bool {
        let in_english = self.lead.windows(2).any(|w| {
            (is(&w[0], "could") || is(&w[0], "may") || is(&w[0], "might")) && is(&w[1], "be")
        });
        in_english || may_be_in_chinese(self.lead)
    }

    /// "Perhaps D", "D, unsure", "可能是D".
    fn is_hedged(&self) -> bool {
        has(self.lead, Does::HedgesBefore)
            || has(self.tail, Does::HedgesAfter) && !self.tail.iter().any(|w| is(w, "not"))
            || self
                .tail
                .windows(2)
                .any(|w| is(&w[0], "something") && is(&w[1], "else"))
    }

    /// Only thought of: "at first B".
    fn is_considered(&self) -> bool {
        let is_of_others = self.lead.windows(2).any(|w| {
            ["some", "many", "others", "people"]
                .iter()
                .any(|o| is(&w[0], o))
                && ["would", "might", "may", "could"]
                    .iter()
                    .any(|m| is(&w[1], m))
        });
        is_of_others || has(self.lead, Does::Considered) || has_run(self.lead, &CONSIDERING_RUNS)
    }

    /// Named after the best: "second best: B", "B次之".
    fn is_second(&self) -> bool {
        self.lead
            .iter()
            .any(|w| is(w, "second") || is(w, "runner-up"))
            || has_run(self.tail, &SECOND_RUNS)
            || has_run(self.lead, &SECOND_RUNS)
    }

    /// 0: only discussed; 1: named; 2: called the best; 3: the conclusion.
    fn rank(&self, is_denied: bool, asks_false: bool) -> u8 {
        let (lead, tail) = (self.lead, self.tail);
        let it_is = tail.len() >= 2 && is(&tail[0], "it") && is(&tail[1], "is");
        if it_is || has(lead, Does::Concludes) || has_run(lead, &CONCLUDING_RUNS) {
            return 3;
        }
        let says_false = asks_false && (has(tail, Does::False) || has_run(tail, &FALSE_RUNS));
        let is_best = says_false || has(tail, Does::Best) || has_run(tail, &BEST_RUNS);
        if is_best && !is_denied {
            return if has(lead, Does::Leads) { 2 } else { 3 };
        }
        let is_discussed = tail.iter().any(|w| w.does(Does::Predicates) || is(w, "as"));
        let opens = lead.is_empty() && self.letter[0].before >= Stop::Sentence;
        match (is_discussed, opens, tail.is_empty()) {
            (true, ..) => 0,
            (_, true, true) => 3,
            (_, true, false) => 2,
            _ => 1,
        }
    }
}

/// What the words after a letter say of it, where they say yes or no: at once, before a mark, or as their last word.
fn verdict(words: &[Word<'_>]) -> Option<bool> {
    const YES: [&str; 12] = [
        "yes", "true", "correct", "right", "1", "ja", "richtig", "oui", "vrai", "sí", "sim", "sì",
    ];
    const NO: [&str; 12] = [
        "no",
        "false",
        "wrong",
        "incorrect",
        "0",
        "x",
        "nein",
        "falsch",
        "non",
        "faux",
        "não",
        "not",
    ];
    let (first, last) = (words.first()?, words.last()?);
    let opens = |w: &Word<'_>| w.before >= Stop::Clause || w.is_after_colon;
    let own = &words[words.iter().rposition(opens).unwrap_or(0)..];
    if own[0].is_of_other_script() {
        let text: String = own.iter().map(|w| w.text).collect();
        return match text.as_str() {
            "对" | "正确" | "是" | "符合" => Some(true),
            "错" | "错误" | "不对" | "不正确" | "否" | "不是" | "不符合" => {
                Some(false)
            }
            _ => None,
        };
    }
    let said = |word: &Word<'_>| {
        let is_one = |list: &[&str]| list.iter().any(|v| is(word, v));
        if is_one(&YES) {
            Some(true)
        } else {
            is_one(&NO).then_some(false)
        }
    };
    match words {
        [_] => said(first),
        [_, next, ..] if next.before >= Stop::Clause => said(first).or_else(|| said(last)),
        _ => said(last).filter(|_| last.before >= Stop::Clause || last.is_after_colon),
    }
}

/// "Wrong: B", "incorrect options: A, B", "out: A", but not "I was wrong: C".
fn calls_false(lead: &[Word<'_>]) -> bool {
    const CALLED: [&str; 7] = [
        "option", "options", "answer", "answers", "choices", "ones", "are",
    ];
    match lead {
        [.., was, last] if last.does(Does::False) => !is(was, "was"),
        [only] => only.does(Does::False) || is(only, "out"),
        [.., what, called] | [.., what, called, _] if what.does(Does::False) => {
            CALLED.iter().any(|c| is(called, c))
        }
        _ => false,
    }
}

/// How often what stands before a letter denies it.
fn denials_before(lead: &[Word<'_>], letter: &[Word<'_>]) -> usize {
    // "they do not, so C"
    let concludes = |w: &Word<'_>| {
        w.before >= Stop::Clause
            && [
                "so",
                "therefore",
                "thus",
                "hence",
                "consequently",
                "故",
                "所",
                "因",
            ]
            .iter()
            .any(|t| is(w, t))
    };
    let lead = &lead[lead.iter().rposition(concludes).unwrap_or(0)..];
    let next = |index: usize| lead.get(index + 1).or(letter.first());
    let words = lead.iter().enumerate().filter(|(i, w)| {
        // "no doubt it is C"
        let is_doubt = is(w, "doubt") && !i.checked_sub(1).is_some_and(|p| lacks_doubt(&lead[p]));
        let is_no = w.does(Does::No)
            && next(*i).is_some_and(|n| {
                n.before <= Stop::Blank && !n.is_after_colon && !n.does(Does::NoEnds)
            });
        // "everything but C"
        let is_but = is(w, "but")
            && lead[i.saturating_sub(3)..*i]
                .iter()
                .any(|p| p.does(Does::All) || is(p, "none"));
        // "I take back B"
        let is_back = is(w, "back")
            && i.checked_sub(1)
                .is_some_and(|p| ["take", "taking", "took"].iter().any(|t| is(&lead[p], t)));
        let is_about = is(w, "about") && i.checked_sub(1).is_some_and(|p| is(&lead[p], "wrong"));
        w.does(Does::DeniesBefore) || is_about || is_doubt || is_no || is_but || is_back
    });
    let is_other = lead.last().is_some_and(|w| w.text == "非"); // "非C", not "非小细胞癌选C"
    words.count() + usize::from(has_run(lead, &DENYING_RUNS)) + usize::from(is_other)
}

/// How often what is said of a letter denies it.
fn denials_after(tail: &[Word<'_>]) -> usize {
    let is_no = tail.first().is_some_and(|w| {
        let goes_on = |n: &Word<'_>| n.before <= Stop::Blank && !n.does(Does::NoEnds);
        w.does(Does::No) && tail.get(1).is_none_or(goes_on)
    });
    let ruled_out = tail
        .windows(2)
        .any(|w| is(&w[0], "ruled") && is(&w[1], "out"));
    count(tail, Does::DeniesAfter) - usize::from(ruled_out) // one denial in two words
        + usize::from(is_no)
        + usize::from(has_run(tail, &DENIED_RUNS))
}

const DENYING_RUNS: [&str; 24] = [
    "与其",
    "不应是",
    "不应为",
    "不该是",
    "不会是",
    "不能为",
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
    "不能是",
];

const DENIED_RUNS: [&str; 10] = [
    "错",
    "不对",
    "不正确",
    "不符",
    "排除",
    "不是",
    "不成立",
    "不合",
    "ではな",
    "じゃな",
];

const CONSIDERING_RUNS: [&str; 7] = ["考虑过", "起初", "最初", "一开始", "相比", "相较", "比起"];

const SECOND_RUNS: [&str; 3] = ["次之", "其次", "次选"];

const BEST_RUNS: [&str; 4] = ["正确", "最", "符合", "对"];

const FALSE_RUNS: [&str; 3] = ["错", "不对", "不正确"];

const CONCLUDING_RUNS: [&str; 16] = [
    "答案", "故选", "应选", "选择", "因此", "所以", "综上", "选", "剩下", "只剩", "剩余", "结论",
    "唯有", "只有", "答え", "正解",
];

fn has(words: &[Word<'_>], what: Does) -> bool {
    words.iter().any(|w| w.does(what))
}

fn count(words: &[Word<'_>], what: Does) -> usize {
    words.iter().filter(|w| w.does(what)).count()
}

fn has_run(words: &[Word<'_>], runs: &[&str]) -> bool {
    if !words.iter().any(Word::is_of_other_script) {
        return false;
    }
    // "不，是C" is no "不是"
    let text: String = words
        .iter()
        .flat_map(|w| [if w.before >= Stop::Clause { "，" } else { "" }, w.text])
        .collect();
    runs.iter().any(|r| text.contains(r))
}

fn is(word: &Word<'_>, text: &str) -> bool {
    word.text.eq_ignore_ascii_case(text)
}

/// "No doubt", "without a doubt".
fn lacks_doubt(word: &Word<'_>) -> bool {
    ["no", "without", "a", "beyond", "any", "little"]
        .iter()
        .any(|l| is(word, l))
}

/// A word after which "A" is an article though it may follow a letter too: "A most unusual lesion".
fn is_quantity(word: &Word<'_>) -> bool {
    is(word, "most") || is(word, "more") || is(word, "clearly") || is(word, "definitely")
}

/// Whether the letter takes part in a name: "vitamin C", "hepatitis B or C".
fn is_lettered(words: &[Word<'_>], at: usize) -> bool {
    let is_between = |w: &Word<'_>| w.does(Does::Connectives) || w.text.len() == 1;
    words[..at]
        .iter()
        .zip(&words[1..=at])
        .rev()
        .take(LONGEST_SIDE) // a hostile text is letters alone
        .take_while(|(_, next)| next.before < Stop::Sentence)
        .map(|(word, _)| word)
        .find(|w| !is_between(w))
        .is_some_and(|w| w.does(Does::Lettered))
}

/// "… is less likely than": the letter before it loses.
fn loses_comparison(between: &[Word<'_>]) -> bool {
    let less = between.iter().position(|w| w.does(Does::Less));
    less.is_some_and(|at| has(&between[at + 1..], Does::Than))
        && between.iter().all(|w| w.before < Stop::Sentence)
}

/// "C or not C": which groups hold an option that another denies in the same sentence.
fn contradicted(words: &[Word<'_>], groups: &[Group]) -> Vec<bool> {
    if !groups.iter().any(|g| g.is_denied) {
        return vec![false; groups.len()];
    }
    let mut sentences = Vec::with_capacity(words.len());
    let mut count = 0;
    for word in words {
        count += usize::from(word.before >= Stop::Sentence);
        sentences.push(count);
    }
    let begins = |g: &Group| sentences[g.start];
    let ends = |g: &Group| sentences[g.end - 1];
    // denied before, in the sentence where a group begins, or after, in the one where it ends: sentences are in order
    let of = |at: &dyn Fn(&Group) -> usize| -> BTreeSet<(usize, usize)> {
        let denied = groups.iter().filter(|g| g.is_denied);
        denied
            .flat_map(|g| g.options.iter().map(|o| (at(g), *o)))
            .collect()
    };
    let (begun, ended) = (of(&begins), of(&ends));
    groups
        .iter()
        .map(|g| {
            g.options
                .iter()
                .any(|o| ended.contains(&(begins(g), *o)) || begun.contains(&(ends(g), *o)))
        })
        .collect()
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
    let (between, letter) = words.split_at(count - 1);
    if letter[0].before >= Stop::Clause {
        return count - 1;
    }
    (from..count - 1)
        .rev()
        .find(|&i| opens_clause(between, i, &letter[0]))
        .unwrap_or(count - 1)
}

/// Where what is said of a letter ends: at the end of its sentence, and before the clause of the next letter.
fn clause_end(words: &[Word<'_>], next: Option<&Word<'_>>) -> usize {
    let words = &words[..words.len().min(LONGEST_SIDE)];
    let sentence = words
        .iter()
        .position(|w| w.before >= Stop::Sentence)
        .unwrap_or(words.len());
    let Some(next) = next.filter(|n| n.before < Stop::Sentence && sentence == words.len()) else {
        return sentence;
    };
    (0..words.len())
        .rev()
        .find(|&i| opens_clause(words, i, next))
        .unwrap_or(words.len())
}

/// Whether the clause of the letter `next` begins at this one of the words before it.
fn opens_clause(words: &[Word<'_>], at: usize, next: &Word<'_>) -> bool {
    let word = &words[at];
    let is_last = at + 1 == words.len();
    let is_last_but_one = at + 2 == words.len();
    // "B is not as likely as C"
    let is_of_verb = is(word, "not") && at > 0 && words[at - 1].does(Does::Predicates) && !is_last;
    word.before >= Stop::Clause
        || word.does(Does::Borders) && !is_of_verb
        || is_last && next.is_after_colon && word.does(Does::Calls) && word.text != "案"
        || word.text == "答" && next.is_after_colon && is_last_but_one
        || word.does(Does::Calls) && words.get(at + 1).is_some_and(|w| is(w, "is"))
        || next.before == Stop::Joined && is_not(&words[at..])
        || is_last && word.text == "非"
}

/// "是C不是B": the denial belongs to the letter after it.
fn is_not(words: &[Word<'_>]) -> bool {
    matches!(words, [no, is] if no.text == "不" && matches!(is.text, "是" | "选"))
}

/// Whether the words about a letter say what would be right in another case: "if the INR were high, B would be correct",
/// "B would have been right", "如果肾功能正常，应选B", but not "if I had to choose, I would say B".
fn is_unreal(before: &[Word<'_>], tail: &[Word<'_>]) -> bool {
    let says =
        |words: &[Word<'_>], texts: &[&str]| words.iter().any(|w| texts.iter().any(|t| is(w, t)));
    if is_of_speaker(before) || is_of_speaker(tail) {
        return false;
    }
    if before.iter().any(Word::is_of_other_script) {
        return has_run(before, &SUPPOSING_RUNS) && !has_run(before, &CHOOSING_RUNS);
    }
    let opens = |words: &[&str]| {
        before
            .iter()
            .any(|w| w.before >= Stop::Clause && words.iter().any(|t| is(w, t)))
    };
    let would = tail
        .iter()
        .take(2)
        .any(|w| is(w, "would") || is(w, "would've"))
        || before.last().is_some_and(|w| is(w, "would"));
    let would_have = would
        && tail
            .iter()
            .take(3)
            .any(|w| is(w, "have") || is(w, "would've"))
        && tail
            .iter()
            .take(4)
            .any(|w| is(w, "been") || is(w, "fit") || is(w, "fitted"));
    let is_inverted = opens(&["had", "were", "should"]);
    let is_supposed = opens(&[
        "if",
        "unless",
        "suppose",
        "supposing",
        "provided",
        "without",
        "only",
    ]);
    // "in a child, B would be right", but not "in this case"
    let is_of_any = before.windows(2).any(|w| {
        w[0].before >= Stop::Clause
            && (is(&w[0], "in") || is(&w[0], "with") || is(&w[0], "for"))
            && (is(&w[1], "a") || is(&w[1], "an") || is(&w[1], "any"))
    });
    let is_limited = says(tail, &["if", "unless", "only", "had", "were", "without"]);
    would_have || is_inverted || would && (is_supposed || is_of_any || is_limited)
}

/// Whether somebody speaks of their own choice.
fn is_of_speaker(words: &[Word<'_>]) -> bool {
    words.iter().any(|w| SPEAKERS.iter().any(|s| is(w, s)))
}

/// Who speaks of their own choice: "if I had to choose, B".
const SPEAKERS: [&str; 9] = [
    "i", "we", "you", "one", "forced", "pressed", "choose", "guess", "asked",
];

/// 如果: what follows holds in another case.
const SUPPOSING_RUNS: [&str; 7] = ["如果", "假如", "倘若", "要是", "假设", "若为", "若是"];

/// 如果必须选一个: the choice is meant.
const CHOOSING_RUNS: [&str; 8] = [
    "必须",
    "一定要",
    "只能",
    "非要",
    "让我",
    "要我",
    "从图",
    "看图",
];

/// "可能", but not "最可能的诊断".
fn may_be_in_chinese(words: &[Word<'_>]) -> bool {
    if !words.iter().any(Word::is_of_other_script) {
        return false;
    }
    let text: String = words.iter().map(|w| w.text).collect();
    let text = text.replace("最可能", "").replace("最有可能", "");
    has_any(&text, &["可能", "也许", "大概", "或许"])
}

/// Words before the first letter of a list: "| Option | Verdict |".
const LONGEST_HEAD: usize = 6;

/// Words of an option's text between two letters.
const LONGEST_OPTION: usize = 8;

/// Words before and after a letter that are looked at.
const LONGEST_SIDE: usize = 24;

/// Where the part of the answer begins that takes back what was before.
fn last_retraction(words: &[Word<'_>], groups: &[Group]) -> Option<usize> {
    let first = groups.first()?.start;
    let last = groups.last()?.start;
    if last > first && words.last().is_some_and(|w| is(w, "actually")) {
        return Some(last);
    }
    (first + 1..last).rev().find(|&i| takes_back(words, i))
}

/// Whether a word takes back what was before: "wait", "I mean", "or rather", "no," and "更正", "改选".
fn takes_back(words: &[Word<'_>], at: usize) -> bool {
    let word = words[at].text.to_ascii_lowercase();
    let before = at.checked_sub(1).map(|i| &words[i]);
    let after = words.get(at + 1);
    match word.as_str() {
        "wait" | "correction" | "sorry" | "oops" | "actually" | "scratch" => true,
        "mean" | "meant" => before.is_some_and(|w| w.text == "I"),
        "rather" => before.is_some_and(|w| is(w, "or")),
        "no" | "nope" => {
            words[at].before >= Stop::Clause && after.is_some_and(|w| w.before >= Stop::Clause)
        }
        // "then changed to C", "I settled on C"
        "changed" | "switched" | "moved" | "revised" | "went" => {
            after.is_some_and(|w| is(w, "to") || is(w, "over"))
        }
        "settled" | "settle" | "landed" | "ended" => {
            after.is_some_and(|w| is(w, "on") || is(w, "upon"))
        }
        "更" | "纠" => after.is_some_and(|w| w.text == "正"),
        "不" => after.is_some_and(|w| w.text == "对"),
        "等" => after.is_some_and(|w| w.text == "等"),
        "改" | "换" => after.is_some_and(|w| matches!(w.text, "选" | "为" | "成")),
        _ => false,
    }
}

/// Whether two letters are no list: "despite A, C", "not B, C.", "from B to C" after a change, "I prefer C to B".
fn parts(words: &[Word<'_>], group: &Group, at: usize) -> bool {
    let before = group.start.checked_sub(1).map(|i| &words[i]);
    let between = &words[group.end..at];
    let Some(before) = before.filter(|_| group.end == group.start + 1) else {
        return false;
    };
    // "C，B次之"
    if words.get(at + 1).is_some_and(|w| w.text == "次") {
        return true;
    }
    let is_last = at + 1 == words.len();
    let is_not = is(before, "not") && between.is_empty() && is_last;
    // "不是B，是C"
    let goes_on = matches!(between, [is] if is.text == "是" && is.before >= Stop::Clause);
    let is_set_aside = between.is_empty()
        && words[at].before == Stop::Clause
        && is_aside(&words[group.start.saturating_sub(4)..group.start]);
    is_set_aside || goes_on || is_not || gives_way(words, group, between) || {
        is_preferred(words, group, at)
    }
}

/// "Despite", "unlike", "instead of", "compared with", "相比" before a letter: the one after the comma is meant.
fn is_aside(lead: &[Word<'_>]) -> bool {
    const WORDS: [&str; 10] = [
        "despite",
        "unlike",
        "instead",
        "rather",
        "opposed",
        "compared",
        "spite",
        "notwithstanding",
        "ignoring",
        "aside",
    ];
    lead.iter().any(|w| WORDS.iter().any(|a| is(w, a))) || has_run(lead, &CONSIDERING_RUNS)
}

/// "Changing my answer from B to C": the letter before "to" is given up.
fn gives_way(words: &[Word<'_>], group: &Group, between: &[Word<'_>]) -> bool {
    const CHANGES: [&str; 6] = ["chang", "switch", "revis", "mov", "updat", "correct"];
    const EXCHANGES: [&str; 3] = ["replac", "swap", "exchang"];
    let lead = &words[group.start.saturating_sub(LONGEST_OPTION)..group.start];
    let begins = |w: &Word<'_>, with: &[&str]| {
        let word = w.text.to_ascii_lowercase();
        with.iter().any(|c| word.starts_with(c))
    };
    let is_exchanged = matches!(between, [with] if is(with, "with") || is(with, "by"))
        && lead.last().is_some_and(|w| begins(w, &EXCHANGES));
    is_exchanged
        || matches!(between, [to] if is(to, "to"))
            && lead.last().is_some_and(|w| is(w, "from"))
            && lead.iter().any(|w| begins(w, &CHANGES))
}

/// "I prefer C to B": the letter at `at` comes second.
fn is_preferred(words: &[Word<'_>], group: &Group, at: usize) -> bool {
    matches!(&words[group.end..at], [to] if is(to, "to"))
        && group.start.checked_sub(1).is_some_and(|i| {
            let word = &words[i];
            is(word, "prefer") || is(word, "preferring") || is(word, "preferred")
        })
}

/// Whether a run of letters is one of options by the Chinese beside it: "排除ABD", "ABD均错", not "AB型血".
fn stands_in_chinese(before: Option<&Word<'_>>, after: Option<&Word<'_>>) -> bool {
    before.is_some_and(|w| matches!(w.text, "除" | "选" | "择"))
        || after.is_some_and(|w| matches!(w.text, "均" | "都" | "项" | "错" | "三" | "全"))
}

/// Whether words give a number and nothing else: "70", "with 70 % probability".
fn is_score(words: &[Word<'_>]) -> bool {
    const BESIDE: [&str; 14] = [
        "with",
        "at",
        "about",
        "probability",
        "confidence",
        "percent",
        "likelihood",
        "chance",
        "and",
        "概",
        "率",
        "约",
        "置",
        "信",
    ];
    let is_number = |w: &Word<'_>| w.text.bytes().all(|b| b.is_ascii_digit());
    words.len() <= 6
        && words.iter().any(is_number)
        && words
            .iter()
            .all(|w| is_number(w) || BESIDE.iter().any(|b| is(w, b)))
}

/// The answer as it is read: wide letters as plain ones, without markup, ticks and struck words in words.
fn as_written(answer: &str) -> String {
    let struck = with_strikes_in_words(answer);
    let boxed = with_boxes_as_marks(&struck);
    // boxes before they are taken for the bullets of a list
    let boxed = if !boxed.is_ascii() && boxed.contains(EMPTY) {
        Cow::Owned(with_marks_in_words(&boxed).into_owned())
    } else {
        boxed
    };
    let plain = unwrapped(&boxed);
    if plain.is_ascii() {
        return owned_without_markup(plain.into_owned());
    }
    let plain = owned_without_markup(plain.chars().map(wide_to_plain).collect());
    with_marks_in_words(&plain).into_owned()
}

/// The same text again where it has no markup.
fn owned_without_markup(text: String) -> String {
    match without_markup(&text) {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => text,
    }
}

/// "~~B~~ C" takes B back.
fn with_strikes_in_words(text: &str) -> Cow<'_, str> {
    let Some((head, rest)) = text.split_once("~~") else {
        return Cow::Borrowed(text);
    };
    let Some((struck, tail)) = rest.split_once("~~") else {
        return Cow::Borrowed(text);
    };
    Cow::Owned(format!(
        "{head}{struck} wrong. {}",
        with_strikes_in_words(tail)
    ))
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

/// "✗" after a letter says that it is wrong; where the text opens with such a mark, the marks stand before the letters.
fn with_marks_in_words(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let has_tick = text.contains(RIGHT);
    if !has_tick && !text.contains(WRONG) && !text.contains(['×', '☐']) {
        return Cow::Borrowed(text);
    }
    // "☐ A ☒ C": a cross in a box is a tick there, and what is empty is not chosen
    let has_empty = text.contains(EMPTY) && (has_tick || text.contains(['☐', '☒']));
    let ticks_by_cross = has_empty && !has_tick;
    let means = |before: Option<char>, character: char, after: Option<char>| {
        let is_of_size = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        match character {
            '☒' if ticks_by_cross => Some(true),
            '×' if is_of_size(before) || is_of_size(after) => None, // "3×4 cm"
            c if RIGHT.contains(&c) => Some(true),
            c if WRONG.contains(&c) || c == '×' => Some(false),
            c if has_empty && EMPTY.contains(&c) => Some(false),
            _ => None,
        }
    };
    let opening = text.trim_start().chars().next();
    let stand_before = opening.is_some_and(|c| means(None, c, None).is_some());
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = None;
    let mut characters = text.chars().filter(|&c| c != '\u{fe0f}').peekable(); // "as a picture"
    while let Some(character) = characters.next() {
        match means(before, character, characters.peek().copied()) {
            None => out.push(character),
            Some(is_right) => {
                out.push_str(if stand_before { ". " } else { " " });
                out.push_str(if is_right { "correct" } else { "wrong" });
                out.push_str(if stand_before { " " } else { ". " });
            }
        }
        before = Some(character);
    }
    Cow::Owned(out)
}

const RIGHT: [char; 8] = ['✓', '✔', '✅', '☑', '√', '👍', '●', '◉'];
const WRONG: [char; 8] = ['✗', '✘', '❌', '✕', '✖', '❎', '☒', '👎'];
/// Boxes and circles that nobody ticked.
const EMPTY: [char; 3] = ['☐', '○', '◯'];

/// "[x] C" is ticked, "[ ] D" is not.
fn with_boxes_as_marks(text: &str) -> Cow<'_, str> {
    if memchr(b'[', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    if !["[x]", "[X]", "[ ]"].iter().any(|b| text.contains(b)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.replace("[x]", "☑")
            .replace("[X]", "☑")
            .replace("[ ]", "☐"),
    )
}

fn wide_to_plain(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        other => other,
    }
}
