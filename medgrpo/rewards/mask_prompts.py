"""Boxes and points that a model writes to prompt a segmenter with: read from text, placed in pixels of the stored picture.

Read are JSON objects such as `{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}`, `{"points": [[x, y], …], "labels": [1, 0]}`,
`{"bbox": […], "points_1": [x, y], "points_2": [x, y]}`, and bare boxes as `rewards.boxes` reads them. Each object asks for one mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medgrpo.figures import is_finite_number
from medgrpo.rewards.boxes import parse_boxes
from medgrpo.rewards.mask_text import (
    LABELS,
    NOT_POINTS,
    POINTS,
    answered,
    json_values,
    mask_from_text,
    placed,
    polygons,
    without_points,
)

Point = tuple[float, float]
BOXES = ("bbox_2d", "bbox", "box_2d", "box")
MAX_PROMPTS = 64
"""Masks asked for by one completion; what follows is left out, so that a hostile completion costs no more."""
MAX_POINTS = 64
"""Points of one prompt that are read."""


@dataclass(frozen=True)
class Prompt:
    """What one mask is asked for with, in pixels of the stored picture."""

    box: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2 with x1 < x2 and y1 < y2."""
    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    """1 of a point inside of the mask, 0 of one outside."""


class Prompted(Protocol):
    """Makes masks of prompts: `medgrpo.segmentation.prompted.FrozenSam`."""

    def mask(self, picture: str, prompts: Sequence[Prompt], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """All prompts' masks as one, (height, width) of the stored picture."""
        ...


def prompted_mask(
    completion: str, shape: tuple[int, int], row: Mapping[str, Any], prompted: Prompted, picture: str
) -> NDArray[np.bool_] | None:
    """The mask that a completion asks a segmenter for, or writes itself as a polygon; None where it does neither.

    Args:
        completion, shape, row: as `prompts_of` takes them.
        prompted: what makes masks of prompts.
        picture: file of the picture.
    """
    if next(iter(polygons(answered(completion))), None) is not None:
        return mask_from_text(completion, shape, row)
    prompts = prompts_of(completion, shape, row)
    return None if prompts is None else prompted.mask(picture, prompts, shape)


def prompts_of(
    completion: str, shape: tuple[int, int], row: Mapping[str, Any] | None = None
) -> list[Prompt] | None:
    """The prompts in a completion, at most `MAX_PROMPTS`.

    Args:
        completion: what the model wrote; thoughts before `</think>` are not read.
        shape: height and width of the stored picture, in pixels.
        row: for `box_format`, `model_width` and `model_height`; None: pixels of the stored picture.
    Returns:
        One for each object with a box or points, or for each bare box; none for `[]`; None where nothing can be read.
    """
    text = answered(completion)
    objects = list(islice((one for value in json_values(text) for one in _objects(value)), MAX_PROMPTS))
    if objects:
        tried = [_prompt(one, shape, row or {}) for one in objects]
    else:
        boxes = parse_boxes(without_points(text))
        if boxes is None:
            return None
        corners = [_corners(box.corners, shape, row or {}) for box in boxes[:MAX_PROMPTS]]
        tried = [None if box is None else Prompt(box) for box in corners]
    found = [prompt for prompt in tried if prompt is not None]
    return None if tried and not found else found


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects with a box or points in a piece of JSON, however it is nested."""
    if isinstance(value, dict):
        if value.keys() & {*POINTS, *NOT_POINTS, *BOXES}:
            yield value
        else:
            for inner in value.values():
                yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _prompt(value: Mapping[str, Any], shape: tuple[int, int], row: Mapping[str, Any]) -> Prompt | None:
    box = next((_corners(value[key], shape, row) for key in BOXES if key in value), None)
    inside = [point for key in POINTS if key in value for point in _points(value[key])]
    labels = next((value[key] for key in LABELS if isinstance(value.get(key), list)), [1] * len(inside))
    if len(labels) != len(inside) or any(label not in (0, 1) for label in labels):
        return None
    outside = [point for key in NOT_POINTS if key in value for point in _points(value[key])]
    points = [*inside, *outside][:MAX_POINTS]
    if box is None and not points:
        return None
    at = placed(points, shape, row)
    return Prompt(box, tuple(at), tuple([*map(int, labels), *[0] * len(outside)][: len(points)]))


def _points(value: Any) -> list[Point]:
    """One point or several; none where it is something else."""
    pairs = (
        [value]
        if isinstance(value, list) and len(value) == 2 and all(map(is_finite_number, value))
        else value
    )
    if not isinstance(pairs, list):
        return []
    return [
        (float(pair[0]), float(pair[1]))
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(map(is_finite_number, pair))
    ]


def _corners(
    value: Any, shape: tuple[int, int], row: Mapping[str, Any]
) -> tuple[float, float, float, float] | None:
    """A box within the stored picture; None where it is none, or has no area there."""
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(map(is_finite_number, value)):
        return None
    (x1, y1), (x2, y2) = placed([(value[0], value[1]), (value[2], value[3])], shape, row)
    height, width = shape
    left, right = (min(max(x, 0.0), width) for x in sorted((x1, x2)))
    top, low = (min(max(y, 0.0), height) for y in sorted((y1, y2)))
    return (left, top, right, low) if left < right and top < low else None
