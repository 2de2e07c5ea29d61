"""Values of a record as text, with the faults that real files have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from medgrpo.data.fields import Fields
from medgrpo.data.readers.base import BadRow

MISSING = ("", "nan", "none", "null", "n/a")
"""Texts that stand for no value, in any case."""


def text_of(value: Any) -> str | None:
    """A value as trimmed text: numbers become text, true and false become yes and no, missing ones None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, str | int):
        text = str(value).strip()
        return None if text in ("", "nan", "NaN") else text  # pandas writes an empty cell as NaN
    return None


def peeked(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field that is only looked at and stays unread; None where there is none."""
    return record.peek(name) if isinstance(record, Fields) else record.get(name)


def optional(record: Mapping[str, Any], *names: str) -> str | None:
    """The first of the fields that has a value; one that holds a list or an object is no text and counts as not read."""
    for name in names:
        text = text_of(peeked(record, name))
        if text is not None:
            record.get(name)  # now it is read
            return text
    return None


def required(record: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that has a value.

    Raises:
        BadRow: none has one.
    """
    text = optional(record, *names)
    if text is not None:
        return text
    name = next((name for name in names if name in record), names[0])
    value = record.get(name)
    if name not in record:
        problem = f"the field is missing; the row has {', '.join(map(str, record)) or 'no fields'}"
    elif isinstance(value, dict | list):
        problem = f"{json.dumps(value, ensure_ascii=False, default=str)[:60]} is no text"
    else:
        problem = f"the {name} is empty"
    raise BadRow(f"no {names[0]}", name, problem, f"a text that is not empty in {' or '.join(names)}")


def texts_of(value: Any) -> list[str]:
    """All texts of a value that may be one text or a list of them; empty ones are left out."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [text for item in value if (text := text_of(item)) is not None]
    text = text_of(value)
    return [] if text is None else [text]


def folded(record: Mapping[str, Any]) -> Fields:
    """The record with names in any case; see `Fields`."""
    return record if isinstance(record, Fields) else Fields(record)
