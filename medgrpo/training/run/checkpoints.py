"""Folders of weights that are whole or absent: written aside, marked complete, renamed, rotated."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import PARTIAL, link_or_copy, read_json, sync, sync_files, write_json
from medgrpo.models.tensor_files import listed

MARKER = "complete.json"
PREFIX = "checkpoint-"
ABANDONED = "abandoned-"
_TENSORS = frozenset({".bin", ".distcp", ".npz", ".pt", ".pth", ".safetensors"})
"""Files whose bytes are only ever written by a program."""


def checkpoint_step(path: Path) -> int:
    """The optimiser step of a checkpoint folder by its name."""
    return int(path.name.removeprefix(PREFIX))


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first; what has no marker was cut off while it was written."""
    found = [path for path in folder.glob(f"{PREFIX}*") if re.fullmatch(rf"{PREFIX}[0-9]{{1,15}}", path.name)]
    return sorted((path for path in found if is_complete(path)), key=checkpoint_step)


def half_written(folder: Path) -> list[Path]:
    """Checkpoints that a kill or a full disk left unfinished."""
    named = [path for path in folder.glob(f"{PREFIX}*") if path.is_dir() and not is_complete(path)]
    return [*named, *folder.glob(f".{PREFIX}*{PARTIAL}")]


def is_complete(folder: Path) -> bool:
    """Whether a folder written by `publish` is whole."""
    return (folder / MARKER).is_file()


def record_of(folder: Path) -> dict[str, Any]:
    """What the marker says; empty where there is none."""
    return read_json(folder / MARKER)


def partial_of(target: Path) -> Path:
    """Where a folder is written before it gets its name."""
    return target.with_name(f".{target.name}{PARTIAL}")


def previous_of(target: Path) -> Path:
    """Where the weights that a better set replaced wait for the next checkpoint (see `restore`)."""
    return target.with_name(f".{target.name}.previous")


def publish(partial: Path, target: Path, record: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Make a folder that was written aside appear under its name, its files on the disk.

    A kill in between leaves the older folder, the new one, or the new one complete under its other name,
    which `adopt` finishes.

    Args:
        partial: where it was written.
        target: its name; an older folder of that name is replaced.
        record: what the marker says, besides the size of each file of tensors.
        keep_previous: keep what is replaced (or was replaced before it) as `previous_of(target)`.
    """
    sync_files(partial)
    write_json(partial / MARKER, {**record, "bytes": _sizes(partial)})
    previous = previous_of(target)
    if keep_previous and target.exists() and not previous.exists():
        target.rename(previous)
    discard(target)
    partial.rename(target)
    sync(target.parent)


def _sizes(folder: Path) -> dict[str, int]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix in _TENSORS)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def bytes_of(folder: Path) -> int:
    """What all files of a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check_sizes(folder: Path) -> None:
    """The files of tensors are those that were saved, each as long as it was; one of optimiser or draws that is gone would
    else begin anew without a word.

    Raises:
        MedgrpoError: names what is missing or has another size.
    """
    before, now = record_of(folder).get("bytes") or {}, _sizes(folder)
    differs = [name for name in before if now.get(name) != before[name]]
    if differs:
        first = differs[0]
        raise MedgrpoError(
            f"{folder} is not as it was saved: {listed(differs)} ({first} has {now.get(first, 0)} bytes, it had {before[first]})",
            expected=f"the {len(before)} files of tensors that were saved with it",
        )


def publish_copy(source: Path, target: Path, record: dict[str, Any]) -> None:
    """Make a finished folder of weights appear under a second name too, with a marker of its own."""
    partial = partial_of(target)
    discard(partial)
    unmarked = shutil.ignore_patterns(MARKER)  # half of the copy must not look whole
    shutil.copytree(source, partial, ignore=unmarked, copy_function=link_or_copy)
    publish(partial, target, record)


def adopt(target: Path) -> None:
    """Finish a `publish` that was cut off after the folder was complete; drop one cut off before."""
    partial = partial_of(target)
    if is_complete(partial):
        discard(target)
        partial.rename(target)
    else:
        discard(partial)


def discard(folder: Path) -> None:
    """Delete a folder, its marker first: half of it must not look whole."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def own_or_first(folder: Path, name: str, process: int) -> Path:
    """A process's own file in a checkpoint; the first one's where there were fewer processes then: all stood at the same place
    of the run, and one that began at another would generate when the others do not.

    Args:
        name: of the file, with {} for the number.
    """
    own = folder / name.format(process)
    return own if own.is_file() else folder / name.format(0)


def rotate(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what was left half-written."""
    for path in [*complete_checkpoints(folder)[:-keep], *half_written(folder)]:
        discard(path)


def set_aside(folder: Path, last_step: int) -> list[Path]:
    """Rename the checkpoints after a step to `abandoned-N`: a run that goes back to it leaves them behind."""
    later = [path for path in complete_checkpoints(folder) if checkpoint_step(path) > last_step]
    for path in reversed(later):
        target = path.with_name(f"{ABANDONED}{checkpoint_step(path)}")
        discard(target)
        path.rename(target)
    return later


def restore(best: Path, step: int | None) -> bool:
    """Make the best weights those that a checkpoint knows; whether they are there.

    Args:
        best: folder of the best weights.
        step: at which the checkpoint saw its best validation; None where it had seen none.
    """
    previous = previous_of(best)
    adopt(best)
    if is_complete(previous) and record_of(previous).get("step") == step:
        discard(best)
        previous.rename(best)
    discard(previous)
    return is_complete(best) and record_of(best).get("step") == step
