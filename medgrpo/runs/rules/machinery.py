"""Checks of the machinery: broken numbers, gradients, learning rate."""

from __future__ import annotations

import math
from statistics import fmean, median

from medgrpo.methods import METHODS, SAMPLING
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, found, setting, tail
from medgrpo.runs.rules.rule import ANY, Rule
from medgrpo.runs.said import say

VITAL = ("loss", "grad_norm", "reward", "kl", "eval_loss", "eval_reward")
"""Metrics that must be numbers; a NaN elsewhere is that metric's own affair."""


def nan(run: RunRecord) -> list[Evidence]:
    """NaN or infinity in a vital metric."""
    seen: list[Evidence] = []
    for key in VITAL:
        steps, values = run.series(key, finite=False)
        bad = [step for step, value in zip(steps, values, strict=True) if not math.isfinite(value)]
        if not bad:
            continue
        still = not math.isfinite(values[-1]) or len(bad) > max(1, len(values) // 100)
        said = say("not_finite", key=key, count=len(bad), entries=len(values), step=bad[0])
        seen += found("abnormal" if still else "warning", said, step=bad[-1])
    return seen


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
            said = say(
                "gradient_spikes", worst=worst, step=step, times=worst / usual, usual=usual, count=len(late)
            )
            return found("warning" if often else "info", said, step=late[-1][0])
    huge = max(moving)
    if huge > 100 and huge >= 10 * usual:
        step = steps[values.index(huge)]
        said = say("gradient_starts_high", start=huge, step=step, usual=usual)
        return found("warning" if huge > 1000 else "info", said, step=step)
    if len(values) >= 10 and usual > 30:
        name = "gradient_high" if len(moving) == len(values) else "moving_gradient_high"
        return found("warning", say(name, usual=usual), step=steps[-1])
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
    said = say("gradient_zero", count=sum(still), entries=len(values))
    return found("abnormal", said, step=steps[-1], remedy=_why_still(run))


def _why_still(run: RunRecord) -> str | None:
    if run.method in SAMPLING:
        return _why_nothing_is_learned(run)
    return "no_pairs_left" if run.method in METHODS and METHODS[run.method].needs_pairs else None


def _why_nothing_is_learned(run: RunRecord) -> str:
    cut, dead = (run.series(key)[1] for key in ("completions/clipped_ratio", "frac_reward_zero_std"))
    if setting(run, "mask_truncated_completions") and cut and min(tail(cut)) == 1:
        return "all_masked"
    return "untrained" if dead and max(tail(dead)) == 0 else "no_spread"


def learning_rate_zero(run: RunRecord) -> list[Evidence]:
    """A learning rate of 0 anywhere but at the ends of its schedule."""
    steps, values = run.series("learning_rate")
    if len(values) < 3:
        return []
    if not any(values):
        return found("abnormal", say("rate_zero_throughout", entries=len(values)), step=steps[-1])
    margin = max(1, math.ceil(len(values) * 0.15))
    zero = [step for step, value in zip(steps, values, strict=True) if value == 0]
    inside = [
        step for step, value in zip(steps[margin:-margin], values[margin:-margin], strict=True) if value == 0
    ]
    if not inside:
        return []
    said = say("rate_zero", count=len(zero), entries=len(values), step=inside[0])
    return found("warning", said, step=zero[-1])


RULES = (
    Rule("nan", ANY, nan),
    Rule("gradient_spikes", ANY, gradient_spikes),
    Rule("gradient_vanished", ANY, gradient_vanished),
    Rule("learning_rate_zero", ANY, learning_rate_zero),
)
