//! Completions as Python hands them over: strings, and blocks of them without a copy each.

use std::ops::Range;

use numpy::PyReadonlyArray1;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyList, PySlice, PyString};

use crate::text::source::Source;

/// A Python string: borrowed where it is valid Unicode, copied with replacement marks where it is not.
pub enum Text {
    Borrowed(PyBackedStr),
    Repaired(String),
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Repaired(text) => text,
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let text = object.cast::<PyString>()?;
        match text.to_owned().try_into() {
            Ok(borrowed) => Ok(Self::Borrowed(borrowed)),
            Err(_) => Ok(Self::Repaired(text.to_string_lossy().into_owned())),
        }
    }
}

/// A completion as it is read: the UTF-8 that Python has where it is ASCII, else a range of `Block::wide`.
pub enum Completion {
    Narrow(Text),
    Wide(Range<usize>),
}

/// Some of the completions.
///
/// `PyUnicode_AsUTF8` would make and keep the UTF-8 of every text that is not ASCII, which costs five times as much as
/// having numpy write the characters of many texts into one array.
pub struct Block<'py> {
    pub completions: Vec<Completion>,
    wide: Option<PyReadonlyArray1<'py, u32>>,
}

impl Block<'_> {
    /// The characters of the completions that are not ASCII.
    pub fn characters(&self) -> PyResult<&[u32]> {
        let slice = self.wide.as_ref().map(PyReadonlyArray1::as_slice);
        Ok(slice.transpose()?.unwrap_or(&[]))
    }
}

impl Completion {
    /// The completion in its encoding; `characters` are those of its block.
    pub fn source<'a>(&'a self, characters: &'a [u32]) -> Source<'a> {
        match self {
            Self::Narrow(text) => Source::Utf8(text),
            Self::Wide(range) => Source::Utf32(&characters[range.clone()]),
        }
    }
}

impl<'py> Block<'py> {
    /// Reads completions from `first` on, at most `most` and no more than fit into an array of `room` characters.
    pub fn read(
        completions: &Bound<'py, PyList>,
        first: usize,
        most: usize,
        room: usize,
    ) -> PyResult<Self> {
        let py = completions.py();
        let texts = completions.get_slice(first, first + most);
        // `map` calls a method of `str` in a third of the time that a call from here takes
        let is_ascii = py.get_type::<PyString>().getattr(intern!(py, "isascii"))?;
        let map = py
            .import(intern!(py, "builtins"))?
            .getattr(intern!(py, "map"))?;
        let are_ascii = map.call1((is_ascii, &texts))?;
        let (wide, mut longest) = (PyList::empty(py), 0);
        let mut lengths = Vec::with_capacity(most);
        for (text, is_ascii) in texts.iter().zip(are_ascii.try_iter()?) {
            if is_ascii?.is_truthy()? {
                lengths.push(None);
                continue;
            }
            let length = text.len()?;
            let width = length.max(longest);
            if !wide.is_empty() && width * (wide.len() + 1) > room {
                break;
            }
            longest = width;
            wide.append(text)?;
            lengths.push(Some(length));
        }
        let mut start = 0;
        let read = |(text, length): (Bound<'py, PyAny>, &Option<usize>)| {
            let Some(length) = length else {
                return Ok(Completion::Narrow(text.extract()?));
            };
            let range = start..start + length;
            start += longest;
            Ok(Completion::Wide(range))
        };
        Ok(Self {
            completions: texts
                .iter()
                .zip(&lengths)
                .map(read)
                .collect::<PyResult<_>>()?,
            wide: if wide.is_empty() {
                None
            } else {
                Some(characters(&wide, longest)?)
            },
        })
    }
}

/// The characters of the texts, `longest` places for each.
fn characters<'py>(
    texts: &Bound<'py, PyList>,
    longest: usize,
) -> PyResult<PyReadonlyArray1<'py, u32>> {
    let py = texts.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let empty = numpy.getattr(intern!(py, "empty"))?;
    let array = empty.call1((texts.len(), format!("U{longest}")))?;
    array.set_item(PySlice::full(py), texts)?;
    let numbers = array.call_method1(intern!(py, "view"), (intern!(py, "u4"),))?;
    numbers.extract()
}
