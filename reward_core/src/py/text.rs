//! Python functions over batches of text.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::hash::Hash;
use std::ops::Range;

use numpy::{IntoPyArray, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyFloat, PyList, PySequence, PySlice, PyString};
use rustc_hash::FxHashMap;

use crate::text::answers::{alternatives, Prompt};
use crate::text::choices::Options;
use crate::text::labels::{Kind, Label};
use crate::text::lexicon::Lexicon;
use crate::text::scores::{Measure, Row, Scorer, Scratch, MEASURES};
use crate::text::similarity::Words;
use crate::text::source::Source;
use crate::text::tags::{Scan, TagSet, TagState, TAG_STATES};
use crate::text::tokens::Parsed;
use crate::text::verdict::RULES;
use crate::threads;

/// Rows that one thread takes at a time; a batch of one chunk is not spread.
const CHUNK: usize = 64;

/// Characters that are held at a time for each thread, so that they stay in the cache.
const ROOM: usize = 1 << 16;

/// A Python string: borrowed where it is valid Unicode, copied with replacement marks where it is not.
pub(super) enum Text {
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
enum Completion {
    Narrow(Text),
    Wide(Range<usize>),
}

/// Some of the completions.
///
/// `PyUnicode_AsUTF8` would make and keep the UTF-8 of every text that is not ASCII, which costs five times as much as
/// having numpy write the characters of many texts into one array.
struct Block<'py> {
    completions: Vec<Completion>,
    wide: Option<PyReadonlyArray1<'py, u32>>,
}

impl<'py> Block<'py> {
    /// Reads completions from `first` on, at most `most` and no more than fit into an array of `room` characters.
    fn read(
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

/// A column of the batch: its different values, and which one each row has.
struct Column<T> {
    values: Vec<T>,
    of_row: Vec<u32>,
}

impl<T> Column<T> {
    fn row(&self, row: usize) -> &T {
        &self.values[self.of_row[row] as usize]
    }

    fn map<U>(self, make: impl FnMut(T) -> U) -> Column<U> {
        Column {
            values: self.values.into_iter().map(make).collect(),
            of_row: self.of_row,
        }
    }
}

impl<K: Hash + Eq + Clone> Column<K> {
    /// Reads a row only where it differs from the one before.
    fn read(
        count: usize,
        is_as_before: impl Fn(usize) -> PyResult<bool>,
        value: impl Fn(usize) -> PyResult<K>,
    ) -> PyResult<Self> {
        let mut known: FxHashMap<K, u32> = FxHashMap::default();
        let mut column = Self {
            values: Vec::new(),
            of_row: Vec::with_capacity(count),
        };
        for row in 0..count {
            let index = if row > 0 && is_as_before(row)? {
                column.of_row[row - 1]
            } else {
                let key = value(row)?;
                let next = column.values.len() as u32;
                let index = *known.entry(key.clone()).or_insert(next);
                if index == next {
                    column.values.push(key);
                }
                index
            };
            column.of_row.push(index);
        }
        Ok(column)
    }
}

/// Whether two entries are the same text, or lists of the same texts.
fn is_same(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<bool> {
    if left.is(right) {
        return Ok(true);
    }
    if left.is_exact_instance_of::<PyString>() {
        return Ok(right.is_exact_instance_of::<PyString>() && left.eq(right)?);
    }
    let (Ok(left), Ok(right)) = (left.cast_exact::<PyList>(), right.cast_exact::<PyList>()) else {
        return Ok(false);
    };
    if left.len() != right.len() {
        return Ok(false);
    }
    for (one, other) in left.iter().zip(right.iter()) {
        if !is_same(&one, &other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A text, or None for what is missing: None and NaN. Anything else counts as it prints.
fn optional_text(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let is_missing = value.is_none()
        || value
            .cast::<PyFloat>()
            .is_ok_and(|number| number.value().is_nan());
    if is_missing {
        return Ok(None);
    }
    Ok(Some(value.str()?.extract::<Text>()?.to_string()))
}

/// The references in an entry: a text, or a list or an array of them.
fn push_references(value: &Bound<'_, PyAny>, found: &mut Vec<String>) -> PyResult<()> {
    let is_many = !value.is_instance_of::<PyString>()
        && (value.cast::<PySequence>().is_ok()
            || value.hasattr(intern!(value.py(), "tolist"))? && value.len().is_ok());
    if !is_many {
        found.extend(optional_text(value)?);
        return Ok(());
    }
    for item in value.try_iter()? {
        push_references(&item?, found)?;
    }
    Ok(())
}

type OptionRow = Option<Vec<(char, String)>>;

/// The columns that the rewards compare with, each as long as the batch.
struct Columns<'a, 'py> {
    lists: &'a Bound<'py, PyDict>,
    count: usize,
}

impl<'py> Columns<'_, 'py> {
    /// The column called `name`, if it is given.
    fn list(&self, name: &str) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(value) = self.lists.get_item(name)?.filter(|v| !v.is_none()) else {
            return Ok(None);
        };
        let list = match value.cast_into::<PyList>() {
            Ok(list) => list,
            Err(error) => PyList::new(
                self.lists.py(),
                error
                    .into_inner()
                    .try_iter()?
                    .collect::<PyResult<Vec<_>>>()?,
            )?,
        };
        if list.len() != self.count {
            return Err(PyValueError::new_err(format!(
                "{name} has {} rows, completions has {}",
                list.len(),
                self.count
            )));
        }
        Ok(Some(list))
    }

    /// The column `name` as texts; every row None where it is not given.
    fn texts(&self, name: &str) -> PyResult<Column<Option<String>>> {
        let list = self.list(name)?;
        Column::read(
            self.count,
            |row| match &list {
                Some(list) => is_same(&list.get_item(row)?, &list.get_item(row - 1)?),
                None => Ok(true),
            },
            |row| match &list {
                Some(list) => optional_text(&list.get_item(row)?),
                None => Ok(None),
            },
        )
    }

    /// Labels that the completions are compared with.
    fn labels(&self, name: &str, kind: Kind) -> PyResult<Column<Option<Label>>> {
        let read = |text: String| Some(text).filter(|t| !t.trim().is_empty());
        let texts = self.texts(name)?;
        Ok(texts.map(|text| text.and_then(read).map(|text| Label::new(kind, &text))))
    }

    /// Accepted references: `answers` where a row has any, else `answer`.
    fn references(&self) -> PyResult<Column<Vec<String>>> {
        let given = [self.list("answers")?, self.list("answer")?];
        let lists: Vec<&Bound<'py, PyList>> = given.iter().flatten().collect();
        Column::read(
            self.count,
            |row| {
                for list in &lists {
                    if !is_same(&list.get_item(row)?, &list.get_item(row - 1)?)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            },
            |row| {
                let mut found = Vec::new();
                for list in &lists {
                    if found.iter().all(|text: &String| text.trim().is_empty()) {
                        found.clear();
                        push_references(&list.get_item(row)?, &mut found)?;
                    }
                }
                Ok(found)
            },
        )
    }

    /// Options of each row, as (letter, text).
    fn options(&self) -> PyResult<Column<OptionRow>> {
        let list = self.list("options")?;
        Column::read(
            self.count,
            |row| match &list {
                Some(list) => Ok(list.get_item(row)?.is(&list.get_item(row - 1)?)),
                None => Ok(true),
            },
            |row| match &list {
                Some(list) => list.get_item(row)?.extract(),
                None => Ok(None),
            },
        )
    }

    /// What the rows ask and accept: each prompt is read once.
    fn prompts(&self, references: &Column<Vec<String>>) -> PyResult<Column<Prompt>> {
        let (questions, options) = (self.texts("question")?, self.options()?);
        let parts = |row: usize| {
            [
                questions.of_row[row],
                references.of_row[row],
                options.of_row[row],
            ]
        };
        let keys = Column::read(
            self.count,
            |row| Ok(parts(row) == parts(row - 1)),
            |row| Ok(parts(row)),
        )?;
        let prompts = per_row(self.lists.py(), keys.values.len(), |index, _| {
            let [question, reference, option] = keys.values[index].map(|part| part as usize);
            let options = options.values[option].as_ref();
            Prompt::new(
                questions.values[question].as_deref(),
                &references.values[reference],
                options.map(|o| Options::new(o)).unwrap_or_default(),
            )
        });
        Ok(Column {
            values: prompts,
            of_row: keys.of_row,
        })
    }
}

/// What the rewards compare with, read.
struct Rows {
    prompts: Option<Column<Prompt>>,
    accepted: Option<Column<Vec<Words>>>,
    planes: Option<Column<Option<Label>>>,
    modalities: Option<Column<Option<Label>>>,
    languages: Option<Column<Option<String>>>,
}

impl Rows {
    /// Reads those columns that `measures` need.
    fn read(columns: &Columns<'_, '_>, measures: &[Measure]) -> PyResult<Self> {
        let has = |measure| measures.contains(&measure);
        let has_verdict = measures.iter().any(|m| m.is_verdict());
        let has_overlap = measures.iter().any(|m| m.is_overlap());
        let (mut prompts, mut accepted) = (None, None);
        if has_verdict || has_overlap {
            let references = columns.references()?;
            if has_verdict {
                prompts = Some(columns.prompts(&references)?);
            }
            let words = |texts: Vec<String>| {
                let parts = texts.iter().flat_map(|text| alternatives(text));
                parts.map(Words::new).collect()
            };
            accepted = has_overlap.then(|| references.map(words));
        }
        let planes = has(Measure::PlaneMatch).then(|| columns.labels("plane", Kind::Plane));
        let modalities =
            has(Measure::ModalityMatch).then(|| columns.labels("modality", Kind::Modality));
        let languages = has(Measure::Fluency).then(|| columns.texts("language"));
        Ok(Self {
            prompts,
            accepted,
            planes: planes.transpose()?,
            modalities: modalities.transpose()?,
            languages: languages.transpose()?,
        })
    }

    fn row(&self, row: usize) -> Row<'_> {
        let language = self.languages.as_ref().and_then(|l| l.row(row).as_deref());
        Row {
            prompt: self.prompts.as_ref().map(|p| p.row(row)),
            accepted: self.accepted.as_ref().map_or(&[], |a| a.row(row)),
            plane: self.planes.as_ref().and_then(|p| p.row(row).as_ref()),
            modality: self.modalities.as_ref().and_then(|m| m.row(row).as_ref()),
            language: language.filter(|l| !l.is_empty()),
        }
    }
}

/// Runs `judge` over the rows without the GIL, on several threads where that pays.
fn per_row<T: Send>(
    py: Python<'_>,
    count: usize,
    judge: impl Fn(usize, &mut Scratch) -> T + Sync + Send,
) -> Vec<T> {
    let chunks = count.div_ceil(CHUNK);
    let mut results: Vec<Vec<T>> = (0..chunks).map(|_| Vec::new()).collect();
    py.detach(|| {
        let is_large = chunks > 1;
        threads::for_each(
            results.iter_mut().collect(),
            is_large,
            |index, result: &mut Vec<T>| {
                let mut scratch = Scratch::default();
                let rows = index * CHUNK..((index + 1) * CHUNK).min(count);
                result.extend(rows.map(|row| judge(row, &mut scratch)));
            },
        );
    });
    results.into_iter().flatten().collect()
}

fn tag_set(tags: &[String]) -> PyResult<TagSet> {
    TagSet::new(tags).map_err(PyValueError::new_err)
}

fn new_scorer(measures: Vec<Measure>, tags: &[String], plain: bool) -> PyResult<Scorer> {
    Scorer::new(measures, tag_set(tags)?, plain).map_err(PyValueError::new_err)
}

/// Each named reward of each completion, from one look at it; NaN where it cannot judge the row.
#[pyfunction]
fn score_texts<'py>(
    py: Python<'py>,
    measures: Vec<String>,
    completions: &Bound<'py, PyList>,
    columns: &Bound<'py, PyDict>,
    tags: Vec<String>,
    plain: bool,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let named = |name: &String| {
        let error = || PyValueError::new_err(format!("no text reward is called {name:?}"));
        Measure::named(name).ok_or_else(error)
    };
    let measures: Vec<Measure> = measures.iter().map(named).collect::<PyResult<_>>()?;
    let (count, width) = (completions.len(), measures.len());
    let columns = Columns {
        lists: columns,
        count,
    };
    let rows = Rows::read(&columns, &measures)?;
    let scorer = new_scorer(measures, &tags, plain)?;
    let mut values = vec![0.0; count * width];
    let threads = threads::num_threads().min(count.div_ceil(CHUNK)).max(1);
    let mut scratches: Vec<Scratch> = (0..threads).map(|_| Scratch::default()).collect();
    let mut first = 0;
    while first < count && width > 0 {
        let block = Block::read(completions, first, CHUNK * threads, ROOM * threads)?;
        let wide = block
            .wide
            .as_ref()
            .map(PyReadonlyArray1::as_slice)
            .transpose()?;
        let texts = &block.completions;
        let values = &mut values[first * width..(first + texts.len()) * width];
        let share = texts.len().div_ceil(threads).max(1);
        let parts = texts.chunks(share).zip(values.chunks_mut(share * width));
        let work: Vec<_> = parts.zip(&mut scratches).collect();
        py.detach(|| {
            threads::for_each(work, true, |part, ((texts, values), scratch)| {
                let start = first + part * share;
                for (offset, (text, values)) in
                    texts.iter().zip(values.chunks_mut(width)).enumerate()
                {
                    let text = match text {
                        Completion::Narrow(text) => Source::Utf8(text),
                        Completion::Wide(range) => {
                            Source::Utf32(&wide.unwrap_or(&[])[range.clone()])
                        }
                    };
                    scorer.score(text, &rows.row(start + offset), scratch, values);
                }
            });
        });
        first += texts.len();
    }
    matrix(py, values, count, width)
}

fn matrix<T: numpy::Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let array = numpy::ndarray::Array2::from_shape_vec((rows, columns), values);
    Ok(array
        .map_err(|e| PyValueError::new_err(e.to_string()))?
        .into_pyarray(py))
}

/// Content and state of each tag in each completion.
#[pyfunction]
fn parse_tags(
    py: Python<'_>,
    completions: Vec<Text>,
    tags: Vec<String>,
) -> PyResult<(Bound<'_, PyList>, Bound<'_, PyArray2<u8>>)> {
    let set = tag_set(&tags)?;
    let mut scan = Scan::default();
    let mut states = Vec::with_capacity(completions.len() * set.len());
    let contents = PyList::empty(py);
    for text in &completions {
        let report = set.parse(&**text, &mut scan);
        states.extend(report.states[..set.len()].iter().map(|&s| s as u8));
        let row: Vec<Option<&str>> = report.contents[..set.len()]
            .iter()
            .map(|c| c.map(|(start, end)| &text[start..end]))
            .collect();
        contents.append(row)?;
    }
    Ok((contents, matrix(py, states, completions.len(), set.len())?))
}

/// Why each answer scores what it scores: one dict a completion.
#[pyfunction]
fn explain_answers<'py>(
    py: Python<'py>,
    completions: Vec<Text>,
    columns: &Bound<'py, PyDict>,
    tags: Vec<String>,
    plain: bool,
) -> PyResult<Bound<'py, PyList>> {
    let columns = Columns {
        lists: columns,
        count: completions.len(),
    };
    let references = columns.references()?;
    let prompts = columns.prompts(&references)?;
    let scorer = new_scorer(vec![Measure::AnswerMatch], &tags, plain)?;
    let judged = per_row(py, completions.len(), |row, scratch| {
        scorer.explain(Source::Utf8(&completions[row]), prompts.row(row), scratch)
    });
    let explained = PyList::empty(py);
    for (row, (text, (verdict, report, answer))) in completions.iter().zip(&judged).enumerate() {
        let field = answer.map(|(start, end)| &text[start..end]);
        let is_judged = !prompts.row(row).is_unanswerable();
        let mut accepted = references.row(row).iter().flat_map(|r| alternatives(r));
        let said = PyDict::new(py);
        for (tag, state) in tags.iter().zip(report.states) {
            said.set_item(tag, state.name())?;
        }
        let entry = PyDict::new(py);
        entry.set_item("rule", verdict.rule.name())?;
        let binary = f64::from(u8::from(verdict.is_accepted));
        entry.set_item("answer_match", is_judged.then_some(binary))?;
        entry.set_item("answer_match_graded", is_judged.then_some(verdict.graded))?;
        entry.set_item("field", field)?;
        entry.set_item("tags", said)?;
        entry.set_item("reference", accepted.nth(verdict.reference))?;
        entry.set_item("read", meanings(field.unwrap_or("")))?;
        explained.append(entry)?;
    }
    Ok(explained)
}

/// The table of synonyms: version and groups with id, category, terms and source.
#[pyfunction]
fn synonyms(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let lexicon = Lexicon::get();
    let groups = PyList::empty(py);
    for concept in &lexicon.concepts {
        let row = PyDict::new(py);
        row.set_item("id", &concept.id)?;
        row.set_item("terms", &concept.terms)?;
        row.set_item("source", &concept.source)?;
        groups.append(row)?;
    }
    let table = PyDict::new(py);
    table.set_item("version", &lexicon.version)?;
    table.set_item("groups", groups)?;
    Ok(table)
}

/// Concepts and function words read in a text: spelling, meaning, negated.
#[pyfunction]
fn read_text(text: Text) -> Vec<(String, String, bool)> {
    meanings(&text)
}

fn meanings(text: &str) -> Vec<(String, String, bool)> {
    let lexicon = Lexicon::get();
    let parsed = Parsed::new(text);
    parsed
        .tokens
        .iter()
        .map(|t| {
            let spelling = parsed.text[t.start as usize..t.end as usize].to_string();
            let meaning = match lexicon.concepts.get(t.concept as usize) {
                Some(concept) => concept.id.clone(),
                None => format!("{:?}", t.role).to_lowercase(),
            };
            (spelling, meaning, t.is_negated)
        })
        .collect()
}

/// Adds this file's functions to the compiled module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("ANSWER_RULES", RULES.to_vec())?;
    module.add("TAG_STATES", TAG_STATES.map(TagState::name).to_vec())?;
    module.add("TEXT_REWARDS", MEASURES.map(|m| m.0).to_vec())?;
    module.add_function(wrap_pyfunction!(score_texts, module)?)?;
    module.add_function(wrap_pyfunction!(explain_answers, module)?)?;
    module.add_function(wrap_pyfunction!(parse_tags, module)?)?;
    module.add_function(wrap_pyfunction!(synonyms, module)?)?;
    module.add_function(wrap_pyfunction!(read_text, module)?)?;
    Ok(())
}
