"""The rows of a detection batch as the compiled core takes them: texts, references, scales and frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import choice_error
from medgrpo.figures import as_float
from medgrpo.json_in import json_value
from medgrpo.rewards.plain_arrays import plain_numbers
from medgrpo.rewards.text import Completion, completion_text, parse_tags

Floats = NDArray[np.float64]
BoxFormat = Literal["pixel", "thousand", "unit"]
"""How a model writes coordinates: pixels of the picture that it saw, 0–1000 of its sides, or 0–1.
`medgrpo.models.coordinates` says which form a model's family has, and adds it to the rows."""

BOX_KEYS = ("box", "bbox", "bbox_2d")


def check_box_format(name: str) -> BoxFormat:
    """The name, if it is a form of coordinates.

    Raises:
        UsageError: it is none.
    """
    if name not in get_args(BoxFormat):
        raise choice_error("box format", name, get_args(BoxFormat))
    return cast("BoxFormat", name)


def scale_of(box_format: str, size: tuple[float, float], model_size: tuple[float, float] | None) -> Floats:
    """Factors from written to stored coordinates, (4,); `model_size` is what `pixel` counts in, None: the stored size."""
    check_box_format(box_format)
    written = {"pixel": model_size or size, "thousand": (1000.0, 1000.0), "unit": (1.0, 1.0)}[box_format]
    factors = (size[0] / written[0], size[1] / written[1])
    return np.array([*factors, *factors], dtype=np.float64)


def plain_corners(boxes: Any, what: str = "boxes") -> Floats:
    """Boxes of any array library as float64, (n, 4); `what` names them in errors."""
    return plain_numbers(boxes, what, columns=4)


@dataclass(frozen=True)
class Rows:
    """The rows that can be judged, as the core takes them."""

    indices: list[int]
    texts: list[str]
    references: tuple[Floats, list[str | None], NDArray[np.int64]]
    """Corners, label and row of every reference box, one after the other."""
    extras: tuple[NDArray[np.bool_], NDArray[np.bool_], Floats]
    """Of every reference: whether it is a crowd, whether it is ignored, its area (NaN: that of its box)."""
    scale: Floats
    frame: Floats

    @classmethod
    def of(
        cls,
        completions: Sequence[Completion],
        boxes: Sequence[Any],
        box_format: BoxFormat | Sequence[BoxFormat | None],
        columns: Mapping[str, Any],
        *,
        with_ignored: bool = False,
    ) -> Rows:
        """The rows whose references are known; `with_ignored` keeps crowds and ignored references."""
        if len(boxes) != len(completions):
            raise ValueError(f"boxes has {len(boxes)} rows, completions has {len(completions)}")
        references = [_references(value, row) for row, value in enumerate(boxes)]
        indices = [row for row, found in enumerate(references) if found is not None]
        flat = [
            (row, box)
            for row, index in enumerate(indices)
            for box in references[index] or ()
            if with_ignored or box.counts
        ]
        sizes = [size_of(columns, index, "width", "height") for index in indices]
        scales = []
        for index, size in zip(indices, sizes, strict=True):
            written = (box_format if isinstance(box_format, str) else box_format[index]) or "pixel"
            model_size = size_of(columns, index, "model_width", "model_height")
            if size is None and (written != "pixel" or model_size is not None):
                raise ValueError(f"row {index}: box_format {written!r} needs the columns width and height")
            scales.append(scale_of(written, size or (1.0, 1.0), model_size)[:2])
        return cls(
            indices=indices,
            texts=box_fields([completions[index] for index in indices]),
            references=(
                plain_corners([box.corners for _, box in flat]),
                [box.label for _, box in flat],
                np.array([row for row, _ in flat], dtype=np.int64),
            ),
            extras=(
                np.array([box.is_crowd for _, box in flat], dtype=np.bool_),
                np.array([box.is_ignored for _, box in flat], dtype=np.bool_),
                np.array([box.area for _, box in flat], dtype=np.float64),
            ),
            scale=np.array(scales, dtype=np.float64).reshape(len(indices), 2),
            frame=np.array([size or (math.nan, math.nan) for size in sizes], dtype=np.float64).reshape(-1, 2),
        )


@dataclass(frozen=True)
class ReferenceBox:
    """A reference as a row holds it."""

    corners: list[float]
    label: str | None
    is_crowd: bool
    is_ignored: bool
    area: float
    """Square pixels; NaN: that of the box."""

    @property
    def counts(self) -> bool:
        """Neither a crowd nor marked to be left out."""
        return not (self.is_crowd or self.is_ignored)


def reference_boxes(value: Any, row: int = 0) -> list[tuple[list[float], str | None]] | None:
    """The corners and label of each box of a row's `boxes`; None where it has none to judge by.

    Crowds (`iscrowd`) and boxes marked `ignore` or `difficult` are left out: only mAP knows what they mean.

    Args:
        value: a list of `{"box": [x1, y1, x2, y2], "label": …}` or of `[x1, y1, x2, y2]`, or its JSON.
        row: for the message.
    Raises:
        ValueError: something else; names the row.
    """
    found = _references(value, row)
    return None if found is None else [(box.corners, box.label) for box in found if box.counts]


def _references(value: Any, row: int) -> list[ReferenceBox] | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json_value(value)
        except ValueError as error:
            raise ValueError(f"row {row}: boxes is no JSON: {error}") from error
    return [_reference(item, row) for item in value]


def _reference(item: Any, row: int) -> ReferenceBox:
    fields = item if isinstance(item, Mapping) else {}
    corners = next((item[key] for key in BOX_KEYS if key in item), None) if fields else item
    if corners is None or len(corners) != 4:
        raise ValueError(f"row {row}: {item!r} is no box; expected {{'box': [x1, y1, x2, y2], 'label': …}}")
    label, area = fields.get("label"), fields.get("area")
    sides = [as_float(corner) for corner in corners]
    if any(math.isnan(side) for side in sides):
        raise ValueError(f"row {row}: {item!r} is no box: its corners are not finite numbers")
    return ReferenceBox(
        corners=sides,
        label=None if label is None else str(label),
        is_crowd=_flag(fields, "iscrowd", row),
        is_ignored=_flag(fields, "ignore", row) or _flag(fields, "difficult", row),
        area=as_float(area),
    )


_FLAGS = {"": False, "0": False, "false": False, "0.0": False, "1": True, "true": True, "1.0": True}


def _flag(fields: Mapping[str, Any], name: str, row: int) -> bool:
    """A mark that may be text, as in VOC's XML and in CSV: "0" is no."""
    value = fields.get(name)
    known = False if value is None else _FLAGS.get(str(value).strip().lower())
    if known is None:
        raise ValueError(f"row {row}: {name} of a box is {value!r}, expected 0 or 1")
    return known


def size_of(columns: Mapping[str, Any], row: int, width: str, height: str) -> tuple[float, float] | None:
    """Width and height of one row of columns; None where either is unknown."""
    if columns.get(width) is None or columns.get(height) is None:
        return None
    return sides_of({width: columns[width][row], height: columns[height][row]}, width, height)


def sides_of(row: Mapping[str, Any], width: str, height: str) -> tuple[float, float] | None:
    """Width and height of a row; None where either is unknown or not above 0."""
    across, down = (as_float(row.get(name)) for name in (width, height))  # files hold them as text, too
    return (across, down) if across > 0 and down > 0 else None


def box_fields(completions: Sequence[Completion]) -> list[str]:
    """Where the boxes stand: in `<boxes>`, else in `<answer>`, else after `</think>`; "" where a tag is broken."""
    texts = [completion_text(completion) for completion in completions]
    fields = []
    for text, tags in zip(texts, parse_tags(texts, ("boxes", "answer")), strict=True):
        tag = tags["boxes"] if tags["boxes"]["state"] != "missing" else tags["answer"]
        fields.append(text.rpartition("</think>")[2] if tag["state"] == "missing" else tag["content"] or "")
    return fields
