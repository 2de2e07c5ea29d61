"""Boxes: moved with their pictures, and what is said of them without looking."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from medgrpo.json_in import json_value


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
    for item in json_value(boxes):
        left, top, right, bottom = item["box"]
        edges = (left * across, top * down, right * across, bottom * down)
        moved.append({**item, "box": [round(edge, 2) for edge in edges]})
    return json.dumps(moved, ensure_ascii=False)


@dataclass(frozen=True)
class TypicalBox:
    """What is known of the boxes of a dataset without looking at a picture."""

    edges: tuple[float, float, float, float]
    """Median left, top, right, bottom, as shares of width and height."""
    label: str | None
    """The commonest."""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> TypicalBox | None:
        """From rows with `boxes`, `width` and `height`; None where no row has a box."""
        edges: list[tuple[float, ...]] = []
        labels: Counter[str | None] = Counter()
        for row in rows:
            if not row.get("boxes") or not row.get("width") or not row.get("height"):
                continue
            sides = (row["width"], row["height"]) * 2
            for item in json_value(row["boxes"]):
                edges.append(tuple(edge / side for edge, side in zip(item["box"], sides, strict=True)))
                labels[item.get("label")] += 1
        if not edges:
            return None
        left, top, right, bottom = (median(column) for column in zip(*edges, strict=True))
        return cls((left, top, right, bottom), labels.most_common(1)[0][0])

    def column(self, row: Mapping[str, Any]) -> str:
        """The `boxes` column that says so of this row's picture."""
        sides = (row.get("width") or 0, row.get("height") or 0) * 2
        box = [round(share * side, 2) for share, side in zip(self.edges, sides, strict=True)]
        return boxes_column([{"box": box, "label": self.label}])


def boxes_column(boxes: Sequence[Mapping[str, Any]]) -> str:
    """The `boxes` column of a row."""
    return json.dumps([dict(box) for box in boxes], ensure_ascii=False)
