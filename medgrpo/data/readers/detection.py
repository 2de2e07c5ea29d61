"""The row of a picture whose findings are boxes, whatever form they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medgrpo.data.boxes import boxes_column
from medgrpo.data.schema import new_row
from medgrpo.rows import Row

Box = dict[str, Any]


def detection_row(boxes: Sequence[Box], labels: Sequence[str], image_id: str) -> Row:
    """The row that asks for all boxes of a picture.

    The answer names what is there, once each; the boxes are the reference.
    """
    found = list(dict.fromkeys(str(box["label"]) for box in boxes))
    return new_row(
        question=f"Find every {', '.join(dict.fromkeys(labels)) or 'finding'} in this image and give a box for each.",
        answer=", ".join(sorted(found)) or "none",
        image_id=image_id,
        language="en",
        question_type="DETECTION",
        boxes=boxes_column(boxes),
    )
