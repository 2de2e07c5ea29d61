"""Checks of the machinery: broken numbers, gradients, learning rate, speed, and the log itself."""

from __future__ import annotations

import itertools
import math
from statistics import fmean, median

from medgrpo.methods import METHODS, SAMPLING
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, percent, setting, tail
from medgrpo.runs.trend import typical

NO_SPREAD = (
    "the groups have no spread, see dead_groups; otherwise check that the trained weights require gradients"
)
UNTRAINED = "check that the trained weights require gradients"
ALL_MASKED = (
    "every completion is cut off, and mask_truncated_completions leaves such completions out of the loss: raise "
    "max_completion_length"
)
NO_PAIRS_LEFT = "the pairs are solved: stop earlier or use harder pairs"

VITAL = ("loss", "grad_norm", "reward", "kl", "eval_loss", "eval_reward")
"""Metrics that must be numbers; a NaN elsewhere is that metric's own affair."""


def nan(run: RunRecord) -> list[Evidence]:
    """NaN or infinity in a vital metric."""
    found = []
    for key in VITAL:
        steps, values = run.series(key, finite=False)
        bad = [step for step, value in zip(steps, values, strict=True) if not math.isfinite(value)]
        if not bad:
            continue
        still = not math.isfinite(values[-1]) or len(bad) > max(1, len(values) // 100)
        text = f"{key} is NaN or infinite at {len(bad)} of {len(values)} entries, first at step {bad[0]}"
        found.append(Evidence("abnormal" if still else "warning", text, bad[-1]))
    return found


def gradient_spikes(run: RunRecord) -> list[Evidence]:
    """Gradient norms far above the run's own median."""
    steps, values = run.series("grad_norm")
    moving = [value for value in values if value > 0]
    if not moving:
        return []
    usual = median(moving)
    if len(values) >= 10:
        spikes = [(s, v) for s, v in zip(steps, values, strict=True) if v > 10 * usual]
        late = [(s, v) for s, v in spikes if s > steps[max(2, len(steps) // 10)]]
        if late:
            step, worst = max(late, key=lambda pair: pair[1])
            often = len(late) > max(2, len(values) // 50) or worst > 100 * usual
            text = (
                f"grad_norm reaches {worst:.3g} at step {step}, {worst / usual:.0f} times the median {usual:.3g}; "
                f"{len(late)} such entries"
            )
            return [Evidence("warning" if often else "info", text, late[-1][0])]
    huge = max(moving)
    if huge > 100 and huge >= 10 * usual:
        step = steps[values.index(huge)]
        text = f"grad_norm starts at {huge:.4g} (step {step}); it settles at {usual:.3g}"
        return [Evidence("warning" if huge > 1000 else "info", text, step)]
    if len(values) >= 10 and usual > 30:
        where = (
            "at the median" if len(moving) == len(values) else "at the median of the entries that are not 0"
        )
        return [Evidence("warning", f"grad_norm is {usual:.3g} {where}; about 1 is usual", steps[-1])]
    return []


def gradient_vanished(run: RunRecord) -> list[Evidence]:
    """Steps that change nothing because the gradient is zero."""
    steps, values = run.series("grad_norm")
    if len(values) < 3:
        return []
    peak = max(values)
    still = [value < 1e-6 and value <= 1e-6 * max(peak, 1.0) for value in values]
    share = fmean(still)
    run_out = still[-1] and still[-2]
    if share < 0.5 and not run_out:
        return []
    text = f"grad_norm is 0 (below 1e-6) at {sum(still)} of {len(values)} entries: those steps learn nothing"
    return [Evidence("abnormal", text, steps[-1], _why_still(run))]


def _why_still(run: RunRecord) -> str | None:
    if run.method in SAMPLING:
        return _why_nothing_is_learned(run)
    return NO_PAIRS_LEFT if run.method in METHODS and METHODS[run.method].needs_pairs else None


def _why_nothing_is_learned(run: RunRecord) -> str:
    cut, dead = (run.series(key)[1] for key in ("completions/clipped_ratio", "frac_reward_zero_std"))
    if setting(run, "mask_truncated_completions") and cut and min(tail(cut)) == 1:
        return ALL_MASKED
    return UNTRAINED if dead and max(tail(dead)) == 0 else NO_SPREAD


def learning_rate_zero(run: RunRecord) -> list[Evidence]:
    """A learning rate of 0 anywhere but at the ends of its schedule."""
    steps, values = run.series("learning_rate")
    if len(values) < 3:
        return []
    if not any(values):
        return [Evidence("abnormal", f"the learning rate is 0 at all {len(values)} entries", steps[-1])]
    margin = max(1, math.ceil(len(values) * 0.15))
    zero = [step for step, value in zip(steps, values, strict=True) if value == 0]
    inside = [
        step for step, value in zip(steps[margin:-margin], values[margin:-margin], strict=True) if value == 0
    ]
    if not inside:
        return []
    text = f"the learning rate is 0 at {len(zero)} of {len(values)} entries, from step {inside[0]}"
    return [Evidence("warning", text, zero[-1])]


def throughput(run: RunRecord) -> list[Evidence]:
    """Steps that take much longer at the end than before."""
    steps, values = step_times(run)
    if len(values) < 20:
        return []
    early = typical(values[len(values) // 10 : len(values) // 2])
    late = typical(tail(values))
    if early <= 0 or late < 1.5 * early:
        return []
    lengths = run.series("completions/mean_length")[1]
    longer = ""
    if len(lengths) >= 20:
        before, after = typical(lengths[len(lengths) // 10 : len(lengths) // 2]), typical(tail(lengths))
        if before > 0 and after > 1.3 * before:
            longer = f"; completions are {after / before:.1f} times as long"
    text = f"a step takes {late:.3g} s at the end and took {early:.3g} s before ({late / early:.1f} times){longer}"
    return [Evidence("warning", text, steps[-1])]


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


def overlap(run: RunRecord) -> list[Evidence]:
    """Steps that the log holds twice after a resume."""
    if not run.overlaps:
        return []
    dropped = sum(overlap.dropped_entries for overlap in run.overlaps)
    spans = ", ".join(f"{overlap.first_step}–{overlap.last_step}" for overlap in run.overlaps[:3])
    lost = dropped / max(1, dropped + len(run.history))
    text = f"resumed {len(run.overlaps)} time(s): steps {spans} were run again; {dropped} earlier entries are left out"
    restarted = any(overlap.first_step <= 1 for overlap in run.overlaps)
    return [Evidence("warning" if lost > 0.5 or restarted else "info", text, run.overlaps[-1].last_step)]


def log_quality(run: RunRecord) -> list[Evidence]:
    """Lines that could not be read, an empty history, a log that ends before the run does."""
    found = [Evidence("warning", note) for note in run.notes if "no JSON object" in note]
    found += [Evidence("info", note) for note in run.notes if "no JSON object" not in note]
    if not run.history:
        found.append(Evidence("info", "the history is empty"))
    elif run.total_steps and run.finished is False and run.steps < run.total_steps:
        share = percent(run.steps / run.total_steps)
        text = f"the log ends at step {run.steps} of {run.total_steps} ({share})"
        found.append(Evidence("info", text, run.steps))
    return found
