"""The folder that an evaluation leaves: metrics.json, predictions.parquet, report.html, review.csv."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from medgrpo.evaluation.evaluate import Evaluation
from medgrpo.evaluation.predictions import Predictions, write_predictions
from medgrpo.evaluation.score import BOX_COLUMNS, LABELS
from medgrpo.files import folder_replaced, write_json, write_text
from medgrpo.records import BadRow, csv_rows, read_text

COPIED = (
    "id",
    "image_id",
    "patient_id",
    "question",
    "answer",
    "plane",
    "modality",
    "language",
    "question_type",
    "organ",
)


def write_outputs(result: Evaluation, folder: Path, *, review_rows: int, seed: int = 0) -> None:
    """Writes all files together: whenever it is killed, those in the folder are all of one evaluation.

    A review sheet that someone has begun is not replaced, and whatever else lies there stays.
    """
    from medgrpo.evaluation.report import report_html
    from medgrpo.evaluation.review import review_sheet

    document = {**result.document, "warnings": result.warnings, "notes": result.predictions.notes}
    with folder_replaced(folder) as place:
        write_json(place / "metrics.json", document)
        write_predictions(
            place / "predictions.parquet",
            prediction_columns(result),
            bounds={"reward": result.scored.reward_bounds},
        )
        write_text(place / "report.html", report_html(result))
        sheet = place / "review.csv"
        if review_rows and not _is_begun(sheet):
            write_text(sheet, "\ufeff" + review_sheet(result.scored, review_rows, seed=seed))


def _is_begun(sheet: Path) -> bool:
    from medgrpo.evaluation.review import COMMENT, HUMAN

    if not sheet.is_file():
        return False
    rows = (row for _, row in csv_rows(read_text(sheet).text, str(sheet)))
    return any(
        isinstance(row, BadRow) or (row.get(HUMAN) or "").strip() or (row.get(COMMENT) or "").strip()
        for row in rows
    )


def prediction_columns(result: Evaluation) -> dict[str, list[Any]]:
    """The columns of `predictions.parquet`: what was asked, what was said, every score and the rule."""
    predictions, scored = result.predictions, result.scored
    columns: dict[str, list[Any]] = {}
    for name in COPIED:
        values = [_text(row.get(name)) for row in predictions.rows]
        if any(value is not None for value in values):
            columns[name] = values
    if any(row.get("boxes") for row in predictions.rows):
        columns |= _box_columns(predictions)
    columns["images"] = [[str(path) for path in row.get("images") or []] for row in predictions.rows]
    columns["answer_type"] = list(scored.kinds)
    columns["completion"] = list(predictions.completions)
    columns["parsed_answer"] = list(scored.answers)
    columns["reference"] = list(scored.references)
    columns["rule"] = list(scored.rules)
    for name, marks in scored.scores.items():
        if np.isnan(marks).all():
            continue
        # `plane` and `modality` are the labels; a score of that name would be read back as one.
        column = f"{name}_right" if name in LABELS else name
        columns[column] = [None if math.isnan(mark) else mark for mark in marks.tolist()]
    columns["verdict"] = [_verdict(value) for value in scored.scores["answer_match"].tolist()]
    for name in ("samples", "truncated", "lengths"):
        extra = getattr(predictions, name)
        if len(extra) == len(predictions):
            columns[name] = list(extra)
    return columns


def _box_columns(predictions: Predictions) -> dict[str, list[Any]]:
    """What boxes are judged by, so that the file can be scored again, and `found_boxes` in stored pixels."""
    from medgrpo.rewards.boxes import stored_boxes

    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in predictions.rows] for name in BOX_COLUMNS
    }
    found = [
        stored_boxes(text, row) for text, row in zip(predictions.completions, predictions.rows, strict=True)
    ]
    columns["found_boxes"] = [
        None if boxes is None else json.dumps(boxes, ensure_ascii=False) for boxes in found
    ]
    return columns


def _verdict(mark: float) -> str:
    if math.isnan(mark):
        return "not judged"
    return "right" if mark >= 0.5 else "wrong"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
