"""Words that stand for a run, understood wherever a command takes a path: `latest`, `runs/latest`."""

from __future__ import annotations

import re
from typing import Any

TAKES_A_RUN = frozenset(
    [
        "model",
        "data",
        "adapter",
        "adapters",
        "base",
        "logs",
        "logs_option",
        "sources",
        "predictions",
        "references",
        "resume",
        "trust_rewards",
        "share",
        "file",
        "source",
        "source_option",
        "masks",
        "image",
    ]
)
"""Parameters, by their Python names, whose value may be a run or lie in one."""


def understand_run_words(command: Any) -> None:
    """Let the command's parameters understand the word `latest`."""
    for parameter in command.params:
        if parameter.name in TAKES_A_RUN:
            parameter.callback = _after(parameter.callback)


def _after(callback: Any) -> Any:
    def run_meant(context: Any, parameter: Any, value: Any) -> Any:
        value = _meant(value)
        return callback(context, parameter, value) if callback else value

    return run_meant


def _meant(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_meant(item) for item in value)
    if not isinstance(value, str) or "latest" not in value:
        return value
    from medgrpo.runs.known import meant

    word, equals, weight = value.rpartition("=")  # merge-lora's ADAPTER=WEIGHT
    if equals and re.fullmatch(r"[\d.eE+-]+", weight):
        return f"{meant(word)}={weight}"
    return meant(value)
