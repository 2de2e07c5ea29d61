"""Masks that a model writes as text: polygons and boxes as JSON, filled in pixels of the stored picture.

Read are `{"polygon": [[x, y], …]}` (also flat, `[x1, y1, x2, …]`, or a list of several), bare lists of three or
more points, and boxes as `rewards.boxes` reads them. Points that prompt a segmenter (`"points"`) are no mask (`mask_prompts`).
Coordinates are as the row says (`box_format`, `model_width`, `model_height`), like those of boxes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.figures import is_finite_number
from medgrpo.rewards.boxes import from_model_boxes, parse_boxes

Mask = NDArray[np.bool_]
Polygon = list[tuple[float, float]]

POLYGON_KEYS = ("polygon", "polygons", "segmentation", "mask")
POINTS = ("point", "points", "point_2d", "points_2d", "points_1", "points_2", "positive_points")
"""Keys of points that prompt a segmenter."""
NOT_POINTS = ("negative_point", "negative_points")
"""Keys of points that the mask leaves out."""
LABELS = ("labels", "point_labels")
PROMPTING = re.compile(rf"""(["'])({"|".join((*POINTS, *NOT_POINTS, *LABELS))})\1\s*:\s*""")
NUMBERS = re.compile(r"[\[\]()\d\s,.eE+-]+")
MAX_POINTS = 100_000
"""Points read from one completion; what follows is left out."""
MAX_TRIES = 1000
"""Brackets that may turn out to open no JSON, so that hostile text costs no more than long text."""


def mask_from_text(
    completion: str, shape: tuple[int, int], row: Mapping[str, Any] | None = None
) -> Mask | None:
    """The mask that a completion describes.

    Args:
        completion: what the model wrote; thoughts before `</think>` are not read.
        shape: height and width of the stored picture, in pixels.
        row: for `box_format`, `model_width` and `model_height`; None: pixels of the stored picture.
    Returns:
        bool, `shape`: everything inside a polygon or box; empty for `[]`; None where nothing is described.
    """
    text = answered(completion)
    found = list(polygons(text))
    boxes = parse_boxes(without_points(text)) if not found else None  # two points have the form of a box
    if not found and boxes is None:
        return None
    outlines = found + [_corners(box.corners) for box in boxes or []]
    return _filled([placed(outline, shape, row or {}) for outline in outlines], shape)


def answered(completion: str) -> str:
    """What of a completion is read: all that is not thought."""
    return completion.rpartition("</think>")[2]


def polygons(text: str) -> Iterator[Polygon]:
    """The polygons of every piece of JSON in a text, at most `MAX_POINTS` points."""
    left = MAX_POINTS
    for value in json_values(text):
        for outline in _outlines(value):
            left -= len(outline)
            yield outline
        if left <= 0:
            return


def without_points(text: str) -> str:
    """The text, with null for what prompts a segmenter: two points or four labels have the form of a box.

    By name and not as JSON: what is cut off or in single quotes is read by `parse_boxes` too.
    """
    pieces, last, decoder = [], 0, json.JSONDecoder()
    while named := PROMPTING.search(text, last):
        try:
            end = decoder.raw_decode(text, named.end())[1]
        except (ValueError, RecursionError):
            numbers = NUMBERS.match(text, named.end())
            end = numbers.end() if numbers else named.end()
        pieces += [text[last : named.end()], "null"]
        last = end
    return "".join([*pieces, text[last:]])


def asks_by_points(completion: str) -> bool:
    """Whether a completion points at things, which only a segmenter makes a mask of."""
    return any(named[2] not in LABELS for named in PROMPTING.finditer(answered(completion)))


def json_values(text: str) -> Iterator[Any]:
    """Every list and object that stands in a text as JSON, in order."""
    decoder, place, tries = json.JSONDecoder(), 0, MAX_TRIES
    while tries > 0 and (place := _next_opening(text, place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place, tries = place + 1, tries - 1
            continue
        yield value


def _next_opening(text: str, start: int) -> int:
    places = [place for mark in "[{" if (place := text.find(mark, start)) >= 0]
    return min(places, default=-1)


def _outlines(value: Any) -> Iterator[Polygon]:
    if isinstance(value, dict):
        for key, inner in value.items():
            parts = inner if isinstance(inner, list) else [inner]
            if key in POLYGON_KEYS or any(isinstance(part, dict) for part in parts):
                yield from _outlines(inner)
    elif isinstance(value, list):
        outline = _points(value)
        if outline is not None:
            yield outline
        else:
            for inner in value:
                yield from _outlines(inner)


def _points(value: list[Any]) -> Polygon | None:
    """Three or more points, as pairs or flat; None where it is something else. Four flat numbers are a box."""
    if len(value) >= 6 and len(value) % 2 == 0 and all(map(is_finite_number, value)):
        return list(zip(map(float, value[::2]), map(float, value[1::2]), strict=True))
    pairs = all(
        isinstance(point, list) and len(point) == 2 and all(map(is_finite_number, point)) for point in value
    )
    return [(float(x), float(y)) for x, y in value] if pairs and len(value) >= 3 else None


def _corners(box: tuple[float, float, float, float]) -> Polygon:
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def placed(outline: Polygon, shape: tuple[int, int], row: Mapping[str, Any]) -> Polygon:
    """Points in pixels of the stored picture, as boxes of the row's model are placed."""
    seen = (row.get("model_width"), row.get("model_height"))
    placed = from_model_boxes(
        np.array([[x, y, x, y] for x, y in outline], dtype=np.float64).reshape(-1, 4),
        row.get("box_format") or "pixel",
        (float(shape[1]), float(shape[0])),
        (float(seen[0]), float(seen[1])) if seen[0] and seen[1] else None,
    )
    return [(float(x), float(y)) for x, y, _, _ in placed.tolist()]


def _filled(outlines: list[Polygon], shape: tuple[int, int]) -> Mask:
    from PIL import Image, ImageDraw

    height, width = shape
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for outline in outlines:
        if all(map(math.isfinite, (edge for point in outline for edge in point))):
            # Pixel i spans i to i + 1; Pillow fills to and including the corners.
            shrunk = [(min(max(x, 0), width), min(max(y, 0), height)) for x, y in outline]
            right, low = max(x for x, _ in shrunk), max(y for _, y in shrunk)
            draw.polygon([(x - (x == right), y - (y == low)) for x, y in shrunk], fill=1)
    return np.asarray(canvas, dtype=bool)
