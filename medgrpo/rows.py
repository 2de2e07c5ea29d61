"""A row of a prepared dataset: what every room that reads, asks, trains or scores hands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, cast


class Row(TypedDict, total=False):
    """One question. `data.schema.ROW_SCHEMA` lists the columns of a stored row, where unknown values are None; rows of
    other people's files and rows with columns of their own have more."""

    id: str
    question: str
    answer: str
    answers: list[str]
    images: list[str]
    image_id: str | None
    patient_id: str | None
    language: str
    answer_type: str | None
    question_type: str | None
    organ: str | None
    plane: str | None
    modality: str | None
    label_source: str | None
    options: str | None
    caption: str | None
    image_title: str | None
    context: str | None
    boxes: str | None
    mask: str | None
    mask2: str | None
    fov: str | None
    mask_area: float | None
    difficulty: float | None
    chosen: str | None
    rejected: str | None
    width: int | None
    height: int | None
    image_tokens: int | None
    source: str
    source_file: str
    source_row: int
    # added where the model is known (see `models.coordinates`)
    box_format: str
    model_width: int | None
    model_height: int | None


def columns(row: Row) -> dict[str, Any]:
    """The same row by names that are only known at run time."""
    return cast("dict[str, Any]", row)


def as_row(named: Mapping[str, Any]) -> Row:
    """What was put together by names, taken for a row."""
    return cast("Row", named)
