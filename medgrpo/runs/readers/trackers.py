"""Logs of trackers: rows and folders of wandb, mlflow's metrics, TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.figures import is_finite_number
from medgrpo.records import lines, read_text
from medgrpo.runs.metric_names import canonical_entry, counted
from medgrpo.runs.readers.parsed import Parsed

WANDB_KEYS = ("_step", "_runtime", "_timestamp")


def is_wandb_row(row: dict[str, Any]) -> bool:
    """Whether an object is a row of wandb's history."""
    return "_step" in row or ("_timestamp" in row and "_runtime" in row)


def wandb_entries(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of wandb's history as entries. `_step` counts calls of `wandb.log`: where the trainer logged its own step,
    that is the step, also of rows between. A null is a metric that the row does not have."""
    entries: list[dict[str, Any]] = []
    last: Any = None
    kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
    found = [canonical_entry({k: v for k, v in row.items() if k not in WANDB_KEYS}) for row in kept]
    counts = any("step" in entry for entry in found)
    for row, entry in zip(kept, found, strict=True):
        if counts:
            last = entry.get("step", last)
            step = last
        else:
            step = row.get("_step")
        if not is_finite_number(step) or not entry.keys() - {"step"}:
            continue
        runtime = row.get("_runtime")
        elapsed = {"elapsed_s": runtime} if isinstance(runtime, int | float) else {}
        entries.append(elapsed | entry | {"step": int(step)})
    return entries


def read_mlflow(folder: Path, name: str) -> Parsed | None:
    """The metrics of a run folder of mlflow: a file for each, lines of time, value, step; None if it is none."""
    metrics = folder if folder.name == "metrics" else folder / "metrics"
    if not metrics.is_dir():
        return None
    by_step: dict[int, dict[str, Any]] = {}
    for file in sorted(path for path in metrics.rglob("*") if path.is_file()):
        metric = file.relative_to(metrics).as_posix()
        for line in lines(read_text(file).text):
            parts = line.split()
            if len(parts) != 3 or not parts[2].lstrip("-").isdecimal():
                return None
            step = counted(parts[2])
            by_step.setdefault(step, {"step": step})[metric] = parts[1]
    entries = [canonical_entry(by_step[step]) for step in sorted(by_step)]
    return Parsed(name, "mlflow metrics", entries) if entries else None


def event_files(folder: Path) -> list[Path]:
    """TensorBoard's event files of one folder: its own, or those of the one folder below that has any."""
    own = sorted(folder.glob("events.out.tfevents.*"))
    if own:
        return own
    below: dict[Path, list[Path]] = {}
    for file in sorted(folder.glob("*/events.out.tfevents.*")) + sorted(
        folder.glob("*/*/events.out.tfevents.*")
    ):
        below.setdefault(file.parent, []).append(file)
    if len(below) > 1:
        raise MedgrpoError(
            f"{str(folder)!r} holds the event files of {len(below)} runs",
            expected="one run",
            hint=f"name one of them: {next(iter(below))}",
        )
    return next(iter(below.values()), [])


def read_events(files: list[Path], name: str) -> Parsed:
    """The scalars in TensorBoard's event files.

    Raises:
        MedgrpoError: `tensorboard` is not installed, or a file is damaged.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise missing_extra("tensorboard", "train", "reading TensorBoard's event files") from error
    by_step: dict[int, dict[str, Any]] = {}
    for file in files:
        reader = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
        try:
            reader.Reload()
            scalars = {
                tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
            }
            for tag in reader.Tags()["tensors"]:
                events = [(e.step, list(e.tensor_proto.float_val)) for e in reader.Tensors(tag)]
                scalars |= {tag: [(step, found[0]) for step, found in events if len(found) == 1]}
        except Exception as error:
            raise MedgrpoError(f"{str(file)!r} cannot be read: {type(error).__name__}: {error}") from error
        for tag, values in scalars.items():
            for step, value in values:
                by_step.setdefault(int(step), {"step": int(step)})[tag] = float(value)
    entries = [canonical_entry(by_step[step]) for step in sorted(by_step)]
    return Parsed(name, "TensorBoard event files", entries)
