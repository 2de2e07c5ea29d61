"""JSON decoded fast: logs of many runs are hundreds of megabytes."""

from __future__ import annotations

import json
from typing import Any

from medgrpo.figures import json_integer

try:
    import orjson
except ImportError:  # without the extra `report`: all is read by json, three times slower
    orjson = None  # type: ignore[assignment]


def decoded(text: str) -> Any:
    """The JSON value in a text; NaN and Infinity, which Trainers write, are numbers.

    Raises:
        ValueError: it is no JSON.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # broken, or what only json reads: NaN, halves of surrogate pairs
    return json.loads(text, parse_int=json_integer)
