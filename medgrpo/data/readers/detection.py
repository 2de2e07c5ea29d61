"""The row of a picture whose findings are boxes, whatever form they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medgrpo.data.boxes import boxes_column
from medgrpo.data.readers.base import BadRow
from medgrpo.data.schema import new_row
from medgrpo.rows import Row

Box = dict[str, Any]
NO_CLASS = frozenset(("_background_", "__background__", "__ignore__", "_ignore_"))
"""Labels of LabelMe and its like that stand for nothing: neither asked for nor an answer."""


def detection_row(boxes: Sequence[Box], labels: Sequence[str], image_id: str) -> Row:
    """The row that asks for all boxes of a picture.

    The answer names what is there, once each; the boxes are the reference.
    """
    found = list(dict.fromkeys(str(box["label"]) for box in boxes))
    asked = [label for label in dict.fromkeys(labels) if label.lower() not in NO_CLASS]
    return new_row(
        question=f"Find every {', '.join(asked) or 'finding'} in this image and give a box for each.",
        answer=", ".join(sorted(found)) or "none",
        image_id=image_id,
        language="en",
        question_type="DETECTION",
        boxes=boxes_column(boxes),
    )


def refuse_only_other_marks(kinds: Sequence[str], boxes: Sequence[object]) -> None:
    """A picture that is marked, and with nothing that has an area: "none" would be a wrong answer.

    Args:
        kinds: of the marks that were left out, as points or tags.
        boxes: what was read of it.
    Raises:
        BadRow: nothing was read, and something was left out.
    """
    if kinds and not boxes:
        raise BadRow(
            "picture marked without an area",
            "shapes",
            f"only {', '.join(dict.fromkeys(kinds))}",
            "boxes, polygons or other shapes with an area",
        )
