"""Checks of how the policy moves: KL, entropy, clipping, and the gap between sampler and trainer."""

from __future__ import annotations

from statistics import fmean

from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, found, setting, tail
from medgrpo.runs.rules.rule import SAMPLING, Rule
from medgrpo.runs.said import say
from medgrpo.runs.trend import ends, typical


def kl_growth(run: RunRecord) -> list[Evidence]:
    """KL judged by what it costs (beta × KL against the spread of rewards), or by runaway growth; never by a band."""
    steps, values = run.series("kl")
    if len(values) < 10:
        return []
    beta = setting(run, "beta")
    late = fmean(tail(values, 0.1))
    if isinstance(beta, int | float) and beta > 0:
        spread = fmean(tail(run.series("reward_std")[1])) if run.series("reward_std")[1] else None
        cost = beta * late
        if spread and spread > 0 and cost > 0.1 * spread:
            costs = say("kl_costs", beta=beta, kl=late, cost=cost, share=cost / spread, spread=spread)
            return found("abnormal" if cost > spread else "warning", costs, step=steps[-1])
    middle = fmean(values[len(values) // 3 : len(values) // 2] or values)
    if late > 1 and late > 5 * middle > 0:
        away = say("kl_runs_away", middle=middle, late=late)
        return found("abnormal" if late > 10 else "warning", away, step=steps[-1])
    spikes = [
        step
        for step, value in zip(steps, values, strict=True)
        if value > 10 and value > 100 * typical(values)
    ]
    if spikes:
        seen = say("kl_spikes", count=len(spikes), step=spikes[0], most=max(values))
        return found("warning", seen, step=spikes[-1])
    return []


def entropy_collapse(run: RunRecord) -> list[Evidence]:
    """Sampling that has become nearly deterministic."""
    steps, values = run.series("entropy")
    if len(values) < 10:
        return []
    first, late = ends(values)[0], fmean(tail(values, 0.1))
    first = max(first, fmean(values[: max(1, len(values) // 20)]))
    if first <= 0:
        return []
    how = say("entropy_moved", first=first, late=late, share=late / first)
    if late < 0.25 * first and late < 0.3:
        dead = run.series("frac_reward_zero_std")[1]
        worse = late < 0.1 * first and bool(dead) and fmean(tail(dead)) > 0.5
        return found("abnormal" if worse else "warning", how, step=steps[-1])
    if late > 2.5 * first and late - first > 1:
        return found("warning", how, say("dissolving"), step=steps[-1])
    return []


def clipping(run: RunRecord) -> list[Evidence]:
    """Policy updates so large that much of them is clipped away."""
    steps, values = run.series("clip_ratio/region_mean")
    if len(values) < 5:
        return []
    late = fmean(tail(values))
    if late < 0.2:
        return []
    return found("warning", say("clipped", share=late), step=steps[-1])


def sampler_gap(run: RunRecord) -> list[Evidence]:
    """A sampler (vLLM) whose log-probabilities are not the trainer's."""
    steps, gaps = run.series("sampling/sampling_logp_difference/mean")
    if gaps:
        late = fmean(tail(gaps))
        ratios = run.series("sampling/importance_sampling_ratio/mean")[1]
        ratio = fmean(tail(ratios)) if ratios else None
        zero = ratio is not None and ratio < 0.5
        if late > 0.1 or zero:
            said = [say("sampler_differs", gap=late)]
            if ratio is not None:
                said.append(say("mean_ratio", ratio=ratio))
            return found("abnormal" if late > 0.5 or zero else "warning", *said, step=steps[-1])
    return []


RULES = (
    Rule("kl_growth", SAMPLING, kl_growth),
    Rule("entropy_collapse", SAMPLING, entropy_collapse),
    Rule("clipping", SAMPLING, clipping),
    Rule("sampler_gap", SAMPLING, sampler_gap),
)
