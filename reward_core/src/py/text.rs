//! Python functions over batches of text.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyList, PyString};
use rustc_hash::FxHashMap;

use crate::text::answers::Prompt;
use crate::text::choices::Options;
use crate::text::fluency::fluency;
use crate::text::labels::{modality_score, plane_score};
use crate::text::lexicon::Lexicon;
use crate::text::similarity::Words;
use crate::text::tags::{Event, TagSet, TagState};
use crate::text::tokens::Parsed;
use crate::text::verdict::{Rule, Verdict, RULES};
use crate::threads;

/// Rows that one thread takes at a time; a batch of one chunk is not spread.
const CHUNK: usize = 256;

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

type Floats<'py> = Bound<'py, PyArray1<f64>>;

/// Memory that one thread reuses from row to row.
#[derive(Default)]
struct Scratch {
    parsed: Parsed,
    words: Words,
    events: Vec<Event>,
}

/// Runs `judge` over the rows without the GIL, in parallel where it pays.
fn per_row<T: Send>(
    py: Python<'_>,
    count: usize,
    judge: impl Fn(usize, &mut Scratch) -> T + Sync + Send,
) -> Vec<T> {
    let chunks = count.div_ceil(CHUNK);
    let mut results: Vec<Vec<T>> = (0..chunks).map(|_| Vec::new()).collect();
    py.detach(|| {
        threads::for_each(
            results.iter_mut().collect(),
            chunks > 1,
            |index, result: &mut Vec<T>| {
                let mut scratch = Scratch::default();
                let rows = index * CHUNK..((index + 1) * CHUNK).min(count);
                result.extend(rows.map(|row| judge(row, &mut scratch)));
            },
        );
    });
    results.into_iter().flatten().collect()
}

/// Accepted references of each row: a string, a list of strings, or None.
struct References {
    texts: Vec<Text>,
    ends: Vec<usize>,
}

impl References {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn row(&self, row: usize) -> &[Text] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start..self.ends[row]]
    }

    /// Whether two rows accept the same references.
    fn is_same(&self, row: usize, other: usize) -> bool {
        let texts = |row| self.row(row).iter().map(|r| &**r);
        texts(row).eq(texts(other))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for References {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let rows = object.cast::<PyList>()?;
        let mut found = Self {
            texts: Vec::with_capacity(rows.len()),
            ends: Vec::with_capacity(rows.len()),
        };
        for row in rows.iter() {
            if row.is_instance_of::<PyString>() {
                found.texts.push(row.extract()?);
            } else if !row.is_none() {
                found.texts.extend(row.extract::<Vec<Text>>()?);
            }
            found.ends.push(found.texts.len());
        }
        Ok(found)
    }
}

fn tag_set(tags: &[String]) -> PyResult<TagSet> {
    TagSet::new(tags).map_err(PyValueError::new_err)
}

fn same_length(name: &str, found: usize, expected: usize) -> PyResult<()> {
    if found == expected {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name} has {found} rows, completions has {expected}"
    )))
}

/// Content and state of each tag in each completion.
#[pyfunction]
fn parse_tags(
    py: Python<'_>,
    completions: Vec<Text>,
    tags: Vec<String>,
) -> PyResult<(Bound<'_, PyList>, Bound<'_, PyArray2<u8>>)> {
    let set = tag_set(&tags)?;
    let reports = per_row(py, completions.len(), |row, scratch| {
        set.parse_with(&completions[row], &mut scratch.events)
    });
    let mut states = Vec::with_capacity(completions.len() * set.len());
    let contents = PyList::empty(py);
    for (text, report) in completions.iter().zip(&reports) {
        states.extend(report.states[..set.len()].iter().map(|&s| s as u8));
        let row: Vec<Option<&str>> = report.contents[..set.len()]
            .iter()
            .map(|c| c.map(|(start, end)| &text[start..end]))
            .collect();
        contents.append(row)?;
    }
    let states = numpy::ndarray::Array2::from_shape_vec((completions.len(), set.len()), states)
        .map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((contents, states.into_pyarray(py)))
}

/// Strict (1 or 0) or graded format score of each completion.
#[pyfunction]
#[pyo3(signature = (completions, tags, graded = false))]
fn format_scores(
    py: Python<'_>,
    completions: Vec<Text>,
    tags: Vec<String>,
    graded: bool,
) -> PyResult<Floats<'_>> {
    let set = tag_set(&tags)?;
    let scores = per_row(py, completions.len(), |row, scratch| {
        let report = set.parse_with(&completions[row], &mut scratch.events);
        if graded {
            report.format_graded(&set)
        } else {
            report.format(&set)
        }
    });
    Ok(scores.into_pyarray(py))
}

/// What of a completion is scored: the content of the tag, or with `plain` a tagless completion itself.
fn field<'t>(
    text: &'t str,
    set: &TagSet,
    position: usize,
    plain: bool,
    events: &mut Vec<Event>,
) -> Result<&'t str, TagState> {
    let report = set.parse_with(text, events);
    match (report.contents[position], report.states[position]) {
        (Some((start, end)), _) => Ok(&text[start..end]),
        (None, TagState::Missing) if plain => {
            let from = set
                .position("think")
                .and_then(|think| report.contents[think]);
            let start = from.map_or(0, |(_, end)| {
                text[end..].find('>').map_or(end, |mark| end + mark + 1)
            });
            Ok(&text[start..])
        }
        (None, state) => Err(state),
    }
}

fn field_position(set: &TagSet, name: &str) -> PyResult<usize> {
    set.position(name)
        .ok_or_else(|| PyValueError::new_err(format!("the tag set has no tag {name:?}")))
}

type OptionRow = Option<Vec<(char, String)>>;

/// Verdict, graded score, rule and nearest reference of each answer.
///
/// `references[i]` may be empty: the row is not judged and scores NaN.
#[pyfunction]
#[pyo3(signature = (completions, references, questions = None, options = None, tags = None, plain = false))]
#[allow(clippy::type_complexity)]
fn match_answers(
    py: Python<'_>,
    completions: Vec<Text>,
    references: References,
    questions: Option<Vec<Option<Text>>>,
    options: Option<Vec<OptionRow>>,
    tags: Option<Vec<String>>,
    plain: bool,
) -> PyResult<(
    Floats<'_>,
    Floats<'_>,
    Bound<'_, PyArray1<u8>>,
    Bound<'_, PyArray1<i32>>,
)> {
    let count = completions.len();
    same_length("answer", references.len(), count)?;
    if let Some(questions) = &questions {
        same_length("question", questions.len(), count)?;
    }
    if let Some(options) = &options {
        same_length("options", options.len(), count)?;
    }
    let set = tag_set(&tags.unwrap_or_else(|| vec!["answer".to_string()]))?;
    let position = field_position(&set, "answer")?;
    let question_of = |row: usize| questions.as_ref().and_then(|q| q[row].as_deref());
    let options_of = |row: usize| options.as_ref().and_then(|o| o[row].as_ref());
    // rows of one prompt share what is read of it
    let mut prompt_rows: Vec<usize> = Vec::new();
    let mut prompt_of: Vec<usize> = Vec::with_capacity(count);
    let mut known: FxHashMap<(Option<&str>, Vec<&str>, OptionRow), usize> = FxHashMap::default();
    for row in 0..count {
        let same_as_last = row > 0
            && question_of(row) == question_of(row - 1)
            && options_of(row) == options_of(row - 1)
            && references.is_same(row, row - 1);
        if same_as_last {
            prompt_of.push(prompt_of[row - 1]);
            continue;
        }
        let key = (
            question_of(row),
            references.row(row).iter().map(|r| &**r).collect(),
            options_of(row).cloned(),
        );
        let index = *known.entry(key).or_insert_with(|| {
            prompt_rows.push(row);
            prompt_rows.len() - 1
        });
        prompt_of.push(index);
    }
    let prompts: Vec<Prompt> = per_row(py, prompt_rows.len(), |index, _| {
        let row = prompt_rows[index];
        let options = options_of(row).map(|o| Options::new(o)).unwrap_or_default();
        let texts: Vec<&str> = references.row(row).iter().map(|r| &**r).collect();
        Prompt::new(question_of(row), &texts, options)
    });
    let verdicts: Vec<Verdict> = per_row(py, count, |row, scratch| {
        let prompt = &prompts[prompt_of[row]];
        let rejected = |rule| Verdict {
            is_accepted: false,
            graded: 0.0,
            rule,
            reference: 0,
        };
        if prompt.is_unanswerable() {
            return rejected(Rule::NoReference);
        }
        match field(
            &completions[row],
            &set,
            position,
            plain,
            &mut scratch.events,
        ) {
            Ok(answer) => prompt.judge(answer, &mut scratch.parsed),
            Err(_) => rejected(Rule::NoAnswerTag),
        }
    });
    let score = |v: &Verdict, value: f64| {
        if v.rule == Rule::NoReference {
            f64::NAN
        } else {
            value
        }
    };
    let binary: Vec<f64> = verdicts
        .iter()
        .map(|v| score(v, f64::from(u8::from(v.is_accepted))))
        .collect();
    let graded: Vec<f64> = verdicts.iter().map(|v| score(v, v.graded)).collect();
    let rules: Vec<u8> = verdicts.iter().map(|v| v.rule as u8).collect();
    let nearest: Vec<i32> = verdicts
        .iter()
        .map(|v| {
            if v.rule == Rule::NoReference {
                -1
            } else {
                i32::try_from(v.reference).unwrap_or(i32::MAX)
            }
        })
        .collect();
    Ok((
        binary.into_pyarray(py),
        graded.into_pyarray(py),
        rules.into_pyarray(py),
        nearest.into_pyarray(py),
    ))
}

/// Plane or modality score of each completion; NaN where the label is absent.
#[pyfunction]
#[pyo3(signature = (kind, completions, labels, tags = None, plain = false))]
fn match_labels<'py>(
    py: Python<'py>,
    kind: &str,
    completions: Vec<Text>,
    labels: Vec<Option<Text>>,
    tags: Option<Vec<String>>,
    plain: bool,
) -> PyResult<Floats<'py>> {
    same_length(kind, labels.len(), completions.len())?;
    let score = match kind {
        "plane" => plane_score,
        "modality" => modality_score,
        other => {
            return Err(PyValueError::new_err(format!(
                "kind is 'plane' or 'modality', not {other:?}"
            )))
        }
    };
    let set = tag_set(&tags.unwrap_or_else(|| vec![kind.to_string()]))?;
    let position = field_position(&set, kind)?;
    let mut known: FxHashMap<&str, usize> = FxHashMap::default();
    let mut parsed: Vec<Parsed> = Vec::new();
    let label_of: Vec<Option<usize>> = labels
        .iter()
        .map(|label| {
            let text = label.as_deref().filter(|l| !l.trim().is_empty())?;
            Some(*known.entry(text).or_insert_with(|| {
                parsed.push(Parsed::new(text));
                parsed.len() - 1
            }))
        })
        .collect();
    let scores = per_row(py, completions.len(), |row, scratch| {
        let Some(label) = label_of[row] else {
            return f64::NAN;
        };
        match field(
            &completions[row],
            &set,
            position,
            plain,
            &mut scratch.events,
        ) {
            Ok(text) => {
                scratch.parsed.read(text);
                score(&scratch.parsed, &parsed[label])
            }
            Err(_) => 0.0,
        }
    });
    Ok(scores.into_pyarray(py))
}

/// One overlap measure of each answer with its nearest reference; NaN where there is none.
#[pyfunction]
#[pyo3(signature = (measure, completions, references, tags = None, plain = false))]
fn overlap_scores<'py>(
    py: Python<'py>,
    measure: &str,
    completions: Vec<Text>,
    references: References,
    tags: Option<Vec<String>>,
    plain: bool,
) -> PyResult<Floats<'py>> {
    same_length("answer", references.len(), completions.len())?;
    let set = tag_set(&tags.unwrap_or_else(|| vec!["answer".to_string()]))?;
    let position = field_position(&set, "answer")?;
    let compare: fn(&Words, &Words) -> f64 = match measure {
        "exact_match" => Words::exact_match,
        "token_recall" => Words::recall,
        "token_f1" => Words::f1,
        "levenshtein" => Words::levenshtein,
        other => {
            return Err(PyValueError::new_err(format!(
                "no overlap measure is called {other:?}"
            )))
        }
    };
    // rows of one prompt share their references
    let mut accepted: Vec<Vec<Words>> = Vec::new();
    let mut accepted_of: Vec<usize> = Vec::with_capacity(completions.len());
    for row in 0..completions.len() {
        if row == 0 || !references.is_same(row, row - 1) {
            let parts = references.row(row).iter().flat_map(|r| r.split('#'));
            accepted.push(
                parts
                    .filter(|r| !r.trim().is_empty())
                    .map(Words::new)
                    .collect(),
            );
        }
        accepted_of.push(accepted.len() - 1);
    }
    let scores = per_row(py, completions.len(), |row, scratch| {
        let answer = field(
            &completions[row],
            &set,
            position,
            plain,
            &mut scratch.events,
        );
        scratch.words.read(answer.unwrap_or(""));
        let scores = accepted[accepted_of[row]]
            .iter()
            .map(|r| compare(&scratch.words, r));
        scores.fold(f64::NAN, f64::max)
    });
    Ok(scores.into_pyarray(py))
}

/// Fluency of each completion, with its four parts as columns: variety, language, length, cleanness.
#[pyfunction]
#[pyo3(signature = (completions, languages = None))]
fn fluency_parts(
    py: Python<'_>,
    completions: Vec<Text>,
    languages: Option<Vec<Option<Text>>>,
) -> PyResult<Bound<'_, PyArray2<f64>>> {
    if let Some(languages) = &languages {
        same_length("language", languages.len(), completions.len())?;
    }
    let parts = per_row(py, completions.len(), |row, _| {
        let language = languages
            .as_ref()
            .and_then(|l| l[row].as_deref())
            .filter(|l| !l.is_empty());
        let measured = fluency(&completions[row], language);
        [
            measured.score(),
            measured.variety,
            measured.language,
            measured.length,
            measured.cleanness,
        ]
    });
    let flat: Vec<f64> = parts.into_iter().flatten().collect();
    let array = numpy::ndarray::Array2::from_shape_vec((completions.len(), 5), flat)
        .map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(array.into_pyarray(py))
}

/// The part of a completion that is scored for `tag`, or the state that prevents it.
#[pyfunction]
#[pyo3(signature = (completion, tags, tag, plain = false))]
fn scored_field(
    completion: Text,
    tags: Vec<String>,
    tag: &str,
    plain: bool,
) -> PyResult<(Option<String>, &'static str)> {
    let set = tag_set(&tags)?;
    let position = field_position(&set, tag)?;
    Ok(
        match field(&completion, &set, position, plain, &mut Vec::new()) {
            Ok(text) => (Some(text.to_string()), TagState::Found.name()),
            Err(state) => (None, state.name()),
        },
    )
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
    let lexicon = Lexicon::get();
    let parsed = Parsed::new(&text);
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
    module.add(
        "TAG_STATES",
        [
            TagState::Found,
            TagState::Missing,
            TagState::Unclosed,
            TagState::Unopened,
            TagState::Repeated,
            TagState::Nested,
        ]
        .map(TagState::name)
        .to_vec(),
    )?;
    module.add_function(wrap_pyfunction!(parse_tags, module)?)?;
    module.add_function(wrap_pyfunction!(format_scores, module)?)?;
    module.add_function(wrap_pyfunction!(match_answers, module)?)?;
    module.add_function(wrap_pyfunction!(match_labels, module)?)?;
    module.add_function(wrap_pyfunction!(overlap_scores, module)?)?;
    module.add_function(wrap_pyfunction!(fluency_parts, module)?)?;
    module.add_function(wrap_pyfunction!(scored_field, module)?)?;
    module.add_function(wrap_pyfunction!(synonyms, module)?)?;
    module.add_function(wrap_pyfunction!(read_text, module)?)?;
    Ok(())
}
