"""What a cell of completions holds: a text, samples, chat messages, or the answer of an API; anything else is refused.

An unknown form is never an empty answer: that would score 0 with an interval, as if the model had said nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from medgrpo.errors import UsageError

INSIDE = (
    "body",
    "message",
    "content",
    "text",
    "generated_text",
    "output_text",
    "outputs",
    "choices",
    "parts",
)
"""Keys under which APIs and engines put what was said, the outer ones first."""
OUTER = ("response", "result", "candidates", "output", "completion", "value")
TRUTH = ("ground_truth", "answer", "text", "value", "solution", "target", "label")
"""Keys under which an object holds a reference."""


def samples_in(value: Any, place: str) -> list[Any]:
    """The completions of one cell: texts, or lists of chat messages.

    Args:
        place: file and row, for messages.
    Raises:
        UsageError: it holds nothing, a failed request, or a form that is not known.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise UsageError(
            f"{place}: no completion, it is null",
            expected='a text; "" where the model said nothing',
            hint="leave such rows out, or ask the model again: as an empty answer they would count as wrong",
        )
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, int | float):
        return [str(int(value)) if float(value).is_integer() else str(value)]
    if isinstance(value, Mapping):
        return _in_object(value, place)
    if isinstance(value, list | tuple) and value:
        return _in_list(list(value), place)
    raise _unknown(value, place)


def _in_list(value: list[Any], place: str) -> list[Any]:
    if all(isinstance(item, Mapping) and "role" in item for item in value):
        if value[-1].get("content") is None:
            return samples_in(None, place)
        return [value]  # a conversation
    kinds = {item.get("type") if isinstance(item, Mapping) else None for item in value}
    if "message" in kinds:
        return _in_responses(value, place)
    if kinds <= {"text", "output_text"}:
        return ["".join(str(item.get("text", "")) for item in value)]  # the parts of one message
    return _in_samples(value, place)


def _in_samples(value: list[Any], place: str) -> list[Any]:
    if len(value) == 1 and isinstance(value[0], list):
        return _in_list(value[0], place) if value[0] else samples_in(None, place)
    if all(isinstance(item, str | Mapping) for item in value):
        return [sample for item in value for sample in samples_in(item, place)]
    if all(isinstance(item, list) and len(item) == 1 and isinstance(item[0], str) for item in value):
        return [item[0] for item in value]  # lmms-eval's resps
    raise _unknown(value, place)


def _in_object(value: Mapping[str, Any], place: str) -> list[Any]:
    failed = value.get("error") or (
        value.get("status_code") if value.get("status_code", 200) != 200 else None
    )
    if failed or value.get("type") in ("errored", "expired", "canceled"):
        raise UsageError(
            f"{place}: the request failed: {json.dumps(failed or value.get('type'), default=str)[:80]}",
            expected="an answer",
            hint="ask again for the rows that failed, or leave them out",
        )
    if "role" in value and isinstance(value.get("content"), str | list):
        return [[dict(value)]]
    if isinstance(value.get("parts"), list):
        return [_of_parts(value["parts"], place)]
    if value.get("content") is None and isinstance(value.get("refusal"), str):
        return [value["refusal"]]
    for key in (*INSIDE, *OUTER):
        if value.get(key) is not None:
            return samples_in(value[key], place)
    raise _unknown(value, place)


def _of_parts(parts: list[Any], place: str) -> str:
    """What Gemini's parts say together; what it only thought is left out."""
    said = [part for part in parts if isinstance(part, Mapping) and not part.get("thought")]
    if not said or not all(isinstance(part.get("text"), str) for part in said):
        raise _unknown(parts, place)
    return "".join(part["text"] for part in said)


def _in_responses(items: list[Any], place: str) -> list[Any]:
    """The last message of OpenAI's Responses; what was reasoned or looked up before it is no answer."""
    message = [item for item in items if isinstance(item, Mapping) and item.get("type") == "message"][-1]
    parts = message.get("content")
    if not isinstance(parts, list):
        raise _unknown(message, place)
    texts = [part.get("text", part.get("refusal")) for part in parts if isinstance(part, Mapping)]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise _unknown(message, place)
    return ["".join(texts)]


def reference_in(value: Any, place: str) -> Any:
    """The reference answer of one cell: None, a text, a number, or a list of them.

    Raises:
        UsageError: it is a form that is not known.
    """
    if isinstance(value, Mapping):
        inner = next((value[key] for key in TRUTH if value.get(key) is not None), None)
        if inner is None:
            raise _unknown(value, place, "reference")
        return reference_in(inner, place)
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple) for item in value):
            raise _unknown(value, place, "reference")
        return [reference_in(item, place) if isinstance(item, Mapping) else item for item in value]
    return value


def _unknown(value: Any, place: str, what: str = "completion") -> UsageError:
    form = (
        f"an object with {', '.join(map(str, value))}"
        if isinstance(value, Mapping)
        else f"a {type(value).__name__}"
    )
    shown = json.dumps(value, ensure_ascii=False, default=str)[:80]
    return UsageError(
        f"{place}: the {what} is {form}, a form that is not known: {shown}",
        expected="a text, a list of texts (samples), chat messages, or an API's answer",
        hint=f"name another column: --columns {'completion' if what == 'completion' else 'answer'}=NAME",
    )
