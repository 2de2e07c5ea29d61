"""Words that stand for a run, understood wherever a command takes a path: `latest`, `runs/latest`."""

from __future__ import annotations

import re
from typing import Any

from medgrpo.cli.output import Output

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
        "from_run",
        "config",
        "sam",
        "targets",
        "import_review",
        "trust_rewards",
        "share",
        "file",
        "source",
        "source_option",
        "masks",
        "image",
        "images",
    ]
)
"""Parameters, by their Python names, whose value may be a run or lie in one."""


TAKES_WEIGHTS = frozenset(["model", "adapter", "adapters", "base"])
"""Those that ask for weights."""


def understand_run_words(command: Any) -> None:
    """Let the command's parameters understand the word `latest`."""
    for parameter in command.params:
        if parameter.name in TAKES_A_RUN:
            parameter.callback = _after(parameter.callback)


def _after(callback: Any) -> Any:
    def run_meant(context: Any, parameter: Any, value: Any) -> Any:
        value = _meant(value, parameter.name in TAKES_WEIGHTS)
        return callback(context, parameter, value) if callback else value

    return run_meant


def _meant(value: Any, weights: bool = False) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_meant(item, weights) for item in value)
    if not isinstance(value, str) or "latest" not in value:
        return value

    word, equals, weight = value.rpartition("=")  # merge-lora's ADAPTER=WEIGHT
    if equals and re.fullmatch(r"[\d.eE+-]+", weight):
        return f"{_there(word, weights)}={weight}"
    return _there(value, weights)


def _there(word: str, weights: bool) -> str:
    """The path that the word means.

    Raises:
        UsageError: the newest run does not have what is asked for; names the newest that has.
    """
    from pathlib import Path

    from medgrpo.errors import UsageError, typed_path
    from medgrpo.models.folders import WEIGHT_FOLDERS
    from medgrpo.runs.known import is_stillborn, known_runs, latest_run, meant

    path = meant(word)
    if path == word:
        return path
    place, runs = latest_run(), known_runs()
    position = next(number for number, run in enumerate(runs) if run.path == place)
    newest = runs[position]
    rest = Path(path).relative_to(newest.path)
    if position:
        passed = runs[0]
        Output().warn(f"{word} is {place}: the newer {passed.path} ({passed.status}) never took a step")

    def has(run: Path) -> bool:
        if rest.parts or not weights:
            return (run / rest).exists()
        return any((run / name).is_dir() for name in WEIGHT_FOLDERS)

    if has(newest.path):
        return path
    what = str(rest) if rest.parts else "weights"
    other = next((run.path for run in runs[position + 1 :] if has(run.path)), None)
    if other:
        hint = f"type {typed_path(other / rest)}, the newest that has"
    elif is_stillborn(newest.path):
        hint = f"it ended before its first step; why: medgrpo health {typed_path(newest.path)}"
    else:
        hint = "medgrpo runs lists the runs; medgrpo train --resume auto goes on with an unfinished one"
    raise UsageError(
        f"{word} is {newest.path} ({newest.status or 'status unknown'}), which has no {what}",
        expected=f"a run with {what}",
        hint=hint,
    )
