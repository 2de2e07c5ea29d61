"""Boxes: moved with their pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Scaled(Protocol):
    """A picture that was stored at another size."""

    width: int
    height: int
    source_width: int
    source_height: int


def scaled_boxes(boxes: str, picture: Scaled) -> str:
    """The `boxes` column moved from the source picture's pixels to the stored one's, to 1/100 pixel."""
    across = picture.width / picture.source_width
    down = picture.height / picture.source_height
    moved = []
    for item in json.loads(boxes):
        left, top, right, bottom = item["box"]
        edges = (left * across, top * down, right * across, bottom * down)
        moved.append({**item, "box": [round(edge, 2) for edge in edges]})
    return json.dumps(moved, ensure_ascii=False)


def boxes_column(boxes: Sequence[Mapping[str, Any]]) -> str:
    """The `boxes` column of a row."""
    return json.dumps([dict(box) for box in boxes], ensure_ascii=False)
