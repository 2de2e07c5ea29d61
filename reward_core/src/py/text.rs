//! Python functions over batches of text: read the columns, release the GIL, call the core, return arrays.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use numpy::{IntoPyArray, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::columns::{per_row, Columns, Rows, CHUNK};
use super::completions::{Block, Text};
use crate::text::answers::alternatives;
use crate::text::lexicon::Lexicon;
use crate::text::scores::{Explained, Measure, Scorer, Scratch, MEASURES};
use crate::text::source::Source;
use crate::text::tags::{Scan, TagSet, TagState, TAG_STATES};
use crate::text::tokens::Parsed;
use crate::text::verdict::RULES;
use crate::threads;

/// Characters that are held at a time for each thread, so that they stay in the cache.
const ROOM: usize = 1 << 16;

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
        let (texts, characters) = (&block.completions, block.characters()?);
        let values = &mut values[first * width..(first + texts.len()) * width];
        let share = texts.len().div_ceil(threads).max(1);
        let parts = texts.chunks(share).zip(values.chunks_mut(share * width));
        let work: Vec<_> = parts.zip(&mut scratches).collect();
        py.detach(|| {
            threads::for_each(work, true, |part, ((texts, values), scratch)| {
                let start = first + part * share;
                rows.prepare(start..start + texts.len());
                for (offset, (text, values)) in
                    texts.iter().zip(values.chunks_mut(width)).enumerate()
                {
                    scorer.score(
                        text.source(characters),
                        &rows.row(start + offset),
                        scratch,
                        values,
                    );
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
    let reports = per_row(py, completions.len(), |row| {
        set.parse(&*completions[row], &mut Scan::default())
    });
    let contents = PyList::empty(py);
    let mut states = Vec::with_capacity(completions.len() * set.len());
    for (text, report) in completions.iter().zip(&reports) {
        states.extend(report.states[..set.len()].iter().map(|&s| s as u8));
        let content = |range: &Option<(usize, usize)>| range.map(|(start, end)| &text[start..end]);
        contents.append(
            report.contents[..set.len()]
                .iter()
                .map(content)
                .collect::<Vec<_>>(),
        )?;
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
    let prompts = columns.prompts(references)?;
    let scorer = new_scorer(vec![Measure::AnswerMatch], &tags, plain)?;
    let judged = per_row(py, completions.len(), |row| {
        scorer.explain(
            Source::Utf8(&completions[row]),
            prompts.row(row),
            &mut Scratch::default(),
        )
    });
    let explained = PyList::empty(py);
    for (row, (text, judged)) in completions.iter().zip(&judged).enumerate() {
        let entry = explanation(py, text, judged, &tags)?;
        let is_judged = !prompts.row(row).is_unanswerable();
        let binary = f64::from(u8::from(judged.verdict.is_accepted));
        entry.set_item("answer_match", is_judged.then_some(binary))?;
        entry.set_item(
            "answer_match_graded",
            is_judged.then_some(judged.verdict.graded),
        )?;
        let mut accepted = prompts.references(row).iter().flat_map(|r| alternatives(r));
        entry.set_item("reference", accepted.nth(judged.verdict.reference))?;
        explained.append(entry)?;
    }
    Ok(explained)
}

/// What decided on one completion: rule, field, tags, claims and words.
fn explanation<'py>(
    py: Python<'py>,
    text: &str,
    judged: &Explained,
    tags: &[String],
) -> PyResult<Bound<'py, PyDict>> {
    let field = judged.answer.map(|(start, end)| &text[start..end]);
    let said = PyDict::new(py);
    for (tag, state) in tags.iter().zip(judged.report.states) {
        said.set_item(tag, state.name())?;
    }
    let claims = PyList::empty(py);
    for claim in &judged.claims {
        claims.append((&claim.text, &claim.says, claim.standing.name()))?;
    }
    let entry = PyDict::new(py);
    entry.set_item("rule", judged.verdict.rule.name())?;
    entry.set_item("field", field)?;
    entry.set_item("tags", said)?;
    entry.set_item("claims", claims)?;
    entry.set_item("read", meanings(field.unwrap_or("")))?;
    Ok(entry)
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
