//! Boxes in text: JSON, tags, or bare brackets, whole or cut off.
//!
//! Understood: `[x1, y1, x2, y2]`, lists of such, `{"box": […], "label": "…", "score": …}` (also `bbox`,
//! `bbox_2d`, `box_2d`, or the keys `x1`, `y1`, `x2`, `y2`), `(x1,y1),(x2,y2)` with or without tags around,
//! and four bare numbers alone. Coordinates are taken as written, in the order x1, y1, x2, y2.

use super::{folded_label, Corners, Labelled};

/// Nesting beyond this is read as if it were flat.
const DEEPEST: usize = 32;
const BOX_KEYS: [&str; 6] = ["box", "bbox", "bbox_2d", "box_2d", "boxes", "bboxes"];
const LABEL_KEYS: [&str; 6] = ["label", "name", "class", "category", "finding", "sub_label"];
const SCORE_KEYS: [&str; 2] = ["score", "confidence"];
const CORNER_KEYS: [&str; 4] = ["x1", "y1", "x2", "y2"];

#[derive(Debug)]
enum Value {
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    Word,
}

/// The boxes in a text, in their order; `None` where it holds neither a box nor an empty list.
///
/// A box that is written but has not four numbers is kept with NaN corners: it counts and matches nothing.
///
/// ```
/// use _reward_core::boxes::parse::parse;
/// let boxes = parse(r#"[{"bbox_2d": [1, 2, 3, 4], "label": "Nodule"}]"#).unwrap();
/// assert_eq!(boxes[0].corners.x2, 3.0);
/// assert_eq!(boxes[0].label.as_deref(), Some("nodule"));
/// assert_eq!(parse("[]").unwrap().len(), 0);
/// assert!(parse("nothing is seen").is_none());
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<Vec<Labelled>> {
    let mut reader = Reader {
        text: text.as_bytes(),
        source: text,
        at: 0,
    };
    let values = reader.sequence(None, 0);
    let mut found = Found::default();
    if let Some(corners) = four_numbers(&values) {
        found.push(corners, None, None);
    } else {
        found.walk_list(&values, true);
    }
    (found.any || !found.boxes.is_empty()).then_some(found.boxes)
}

#[derive(Default)]
struct Found {
    boxes: Vec<Labelled>,
    /// An empty list was written.
    any: bool,
}

impl Found {
    fn push(&mut self, corners: Corners, label: Option<&str>, score: Option<f64>) {
        self.boxes.push(Labelled {
            corners,
            label: label.and_then(folded_label),
            score,
        });
    }

    /// The boxes in a list; pairs of points beside each other are boxes.
    fn walk_list(&mut self, values: &[Value], is_top: bool) {
        if values.is_empty() && !is_top {
            self.any = true;
        }
        let mut first_point: Option<[f64; 2]> = None;
        for value in values {
            match value {
                Value::List(items) => {
                    if let Some(corners) = four_numbers(items) {
                        self.push(corners, None, None);
                    } else if let [Value::Number(x), Value::Number(y)] = items[..] {
                        if let Some([x1, y1]) = first_point.take() {
                            self.push(Corners::new([x1, y1, x, y]), None, None);
                        } else {
                            first_point = Some([x, y]);
                        }
                        continue;
                    } else {
                        self.walk_list(items, false);
                    }
                    first_point = None;
                }
                Value::Object(fields) => {
                    first_point = None;
                    self.walk_object(fields);
                }
                Value::Number(_) | Value::Text(_) | Value::Word => {}
            }
        }
    }

    fn walk_object(&mut self, fields: &[(String, Value)]) {
        let get = |names: &[&str]| {
            fields
                .iter()
                .find(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
                .map(|(_, v)| v)
        };
        let label = match get(&LABEL_KEYS) {
            Some(Value::Text(label)) => Some(label.as_str()),
            _ => None,
        };
        let score = match get(&SCORE_KEYS) {
            Some(Value::Number(score)) => Some(*score),
            _ => None,
        };
        if let Some(value) = get(&BOX_KEYS) {
            match value {
                Value::List(items) => {
                    let start = self.boxes.len();
                    if let Some(corners) = four_numbers(items) {
                        self.push(corners, None, None);
                    } else if items.iter().any(|item| matches!(item, Value::Number(_))) {
                        self.push(Corners::new([f64::NAN; 4]), None, None); // three numbers, or five
                    } else {
                        self.walk_list(items, false);
                    }
                    for found in &mut self.boxes[start..] {
                        found.label = found.label.take().or_else(|| label.and_then(folded_label));
                        found.score = found.score.or(score);
                    }
                }
                _ => self.push(Corners::new([f64::NAN; 4]), label, score),
            }
            return;
        }
        if CORNER_KEYS.iter().any(|key| get(&[key]).is_some()) {
            let corners = CORNER_KEYS.map(|key| match get(&[key]) {
                Some(Value::Number(value)) => *value,
                _ => f64::NAN,
            });
            self.push(Corners::new(corners), label, score);
            return;
        }
        for (_, value) in fields {
            match value {
                Value::List(items) => {
                    // {"nodule": [1, 2, 3, 4]} and {"findings": [ … ]}
                    if let Some(corners) = four_numbers(items) {
                        self.push(corners, label, score);
                    } else {
                        self.walk_list(items, false);
                    }
                }
                Value::Object(inner) => self.walk_object(inner),
                _ => {}
            }
        }
    }
}

fn four_numbers(values: &[Value]) -> Option<Corners> {
    match values {
        [Value::Number(x1), Value::Number(y1), Value::Number(x2), Value::Number(y2)] => {
            Some(Corners::new([*x1, *y1, *x2, *y2]))
        }
        _ => None,
    }
}

/// Reads values and skips whatever else stands between them.
struct Reader<'a> {
    text: &'a [u8],
    source: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// Values up to the closing bracket, or to the end of the text.
    fn sequence(&mut self, close: Option<u8>, depth: usize) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b']' | b')' | b'}' => {
                    self.at += 1;
                    if close == Some(byte) {
                        break;
                    }
                }
                _ => {
                    if let Some(value) = self.value(depth) {
                        values.push(value);
                    }
                }
            }
        }
        values
    }

    /// The value that begins here; `None` where a blank, a comma or the like was skipped.
    fn value(&mut self, depth: usize) -> Option<Value> {
        let byte = self.text[self.at];
        match byte {
            b'[' | b'(' if depth < DEEPEST => {
                self.at += 1;
                let close = if byte == b'[' { b']' } else { b')' };
                Some(Value::List(self.sequence(Some(close), depth + 1)))
            }
            b'{' if depth < DEEPEST => {
                self.at += 1;
                Some(Value::Object(self.fields(depth + 1)))
            }
            b'"' | b'\'' if depth > 0 && self.opens_string() => {
                Some(Value::Text(self.string(byte)))
            }
            b'-' | b'+' | b'.' | b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Some(self.word()),
            b'<' => {
                self.skip_tag();
                None
            }
            _ => {
                self.at += 1;
                None
            }
        }
    }

    /// Fields up to the closing brace: strings or words followed by a colon, and what follows it.
    fn fields(&mut self, depth: usize) -> Vec<(String, Value)> {
        let mut fields = Vec::new();
        let mut key: Option<String> = None;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'}' => {
                    self.at += 1;
                    break;
                }
                b']' | b')' | b':' => self.at += 1,
                b',' => {
                    self.at += 1;
                    key = None;
                }
                _ => {
                    let start = self.at;
                    let Some(value) = self.value(depth) else {
                        continue;
                    };
                    match key.take() {
                        Some(name) => fields.push((name, value)),
                        None => {
                            key = match value {
                                Value::Text(name) => Some(name),
                                Value::Word => Some(self.source[start..self.at].to_owned()),
                                _ => None,
                            };
                        }
                    }
                }
            }
        }
        fields
    }

    /// A quotation mark opens a string unless it stands inside a word, as the apostrophe does.
    fn opens_string(&self) -> bool {
        self.text[self.at] == b'"'
            || self.at == 0
            || !self.text[self.at - 1].is_ascii_alphanumeric()
    }

    fn string(&mut self, quote: u8) -> String {
        self.at += 1;
        let mut bytes = Vec::new();
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if byte == quote {
                break;
            }
            if byte == b'\\' {
                if let Some(&escaped) = self.text.get(self.at) {
                    self.at += 1;
                    match escaped {
                        b'u' => {
                            let digits = self.source.get(self.at..self.at + 4);
                            let code =
                                digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                            if let Some(character) = code.and_then(char::from_u32) {
                                self.at += 4;
                                bytes.extend(character.to_string().bytes());
                            }
                        }
                        b'n' | b't' | b'r' => bytes.push(b' '),
                        other => bytes.push(other),
                    }
                    continue;
                }
            }
            bytes.push(byte);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        if matches!(self.text[self.at], b'-' | b'+') {
            self.at += 1;
            if self.text.get(self.at).is_some_and(u8::is_ascii_alphabetic) {
                return Some(self.word()); // -Infinity
            }
        }
        while self
            .text
            .get(self.at)
            .is_some_and(|&b| b.is_ascii_digit() || b == b'.' || self.in_exponent(b))
        {
            self.at += 1;
        }
        if self.at == start {
            self.at += 1;
        }
        let text = &self.source[start..self.at];
        text.trim_end_matches('.').parse().ok().map(Value::Number)
    }

    /// `e`, `E` and the sign after it, where digits follow.
    fn in_exponent(&self, byte: u8) -> bool {
        let next = self.text.get(self.at + 1).copied().unwrap_or(b' ');
        match byte {
            b'e' | b'E' => next.is_ascii_digit() || matches!(next, b'-' | b'+'),
            b'-' | b'+' => matches!(self.text[self.at - 1], b'e' | b'E') && next.is_ascii_digit(),
            _ => false,
        }
    }

    /// A word; `NaN`, `Infinity` and `null` are numbers that are none.
    fn word(&mut self) -> Value {
        let start = self.at;
        while self
            .text
            .get(self.at)
            .is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_')
        {
            self.at += 1;
        }
        match self.source[start..self.at].to_ascii_lowercase().as_str() {
            "nan" | "infinity" | "inf" | "null" | "none" => Value::Number(f64::NAN),
            _ => Value::Word,
        }
    }

    /// Past `<box>`, `</box>`, `<|box_start|>`; past the `<` alone where no tag begins.
    fn skip_tag(&mut self) {
        self.at += 1;
        let rest = &self.text[self.at..];
        let end = rest.iter().take(32).position(|&b| b == b'>');
        if let Some(end) = end {
            if rest[..end]
                .iter()
                .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'|' | b'_' | b'-'))
            {
                self.at += end + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn corners(text: &str) -> Vec<[f64; 4]> {
        let boxes = parse(text).unwrap_or_else(|| panic!("no boxes in {text}"));
        boxes
            .iter()
            .map(|b| [b.corners.x1, b.corners.y1, b.corners.x2, b.corners.y2])
            .collect()
    }

    #[test]
    fn all_forms_say_the_same() {
        for text in [
            "[1, 2, 3, 4]",
            "[[1,2,3,4]]",
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "a"}]"#,
            r#"{"box": [1, 2, 3, 4]}"#,
            r#"{"boxes": [[1, 2, 3, 4]]}"#,
            r#"{"findings": [{"bbox": [1.0, 2.0, 3.0, 4e0]}]}"#,
            r#"{"x1": 1, "y1": 2, "x2": 3, "y2": 4}"#,
            "{'box': [1, 2, 3, 4], 'label': 'a'}",
            "<box>(1,2),(3,4)</box>",
            "<|object_ref_start|>nodule<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
            "<box>1 2 3 4</box>",
            "```json\n[{\"bbox_2d\": [1, 2, 3, 4]}]\n```",
            "The patient's nodule is at [1, 2, 3, 4].",
            "A 5\" mass: [1, 2, 3, 4]",
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cut o"#,
        ] {
            assert_eq!(corners(text), [[1.0, 2.0, 3.0, 4.0]], "{text}");
        }
    }

    #[test]
    fn a_box_without_four_numbers_counts_and_is_invalid() {
        for text in [
            r#"{"box": [1, 2, 3]}"#,
            r#"{"box": "none"}"#,
            "[NaN, 1, 2, 3]",
            r#"{"x1": 1, "y1": 2}"#,
        ] {
            let boxes = parse(text).expect(text);
            assert_eq!(boxes.len(), 1, "{text}");
            assert!(!boxes[0].corners.is_valid(), "{text}");
        }
    }

    #[test]
    fn prose_holds_no_boxes() {
        for text in [
            "",
            "no nodule [1] is seen (see 2, 3)",
            "it's 3 cm",
            "<answer>none</answer>",
            "-",
            "{",
            "+.",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn label_and_score_belong_to_their_box() {
        let boxes =
            parse(r#"[{"label": " Mass ", "score": 0.5, "box": [1,2,3,4]}, {"box": [5,6,7,8]}]"#)
                .unwrap();
        assert_eq!(boxes[0].label.as_deref(), Some("mass"));
        assert_eq!(boxes[0].score, Some(0.5));
        assert_eq!((boxes[1].label.as_deref(), boxes[1].score), (None, None));
        let chinese = parse(r#"[{"box": [1,2,3,4], "label": "\u7ed3\u8282"}]"#).unwrap();
        assert_eq!(chinese[0].label.as_deref(), Some("结节"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_of_brackets_panics(text in r#"[\[\](){}<>"',:.0-9eE+\-|a结\\ ]{0,200}"#) {
            let _ = parse(&text);
        }
    }

    #[test]
    fn deep_nesting_is_survived() {
        let _ = parse(&"[".repeat(1_000_000));
        let _ = parse(&"{\"a\":".repeat(200_000));
    }
}
