//! Lists in which the answer is ticked: "[ ] A. lung", "[x] B. heart", a line each.

use memchr::{memchr, memchr2};

/// Boxes and circles with something in them; "■ B" beside "□ A".
const FILLED: [char; 11] = ['☑', '✅', '✓', '✔', '√', '■', '●', '◉', '◼', '⬛', '🔘'];
/// Boxes and circles that nobody ticked.
const EMPTY: [char; 9] = ['☐', '□', '○', '◯', '⬜', '◻', '◽', '▢', '🔲'];
/// What stands before an item and is none of it.
const BULLETS: [char; 7] = ['-', '*', '+', '•', '|', ' ', '\t'];

/// What a mark says of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Filled,
    /// A cross: a tick among empty boxes, the opposite among ticks.
    Crossed,
    Empty,
    /// Also the bullet of a list in which nothing is ticked.
    MaybeEmpty,
}

/// Start, end and meaning of a mark in a line.
type Placed = (usize, usize, Mark);

/// The answer without the items of a list that are not ticked, and without the marks of those that are; None where it
/// holds no such list.
///
/// Several ticked items stay several; where none is ticked, what stands around the list is left.
#[must_use]
pub fn ticked(answer: &str) -> Option<String> {
    if answer.is_ascii() && memchr2(b'[', b'(', answer.as_bytes()).is_none() {
        return None;
    }
    let lines: Vec<(&str, Vec<Placed>)> =
        answer.split('\n').map(|line| (line, marks(line))).collect();
    let has = |wanted: Mark| {
        lines
            .iter()
            .any(|(_, found)| found.iter().any(|m| m.2 == wanted))
    };
    let has_filled = has(Mark::Filled);
    let is_list = has(Mark::Empty)
        || has(Mark::MaybeEmpty) && (has_filled || has(Mark::Crossed))
        || has(Mark::Crossed) && has_filled;
    if !is_list {
        return None;
    }
    let is_ticked = |mark: Mark| mark == Mark::Filled || mark == Mark::Crossed && !has_filled;
    let mut out = String::with_capacity(answer.len());
    let mut is_below_empty = false;
    for (line, found) in &lines {
        if found.is_empty() {
            let is_indented = line.starts_with("  ") || line.starts_with('\t');
            is_below_empty &= is_indented;
            if !is_below_empty {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        }
        is_below_empty = !found.iter().any(|m| is_ticked(m.2));
        for item in items(line, found, is_ticked) {
            out.push_str(&item);
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    Some(out)
}

/// The ticked items of a line, whose marks stand before them or, where words come first, behind.
fn items(line: &str, marks: &[Placed], is_ticked: impl Fn(Mark) -> bool) -> Vec<String> {
    let ticked = |index: usize| is_ticked(marks[index].2);
    if let [(start, end, _)] = marks {
        let whole = format!("{} {}", &line[..*start], &line[*end..]);
        return if ticked(0) {
            vec![item(&whole)]
        } else {
            Vec::new()
        };
    }
    let stand_before = line[..marks[0].0].trim_matches(BULLETS).is_empty();
    (0..marks.len())
        .filter(|&index| ticked(index))
        .map(|index| {
            let from_before = index.checked_sub(1).map_or(0, |n| marks[n].1);
            let to_next = marks.get(index + 1).map_or(line.len(), |m| m.0);
            item(if stand_before {
                &line[marks[index].1..to_next]
            } else {
                &line[from_before..marks[index].0]
            })
        })
        .collect()
}

/// An item without bullets; the cells of a row of a table become one after the other.
fn item(text: &str) -> String {
    let text = text
        .trim_start_matches(BULLETS)
        .trim_end_matches(['|', ' ', '\t', ',', ';']);
    let cells: Vec<&str> = text
        .split('|')
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    let text = cells.join(". ");
    match text.split_once(". ") {
        // the number of a line before a letter: "1. [x] B."
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            rest.trim().to_string()
        }
        _ => text,
    }
}

/// The marks of a line that stand before or behind an item.
fn marks(line: &str) -> Vec<Placed> {
    let mut found = Vec::new();
    if line.is_ascii()
        && memchr(b'[', line.as_bytes()).is_none()
        && memchr(b'(', line.as_bytes()).is_none()
    {
        return found;
    }
    let mut at = 0;
    while let Some(character) = line[at..].chars().next() {
        let (length, mark) = match character {
            '[' | '(' => in_brackets(&line[at..]),
            '☒' => (character.len_utf8(), Some(Mark::Crossed)),
            c if FILLED.contains(&c) => (c.len_utf8(), Some(Mark::Filled)),
            '☐' => (character.len_utf8(), Some(Mark::Empty)),
            c if EMPTY.contains(&c) => (c.len_utf8(), Some(Mark::MaybeEmpty)),
            c => (c.len_utf8(), None),
        };
        if let Some(mark) = mark.filter(|_| !is_list_of_code(&line[..at])) {
            found.push((at, at + length, mark));
        }
        at += length;
    }
    if let (Some(first), Some(last)) = (found.first(), found.last()) {
        if !is_label(&line[..first.0]) && line[last.1..].chars().any(char::is_alphanumeric) {
            found.clear(); // in the middle of a sentence
        }
    }
    found
}

/// Whether a text that ends here goes on with a value: `"boxes": []`, `f([])`.
fn is_list_of_code(before: &str) -> bool {
    let before = before.trim_end();
    before.ends_with("\":") || before.ends_with(['=', '(', '[', ',']) && before.len() > 1
}

/// Whether what stands before a mark is no more than a bullet, a number or a letter.
fn is_label(before: &str) -> bool {
    let before = before.trim_start_matches(BULLETS);
    let lower = before.to_lowercase();
    let rest = ["option", "choice", "选项", "答案"]
        .iter()
        .find_map(|w| lower.strip_prefix(w));
    rest.unwrap_or(&lower)
        .chars()
        .filter(|c| c.is_alphanumeric())
        .count()
        <= 2
}

/// "[x]", "[ ]", "(x)", "( )" at the start of a text: its length, and what it says.
fn in_brackets(text: &str) -> (usize, Option<Mark>) {
    let (open, close) = if text.starts_with('[') {
        ('[', b']')
    } else {
        ('(', b')')
    };
    let after = text.as_bytes().iter().skip(1);
    let Some(length) = after.take(7).position(|&b| b == close) else {
        return (1, None);
    };
    let inside = &text[1..=length];
    let length = inside.len() + 2;
    let is_link = text[length..].starts_with('(') && open == '[';
    let mark = match inside.trim() {
        _ if is_link => None,
        "" | "_" | "-" if open == '[' => Some(Mark::Empty),
        "" if inside.len() == 1 => Some(Mark::MaybeEmpty),
        "x" | "X" => Some(Mark::Crossed),
        "*" | "v" | "V" if open == '[' => Some(Mark::Filled),
        one if one
            .trim_end_matches('\u{fe0f}')
            .chars()
            .eq(one.chars().next().filter(|c| FILLED.contains(c))) =>
        {
            Some(Mark::Filled)
        }
        _ => None,
    };
    if mark.is_none() {
        return (1, None);
    }
    (length, mark)
}

#[cfg(test)]
mod tests {
    use super::ticked;

    #[test]
    fn what_is_not_ticked_is_left_out() {
        let cases = [
            ("[ ] A. lung\n[x] B. heart\n[ ] C. liver", "B. heart"),
            ("- [ ] A\n- [X] B\n- [x] C", "B\nC"),
            (
                "Here:\n\n* [ ] A. lung\n  it is round\n* [x] B. heart\n  it is not\nDone",
                "Here:\n\nB. heart\n  it is not\nDone",
            ),
            ("A [ ]\nB [x]", "B"),
            ("[ ] A [x] B [ ] C", "B"),
            ("A [ ] B [x] C [ ]", "B"),
            ("☐ A\n☒ B\n☐ C", "B"),
            ("☐ A\n☒ B\n☑ C", "C"),
            ("□ 肺\n■ 心", "心"),
            ("( ) A\n(x) B", "B"),
            ("1. [ ] A. lung\n2. [x] B. heart", "B. heart"),
            ("| A | lung | [ ] |\n| B | heart | [x] |", "B. heart"),
            ("[x] A\n[✓] B", "B"),
            ("[ ] A\n[ ] B", ""),
        ];
        for (answer, wanted) in cases {
            assert_eq!(ticked(answer).as_deref(), Some(wanted), "{answer}");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        let texts = [
            "B",
            "f(x) = 2",
            "[x] B",
            "○ heart\n○ lung",
            "see [1] and [2]",
            "the answer is ( )",
            "A ✗ B ✓",
            "[](a.png) B",
            "{\"boxes\": [], \"answer\": \"B\"}",
            "boxes = []",
            "I left the box [ ] alone, so B",
            "(A)",
            "[B]",
            "[",
            "(",
            "",
            "图[1]：心",
        ];
        for text in texts {
            assert_eq!(ticked(text), None, "{text}");
        }
    }
}
