"""Places in a picture that a conversation marks: ms-swift's `objects`, `<ref-object>` and `<bbox>`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medgrpo.data.fields import Fields
from medgrpo.data.readers.base import BadRow
from medgrpo.data.readers.detection import detection_row
from medgrpo.data.readers.geometry import checked_box, stored_size
from medgrpo.data.readers.values import text_of
from medgrpo.data.source import ImageRef, Source
from medgrpo.rows import Row

BOX, NAME = "<bbox>", "<ref-object>"
_MARK = re.compile(rf"{BOX}|{NAME}")
_SYNTAX = re.compile(r"bbox_2d|bbox|box_2d|box|label|coordinates|json|[\W\d_]")
"""What a reply of boxes holds beside boxes and names."""


def grounded(
    fields: Fields, question: str, reply: str | None, images: Sequence[ImageRef], source: Source
) -> Row:
    """The row that asks for the boxes that the reply gives.

    Raises:
        BadRow: marks and objects differ in number, boxes stand in the question, or the reply says more than boxes.
    """
    objects = fields["objects"]
    if not isinstance(objects, dict):
        raise BadRow("objects not understood", "objects", f"{objects!r:.60}", "an object with ref and bbox")
    names = [text_of(name) or "" for name in objects.get("ref") or []]
    boxes = objects.get("bbox") or []
    unit = objects.get("bbox_type") or "real"
    for key in objects.keys() - {"ref", "bbox", "bbox_type", "image_id", "width", "height"}:
        fields.unread_parts[f"objects.{key}"] += 1
    marks = _MARK.findall(f"{question} {reply or ''}")
    if (marks.count(NAME), marks.count(BOX)) != (len(names), len(boxes)):
        fault = f"{marks.count(NAME)} names and {marks.count(BOX)} boxes are marked, {len(names)} and {len(boxes)} given"
        raise BadRow(
            "objects and marks differ", "objects", fault, "one object for each <ref-object> and <bbox>"
        )
    if BOX in question:
        raise BadRow(
            "boxes inside the question", "objects", "a <bbox> in the question", "boxes in the reply only"
        )
    if len(images) != 1:
        raise BadRow("objects and several pictures", "objects", f"{len(images)} pictures", "one picture")
    asked = question.count(NAME)
    _refuse_prose(reply or "")
    labels = _labels(reply or "", names[:asked], names[asked:])
    size = stored_size(source, images[0])
    found = [
        {"box": checked_box(_scaled(box, unit, size), None, None, "objects"), "label": label}
        for box, label in zip(boxes, labels, strict=True)
    ]
    row = detection_row(found, sorted(set(labels)), images[0].path)
    row["question"] = _filled(question, names)
    return row


def _filled(text: str, names: Sequence[str]) -> str:
    waiting = iter(names)
    return re.sub(NAME, lambda _: next(waiting), text)


def _refuse_prose(reply: str) -> None:
    words = _SYNTAX.sub(" ", _MARK.sub(" ", reply)).split()
    if words:
        raise BadRow(
            "boxes inside a sentence",
            "objects",
            f"the reply also says {' '.join(words)[:60]!r}",
            "a reply of names and boxes only",
        )


def _labels(reply: str, asked: Sequence[str], told: Sequence[str]) -> list[str]:
    """The name of each box of the reply: the nearest in the same part of it, or the one that was asked for."""
    waiting = iter(told)
    labels: list[str] = []
    for part in re.split(r"(?<=\})\s*,|\n", reply):
        marks = _MARK.findall(part)
        names = [next(waiting) for mark in marks if mark == NAME]
        count = marks.count(BOX)
        if len(names) == count:
            labels += names
        else:
            labels += [names[0] if names else asked[-1] if asked else "object"] * count
    return labels


def _scaled(box: object, unit: str, size: tuple[int, int]) -> list[float]:
    if not isinstance(box, list) or len(box) != 4:
        raise BadRow("box not four numbers", "objects", f"{box!r}", "[x1, y1, x2, y2]")
    factors = {
        "real": (1.0, 1.0),
        "norm1": (float(size[0]), float(size[1])),
        "norm1000": (size[0] / 1e3, size[1] / 1e3),
    }
    if unit not in factors:
        raise BadRow("unit of boxes not known", "objects", f"bbox_type is {unit!r}", ", ".join(factors))
    try:
        values = [float(edge) for edge in box]
    except (TypeError, ValueError) as error:
        raise BadRow("box not four numbers", "objects", f"{box!r}", "[x1, y1, x2, y2]") from error
    return [value * factors[unit][place % 2] for place, value in enumerate(values)]
