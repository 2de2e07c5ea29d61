"""JSON decoded fast: logs of many runs are hundreds of megabytes."""

from __future__ import annotations

import re
from typing import Any

from medgrpo.json_in import json_value

try:
    import orjson
except ImportError:  # without the extra `report`: all is read by json, three times slower
    orjson = None  # type: ignore[assignment]

_SPACED = re.compile(r'"\s+:')


def decoded(text: str) -> Any:
    """The JSON value in a text; NaN and Infinity, which Trainers write, are numbers.

    Raises:
        TwoValues: an object has two values for one name.
        ValueError: it is no JSON.
    """
    if orjson is not None:
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return json_value(text)  # broken, or what only json reads: NaN, halves of surrogate pairs
        # orjson takes the last of two values without a word: as many names as colons after quotes, and there are none
        if _names(found) == text.count('":') and not _SPACED.search(text):
            return found
    return json_value(text)


def _names(value: Any) -> int:
    """Names of all objects in a value."""
    if isinstance(value, dict):
        return len(value) + sum(_names(one) for one in value.values() if isinstance(one, dict | list))
    return sum(_names(one) for one in value if isinstance(one, dict | list)) if isinstance(value, list) else 0
