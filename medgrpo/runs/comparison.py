"""Runs side by side: first, last and best of each metric, speed, what differs in their configurations."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from medgrpo.errors import MedgrpoError, choice_error
from medgrpo.figures import HEADLINES, direction
from medgrpo.foreign import fault_of_input, reads
from medgrpo.methods import METHODS
from medgrpo.runs.answers import SideBySide
from medgrpo.runs.findings import Health
from medgrpo.runs.health import assess
from medgrpo.runs.metric_names import flatten, is_eval_key
from medgrpo.runs.record import RunRecord, read_run
from medgrpo.runs.step_times import step_times
from medgrpo.runs.trend import block_means, ends
from medgrpo.system import refusal_of_system

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Best:
    """The best value of a metric and the step it was reached at."""

    value: float
    step: int


@dataclass(frozen=True)
class RunSummary:
    """One run of a comparison.

    `first` and `last`: of a training metric the mean over the first and the last max(5, 10 %) entries, as in
    `reward_first` and `reward_last` of `train`; of a held-out metric (`eval_…`) the first and the last value.
    `best`: of a training metric the best of 20 block means, so that it is not the luckiest batch; of a
    held-out metric the best value. Metrics without a good direction (length, entropy) have no best.
    """

    name: str
    record: RunRecord
    health: Health
    first: dict[str, float]
    last: dict[str, float]
    best: dict[str, Best]
    prompts_per_hour: float | None
    s_per_step: float | None
    hours: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        record = self.record
        return {
            "name": self.name,
            "path": str(record.path) if record.path else None,
            "format": record.source_format,
            "method": record.method,
            "steps": record.steps,
            "total_steps": record.total_steps,
            "finished": record.finished,
            "status": record.status,
            "error": record.error,
            "entries": len(record.history),
            "first": self.first,
            "last": self.last,
            "best": {key: best.value for key, best in self.best.items()},
            "best_step": {key: best.step for key, best in self.best.items()},
            "prompts_per_hour": self.prompts_per_hour,
            "s_per_step": self.s_per_step,
            "hours": self.hours,
            "validation": record.validation,
            "health": self.health.verdict,
            "findings": [finding.as_dict() for finding in self.health.findings],
            "notes": record.notes,
        }


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, the baseline first named, and how their configurations differ."""

    runs: list[RunSummary]
    baseline: str | None
    """Name of the run, or of the predictions, that the others are compared with."""
    config_differences: dict[str, list[Any]]
    """Setting -> its value in each run, in the order of `runs`; None where the run does not have it."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(path, why) of logs that could not be read."""
    predictions: SideBySide | None = None
    """Predictions on the same questions, where some were given."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `differences` compares predictions on the same questions."""
        return {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "runs": [run.as_dict() for run in self.runs],
            "differences": [one.as_dict() for one in self.predictions.differences]
            if self.predictions
            else [],
            "scores": [one.as_dict() for one in self.predictions.scores] if self.predictions else [],
            "config_differences": self.config_differences,
            "unreadable": [{"path": path, "problem": why} for path, why in self.unreadable],
        }


def compare_runs(
    paths: Sequence[Path], baseline: str | None = None, predictions: SideBySide | None = None
) -> Comparison:
    """The comparison of the logs at the paths.

    A log that cannot be read is listed and left out, unless none can be.

    Args:
        paths: logs or run folders, each of any format that `read_run` knows.
        baseline: name of the run, or of the predictions, that the others are compared with; the first if None.
        predictions: the comparison of predictions to show beside them.
    Raises:
        MedgrpoError: no log could be read, or there is no run of the baseline's name.
    """
    runs: list[RunSummary] = []
    unreadable: list[tuple[str, str]] = []
    failure: MedgrpoError | None = None
    with _without_garbage_collection():
        for path in paths:
            try:
                runs.append(summarise(read_run(path)))
            except Exception as error:
                worded = (
                    error
                    if isinstance(error, MedgrpoError)
                    else refusal_of_system(error) or fault_of_input(error)
                )
                if worded is None:
                    raise
                failure = failure or worded
                unreadable.append((str(path), worded.problem))
    if failure is not None and not runs:
        raise failure
    records = [run.record for run in runs]
    runs = [replace(run, name=name) for run, name in zip(runs, unique_names(records), strict=True)]
    names = [run.name for run in runs]
    answered = predictions.models if predictions else []
    if baseline is not None and baseline not in [*names, *answered]:
        raise choice_error("run", baseline, [*names, *answered])
    first = next(iter([*names, *answered]), None)
    return Comparison(runs, baseline or first, config_differences(records), unreadable, predictions)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Reading makes millions of small objects and no garbage: looking for it takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def unique_names(records: Sequence[RunRecord]) -> list[str]:
    """Names that tell the runs apart: with the format, the parent folder or a number where they coincide."""
    names = [record.name for record in records]
    if len(set(names)) == len(names):
        return names
    taken: dict[str, int] = {}
    result = []
    for record in records:
        name = record.name
        if names.count(name) > 1 and record.path is not None:
            parent = record.path.resolve().parent.name
            name = f"{name} ({record.path.stem})" if parent == name else f"{parent}/{name}"
        taken[name] = taken.get(name, 0) + 1
        result.append(name if taken[name] == 1 else f"{name} #{taken[name]}")
    return result


@reads("record", "a training log whose entries are numbers by name")
def summarise(record: RunRecord, name: str | None = None) -> RunSummary:
    """What a comparison shows of one run."""
    first, last, best = {}, {}, {}
    for key in sorted(record.keys):
        steps, values = record.series(key)
        if not values:
            continue
        first[key], last[key] = (values[0], values[-1]) if is_eval_key(key) else ends(values)
        if sign := direction(key):
            best[key] = _best(steps, values, sign, raw=is_eval_key(key))
    _, seconds = step_times(record)
    per_step = median(seconds) if seconds else None
    return RunSummary(
        name=name or record.name,
        record=record,
        health=assess(record),
        first=first,
        last=last,
        best=best,
        prompts_per_hour=prompts_per_hour(record),
        s_per_step=per_step,
        hours=_hours(record, seconds),
    )


def _best(steps: list[int], values: list[float], sign: int, *, raw: bool) -> Best:
    blocks = len(values) if raw else max(1, min(20, len(values) // 5))
    means = values if raw else block_means(values, blocks)
    index = max(range(len(means)), key=lambda i: sign * means[i])
    end = round((index + 1) * len(values) / len(means)) - 1
    return Best(means[index], steps[end])


def prompts_per_hour(record: RunRecord) -> float | None:
    """Prompts (SFT: samples) trained on per hour, at the median; None where the log does not tell."""
    per_prompt = [value for value in record.series("s_per_prompt")[1] if value > 0]
    if per_prompt:
        return float(3600 / median(per_prompt))
    for key in ("train_samples_per_second", "samples_per_second"):
        rates = record.series(key)[1]
        if rates and rates[-1] > 0:
            return float(3600 * rates[-1])
    return None


def _hours(record: RunRecord, seconds: list[float]) -> float | None:
    """Hours of training that the log covers."""
    runtime = record.series("train_runtime")[1]
    elapsed = [entry["elapsed_s"] for entry in record.history if entry.get("elapsed_s") is not None]
    if runtime:
        return float(runtime[-1]) / 3600
    if elapsed:
        return float(max(elapsed)) / 3600
    return sum(seconds) / len(seconds) * record.steps / 3600 if seconds else None


IGNORED_SETTINGS = {"output", "output_dir", "run", "name", "time"}
"""Settings that differ between any two runs and explain nothing."""


def config_differences(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs that could have them.

    A setting that only one trainer knows says nothing about the runs of another: it is compared among the
    runs of the trainers that recorded it.
    """
    flat = [flatten(record.config) for record in records]
    families = [record.source_format.split()[0] for record in records]
    differing = {}
    for key in sorted({key for config in flat for key in config}):
        if key.split("/")[-1] in IGNORED_SETTINGS:
            continue
        knowing = {family for family, config in zip(families, flat, strict=True) if key in config}
        peers = [
            config.get(key)
            for family, config in zip(families, flat, strict=True)
            if config and family in knowing
        ]
        if len({repr(value) for value in peers}) > 1:
            differing[key.replace("/", ".")] = [config.get(key) for config in flat]
    return differing


def plain(value: Any) -> str:
    """A setting as a person writes it: no quotes, brackets or capitals of Python.

    >>> plain(("language", "vision")), plain(True), plain(None), plain({"format": 0.2}), plain(1e-05)
    ('language, vision', 'yes', '–', 'format 0.2', '1e-05')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(plain, value)) or "none"
    return str(value)


def main_metric(run: RunSummary) -> str | None:
    """The metric that the run is after; None for a run without metrics."""
    method = METHODS.get(run.record.method)
    wanted = "loss" if method is None else method.main_metric
    for key in (wanted, "reward", "loss", "train_loss"):
        if key in run.last:
            return key
    return next(iter(run.last), None)


def held_out_metric(run: RunSummary) -> str | None:
    """The held-out metric that says most; None without validation in the log."""
    for key in HEADLINES:
        if key in run.last:
            return key
    return next((key for key in run.best if is_eval_key(key)), None)
