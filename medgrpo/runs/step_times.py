"""How long each step of a run took."""

from __future__ import annotations

import itertools

from medgrpo.runs.record import RunRecord


def step_times(run: RunRecord) -> tuple[list[int], list[float]]:
    """Steps and seconds per step: as logged, or from the time passed between entries."""
    for key in ("step_time", "s_per_step"):
        steps, values = run.series(key)
        if values:
            return steps, values
    points = [
        (e["step"], e["elapsed_s"]) for e in run.history if e.get("elapsed_s") is not None and "loss" in e
    ]
    paired = itertools.pairwise(points)
    rates = [(s1, (t1 - t0) / (s1 - s0)) for (s0, t0), (s1, t1) in paired if s1 > s0 and t1 >= t0]
    return [step for step, _ in rates], [rate for _, rate in rates]
