"""The one border that rows of someone else's predictions pass: each field has the type that metrics take for granted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medgrpo.errors import UsageError
from medgrpo.figures import is_finite_number
from medgrpo.json_in import json_value

TEXTS = (
    *("question", "language", "answer_type", "question_type", "organ", "plane", "modality", "caption"),
    *("image_title", "context", "patient_id", "image_id"),
)
"""Fields that are one text, or a number that is taken for one."""


def checked(path: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its fields as metrics take them.

    Args:
        path: of the file, for the message.
        index: of the row, from 0.
    Raises:
        UsageError: a field that has no such form; names file, row and field.
    """
    found = dict(row)
    for name in TEXTS:
        value = found.get(name)
        if value is not None and not isinstance(value, str):
            if not isinstance(value, int | float):
                raise _unfit(path, index, name, value, "a text")
            found[name] = str(value)
    if not isinstance(found.get("id"), str | int | float | None):
        raise _unfit(path, index, "id", found["id"], "a text or a number")
    for name, (is_right, expected) in _FORMS.items():
        if found.get(name) is not None and not is_right(found[name]):
            raise _unfit(path, index, name, found[name], expected)
    return found


def _unfit(path: str, index: int, name: str, value: Any, expected: str) -> UsageError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
    return UsageError(
        f"{path}, row {index}: {name} is {shown}",
        expected=expected,
        hint=f"--columns {name}=NAME names another column; {name}= leaves it out",
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_options(value: Any) -> bool:
    return value == "" or isinstance(_parsed(value), dict)


def _is_boxes(value: Any) -> bool:
    if value == "":
        return True
    boxes = _parsed(value)
    return isinstance(boxes, list) and all(isinstance(box, dict) and _is_box(box.get("box")) for box in boxes)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite_number, value))


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json_value(value)
    except ValueError:
        return None


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "images": (_is_texts, "a list of paths"),
    "options": (_is_options, 'a JSON object, as {"A": "yes", "B": "no"}'),
    "boxes": (_is_boxes, 'a JSON list of {"box": [x1, y1, x2, y2], "label": "…"}'),
    "mask": (lambda value: isinstance(value, str), "the path of a mask"),
    "mask2": (lambda value: isinstance(value, str), "the path of a mask"),
    "fov": (lambda value: isinstance(value, str), "the path of a mask"),
}
