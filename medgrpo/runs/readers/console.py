"""Metrics out of what a terminal showed: printed dicts between progress bars, colours, tables, noise."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections import Counter
from typing import Any

from medgrpo.runs.metric_names import canonical_entry, counted, seconds
from medgrpo.runs.readers.parsed import Parsed
from medgrpo.runs.said import say

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_DICT = re.compile(r"\{['\"][^{}\n\r]*\}")
_BARE_NUMBER = re.compile(r"(?<=[:\[, ])(-?(?:nan|inf))\b", re.IGNORECASE)
_PROGRESS = re.compile(
    r"(?<!\d)(\d{1,15})/(\d{1,15}) \[([\d:]{1,20})<"
)  # bounded: digits without end took quadratic time
_HEADER = re.compile(r"^- ([A-Z][\w ]{1,30}): (.+)$", re.MULTILINE)
_VERL_LINE = re.compile(r"\bstep:(\d+) - (\S+:.+)")
_VERL_VALUE = re.compile(r"(\S+):(?:np\.\w+\()?([-+\w.]+)\)?$")
_METRICS = {"loss", "reward", "grad_norm", "eval_loss", "eval_reward", "train_runtime"}


def strip_ansi(text: str) -> str:
    """The text without terminal escape sequences."""
    return _ANSI.sub("", text) if "\x1b" in text else text


def read_console(text: str, name: str) -> Parsed | None:
    """The metrics that a console capture holds; None if it holds none.

    A printed dict belongs to the step of the progress bar before it; where there is no bar, to the number
    that it holds, or else to its place in the capture, and a note says so.
    """
    text = strip_ansi(text)
    if verl := _verl_entries(text):
        return Parsed(name=name, source_format="verl console capture", entries=verl, finished=None)
    bars = _training_bars(text)
    positions = [position for position, _, _ in bars]
    entries: list[dict[str, Any]] = []
    guessed = 0
    for match in _DICT.finditer(text):
        entry = _printed_metrics(match[0])
        if entry is None:
            continue
        before = bisect_right(positions, match.start()) - 1
        if "step" not in entry:
            if before >= 0:
                _, entry["step"], entry["elapsed_s"] = bars[before]
            else:
                entry["step"] = entries[-1]["step"] + 1 if entries else 1
                guessed += 1
        entries.append(entry)
    if not entries:
        return None
    return Parsed(
        name=name,
        source_format="console capture",
        entries=entries,
        config={key.lower().replace(" ", "_"): value.strip() for key, value in _HEADER.findall(text)},
        total_steps=_total(text),
        finished=True if any("train_runtime" in entry for entry in entries) else None,
        remarks=[say("steps_guessed", count=guessed)] if guessed else [],
    )


def _verl_entries(text: str) -> list[dict[str, Any]]:
    """The lines of verl's console logger, `step:7 - actor/lr:1e-06 - critic/rewards/mean:0.4 - …`; newer ones
    write `np.float64(0.4)`."""
    entries = []
    for match in _VERL_LINE.finditer(text):
        parts = (_VERL_VALUE.match(part.strip()) for part in match[2].split(" - "))
        entry = canonical_entry({part[1]: part[2] for part in parts if part})
        if entry:
            entries.append({**entry, "step": counted(match[1])})
    return entries


def _printed_metrics(text: str) -> dict[str, Any] | None:
    try:
        value = ast.literal_eval(_BARE_NUMBER.sub(r"'\1'", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict) or not _METRICS & value.keys():
        return None
    return canonical_entry({str(key): item for key, item in value.items()})


def _total(text: str) -> int | None:
    """Steps of the training bar: of all bars the one that is drawn most often."""
    totals = Counter(match[2] for match in _PROGRESS.finditer(text))
    return counted(totals.most_common(1)[0][0]) if totals else None


def _training_bars(text: str) -> list[tuple[int, int, float | None]]:
    """(position in the text, step, seconds since the start) of every state of the training bar."""
    total = _total(text)
    return [
        (match.start(), counted(match[1]), seconds(match[3]))
        for match in _PROGRESS.finditer(text)
        if counted(match[2]) == total
    ]
