//! Tags of a completion, such as `<think>…</think><answer>…</answer>`.
//!
//! Tolerant of case, blanks inside the tag and line breaks; strict about tags that are missing, repeated,
//! nested in one another or never closed: what a reader could understand in two ways is not scored.

use memchr::memchr;

use super::source::Source;
use super::wrappers::is_only_stop_tokens;

/// How one tag was found in a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TagState {
    /// Opened once and closed once, with no other tag of the set inside or around it.
    Found = 0,
    /// Neither opened nor closed.
    Missing = 1,
    /// Opened but not closed afterwards.
    Unclosed = 2,
    /// Closed but never opened.
    Unopened = 3,
    /// Opened or closed more than once.
    Repeated = 4,
    /// Another tag of the set begins or ends inside it, or it lies inside another.
    Nested = 5,
}

impl TagState {
    /// The name that explanations use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Unclosed => "unclosed",
            Self::Unopened => "unopened",
            Self::Repeated => "repeated",
            Self::Nested => "nested",
        }
    }
}

/// Every state, in the order of their numbers.
pub const TAG_STATES: [TagState; 6] = [
    TagState::Found,
    TagState::Missing,
    TagState::Unclosed,
    TagState::Unopened,
    TagState::Repeated,
    TagState::Nested,
];

/// Largest number of tags in a set.
pub const MAX_TAGS: usize = 16;

/// The tags a completion is expected to carry, in their order.
#[derive(Clone, Debug)]
pub struct TagSet {
    names: Vec<String>,
}

/// What was found in one completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagReport {
    /// State of each tag of the set; the rest of the array is unused.
    pub states: [TagState; MAX_TAGS],
    /// Byte range of each tag's content, blanks trimmed; set only where the state is `Found`.
    pub contents: [Option<(usize, usize)>; MAX_TAGS],
    /// The found tags open in the order of the set.
    pub in_order: bool,
    /// Nothing but blanks lies outside the found tags.
    pub is_clean_outside: bool,
}

/// Memory that [`TagSet::parse`] reuses from one text to the next.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    marks: Vec<u8>,
    events: Vec<Event>,
}

/// A tag of the set, opening or closing.
#[derive(Clone, Copy, Debug)]
struct Event {
    tag: usize,
    is_close: bool,
    start: usize,
    end: usize,
}

impl TagSet {
    /// A set of tag names; case does not matter.
    ///
    /// # Errors
    /// A name is empty, occurs twice, or holds something other than letters, digits, `_` and `-`.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, String> {
        let names: Vec<String> = names
            .iter()
            .map(|n| n.as_ref().trim().to_ascii_lowercase())
            .collect();
        for (position, name) in names.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return Err(format!(
                    "tag {name:?} must be made of letters, digits, '_' and '-'"
                ));
            }
            if names[..position].contains(name) {
                return Err(format!("tag {name:?} is named twice"));
            }
        }
        if names.len() > MAX_TAGS {
            return Err(format!(
                "a tag set has at most {MAX_TAGS} tags, not {}",
                names.len()
            ));
        }
        Ok(Self { names })
    }

    /// Number of tags in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the set has no tag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, in lower case and in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position of `name` in the set.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// Finds every tag of the set in `text`; `scan` only saves allocations.
    #[must_use]
    pub fn parse<'a>(&self, text: impl Into<Source<'a>>, scan: &mut Scan) -> TagReport {
        let text = text.into();
        self.find_events(text.marks(&mut scan.marks), &mut scan.events);
        report_of_pairs(text, &scan.events).unwrap_or_else(|| self.report(text, &scan.events))
    }

    /// What the tags found amount to, in whatever order they come.
    fn report(&self, text: Source<'_>, events: &[Event]) -> TagReport {
        let mut report = TagReport::NOTHING;
        let mut pairs = [(0, 0); MAX_TAGS];
        let mut found = 0;
        for tag in 0..self.len() {
            let (state, pair) = state_of(tag, events);
            report.states[tag] = state;
            let Some((open, close)) = pair else { continue };
            report.contents[tag] = Some(text.trimmed(open.end, close.start));
            report.in_order &= found == 0 || open.start > pairs[found - 1].0;
            pairs[found] = (open.start, close.end);
            found += 1;
        }
        pairs[..found].sort_unstable();
        let mut at = 0;
        for &(start, end) in &pairs[..found] {
            report.is_clean_outside &= text.slice(at, start).is_blank();
            at = end;
        }
        report.is_clean_outside &= is_clean_end(text.slice(at, text.len()));
        report
    }

    /// The part of `text` that is scored for the tag at `position`, as a range: its content, or with `plain` a
    /// completion without that tag itself, save what it thought.
    ///
    /// A tag inside the thought is no answer, one that is written twice with the same content is one; `scan` is that of
    /// [`TagSet::parse`]. A thought that opened in the prompt ends at `</think>`; one that never ends answers nothing.
    /// With `plain` a tag that is left open is taken where it holds the letter of an option, of which nothing was cut off.
    ///
    /// # Errors
    /// The state that prevents it: `Unclosed` for a thought without an end, too.
    pub fn field(
        &self,
        report: &TagReport,
        position: usize,
        text: Source<'_>,
        plain: bool,
        scan: &Scan,
    ) -> Result<(usize, usize), TagState> {
        match (report.contents[position], report.states[position]) {
            (Some(range), _) => Ok(range),
            (None, TagState::Missing) if plain => {
                let think = self.position("think");
                let mut of_thought = scan.events.iter().filter(|e| Some(e.tag) == think);
                match of_thought.next_back() {
                    Some(last) if last.is_close => Ok((last.end, text.len())),
                    Some(_) => Err(TagState::Unclosed),
                    None => Ok((0, text.len())),
                }
            }
            (None, state) => self
                .outside_thought(position, text, &scan.events)
                .or_else(|| {
                    let last = scan.events.last().filter(|_| plain)?;
                    let range = text.trimmed(last.end, text.len());
                    let is_whole = self.left_open(position, &scan.events)
                        && is_bare_letter(text.slice(range.0, range.1));
                    is_whole.then_some(range)
                })
                .ok_or(state),
        }
    }

    /// Whether the tag opens once, as the last of all tags, after any thought has ended: "<answer>C" of a plain answer.
    fn left_open(&self, position: usize, events: &[Event]) -> bool {
        let think = self.position("think");
        let Some((last, before)) = events.split_last() else {
            return false;
        };
        let is_thinking = before
            .iter()
            .rfind(|e| Some(e.tag) == think)
            .is_some_and(|e| !e.is_close);
        last.tag == position
            && !last.is_close
            && !is_thinking
            && before.iter().all(|e| e.tag != position)
    }

    /// The content of the tag where it stands outside the thought: once, or each time with the same content.
    fn outside_thought(
        &self,
        position: usize,
        text: Source<'_>,
        events: &[Event],
    ) -> Option<(usize, usize)> {
        let think = self.position("think");
        let mut is_thinking = events
            .iter()
            .find(|e| Some(e.tag) == think)
            .is_some_and(|e| e.is_close);
        let (mut open, mut found) = (None, None);
        for event in events {
            if Some(event.tag) == think {
                is_thinking = !event.is_close;
                continue;
            }
            if event.tag != position || is_thinking {
                continue;
            }
            match (event.is_close, open.take()) {
                (false, None) => open = Some(event.end),
                (true, Some(start)) => {
                    let range = text.trimmed(start, event.start);
                    if found.is_some_and(|first| !is_same_text(text, first, range)) {
                        return None;
                    }
                    found = found.or(Some(range));
                }
                _ => return None,
            }
        }
        found.filter(|_| open.is_none())
    }

    fn find_events(&self, bytes: &[u8], events: &mut Vec<Event>) {
        events.clear();
        let (mut at, mut expected) = (0, 0);
        while let Some(start) = next_opening(bytes, at) {
            at = start + 1;
            if let Some(event) = self.tag_at(bytes, start, expected) {
                at = event.end;
                expected = event.tag + usize::from(event.is_close);
                events.push(event);
            }
        }
    }

    /// The tag that begins with the `<` at `start`; the one `expected` is found soonest.
    fn tag_at(&self, bytes: &[u8], start: usize, expected: usize) -> Option<Event> {
        let is_close = bytes.get(start + 1) == Some(&b'/');
        if let Some(name) = self.names.get(expected) {
            let rest = &bytes[start + 1 + usize::from(is_close)..];
            if rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&b'>') {
                let end = bytes.len() - rest.len() + name.len() + 1;
                return Some(Event {
                    tag: expected,
                    is_close,
                    start,
                    end,
                });
            }
        }
        let mut cursor = skip_blanks(bytes, start + 1);
        let is_close = bytes.get(cursor) == Some(&b'/');
        if is_close {
            cursor = skip_blanks(bytes, cursor + 1);
        }
        let is_name = |b: &&u8| is_name_byte(b.to_ascii_lowercase());
        let name_end = cursor + bytes[cursor..].iter().take_while(is_name).count();
        let close = skip_blanks(bytes, name_end);
        if bytes.get(close) != Some(&b'>') {
            return None;
        }
        let name = &bytes[cursor..name_end];
        let is_it = |n: &String| n.as_bytes().eq_ignore_ascii_case(name);
        Some(Event {
            tag: self.names.iter().position(is_it)?,
            is_close,
            start,
            end: close + 1,
        })
    }
}

/// Whether both ranges hold the same words, whatever their case.
fn is_same_text(text: Source<'_>, left: (usize, usize), right: (usize, usize)) -> bool {
    let (mut one, mut other) = (String::new(), String::new());
    let left = text.slice(left.0, left.1).text(&mut one).to_lowercase();
    left == text.slice(right.0, right.1).text(&mut other).to_lowercase()
}

/// Whether nothing but blanks and stop tokens is left of the text.
fn is_clean_end(rest: Source<'_>) -> bool {
    let mut memory = String::new();
    rest.is_blank() || rest.len() <= LONGEST_END && is_only_stop_tokens(rest.text(&mut memory))
}

/// Characters of stop tokens that may stand after the last tag.
const LONGEST_END: usize = 256;

/// The next `<` from `at` on: as a rule it follows the tag before at once, after a line break, or far away.
fn next_opening(bytes: &[u8], at: usize) -> Option<usize> {
    let near = bytes[at..].iter().take(2).position(|&b| b == b'<');
    let offset = near.or_else(|| memchr(b'<', &bytes[at..]))?;
    Some(at + offset)
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
}

fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..]
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count()
}

/// The report of a text whose tags are closed before the next one opens, each there once; None for any other.
fn report_of_pairs(text: Source<'_>, events: &[Event]) -> Option<TagReport> {
    let (pairs, rest) = events.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut report = TagReport::NOTHING;
    let (mut at, mut last) = (0, 0);
    for [open, close] in pairs {
        let tag = open.tag;
        let is_pair = !open.is_close && close.is_close && close.tag == tag;
        if !is_pair || report.states[tag] == TagState::Found {
            return None;
        }
        report.states[tag] = TagState::Found;
        report.contents[tag] = Some(text.trimmed(open.end, close.start));
        report.in_order &= tag >= last;
        report.is_clean_outside &= text.slice(at, open.start).is_blank();
        (at, last) = (close.end, tag);
    }
    report.is_clean_outside &= is_clean_end(text.slice(at, text.len()));
    Some(report)
}

fn state_of(tag: usize, events: &[Event]) -> (TagState, Option<(Event, Event)>) {
    let (mut opened, mut closed) = (None, None);
    for (position, event) in events.iter().enumerate().filter(|(_, e)| e.tag == tag) {
        let slot = if event.is_close {
            &mut closed
        } else {
            &mut opened
        };
        if slot.replace(position).is_some() {
            return (TagState::Repeated, None);
        }
    }
    match (opened, closed) {
        (None, None) => (TagState::Missing, None),
        (None, Some(_)) => (TagState::Unopened, None),
        (Some(_), None) => (TagState::Unclosed, None),
        (Some(open), Some(close)) if close < open => (TagState::Unclosed, None),
        (Some(open), Some(close)) if close > open + 1 || is_enclosed(open, close, events) => {
            (TagState::Nested, None)
        }
        (Some(open), Some(close)) => (TagState::Found, Some((events[open], events[close]))),
    }
}

/// Whether another tag opens before `open` and closes after `close`, with nothing of its own between.
fn is_enclosed(open: usize, close: usize, events: &[Event]) -> bool {
    let (mut is_closed, mut is_open) = ([false; MAX_TAGS], [false; MAX_TAGS]);
    for event in events[..open].iter().rev() {
        is_closed[event.tag] |= event.is_close;
        is_open[event.tag] |= !event.is_close && !is_closed[event.tag];
    }
    events[close..].iter().any(|e| e.is_close && is_open[e.tag])
}

impl TagReport {
    /// No tag in an empty text.
    const NOTHING: Self = Self {
        states: [TagState::Missing; MAX_TAGS],
        contents: [None; MAX_TAGS],
        in_order: true,
        is_clean_outside: true,
    };

    /// 1 when every tag is found once, in order, filled, with nothing but blanks outside; else 0.
    ///
    /// An empty `think` counts as filled: models that can switch thinking off write one.
    #[must_use]
    pub fn format(&self, set: &TagSet) -> f64 {
        let is_right = self.in_order
            && self.is_clean_outside
            && (0..set.len()).all(|tag| self.is_filled(set, tag));
        f64::from(u8::from(is_right))
    }

    /// Share of what `format` asks for: one part a filled tag, one for the order, one for nothing outside.
    ///
    /// The last two count only where at least one tag is filled, so plain prose scores 0.
    #[must_use]
    pub fn format_graded(&self, set: &TagSet) -> f64 {
        let filled = (0..set.len())
            .filter(|&tag| self.is_filled(set, tag))
            .count();
        if filled == 0 {
            return 0.0;
        }
        let extra = usize::from(self.in_order) + usize::from(self.is_clean_outside);
        (filled + extra) as f64 / (set.len() + 2) as f64
    }

    fn is_filled(&self, set: &TagSet, tag: usize) -> bool {
        self.contents[tag].is_some_and(|(start, end)| end > start || set.names[tag] == "think")
    }
}

/// "C", "(C)", "C.".
fn is_bare_letter(text: Source<'_>) -> bool {
    const LONGEST: usize = 3;
    let mut memory = Vec::new();
    if text.len() > LONGEST {
        return false;
    }
    let marks = text.marks(&mut memory);
    let letters = marks.iter().filter(|b| b.is_ascii_uppercase()).count();
    letters == 1
        && marks
            .iter()
            .all(|b| b.is_ascii_uppercase() || b"()[].:".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARTS: [&str; 14] = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<plane>",
        "</plane>",
        "< ANSWER >",
        "</ answer>",
        "肺",
        " ",
        "\n",
        "x",
        "<",
        "<answer></answer>",
    ];

    proptest! {
        #[test]
        fn the_report_is_the_same_for_either_encoding_and_without_the_short_cut(
            parts in proptest::collection::vec(0..PARTS.len(), 0..12)
        ) {
            let set = TagSet::new(&["think", "answer", "plane"]).unwrap();
            let text: String = parts.iter().map(|&part| PARTS[part]).collect();
            let units: Vec<u32> = text.chars().map(u32::from).collect();
            let mut scan = Scan::default();
            let narrow = set.parse(text.as_str(), &mut scan);
            prop_assert_eq!(narrow, set.report(Source::Utf8(&text), &scan.events));
            let wide = set.parse(Source::Utf32(&units), &mut scan);
            prop_assert_eq!(narrow.states, wide.states);
            prop_assert_eq!((narrow.in_order, narrow.is_clean_outside), (wide.in_order, wide.is_clean_outside));
            for (narrow, wide) in narrow.contents.iter().zip(wide.contents) {
                let said = wide.map(|(start, end)| {
                    let mut memory = String::new();
                    Source::Utf32(&units[start..end]).text(&mut memory).to_string()
                });
                prop_assert_eq!(narrow.map(|(start, end)| text[start..end].to_string()), said);
            }
        }
    }

    fn parse(text: &str) -> (TagSet, TagReport) {
        let set = TagSet::new(&["think", "answer", "plane", "modality"]).unwrap();
        let report = set.parse(text, &mut Scan::default());
        (set, report)
    }

    #[test]
    fn tags_are_found_over_lines_blanks_and_case() {
        let text = "<Think>\na\n</THINK>\n< answer >\n left\nlung \n</ answer>\n<plane>axial</plane><modality>CT</modality>\n";
        let (set, report) = parse(text);
        let (start, end) = report.contents[1].unwrap();
        assert_eq!(&text[start..end], "left\nlung");
        assert!((report.format(&set) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn repeated_nested_and_unclosed_tags_are_told_apart() {
        use TagState::{Found, Missing, Nested, Repeated, Unclosed, Unopened};
        let states = |text| parse(text).1.states[..4].to_vec();
        assert_eq!(
            states("<answer>a</answer><answer>b</answer>"),
            [Missing, Repeated, Missing, Missing]
        );
        assert_eq!(
            states("<think><answer>a</answer></think>"),
            [Nested, Nested, Missing, Missing]
        );
        assert_eq!(
            states("<think>x<answer>a</answer>"),
            [Unclosed, Found, Missing, Missing]
        );
        assert_eq!(states("a</answer>"), [Missing, Unopened, Missing, Missing]);
        assert_eq!(
            states("</answer>a<answer>"),
            [Missing, Unclosed, Missing, Missing]
        );
        assert_eq!(
            states("<think>a<answer>b</think>c</answer>"),
            [Nested, Nested, Missing, Missing]
        );
    }
}
