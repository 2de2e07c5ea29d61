"""Logs with one JSON object a line: ours, ms-swift, LLaMA-Factory, EasyR1 and verl, and the plain kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medgrpo.records import lines
from medgrpo.runs.metric_names import JUDGED, canonical_entry
from medgrpo.runs.readers.decode import decoded
from medgrpo.runs.readers.parsed import Parsed
from medgrpo.runs.readers.trackers import is_wandb_row, wandb_entries
from medgrpo.runs.said import Clause, say

COUNTERS = frozenset({"iteration", "iter", "iterations", "update", "train_step", "epoch"})
"""Keys that count the lines of a log whose metrics lie deeper."""
LINE_FORMATS: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
    ("ms-swift logging.jsonl", lambda row: "global_step/max_steps" in row),
    ("LLaMA-Factory trainer_log.jsonl", lambda row: "current_steps" in row),
    (
        "EasyR1/verl JSONL",
        lambda row: any(isinstance(row.get(key), dict) for key in ("actor", "reward", "val", "critic")),
    ),
    ("EasyR1/verl JSONL", lambda row: any(key.startswith(("actor/", "critic/")) for key in row)),
    ("medgrpo log.jsonl", lambda row: "stage" in row and "step" in row),
    ("wandb history", is_wandb_row),
    ("JSONL of strings", lambda row: isinstance(row.get("loss"), str)),
    ("JSONL", lambda row: "step" in row or "global_step" in row or "loss" in row or "reward" in row),
    ("JSONL", lambda row: bool({"step", *JUDGED} & canonical_entry(row).keys())),
    (
        "JSONL",
        lambda row: bool(COUNTERS & row.keys()) and any(isinstance(value, dict) for value in row.values()),
    ),
]
"""(name, whether a row looks like it); the first that fits one of the first rows is taken."""


def parse_lines(text: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The objects of a JSONL text and the numbers of the lines that are none."""
    rows: list[dict[str, Any]] = []
    unreadable: list[int] = []
    for number, line in enumerate(lines(text), 1):
        if not line.strip():
            continue
        try:
            row = decoded(line)
        except ValueError:
            unreadable.append(number)
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            unreadable.append(number)
    return rows, unreadable


def line_format(rows: list[dict[str, Any]]) -> str | None:
    """The name of the format that the first rows show; None if they are no log."""
    for name, looks_like in LINE_FORMATS:
        if any(looks_like(row) for row in rows[:20]):
            return name
    return None


def read_lines(
    rows: list[dict[str, Any]], unreadable: list[int], line_count: int, name: str, source_format: str
) -> Parsed:
    """The log that the rows hold; unreadable lines are counted in its remarks."""
    kept = [row for row in rows if not _is_summary(row)]
    entries = wandb_entries(kept) if source_format == "wandb history" else list(map(canonical_entry, kept))
    finished = True if any(_is_summary(row) or "train_runtime" in row for row in rows) else None
    coefficients = [entry["kl_coef"] for entry in entries if "kl_coef" in entry]
    return Parsed(
        name=name,
        source_format=source_format,
        entries=entries,
        config={"beta": coefficients[-1]} if coefficients else {},
        finished=finished,
        remarks=unreadable_lines(unreadable, line_count),
    )


def unreadable_lines(unreadable: list[int], line_count: int) -> list[Clause]:
    """What to say of lines that are no JSON object."""
    remarks = []
    middle = [number for number in unreadable if number != line_count]
    if len(middle) < len(unreadable):
        remarks.append(say("last_line_cut", line=line_count))
    if middle:
        shown = ", ".join(map(str, middle[:5])) + (", …" if len(middle) > 5 else "")
        remarks.append(say("lines_unreadable", count=len(middle), lines=shown))
    return remarks


def _is_summary(row: dict[str, Any]) -> bool:
    """Whether this is ms-swift's last line, which repeats the whole history."""
    return "log_history" in row
