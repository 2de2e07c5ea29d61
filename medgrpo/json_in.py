"""JSON of others, decoded in one way: what the text says is what comes back, or an error says why not.

A name that stands twice in one object with two values is refused, in a document as in one line of a log: parsers differ in
which of the two they take, so a model could load with a size that no check has seen. Twice the same value is no harm.
"""

from __future__ import annotations

import json
from typing import Any

from medgrpo.figures import json_integer


class TwoValues(ValueError):
    """An object has two values for one name."""


def json_value(text: str | bytes) -> Any:
    """The one JSON value in a text, or in UTF-8; NaN and Infinity, which Trainers write, are numbers.

    Raises:
        TwoValues: an object has two values for one name (all but the last would be lost).
        ValueError: it is no JSON, or nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_int=json_integer)
        return _whole(value) if "\\ud" in text or "\\uD" in text else value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(value: Any) -> Any:
    """The value with halves of surrogate pairs, which no file can hold, as U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen and not _are_same(seen[name], value):
                raise TwoValues(f"the object has two values for {name!r:.120}")
            seen[name] = value
    return found


def _are_same(one: Any, other: Any) -> bool:
    """Whether two values are one; 1 and true are two, NaN is itself."""
    return repr(one) == repr(other)
