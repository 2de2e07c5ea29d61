//! A completion in the encoding in which it came, so that only the parts that are judged become UTF-8.

/// A text as UTF-8, or as the numbers of its characters.
///
/// Positions are bytes in the one and characters in the other.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// UTF-8.
    Utf8(&'a str),
    /// One number a character; a surrogate counts as three replacement marks, as its bytes do in lossy UTF-8.
    Utf32(&'a [u32]),
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        Self::Utf8(text)
    }
}

impl<'a> Source<'a> {
    /// Number of positions.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Utf8(text) => text.len(),
            Self::Utf32(units) => units.len(),
        }
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One byte a position: ASCII as it is, everything else some byte above 127. `memory` may hold them.
    #[must_use]
    pub fn marks<'m>(self, memory: &'m mut Vec<u8>) -> &'m [u8]
    where
        'a: 'm,
    {
        match self {
            Self::Utf8(text) => text.as_bytes(),
            Self::Utf32(units) => {
                // 255 where the number is above 127: without a comparison it is done for 16 at a time
                let narrow = |&unit: &u32| (unit | (0x7f_u32.wrapping_sub(unit) >> 24)) as u8;
                memory.clear();
                memory.extend(units.iter().map(narrow));
                memory
            }
        }
    }

    /// The text from `start` to `end`.
    #[must_use]
    pub fn slice(self, start: usize, end: usize) -> Self {
        match self {
            Self::Utf8(text) => Self::Utf8(&text[start..end]),
            Self::Utf32(units) => Self::Utf32(&units[start..end]),
        }
    }

    /// Whether there is nothing but blanks.
    #[must_use]
    pub fn is_blank(self) -> bool {
        match self {
            Self::Utf8(text) => text.bytes().all(|b| b == b'\n') || is_blank(text),
            Self::Utf32(units) => units.iter().all(|&unit| is_blank_unit(unit)),
        }
    }

    /// The range `start..end` without the blanks at both ends.
    #[must_use]
    pub fn trimmed(self, start: usize, end: usize) -> (usize, usize) {
        match self {
            Self::Utf8(text)
                if text[start..end].starts_with(is_graphic)
                    && text[start..end].ends_with(is_graphic) =>
            {
                (start, end)
            }
            Self::Utf8(text) => {
                let content = &text[start..end];
                let lead = content.len() - content.trim_start_matches(is_blank_character).len();
                (
                    start + lead,
                    start + lead + content.trim_matches(is_blank_character).len(),
                )
            }
            Self::Utf32(units) => {
                let content = &units[start..end];
                let lead = content
                    .iter()
                    .take_while(|&&unit| is_blank_unit(unit))
                    .count();
                let rest = content[lead..].iter().rev();
                let tail = rest.take_while(|&&unit| is_blank_unit(unit)).count();
                (start + lead, end - tail)
            }
        }
    }

    /// The text as UTF-8, in `memory` where it has to be converted.
    #[must_use]
    pub fn text<'m>(self, memory: &'m mut String) -> &'m str
    where
        'a: 'm,
    {
        match self {
            Self::Utf8(text) => text,
            Self::Utf32(units) => {
                memory.clear();
                for &unit in units {
                    match char::from_u32(unit) {
                        Some(character) => memory.push(character),
                        None => memory.push_str("\u{fffd}\u{fffd}\u{fffd}"),
                    }
                }
                memory
            }
        }
    }
}

/// Whether the character is certainly no blank.
const fn is_graphic(character: char) -> bool {
    character.is_ascii_graphic()
}

fn is_blank_unit(unit: u32) -> bool {
    !(0x21..=0x7e).contains(&unit) && char::from_u32(unit).is_some_and(is_blank_character)
}

/// Whether Python's `str.strip` and `str.split` take the character for a blank: white space of Unicode and four separators.
#[must_use]
pub fn is_blank_character(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// Whether nothing is left where Python strips the text.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_blank_character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_encodings_say_the_same(text in "\\PC{0,20}|[ \u{3000}\u{a0}\u{1c}\t<肺😀a]{0,20}") {
            let units: Vec<u32> = text.chars().map(u32::from).collect();
            let (wide, narrow) = (Source::Utf32(&units), Source::Utf8(&text));
            prop_assert_eq!(wide.is_blank(), narrow.is_blank());
            let mut words = String::new();
            prop_assert_eq!(wide.text(&mut words), text.as_str());
            let (start, end) = wide.trimmed(0, wide.len());
            prop_assert_eq!(wide.slice(start, end).text(&mut words), text.trim_matches(is_blank_character));
            let mut memory = Vec::new();
            let ascii = |marks: &[u8]| marks.iter().filter(|b| b.is_ascii()).copied().collect::<Vec<u8>>();
            prop_assert_eq!(ascii(wide.marks(&mut memory)), ascii(text.as_bytes()));
        }
    }
}
