"""Finished runs of this machine, in a local file: they correct later estimates here, phase by phase.

`~/.cache/medgrpo/runs.jsonl` (`MEDGRPO_CACHE`): a line for each run with card, method, engine, tuning, and seconds a prompt
by phase, estimated and actual. Nothing of data, prompts or paths. `MEDGRPO_RUN_HISTORY=0` neither writes nor reads it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.estimate.time import phases
from medgrpo.estimate.workload import Workload
from medgrpo.records import json_objects

KEPT = 200
"""Runs that the file holds; older ones go."""
LOOKED_AT = 20
WORTH_OF_THE_MODEL = 0.5
"""The model's word counts as much as half a run."""
LIMIT = 5.0
"""Most that a phase is corrected by, either way."""


@dataclass(frozen=True)
class Calibration:
    """What the phases are multiplied with, by their names in the log; from so many runs."""

    factors: dict[str, float] = field(default_factory=dict)
    runs: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {"runs": self.runs, "factors": self.factors}

    def words(self) -> str:
        """One line for a person."""
        found = ", ".join(f"{name} × {factor:.2f}" for name, factor in sorted(self.factors.items()))
        return f"corrected by {self.runs} earlier run(s) on this machine: {found}"


def history_file() -> Path:
    """Where the runs are kept."""
    folder = os.environ.get("MEDGRPO_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache" / "medgrpo") / "runs.jsonl"


def is_kept() -> bool:
    """Whether the person wants runs to be remembered."""
    return os.environ.get("MEDGRPO_RUN_HISTORY", "1") not in {"0", "off", "false"}


def likeness(work: Workload) -> dict[str, Any]:
    """What a run has to have in common with another to say something of it."""
    return {
        "gpu": work.gpu.name,
        "gpus": work.gpus,
        "method": work.config.training.method,
        "engine": work.config.rollout.engine if work.method.samples_texts else None,
        "tuning": work.config.tuning.method,
        "shared_prompt": work.shares_prompt,
        "sharded": work.shares_weights,
    }


def remember(work: Workload, actual: Mapping[str, float], *, peak_gib: float | None = None) -> None:
    """Add a finished run.

    Args:
        actual: seconds a prompt by phase as the log names them; `total` alone where the log has no phases.
    """
    if not is_kept():
        return
    entry = {
        "when": round(time.time()),
        **likeness(work),
        "parameters": work.shape.parameters,
        "estimated": _rounded({**phases(work).of_the_log(), "total": phases(work).total}),
        "actual": _rounded(actual),
        "peak_gib": peak_gib,
    }
    path = history_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines()[-KEPT + 1 :] if path.exists() else []
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join([*lines, json.dumps(entry)]) + "\n", encoding="utf-8")
    partial.replace(path)


def calibration_of(work: Workload) -> Calibration:
    """What the runs that are like this one say; nothing where there are none."""
    if not is_kept() or not history_file().exists():
        return Calibration()
    wanted = likeness(work)
    alike = [
        entry
        for entry in json_objects(history_file())
        if _is_whole(entry) and all(entry.get(key) == value for key, value in wanted.items())
    ][-LOOKED_AT:]
    if not alike:
        return Calibration()
    return Calibration(factors_of(alike, work.shape.parameters), len(alike))


def _is_whole(entry: dict[str, Any]) -> bool:
    """Whether the figures of a line are figures: people edit this file, and other versions write it."""
    places = [entry.get(name) or {} for name in ("estimated", "actual")]
    figures = [
        entry.get("parameters"),
        *(value for place in places if isinstance(place, dict) for value in place.values()),
    ]
    is_figure = all(value is None or type(value) in (int, float) for value in figures)
    return is_figure and all(isinstance(place, dict) for place in places)


def factors_of(runs: list[dict[str, Any]], parameters: int) -> dict[str, float]:
    """Actual over estimated by phase: the mean of logarithms, runs of models as large counting most."""
    sums: dict[str, list[float]] = {}
    for run in runs:
        apart = abs(math.log(max(1, run.get("parameters") or parameters) / parameters))
        weight = 1 / (1 + 4 * apart)
        estimated, actual = run.get("estimated") or {}, run.get("actual") or {}
        names = [name for name in actual if name != "total"]
        whole = actual.get("total") or sum(actual[name] for name in names)
        if not names and whole:  # no phases in the log (SFT, DPO): all of them by the same
            names = [name for name in estimated if name != "total"]
            share = whole / (estimated.get("total") or whole)
            actual = {name: estimated[name] * share for name in names}
        for name in names:
            before, after = estimated.get(name) or 0.0, actual.get(name) or 0.0
            if before > 0 and after > 0 and max(before, after) > 0.01 * whole:
                place = sums.setdefault(name, [0.0, 0.0])
                place[0] += weight * math.log(after / before)
                place[1] += weight
    return {
        name: min(LIMIT, max(1 / LIMIT, math.exp(total / (weights + WORTH_OF_THE_MODEL))))
        for name, (total, weights) in sums.items()
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}
