//! The columns that rewards compare with: read with the GIL as plain texts, then understood without it.

use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PySequence, PyString};
use rustc_hash::FxHashMap;

use super::completions::Text;
use crate::text::answers::{alternatives, Prompt};
use crate::text::choices::Options;
use crate::text::labels::{Kind, Label};
use crate::text::question::Question;
use crate::text::scores::{Measure, Row};
use crate::text::similarity::Words;
use crate::text::source::is_blank;
use crate::threads;

/// Rows that one thread takes at a time; a batch of one chunk is not spread.
pub const CHUNK: usize = 64;

/// A column of the batch: its different values, and which one each row has.
pub struct Column<T> {
    pub values: Vec<T>,
    pub of_row: Vec<u32>,
}

impl<T> Column<T> {
    /// What the row has.
    pub fn row(&self, row: usize) -> &T {
        &self.values[self.of_row[row] as usize]
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
pub struct Columns<'a, 'py> {
    pub lists: &'a Bound<'py, PyDict>,
    pub count: usize,
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
        let texts = self.texts(name)?;
        let labels = per_row(self.lists.py(), texts.values.len(), |index| {
            let text = texts.values[index].as_deref().filter(|t| !is_blank(t));
            text.map(|text| Label::new(kind, text))
        });
        Ok(Column {
            values: labels,
            of_row: texts.of_row,
        })
    }

    /// Accepted references: `answers` where a row has any, else `answer`.
    pub fn references(&self) -> PyResult<Column<Vec<String>>> {
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
                    if found.iter().all(|text: &String| is_blank(text)) {
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

    /// What the rows ask and accept.
    pub fn prompts(&self, references: Column<Vec<String>>) -> PyResult<Prompts> {
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
        Ok(Prompts {
            read: keys.values.iter().map(|_| OnceLock::new()).collect(),
            asked: questions.values.iter().map(|_| OnceLock::new()).collect(),
            questions: questions.values,
            options: options.values,
            references,
            keys,
        })
    }
}

/// What the rows ask and accept: each prompt is read once, when its first completion is judged.
pub struct Prompts {
    read: Vec<OnceLock<Prompt>>,
    asked: Vec<OnceLock<Option<Arc<Question>>>>,
    questions: Vec<Option<String>>,
    options: Vec<OptionRow>,
    references: Column<Vec<String>>,
    keys: Column<[u32; 3]>,
}

impl Prompts {
    /// What the row asks and accepts.
    pub fn row(&self, row: usize) -> &Prompt {
        let index = self.keys.of_row[row] as usize;
        self.read[index].get_or_init(|| {
            let [question, reference, option] = self.keys.values[index].map(|part| part as usize);
            let text = self.questions[question].as_deref();
            let read = || text.and_then(Question::of).map(Arc::new);
            let options = self.options[option].as_ref();
            Prompt::with_question(
                self.asked[question].get_or_init(read).clone(),
                &self.references.values[reference],
                options.map(|o| Options::new(o)).unwrap_or_default(),
            )
        })
    }

    /// The references of the row, as they are given.
    pub fn references(&self, row: usize) -> &[String] {
        self.references.row(row)
    }
}

/// What the rewards compare with, read.
pub struct Rows {
    prompts: Option<Prompts>,
    accepted: Option<Column<Vec<Words>>>,
    planes: Option<Column<Option<Label>>>,
    modalities: Option<Column<Option<Label>>>,
    languages: Option<Column<Option<String>>>,
}

impl Rows {
    /// Reads those columns that `measures` need.
    pub fn read(columns: &Columns<'_, '_>, measures: &[Measure]) -> PyResult<Self> {
        let has = |measure| measures.contains(&measure);
        let has_verdict = measures.iter().any(|m| m.is_verdict());
        let has_overlap = measures.iter().any(|m| m.is_overlap());
        let (mut prompts, mut accepted) = (None, None);
        if has_verdict || has_overlap {
            let references = columns.references()?;
            if has_overlap {
                let words = per_row(columns.lists.py(), references.values.len(), |index| {
                    let parts = references.values[index]
                        .iter()
                        .flat_map(|text| alternatives(text));
                    parts.map(Words::new).collect()
                });
                accepted = Some(Column {
                    values: words,
                    of_row: references.of_row.clone(),
                });
            }
            if has_verdict {
                prompts = Some(columns.prompts(references)?);
            }
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

    /// Reads the prompts of some rows together, which is faster than each beside its completion.
    pub fn prepare(&self, rows: std::ops::Range<usize>) {
        if let Some(prompts) = &self.prompts {
            for row in rows {
                prompts.row(row);
            }
        }
    }

    /// What the row's completion is compared with.
    pub fn row(&self, row: usize) -> Row<'_> {
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

/// Runs `make` for each number below `count` without the GIL, on several threads where that pays.
pub fn per_row<T: Send>(
    py: Python<'_>,
    count: usize,
    make: impl Fn(usize) -> T + Sync + Send,
) -> Vec<T> {
    let chunks = count.div_ceil(CHUNK);
    let mut results: Vec<Vec<T>> = (0..chunks).map(|_| Vec::new()).collect();
    py.detach(|| {
        threads::for_each(
            results.iter_mut().collect(),
            chunks > 1,
            |index, result: &mut Vec<T>| {
                let rows = index * CHUNK..((index + 1) * CHUNK).min(count);
                result.extend(rows.map(&make));
            },
        );
    });
    results.into_iter().flatten().collect()
}
