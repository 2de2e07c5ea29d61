"""Predictions of several models on the same questions: matched, scored, and compared in pairs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.figures import Bounds, figure
from medgrpo.foreign import reads
from medgrpo.json_in import json_value
from medgrpo.rows import as_row
from medgrpo.runs.answers import Answer, Difference, ModelScore, Question, SideBySide
from medgrpo.tables import read_table

SHOWN_QUESTIONS = 60
"""Questions whose answers are shown in full."""

MAIN_SCORE = "answer_match"


@dataclass(frozen=True)
class Model:
    """A model's answers; every list has one entry a row."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    completions: Sequence[str]
    scores: Mapping[str, Sequence[float]]
    """NaN where a row cannot be judged."""
    rules: Sequence[str]
    references: Sequence[str]
    clusters: Sequence[Hashable]
    bounds: Mapping[str, Bounds | None] = field(default_factory=dict)
    """Ranges of scores that its file states, such as of the sum of its rewards."""

    def bounds_of(self, score: str) -> Bounds | None:
        """The range of a score of one row; None where it is not known."""
        return self.bounds.get(score, figure(score).bounds)


def compare_predictions(
    paths: Sequence[Path],
    *,
    baseline: str | None = None,
    references: Path | None = None,
    join: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> SideBySide:
    """The predictions at the paths side by side.

    Args:
        paths: `predictions.parquet` of `eval`, its output folder, or any file that `medgrpo score` reads.
        baseline: name of the model the others are compared with; the first one if None.
        references, join, columns: as in `medgrpo score`, for files without references.
    Raises:
        UsageError: a file holds no predictions, or the files answer different questions.
    """
    models = [_read(path, references, join, columns) for path in paths]
    models = [
        Model(**{**model.__dict__, "name": name})
        for model, name in zip(models, _distinct([model.name for model in models]), strict=True)
    ]
    names = [model.name for model in models]
    if baseline is not None and baseline not in names:
        raise choice_error("predictions", baseline, names)
    matched_by, order = _match(models)
    notes = [
        f"{model.name}: {len(model.rows) - len(order)} of {len(model.rows)} questions are not answered by all models"
        for model in models
        if len(model.rows) > len(order)
    ]
    first = names.index(baseline) if baseline else 0
    metrics = [
        name
        for name in models[0].scores
        if all(name in model.scores for model in models)
        and any(not math.isnan(models[0].scores[name][places[0]]) for places in order)
    ]
    return SideBySide(
        models=names,
        scores=[
            _score(model, metric, [places[i] for places in order])
            for i, model in enumerate(models)
            for metric in metrics
        ],
        differences=[
            _difference(
                models[first], models[other], metric, [(places[first], places[other]) for places in order]
            )
            for metric in metrics
            for other in range(len(models))
            if other != first
        ],
        questions=_questions(models, order),
        matched_by=matched_by,
        notes=notes,
    )


def is_evaluation(path: Path) -> bool:
    """Whether the path is the output folder of `eval`, or a file in it."""
    folder = path if path.is_dir() else path.parent
    named = path.is_dir() or path.name in {"metrics.json", "predictions.parquet"}
    return named and (folder / "metrics.json").is_file() and (folder / "predictions.parquet").is_file()


MOST_READ = 64 * 2**20
"""Bytes of a JSON list that is read as a whole to see whether it holds answers; logs of that kind are small."""


def holds_answers(path: Path) -> bool:
    """Whether a file holds rows with answers of a model, and so no training log: told by its first row."""
    from medgrpo.rewards.columns import find_columns
    from medgrpo.runs.readers.lines import line_format

    row: dict[str, Any] = {}
    with suppress(
        MedgrpoError, OSError, ValueError, RecursionError
    ):  # whoever reads it as a log says what is wrong
        row = _first_row(path) if path.is_file() else {}
    return bool(row) and "completion" in find_columns(row) and line_format([row]) is None


def _first_row(path: Path) -> dict[str, Any]:
    """The first row of a file of rows; empty where it holds none."""
    from medgrpo.rewards.completions_file import PARQUET_MAGIC, read_rows

    with path.open("rb") as file:
        head = file.readline(2**20).strip().removeprefix(b"\xef\xbb\xbf")
    if head.startswith(b"{"):
        row = json_value(head)
        return row if isinstance(row, dict) else {}
    if head.startswith(PARQUET_MAGIC) or (head.startswith(b"[") and path.stat().st_size < MOST_READ):
        return next(iter(read_rows(path)[0]), {})
    if path.suffix.lower() in (".csv", ".tsv"):
        return dict.fromkeys(re.split(r"[,;\t]", head.decode(errors="replace").replace('"', "")), "")
    return {}


@reads("path", "the predictions of an evaluation, or completions")
def _read(path: Path, references: Path | None, join: str | None, columns: Mapping[str, str] | None) -> Model:
    if is_evaluation(path):
        path = (path if path.is_dir() else path.parent) / "predictions.parquet"
    name = path.resolve().parent.name if path.stem == "predictions" else path.stem
    if path.suffix == ".parquet" and references is None and columns is None:
        stored = _stored_scores(path, name)
        if stored is not None:
            return stored
    from medgrpo.evaluation.predictions import read_predictions
    from medgrpo.evaluation.score import score_predictions

    predictions = read_predictions(path, references=references, join=join, columns=columns)
    scored = score_predictions(predictions.rows, predictions.completions)
    return Model(
        name,
        scored.rows,
        list(scored.completions),
        {key: [float(value) for value in values] for key, values in scored.scores.items()},
        scored.rules,
        scored.references,
        scored.clusters,
    )


def _stored_scores(path: Path, name: str) -> Model | None:
    """The predictions with the scores that `eval` wrote beside them; None if there are none."""
    if not path.is_file():
        raise UsageError(f"no predictions at {str(path)!r}")
    table = read_table(path)
    if not {"completion", MAIN_SCORE, "rule", "reference"} <= set(table.column_names):
        return None
    columns = table.to_pydict()
    numeric = [
        field.name
        for field in table.schema
        if str(field.type) in {"double", "float"} and field.name not in {"width", "height"}
    ]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    from medgrpo.data.clusters import cluster_labels

    return Model(
        name,
        rows,
        columns["completion"],
        {key: [math.nan if value is None else float(value) for value in columns[key]] for key in numeric},
        columns["rule"],
        columns["reference"],
        cluster_labels([as_row(row) for row in rows])[0],
        _stated_bounds(table.schema.metadata),
    )


def _stated_bounds(metadata: Mapping[bytes, bytes] | None) -> dict[str, Bounds | None]:
    try:
        stated = json_value((metadata or {}).get(b"bounds", b"{}"))
        return {
            name: None if ends is None else (float(ends[0]), float(ends[1])) for name, ends in stated.items()
        }
    except (ValueError, TypeError, IndexError, AttributeError):  # someone else's metadata
        return {}


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return result


def _image(row: Mapping[str, Any]) -> str:
    images = row.get("images")
    return str(
        row.get("image_id") or (images[0] if isinstance(images, list) and images else row.get("image")) or ""
    )


_KEYS: list[tuple[str, Callable[[int, Mapping[str, Any]], Hashable]]] = [
    ("id", lambda index, row: str(row.get("id"))),
    (
        "image and question",
        lambda index, row: (_image(row), str(row.get("question")), str(row.get("answer"))),
    ),
    ("row", lambda index, row: index),
]


def _match(models: Sequence[Model]) -> tuple[str, list[list[int]]]:
    """How rows were matched, and for each question that all models answer its place in each model."""
    for name, key_of in _KEYS:
        places = [{key_of(i, row): i for i, row in enumerate(model.rows)} for model in models]
        if any(len(found) < len(model.rows) for found, model in zip(places, models, strict=True)):
            continue  # the key does not tell the rows apart
        common = [key for key in places[0] if all(key in found for found in places)]
        order = [[found[key] for found in places] for key in common]
        asked_same = all(
            len({" ".join(str(m.rows[i].get("question")).split()) for m, i in zip(models, at, strict=True)})
            == 1
            for at in order
        )
        if asked_same and len(order) >= 0.5 * min(len(model.rows) for model in models):
            return name, order
    raise UsageError(
        f"the predictions of {', '.join(model.name for model in models)} do not answer the same questions",
        expected="the same ids, or the same images and questions, or the same questions row by row",
    )


def _score(model: Model, metric: str, places: Sequence[int]) -> ModelScore:
    from medgrpo.evaluation.statistics import estimate

    found = estimate(
        [model.scores[metric][i] for i in places],
        [model.clusters[i] for i in places],
        bounds=model.bounds_of(metric),
    )
    return ModelScore(model.name, metric, found.value, found.low, found.high, found.n)


def _difference(baseline: Model, model: Model, metric: str, pairs: Sequence[tuple[int, int]]) -> Difference:
    from medgrpo.evaluation.statistics import paired_difference

    found = paired_difference(
        [baseline.scores[metric][i] for i, _ in pairs],
        [model.scores[metric][j] for _, j in pairs],
        [baseline.clusters[i] for i, _ in pairs],
        bounds=model.bounds_of(metric) if model.bounds_of(metric) == baseline.bounds_of(metric) else None,
    )
    return Difference(
        model.name,
        baseline.name,
        metric,
        found.difference,
        found.low,
        found.high,
        found.p_value,
        found.n,
        found.note,
    )


def _questions(models: Sequence[Model], order: Sequence[Sequence[int]]) -> list[Question]:
    found = []
    for places in order:
        row = models[0].rows[places[0]]
        answers = []
        for model, i in zip(models, places, strict=True):
            score = model.scores.get(MAIN_SCORE, [math.nan] * len(model.rows))[i]
            judged = None if math.isnan(score) else score
            answers.append(Answer(str(model.completions[i]), judged, str(model.rules[i] or "")))
        reference = str(models[0].references[places[0]] or row.get("answer") or "")
        found.append(Question(str(row.get("question") or ""), reference, _image(row), answers))

    def wrongness(question: Question) -> float:
        scores = [answer.score for answer in question.answers if answer.score is not None]
        return 1 - sum(scores) / len(scores) if scores else 0.0

    return sorted(found, key=lambda question: (-question.disagreement, -wrongness(question)))[
        :SHOWN_QUESTIONS
    ]
