"""Folders that hold a log, ours and those of other trainers: which file in them is it."""

from __future__ import annotations

import re
from pathlib import Path

from medgrpo.errors import MedgrpoError, typed_path
from medgrpo.runs.readers.files import read_file
from medgrpo.runs.readers.parsed import Parsed
from medgrpo.runs.readers.run_folder import read_run_folder
from medgrpo.runs.readers.trackers import event_files, read_events, read_mlflow
from medgrpo.runs.said import say

LOG_NAMES = ("logging.jsonl", "trainer_log.jsonl", "training_metrics.jsonl")
WANDB_FILES = (
    "files/output.log",
    "output.log",
    "history.jsonl",
    "files/wandb-summary.json",
    "wandb-summary.json",
)
"""Where wandb's folder of a run holds the console, and the last value of each metric."""


def read_folder(path: Path) -> Parsed:
    """The log in a folder: ours, a Trainer's (the newest checkpoint's), ms-swift's, EasyR1's in parts."""
    if (path / "log.jsonl").is_file() or (path / "config.toml").is_file():
        return read_run_folder(path)
    if parts := sorted(path.glob("experiment_log*.jsonl")):
        return _join(path, [read_file(part) for part in parts])
    for name in LOG_NAMES:
        if (path / name).is_file():
            return _named_after_folder(read_file(path / name), path)
    states = [path / "trainer_state.json", *path.glob("checkpoint-*/trainer_state.json")]
    if states := [state for state in states if state.is_file()]:
        parsed = _named_after_folder(read_file(max(states, key=_checkpoint_step)), path)
        if any(path.glob("completions/completions_*.parquet")):
            parsed.folder = path  # TRL's log_completions
        return parsed
    return _tracked(path)


def _tracked(path: Path) -> Parsed:
    """The log that a tracker left: TensorBoard, mlflow, wandb."""
    if events := event_files(path):
        return read_events(events, path.resolve().name)
    if (mlflow := read_mlflow(path, path.resolve().name)) is not None:
        return mlflow
    for name in WANDB_FILES:
        if (path / name).is_file():
            return _named_after_folder(read_file(path / name), path)
    if binary := sorted(path.glob("*.wandb")):
        return _named_after_folder(read_file(binary[-1]), path)
    raise MedgrpoError(
        f"no training log in the folder {str(path)!r}",
        expected="log.jsonl (a run of medgrpo), trainer_state.json, "
        "checkpoint-*/trainer_state.json, logging.jsonl, trainer_log.jsonl, experiment_log*.jsonl, "
        "events.out.tfevents.*, metrics/ (mlflow) or output.log (wandb)",
        hint=_runs_below(path) or _logs_below(path) or "name the log file itself",
    )


def _join(path: Path, parts: list[Parsed]) -> Parsed:
    """Parts of one run, in the order of their first steps."""
    parts = sorted((part for part in parts if part.entries), key=lambda part: part.entries[0].get("step", 0))
    if not parts:
        raise MedgrpoError(f"the logs in {str(path)!r} are empty")
    first = _named_after_folder(parts[0], path)
    for part in parts[1:]:
        first.entries = first.entries + part.entries
        first.remarks = [*first.remarks, *part.remarks]
        first.config = {**first.config, **part.config}
    if len(parts) > 1:
        names = ", ".join(part.name for part in parts)
        first.remarks.append(say("files_joined", count=len(parts), names=names))
    return first


def _named_after_folder(parsed: Parsed, path: Path) -> Parsed:
    from dataclasses import replace

    return replace(parsed, name=path.resolve().name)


def _checkpoint_step(state: Path) -> float:
    """The step of the checkpoint that the file lies in; infinite for the folder's own, which is the last."""
    match = re.search(r"checkpoint-(\d+)$", state.parent.name)
    return float(match[1]) if match else float("inf")


def _runs_below(path: Path) -> str | None:
    """What to name instead of a folder of runs."""
    runs = sorted(file.parent for file in path.glob("*/training_info.json") if not file.parent.is_symlink())
    return f"it holds {len(runs)} runs: name one, such as {typed_path(runs[-1])}, or latest" if runs else None


def _logs_below(path: Path) -> str | None:
    """What to name instead of a folder of logs: of other trainers in folders of their own, or ours as files."""
    if files := sorted(path.glob("*.json")):
        return f"name its files: {typed_path(path)}/*.json, or one: {typed_path(files[0])}"
    names = (*LOG_NAMES, "trainer_state.json", "checkpoint-*/trainer_state.json", "experiment_log*.jsonl")
    logs = sorted(one for one in path.iterdir() if any(any(one.glob(name)) for name in names))
    if not logs:
        return None
    return f"name the folders in it: {typed_path(path)}/*, or one: {typed_path(logs[0])}"
