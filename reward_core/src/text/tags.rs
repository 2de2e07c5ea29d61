//! Tags of a completion, such as `<think>…</think><answer>…</answer>`.
//!
//! Tolerant of case, blanks inside the tag and line breaks; strict about tags that are missing, repeated,
//! nested in one another or never closed: what a reader could understand in two ways is not scored.

use memchr::memchr;

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

/// Largest number of tags in a set.
pub const MAX_TAGS: usize = 16;

/// The tags a completion is expected to carry, in their order.
#[derive(Clone, Debug)]
pub struct TagSet {
    names: Vec<String>,
}

/// What was found in one completion.
#[derive(Clone, Copy, Debug)]
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

/// A tag of the set, opening or closing.
#[derive(Clone, Copy, Debug)]
pub struct Event {
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

    /// Finds every tag of the set in `text`.
    #[must_use]
    pub fn parse(&self, text: &str) -> TagReport {
        self.parse_with(text, &mut Vec::new())
    }

    /// [`Self::parse`] that reuses the memory of `events`.
    #[must_use]
    pub fn parse_with(&self, text: &str, events: &mut Vec<Event>) -> TagReport {
        self.find_events(text.as_bytes(), events);
        let mut report = TagReport {
            states: [TagState::Missing; MAX_TAGS],
            contents: [None; MAX_TAGS],
            in_order: true,
            is_clean_outside: true,
        };
        let mut pairs = [(0, 0); MAX_TAGS];
        let mut found = 0;
        for tag in 0..self.len() {
            let (state, pair) = state_of(tag, events);
            report.states[tag] = state;
            let Some((open, close)) = pair else { continue };
            report.contents[tag] = Some(trimmed(text, open.end, close.start));
            report.in_order &= found == 0 || open.start > pairs[found - 1].0;
            pairs[found] = (open.start, close.end);
            found += 1;
        }
        pairs[..found].sort_unstable();
        let mut at = 0;
        for &(start, end) in &pairs[..found] {
            report.is_clean_outside &= is_blank(&text[at..start]);
            at = end;
        }
        report.is_clean_outside &= is_blank(&text[at..]);
        report
    }

    fn find_events(&self, bytes: &[u8], events: &mut Vec<Event>) {
        events.clear();
        let mut at = 0;
        while let Some(offset) = memchr(b'<', &bytes[at..]) {
            let start = at + offset;
            at = start + 1;
            let mut cursor = skip_blanks(bytes, at);
            let is_close = bytes.get(cursor) == Some(&b'/');
            if is_close {
                cursor = skip_blanks(bytes, cursor + 1);
            }
            let name_end = cursor
                + bytes[cursor..]
                    .iter()
                    .take_while(|b| is_name_byte(b.to_ascii_lowercase()))
                    .count();
            let close = skip_blanks(bytes, name_end);
            if bytes.get(close) != Some(&b'>') {
                continue;
            }
            let name = &bytes[cursor..name_end];
            let is_it = |n: &String| n.as_bytes().eq_ignore_ascii_case(name);
            if let Some(tag) = self.names.iter().position(is_it) {
                events.push(Event {
                    tag,
                    is_close,
                    start,
                    end: close + 1,
                });
                at = close + 1;
            }
        }
    }
}

/// Whether there is nothing but blanks; looks at the first byte before anything else.
fn is_blank(text: &str) -> bool {
    text.as_bytes()
        .first()
        .is_none_or(|b| !b.is_ascii_graphic())
        && text.trim().is_empty()
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

fn trimmed(text: &str, start: usize, end: usize) -> (usize, usize) {
    let content = &text[start..end];
    let lead = content.len() - content.trim_start().len();
    (start + lead, start + lead + content.trim().len())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (TagSet, TagReport) {
        let set = TagSet::new(&["think", "answer", "plane", "modality"]).unwrap();
        let report = set.parse(text);
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
