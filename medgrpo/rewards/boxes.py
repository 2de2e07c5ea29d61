"""Rewards for detection: boxes written as text, matched one to one with the references.

Boxes are read from `<boxes>`, else from `<answer>`, else from what follows `</think>`: JSON
(`[{"bbox_2d": [x1, y1, x2, y2], "label": "…"}]`), lists, or `(x1,y1),(x2,y2)`. A completion without any list of
boxes earns 0; `[]` is right where the row has no boxes, and a row whose `boxes` is None is not judged.

The rule for bad boxes: predicted corners that are not finite, out of order or without area make a box that counts
and matches nothing; boxes are clipped to the frame (`width`, `height`) first. Reference corners are put in order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from medgrpo import _reward_core as core
from medgrpo.errors import choice_error
from medgrpo.rewards.text import Completion, Scores, completion_text, parse_tags

Floats = NDArray[np.float64]
BoxFormat = Literal["pixel", "thousand", "unit"]
"""How a model writes coordinates: pixels of the picture that it saw, 0–1000 of its sides, or 0–1.
`medgrpo.models.coordinates` says which form a model's family has, and adds it to the rows."""

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
IOU, F1, AP, COUNT = range(4)
WRITTEN_FORM = ("box_format", "model_width", "model_height")
"""Columns that say how a completion writes boxes; None: in pixels of the stored picture."""
BOX_KEYS = ("box", "bbox", "bbox_2d")


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
    return core.iou_matrix(_corners(predicted), _corners(references))


def assign(gains: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the one-to-one matching with the largest sum of gains.

    Args:
        gains: (n, m); what is not finite counts as 0.
    Returns:
        two arrays of min(n, m) indices, by row, as `scipy.optimize.linear_sum_assignment(maximize=True)`.
    """
    return core.assign(np.ascontiguousarray(gains, dtype=np.float64))


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


def mean_average_precision(
    completions: Sequence[Completion],
    boxes: Sequence[Any],
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    use_labels: bool = True,
    box_format: BoxFormat | Sequence[BoxFormat | None] = "pixel",
    **columns: Any,
) -> dict[str, float]:
    """COCO's mean average precision over a dataset.

    Args:
        completions: of every picture; one without boxes finds nothing.
        boxes: references of every picture; rows of None are left out.
        thresholds: IoU thresholds; by default .50, .55, …, .95.
        use_labels: a box must also name the label.
        box_format: how the completions write coordinates, of all or of each.
        columns: `width`, `height`, … as in `box_iou`.
    Returns:
        `map` over all thresholds, and `map_50`, `map_75` where asked for; NaN where there are no references.

    Source: Lin et al. 2014, arXiv:1405.0312; `pycocotools` 2.0 without crowds, area ranges and the limit of 100
    boxes. Boxes without a score count as certain and keep their order.
    """
    rows = _Rows.of(completions, boxes, box_format, columns)
    values = core.mean_average_precision(
        rows.texts, rows.references, rows.scale, rows.frame, list(thresholds), use_labels
    )
    named = dict(zip(thresholds, values, strict=True))
    result = {"map": float(np.mean(values)) if values else math.nan}
    result |= {f"map_{round(at * 100)}": named[at] for at in (0.5, 0.75) if at in named}
    return result


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
    return _corners(boxes) / _scale(box_format, size, model_size)


def from_model_boxes(
    boxes: Floats,
    box_format: BoxFormat,
    size: tuple[float, float],
    model_size: tuple[float, float] | None = None,
) -> Floats:
    """Boxes as the model writes them in pixels of the stored picture: the inverse of `to_model_boxes`."""
    return _corners(boxes) * _scale(box_format, size, model_size)


def written_boxes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The row's boxes as its model writes them: `[{"bbox_2d": [x1, y1, x2, y2], "label": …}]`.

    Args:
        row: with `boxes`, and what `medgrpo.models.coordinates` added; without that, pixels of the stored picture.
    Raises:
        ValueError: the form needs the size of the picture, which the row does not have.
    """
    boxes = reference_boxes(row.get("boxes")) or []
    box_format = check_box_format(row.get("box_format") or "pixel")
    size, model_size = _sides(row, "width", "height"), _sides(row, "model_width", "model_height")
    if size is None and (box_format != "pixel" or model_size is not None):
        raise ValueError(f"boxes written as {box_format} need the columns width and height")
    corners = to_model_boxes(_corners([box for box, _ in boxes]), box_format, size or (1.0, 1.0), model_size)
    digits = 3 if box_format == "unit" else None
    return [
        {"bbox_2d": [round(edge, digits) for edge in edges], "label": label}
        for edges, (_, label) in zip(corners.tolist(), boxes, strict=True)
    ]


def stored_boxes(completion: Completion, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The boxes of a completion in pixels of the stored picture, `[{"box": …, "label": …}]`, as the rewards read
    them; None where it has no list of boxes. The inverse of `written_boxes`, up to rounding."""
    found = parse_boxes(_fields([completion])[0])
    if found is None:
        return None
    size, model_size = _sides(row, "width", "height"), _sides(row, "model_width", "model_height")
    scale = _scale(row.get("box_format") or "pixel", size or (1.0, 1.0), model_size)
    return [
        {"box": [round(edge, 2) for edge in (np.array(box.corners) * scale).tolist()], "label": box.label}
        for box in found
    ]


def check_box_format(name: str) -> BoxFormat:
    """The name, if it is a form of coordinates.

    Raises:
        UsageError: it is none.
    """
    if name not in get_args(BoxFormat):
        raise choice_error("box format", name, get_args(BoxFormat))
    return cast("BoxFormat", name)


def _scale(box_format: str, size: tuple[float, float], model_size: tuple[float, float] | None) -> Floats:
    check_box_format(box_format)
    written = {"pixel": model_size or size, "thousand": (1000.0, 1000.0), "unit": (1.0, 1.0)}[box_format]
    factors = (size[0] / written[0], size[1] / written[1])
    return np.array([*factors, *factors], dtype=np.float64)


def _corners(boxes: Any) -> Floats:
    array = np.ascontiguousarray(boxes, dtype=np.float64)
    return array.reshape(0, 4) if array.size == 0 else array


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
    rows = _Rows.of(completions, boxes, box_format, columns)
    table = core.box_scores(rows.texts, rows.references, rows.scale, rows.frame, iou_threshold, use_labels)
    for row, value in zip(rows.indices, table[:, measure].tolist(), strict=True):
        scores[row] = value
    return scores


@dataclass(frozen=True)
class _Rows:
    """The rows that can be judged, as the core takes them."""

    indices: list[int]
    texts: list[str]
    references: tuple[Floats, list[str | None], NDArray[np.int64]]
    """Corners, label and row of every reference box, one after the other."""
    scale: Floats
    frame: Floats

    @classmethod
    def of(
        cls,
        completions: Sequence[Completion],
        boxes: Sequence[Any],
        box_format: BoxFormat | Sequence[BoxFormat | None],
        columns: Mapping[str, Any],
    ) -> _Rows:
        if len(boxes) != len(completions):
            raise ValueError(f"boxes has {len(boxes)} rows, completions has {len(completions)}")
        references = [reference_boxes(value, row) for row, value in enumerate(boxes)]
        indices = [row for row, found in enumerate(references) if found is not None]
        flat = [(row, *box) for row, index in enumerate(indices) for box in references[index] or ()]
        sizes = [_size(columns, index, "width", "height") for index in indices]
        scales = []
        for index, size in zip(indices, sizes, strict=True):
            written = (box_format if isinstance(box_format, str) else box_format[index]) or "pixel"
            model_size = _size(columns, index, "model_width", "model_height")
            if size is None and (written != "pixel" or model_size is not None):
                raise ValueError(f"row {index}: box_format {written!r} needs the columns width and height")
            scales.append(_scale(written, size or (1.0, 1.0), model_size)[:2])
        return cls(
            indices=indices,
            texts=_fields([completions[index] for index in indices]),
            references=(
                _corners([corners for _, corners, _ in flat]),
                [label for _, _, label in flat],
                np.array([row for row, _, _ in flat], dtype=np.int64),
            ),
            scale=np.array(scales, dtype=np.float64).reshape(len(indices), 2),
            frame=np.array([size or (math.nan, math.nan) for size in sizes], dtype=np.float64).reshape(-1, 2),
        )


def reference_boxes(value: Any, row: int = 0) -> list[tuple[list[float], str | None]] | None:
    """The corners and label of each box of a row's `boxes`; None where it has none to judge by.

    Args:
        value: a list of `{"box": [x1, y1, x2, y2], "label": …}` or of `[x1, y1, x2, y2]`, or its JSON.
        row: for the message.
    Raises:
        ValueError: something else; names the row.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"row {row}: boxes is no JSON: {error}") from error
    found = []
    for item in value:
        corners = (
            next((item[key] for key in BOX_KEYS if key in item), None) if isinstance(item, Mapping) else item
        )
        label = item.get("label") if isinstance(item, Mapping) else None
        if corners is None or len(corners) != 4:
            raise ValueError(
                f"row {row}: {item!r} is no box; expected {{'box': [x1, y1, x2, y2], 'label': …}}"
            )
        found.append(([float(corner) for corner in corners], None if label is None else str(label)))
    return found


def _size(columns: Mapping[str, Any], row: int, width: str, height: str) -> tuple[float, float] | None:
    if columns.get(width) is None or columns.get(height) is None:
        return None
    return _sides({width: columns[width][row], height: columns[height][row]}, width, height)


def _sides(row: Mapping[str, Any], width: str, height: str) -> tuple[float, float] | None:
    across, down = (float(row.get(name) or 0) for name in (width, height))  # files hold them as text, too
    return (across, down) if across > 0 and down > 0 else None


def _fields(completions: Sequence[Completion]) -> list[str]:
    """Where the boxes stand: in `<boxes>`, else in `<answer>`, else after `</think>`; "" where a tag is broken."""
    texts = [completion_text(completion) for completion in completions]
    fields = []
    for text, tags in zip(texts, parse_tags(texts, ("boxes", "answer")), strict=True):
        tag = tags["boxes"] if tags["boxes"]["state"] != "missing" else tags["answer"]
        fields.append(text.rpartition("</think>")[2] if tag["state"] == "missing" else tag["content"] or "")
    return fields
