"""Rewards for detection: boxes written as text, matched one to one with the references.

Boxes are read from `<boxes>`, else from `<answer>`, else from what follows `</think>`: JSON
(`[{"bbox_2d": [x1, y1, x2, y2], "label": "…"}]`), lists, or `(x1,y1),(x2,y2)`. A completion without any list of
boxes earns 0; `[]` is right where the row has no boxes, and a row whose `boxes` is None is not judged.

The rule for bad boxes: predicted corners that are not finite, out of order or without area make a box that counts
and matches nothing; boxes are clipped to the frame (`width`, `height`) first. Reference corners are put in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgrpo import _reward_core as core
from medgrpo.rewards.box_precision import COCO_THRESHOLDS, BoxMatches, mean_average_precision
from medgrpo.rewards.box_rows import (
    BoxFormat,
    Floats,
    Rows,
    box_fields,
    check_box_format,
    plain_corners,
    reference_boxes,
    scale_of,
    sides_of,
)
from medgrpo.rewards.plain_arrays import plain_numbers
from medgrpo.rewards.text import Completion, Scores

IOU, F1, AP, COUNT = range(4)
WRITTEN_FORM = ("box_format", "model_width", "model_height")
"""Columns that say how a completion writes boxes; None: in pixels of the stored picture."""


@dataclass(frozen=True)
class Box:
    """A box read from text; its corners as written."""

    corners: tuple[float, float, float, float]
    label: str | None
    score: float | None


def parse_boxes(text: str) -> list[Box] | None:
    """The boxes in a text, in order; None where it holds neither a box nor an empty list.

    A box that is written but has not four numbers is kept, with NaN corners.
    """
    parts = core.parse_boxes([text])[0]
    if parts is None:
        return None
    x1y1x2y2, labels, scores = parts
    return [
        Box((box[0], box[1], box[2], box[3]), label, score)
        for box, label, score in zip(x1y1x2y2, labels, scores, strict=True)
    ]


def iou_matrix(predicted: Floats, references: Floats) -> Floats:
    """Intersection over union of each pair, (n, m) in [0, 1]; 0 for bad boxes.

    Args:
        predicted: (n, 4) of x1, y1, x2, y2.
        references: (m, 4).
    Raises:
        ValueError: another shape.
    """
    return core.iou_matrix(plain_corners(predicted, "predicted"), plain_corners(references, "references"))


def assign(gains: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the one-to-one matching with the largest sum of gains.

    Args:
        gains: (n, m); what is not finite counts as 0.
    Returns:
        two arrays of min(n, m) indices, by row, as `scipy.optimize.linear_sum_assignment(maximize=True)`.
    """
    return core.assign(plain_numbers(gains, "gains"))


def box_iou(
    completions: Sequence[Completion], *, boxes: Sequence[Any] | None = None, **columns: Any
) -> Scores:
    """Sum of the matched IoUs divided by the larger count: in [0, 1], smooth, and each box too many costs.

    Args:
        completions: strings or chat messages, (batch,).
        boxes: references of each row, a list or its JSON; None: not judged.
        columns: `width`, `height` of the stored picture; `model_width`, `model_height` of what the model saw, where
            it writes pixels and saw another size; `box_format`, one for all rows or one a row (None: pixel);
            settings `iou_threshold`, `use_labels`.
    """
    return _scores(completions, boxes, IOU, **columns)


def box_f1(
    completions: Sequence[Completion], *, boxes: Sequence[Any] | None = None, **columns: Any
) -> Scores:
    """F1 = 2 hits / (predicted + references) at IoU ≥ `iou_threshold` (0.5), labels equal; columns as `box_iou`."""
    return _scores(completions, boxes, F1, **columns)


def box_ap(
    completions: Sequence[Completion], *, boxes: Sequence[Any] | None = None, **columns: Any
) -> Scores:
    """Average precision of each picture at `iou_threshold` (0.5), mean over its labels; columns as `box_iou`.

    Boxes written after all right ones cost nothing here, as in COCO: weigh it with `box_iou` or `box_count`.
    """
    return _scores(completions, boxes, AP, **columns)


def box_count(
    completions: Sequence[Completion], *, boxes: Sequence[Any] | None = None, **columns: Any
) -> Scores:
    """1 − |predicted − references| / the larger count; right wherever the boxes are, so give it little weight."""
    return _scores(completions, boxes, COUNT, **columns)


def to_model_boxes(
    boxes: Floats,
    box_format: BoxFormat,
    size: tuple[float, float],
    model_size: tuple[float, float] | None = None,
) -> Floats:
    """Boxes in stored pixels as the model writes them, (n, 4), not rounded.

    Args:
        boxes: (n, 4) in pixels of the stored picture.
        box_format: how the model writes.
        size: width and height of the stored picture.
        model_size: of the picture that the model sees; only `pixel` needs it. None: the stored one.
    """
    return plain_corners(boxes) / scale_of(box_format, size, model_size)


def from_model_boxes(
    boxes: Floats,
    box_format: BoxFormat,
    size: tuple[float, float],
    model_size: tuple[float, float] | None = None,
) -> Floats:
    """Boxes as the model writes them in pixels of the stored picture: the inverse of `to_model_boxes`."""
    return plain_corners(boxes) * scale_of(box_format, size, model_size)


def written_boxes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The row's boxes as its model writes them: `[{"bbox_2d": [x1, y1, x2, y2], "label": …}]`.

    Args:
        row: with `boxes`, and what `medgrpo.models.coordinates` added; without that, pixels of the stored picture.
    Raises:
        ValueError: the form needs the size of the picture, which the row does not have.
    """
    boxes = reference_boxes(row.get("boxes")) or []
    box_format = check_box_format(row.get("box_format") or "pixel")
    size, model_size = sides_of(row, "width", "height"), sides_of(row, "model_width", "model_height")
    if size is None and (box_format != "pixel" or model_size is not None):
        raise ValueError(f"boxes written as {box_format} need the columns width and height")
    corners = to_model_boxes(
        plain_corners([box for box, _ in boxes]), box_format, size or (1.0, 1.0), model_size
    )
    digits = 3 if box_format == "unit" else None
    return [
        {"bbox_2d": [round(edge, digits) for edge in edges], "label": label}
        for edges, (_, label) in zip(corners.tolist(), boxes, strict=True)
    ]


def stored_boxes(completion: Completion, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The boxes of a completion in pixels of the stored picture, `[{"box": …, "label": …}]`, as the rewards read
    them; None where it has no list of boxes. The inverse of `written_boxes`, up to rounding."""
    found = parse_boxes(box_fields([completion])[0])
    if found is None:
        return None
    size, model_size = sides_of(row, "width", "height"), sides_of(row, "model_width", "model_height")
    scale = scale_of(row.get("box_format") or "pixel", size or (1.0, 1.0), model_size)
    return [
        {"box": [round(edge, 2) for edge in (np.array(box.corners) * scale).tolist()], "label": box.label}
        for box in found
    ]


def _scores(
    completions: Sequence[Completion],
    boxes: Sequence[Any] | None,
    measure: int,
    *,
    box_format: BoxFormat | Sequence[BoxFormat | None] = "pixel",
    iou_threshold: float = 0.5,
    use_labels: bool = True,
    **columns: Any,
) -> Scores:
    scores: Scores = [None] * len(completions)
    if boxes is None:
        return scores
    rows = Rows.of(completions, boxes, box_format, columns)
    table = core.box_scores(rows.texts, rows.references, rows.scale, rows.frame, iou_threshold, use_labels)
    for row, value in zip(rows.indices, table[:, measure].tolist(), strict=True):
        scores[row] = value
    return scores


__all__ = [
    "COCO_THRESHOLDS", "Box", "BoxFormat", "BoxMatches", "assign", "box_ap", "box_count", "box_f1", "box_iou",
    "check_box_format", "from_model_boxes", "iou_matrix", "mean_average_precision", "parse_boxes",
    "reference_boxes", "stored_boxes", "to_model_boxes", "written_boxes",
]  # fmt: skip
