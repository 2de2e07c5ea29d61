"""Folders that hold a log: our run folder, and the output folders of other trainers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.runs.readers.parsed import Parsed

LOG_NAMES = ("logging.jsonl", "trainer_log.jsonl", "training_metrics.jsonl")


def read_folder(path: Path) -> Parsed:
    """The log in a folder: ours, a Trainer's (the newest checkpoint's), ms-swift's, EasyR1's in parts."""
    if (path / "log.jsonl").is_file() or (path / "config.toml").is_file():
        return read_run_folder(path)
    from medgrpo.runs.readers.files import read_file

    if parts := sorted(path.glob("experiment_log*.jsonl")):
        return _join(path, [read_file(part) for part in parts])
    for name in LOG_NAMES:
        if (path / name).is_file():
            return _named_after_folder(read_file(path / name), path)
    states = [path / "trainer_state.json", *path.glob("checkpoint-*/trainer_state.json")]
    if states := [state for state in states if state.is_file()]:
        return _named_after_folder(read_file(max(states, key=_checkpoint_step)), path)
    raise MedgrpoError(
        f"no training log in the folder {str(path)!r}",
        expected="log.jsonl (a run of medgrpo), trainer_state.json, "
        "checkpoint-*/trainer_state.json, logging.jsonl, trainer_log.jsonl or experiment_log*.jsonl",
        hint="name the log file itself",
    )


def read_run_folder(path: Path) -> Parsed:
    """Our run folder: log.jsonl, earlier stages, the resolved config, what was abandoned on resume."""
    from medgrpo.runs.readers.documents import entries_of
    from medgrpo.runs.readers.lines import parse_lines, unreadable_notes
    from medgrpo.runs.record import Overlap, Stage

    log = path / "log.jsonl"
    text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
    rows, unreadable = parse_lines(text)
    stages = []
    for file in sorted(path.glob("stages/*/log.jsonl"), key=lambda file: _leading_number(file.parent.name)):
        history, _ = parse_lines(file.read_text("utf-8", errors="replace"))
        folder = file.parent.name
        stages.append(Stage(folder, entries_of(history), folder.split("-", 1)[-1] or None))
    info = _json(path / "training_info.json")
    notes = unreadable_notes(unreadable, len(text.splitlines()))
    overlaps = []
    abandoned = path / "log.abandoned.jsonl"
    if abandoned.is_file():
        lost, _ = parse_lines(abandoned.read_text("utf-8", errors="replace"))
        steps = [row["step"] for row in lost if isinstance(row.get("step"), int)]
        if steps:
            overlaps.append(Overlap(min(steps), max(steps), len(steps)))
    total = info.get("total_steps") or info.get("max_steps")
    finished = info.get("finished")
    return Parsed(
        name=str(info.get("name") or path.resolve().name),
        source_format="medgrpo run folder",
        entries=entries_of(rows),
        config=_toml(path / "config.toml"),
        stages=stages,
        finished=finished if isinstance(finished, bool) else None,
        total_steps=int(total) if isinstance(total, int | float) else None,
        notes=notes,
        overlaps=overlaps,
        folder=path,
        validation=validation if isinstance(validation := info.get("validation"), dict) else {},
    )


def _join(path: Path, parts: list[Parsed]) -> Parsed:
    """Parts of one run, in the order of their first steps."""
    parts = sorted((part for part in parts if part.entries), key=lambda part: part.entries[0].get("step", 0))
    if not parts:
        raise MedgrpoError(f"the logs in {str(path)!r} are empty")
    first = _named_after_folder(parts[0], path)
    for part in parts[1:]:
        first.entries = first.entries + part.entries
        first.notes = [*first.notes, *part.notes]
        first.config = {**first.config, **part.config}
    if len(parts) > 1:
        first.notes.append(f"{len(parts)} files joined: {', '.join(part.name for part in parts)}")
    return first


def _named_after_folder(parsed: Parsed, path: Path) -> Parsed:
    from dataclasses import replace

    return replace(parsed, name=path.resolve().name)


def _checkpoint_step(state: Path) -> float:
    """The step of the checkpoint that the file lies in; infinite for the folder's own, which is the last."""
    match = re.search(r"checkpoint-(\d+)$", state.parent.name)
    return float(match[1]) if match else float("inf")


def _leading_number(name: str) -> tuple[int, str]:
    match = re.match(r"\d+", name)
    return (int(match[0]) if match else 0, name)


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none or it is half-written."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
