//! What stands around an answer and is no part of it: stop tokens, LaTeX, code fences, JSON, file names.

use std::borrow::Cow;

use memchr::{memchr, memchr3, memmem};

/// Marks of a chat format that some tools leave in the text, besides `<|…|>`.
const STOP_TOKENS: [&str; 16] = [
    "</s>",
    "<s>",
    "<eos>",
    "<bos>",
    "<pad>",
    "<unk>",
    "<end_of_turn>",
    "<start_of_turn>",
    "<eot_id>",
    "<end_of_utterance>",
    "<image>",
    "[EOS]",
    "[PAD]",
    "[INST]",
    "[/INST]",
    "<｜end▁of▁sentence｜>",
];

/// Longest mark of the form `<|…|>`.
const LONGEST_MARK: usize = 40;

/// The fields of an object in which models write their answer, the surest first.
const ANSWER_FIELDS: [&str; 10] = [
    "final_answer",
    "answer",
    "final answer",
    "choice",
    "option",
    "prediction",
    "response",
    "result",
    "label",
    "答案",
];

/// Endings of files that a model may name by mistake.
const FILE_ENDINGS: [&str; 14] = [
    "png", "jpg", "jpeg", "dcm", "nii", "gz", "bmp", "tif", "tiff", "gif", "webp", "json", "csv",
    "txt",
];

/// Characters of a file name that are looked at.
const LONGEST_NAME: usize = 256;

/// Where the stop token that begins with the byte at `start` ends.
fn stop_token_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    if rest.starts_with("<|") {
        let mut end = (start + LONGEST_MARK).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let length = text.get(start + 2..end)?.find("|>")? + 4;
        let is_mark = text[start + 2..start + length - 2]
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_- ".contains(&b));
        return is_mark.then_some(start + length);
    }
    let token = STOP_TOKENS.iter().find(|t| rest.starts_with(**t))?;
    Some(start + token.len())
}

/// Whether `text` is nothing but stop tokens and blanks.
#[must_use]
pub fn is_only_stop_tokens(text: &str) -> bool {
    let mut at = 0;
    while at < text.len() {
        if let Some(end) = stop_token_end(text, at) {
            at = end;
            continue;
        }
        match text[at..].chars().next() {
            Some(c) if c.is_whitespace() => at += c.len_utf8(),
            _ => return false,
        }
    }
    true
}

/// The answer in `text` without its wrapping.
///
/// ```
/// use _reward_core::text::wrappers::unwrapped;
/// assert_eq!(unwrapped(r"\boxed{\text{B}}").trim(), "B");
/// assert_eq!(unwrapped("{\"reason\": \"round\", \"answer\": \"B\"}"), "B");
/// assert_eq!(unwrapped("left lung<|im_end|>").trim(), "left lung");
/// ```
#[must_use]
pub fn unwrapped(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut text = Cow::Borrowed(text);
    if memchr3(b'<', b'[', b'`', bytes).is_some() {
        text = without_marks(text);
    }
    if memchr3(b'\\', b'$', b'{', bytes).is_some() {
        let is_object = text.trim_start().starts_with('{') || text.trim_start().starts_with("[{");
        if let Some(value) = is_object.then(|| field_of_object(&text)).flatten() {
            text = Cow::Owned(value);
        }
        text = without_latex(text);
    }
    if memchr(b'.', bytes).is_some() {
        text = without_files(text);
    }
    text
}

/// Stop tokens and code fences become blanks.
fn without_marks(text: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(offset) = memchr3(b'<', b'[', b'`', &bytes[at..]) {
        let start = at + offset;
        let end = if bytes[start] == b'`' {
            Some(fence_end(&text, start))
        } else {
            stop_token_end(&text, start)
        };
        at = end.unwrap_or(start + 1);
        if end.is_some() {
            out.push_str(&text[kept..start]);
            out.push(' ');
            kept = at;
        } else if is_letter_in_angles(&bytes[start..]) {
            out.push_str(&text[kept..start]);
            out.extend(['(', char::from(bytes[start + 1]), ')']);
            at = start + 3;
            kept = at;
        }
    }
    if kept == 0 {
        return text;
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// `<C>`, which is the letter of an option, unless it is markup that `</C>` closes.
fn is_letter_in_angles(bytes: &[u8]) -> bool {
    let [b'<', letter @ b'A'..=b'Z', b'>', rest @ ..] = bytes else {
        return false;
    };
    let ahead = &rest[..rest.len().min(FARTHEST_CLOSING)];
    memmem::find(ahead, &[b'<', b'/', *letter, b'>']).is_none()
}

/// Bytes after `<B>` in which `</B>` is looked for.
const FARTHEST_CLOSING: usize = 1024;

/// End of the run of backticks at `start`, with the language that three of them name.
fn fence_end(text: &str, start: usize) -> usize {
    let ticks = text[start..].bytes().take_while(|&b| b == b'`').count();
    let end = start + ticks;
    if ticks < 3 {
        return end;
    }
    let is_language = |b: &u8| b.is_ascii_alphanumeric();
    let word = text.as_bytes()[end..]
        .iter()
        .take_while(|b| is_language(b))
        .count();
    let is_line = text
        .as_bytes()
        .get(end + word)
        .is_none_or(|&b| b == b'\n' || b == b'\r');
    if word <= 8 && is_line {
        end + word
    } else {
        end
    }
}

/// The value of the field of a JSON object that holds the answer; of its only field, whatever its name.
fn field_of_object(text: &str) -> Option<String> {
    let mut fields = Vec::new();
    let mut at = 0;
    while fields.len() < 32 {
        let Some(open) = memchr(b'"', &text.as_bytes()[at..]) else {
            break;
        };
        let (key, end) = quoted(text, at + open)?;
        let rest = text[end..].trim_start();
        let Some(value) = rest.strip_prefix(':') else {
            at = end;
            continue;
        };
        let value = value.trim_start();
        let start = text.len() - value.len();
        let (content, stop) = value_at(text, start)?;
        fields.push((key.to_lowercase(), content));
        at = stop;
    }
    let named = ANSWER_FIELDS
        .iter()
        .find(|name| fields.iter().any(|f| f.0 == **name));
    let mut values: Vec<&str> = Vec::new();
    for (key, value) in &fields {
        let is_it = named.map_or(fields.len() == 1, |name| key == name);
        if is_it && !values.contains(&value.as_str()) {
            values.push(value);
        }
    }
    // a name written twice says both
    (!values.is_empty()).then(|| values.join("; "))
}

/// The character of `\\u5de6`, the `u` of which has been read; two halves of a surrogate pair make one.
fn escaped(chars: &mut std::str::CharIndices<'_>) -> char {
    let unit = |chars: &mut std::str::CharIndices<'_>| {
        let digits = chars.as_str().get(..4)?;
        let value = u16::from_str_radix(digits, 16).ok()?;
        chars.nth(3);
        Some(value)
    };
    let Some(first) = unit(chars) else {
        return 'u';
    };
    let mut units = vec![first];
    let is_high = (0xd800..0xdc00).contains(&first);
    if is_high && chars.as_str().starts_with("\\u") {
        let mut ahead = chars.clone();
        ahead.nth(1);
        if let Some(second) = unit(&mut ahead).filter(|u| (0xdc00..0xe000).contains(u)) {
            units.push(second);
            *chars = ahead;
        }
    }
    char::decode_utf16(units)
        .next()
        .and_then(Result::ok)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The string in quotes at `open`, and where it ends.
fn quoted(text: &str, open: usize) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = text.get(open + 1..)?.char_indices();
    while let Some((offset, character)) = chars.next() {
        match character {
            '"' => return Some((content, open + 1 + offset + 1)),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                't' | 'r' => content.push(' '),
                'u' => content.push(escaped(&mut chars)),
                other => content.push(other),
            },
            other => content.push(other),
        }
    }
    None
}

/// The value that begins at `start`, and where it ends: a string, a list or a bare word.
fn value_at(text: &str, start: usize) -> Option<(String, usize)> {
    match text.as_bytes().get(start)? {
        b'"' => quoted(text, start),
        b'[' => {
            let end = start + memchr(b']', &text.as_bytes()[start..])?;
            Some((text[start + 1..end].replace('"', " "), end + 1))
        }
        _ => {
            let end = text[start..]
                .find([',', '}', '\n'])
                .map_or(text.len(), |e| start + e);
            Some((text[start..end].trim().to_string(), end))
        }
    }
}

/// `\text{B}`, `$B$` and `\(B\)` are B.
fn without_latex(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr3(b'\\', b'$', b'{', text.as_bytes()).is_none() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        match character {
            '\\' => {
                let mut name = String::new();
                while let Some(&c) = chars.peek().filter(|c| c.is_ascii_alphabetic()) {
                    name.push(c);
                    chars.next();
                }
                out.push_str(command(&name));
                if name.is_empty() {
                    match chars.next() {
                        Some('%') => out.push('%'),
                        Some('\\' | '\n') => out.push('\n'),
                        _ => out.push(' '),
                    }
                }
            }
            '$' | '{' | '}' => out.push(' '),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// What a command stands for.
fn command(name: &str) -> &'static str {
    match name {
        "times" => " x ",
        "leq" | "le" => " ≤ ",
        "geq" | "ge" => " ≥ ",
        "lt" => " < ",
        "gt" => " > ",
        "n" => "\n",
        _ => " ",
    }
}

/// Names and addresses of files become blanks.
fn without_files(text: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_address = memmem::find(bytes, b"://").is_some();
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(offset) = memchr(b'.', &bytes[at..]) {
        let dot = at + offset;
        at = dot + 1;
        let ending = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let is_file = (2..=4).contains(&ending)
            && FILE_ENDINGS
                .iter()
                .any(|e| e.as_bytes().eq_ignore_ascii_case(&bytes[at..at + ending]));
        if !is_file && !is_address {
            continue;
        }
        let is_part = |b: &&u8| b.is_ascii_alphanumeric() || b"/\\_-.:%~?=&#".contains(b);
        let lead = bytes[kept..dot]
            .iter()
            .rev()
            .take(LONGEST_NAME)
            .take_while(is_part)
            .count();
        let start = dot - lead;
        if lead == 0 || !(is_file || memmem::find(&bytes[start..dot], b"://").is_some()) {
            continue;
        }
        let mut end = at + bytes[at..].iter().take_while(is_part).count();
        while end > at + ending && b".:?".contains(&bytes[end - 1]) {
            end -= 1;
        }
        out.push_str(&text[kept..start]);
        out.push(' ');
        (kept, at) = (end, end);
    }
    if kept == 0 {
        return text;
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// Several blanks in a row become one; line breaks stay.
pub fn collapse_blanks(text: &mut String) {
    if memmem::find(text.as_bytes(), b"  ").is_none() && memchr(b'\t', text.as_bytes()).is_none() {
        return;
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_blank = matches!(character, ' ' | '\t');
        if !(is_blank && out.ends_with(' ')) {
            out.push(if is_blank { ' ' } else { character });
        }
    }
    *text = out;
}

/// "The answer is", "答案：" before the answer itself; with a colon, or before a word that no denial begins.
const LEADS: [&str; 14] = [
    "the final answer is",
    "my final answer is",
    "the correct answer is",
    "the answer is",
    "my answer is",
    "final answer",
    "correct answer",
    "the answer",
    "answer",
    "最终答案",
    "正确答案",
    "我的答案",
    "答案",
    "回答",
];

/// Drops the words that only announce an answer from the start of normalised text.
///
/// ```
/// let mut text = "**answer:** left lung".to_string();
/// _reward_core::text::wrappers::drop_lead(&mut text);
/// assert_eq!(text, "left lung");
/// ```
pub fn drop_lead(text: &mut String) {
    let length = lead_length(text);
    if length > 0 {
        text.drain(..length);
    }
}

/// Bytes of `text` that only announce an answer; 0 where nothing would be left.
#[must_use]
pub fn lead_length(text: &str) -> usize {
    const MARKS: [char; 6] = ['*', '#', '"', '>', ' ', '\n'];
    let start = text.trim_start_matches(MARKS);
    let is_lead = |lead: &&&str| {
        start
            .get(..lead.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(lead))
    };
    let Some(lead) = LEADS.iter().find(is_lead) else {
        return 0;
    };
    let rest = start[lead.len()..].trim_start_matches(['*', '"', ' ']);
    let after = rest.strip_prefix([':', '：']).or_else(|| {
        let rest = rest.strip_prefix(['是', '为'])?;
        Some(rest.strip_prefix([':', '：']).unwrap_or(rest)).filter(|r| !r.starts_with('否'))
    });
    let after = after.map(|a| a.trim_start_matches(['*', '"', ' ', '\n']));
    after
        .filter(|a| !a.is_empty())
        .map_or(0, |a| text.len() - a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_and_fences_are_no_words() {
        assert_eq!(
            unwrapped("see /uploads/coronal_view_0041.png, please").trim(),
            "see  , please"
        );
        assert_eq!(unwrapped("```json\n{\"answer\": \"B\"}\n```").trim(), "B");
        assert_eq!(unwrapped("3.5 cm. Left").as_ref(), "3.5 cm. Left");
        assert!(is_only_stop_tokens("<|im_end|>\n</s>"));
        assert_eq!(unwrapped("<|>"), "<|>");
    }

    proptest! {
        #[test]
        fn any_text_is_unwrapped_without_a_panic(text in "\\PC{0,40}|[<|>\\[\\]{}\"\\\\:,.$` aA肺]{0,40}") {
            let _ = unwrapped(&text);
        }
    }
}
