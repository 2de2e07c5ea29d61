"""Checkpoints that are whole or absent: written aside, marked complete, renamed, rotated."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from medgrpo.files import sync
from medgrpo.runs.writer import read_json, write_json

MARKER = "complete.json"
PREFIX = "checkpoint-"


def checkpoint_step(path: Path) -> int:
    """The optimiser step of a checkpoint folder by its name."""
    return int(path.name.removeprefix(PREFIX))


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first; what has no marker was cut off while it was written."""
    found = [path for path in folder.glob(f"{PREFIX}*") if re.fullmatch(rf"{PREFIX}\d+", path.name)]
    return sorted((path for path in found if (path / MARKER).is_file()), key=checkpoint_step)


def half_written(folder: Path) -> list[Path]:
    """Checkpoints that a kill or a full disk left unfinished."""
    named = [path for path in folder.glob(f"{PREFIX}*") if path.is_dir() and not (path / MARKER).is_file()]
    return [*named, *folder.glob(f".{PREFIX}*.partial")]


def publish(partial: Path, target: Path, record: dict[str, Any]) -> None:
    """Make a folder that was written aside appear under its name, its files on the disk.

    Args:
        partial: where it was written.
        target: its name; an older folder of that name is replaced.
        record: what the marker says.
    """
    for file in partial.rglob("*"):
        if file.is_file():
            sync(file)
    write_json(partial / MARKER, record)
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)
    sync(target.parent)


def rotate(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what was left half-written."""
    for path in [*complete_checkpoints(folder)[:-keep], *half_written(folder)]:
        shutil.rmtree(path, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether a folder written by `publish` is whole."""
    return bool(read_json(folder / MARKER))
