"""Checks of how the policy moves: KL, entropy, clipping, and the gap between sampler and trainer."""

from __future__ import annotations

from statistics import fmean

from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, percent, setting, tail
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
            text = (
                f"beta × KL = {beta:g} × {late:.3g} = {cost:.3g}, {percent(cost / spread)} of the reward's spread "
                f"({spread:.3g})"
            )
            return [Evidence("abnormal" if cost > spread else "warning", text, steps[-1])]
    middle = fmean(values[len(values) // 3 : len(values) // 2] or values)
    if late > 1 and late > 5 * middle > 0:
        text = f"KL runs away: {middle:.3g} in the second third, {late:.3g} at the end (nats per token)"
        return [Evidence("abnormal" if late > 10 else "warning", text, steps[-1])]
    spikes = [
        step
        for step, value in zip(steps, values, strict=True)
        if value > 10 and value > 100 * typical(values)
    ]
    if spikes:
        text = f"KL spikes at {len(spikes)} entries (first at step {spikes[0]}), to {max(values):.3g}"
        return [Evidence("warning", text, spikes[-1])]
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
    text = f"entropy {first:.3g} → {late:.3g} nats per token ({percent(late / first)} of the start)"
    if late < 0.25 * first and late < 0.3:
        dead = run.series("frac_reward_zero_std")[1]
        worse = late < 0.1 * first and bool(dead) and fmean(tail(dead)) > 0.5
        return [Evidence("abnormal" if worse else "warning", text, steps[-1])]
    if late > 2.5 * first and late - first > 1:
        return [Evidence("warning", f"{text}: the policy is dissolving into noise", steps[-1])]
    return []


def clipping(run: RunRecord) -> list[Evidence]:
    """Policy updates so large that much of them is clipped away."""
    steps, values = run.series("clip_ratio/region_mean")
    if len(values) < 5:
        return []
    late = fmean(tail(values))
    if late < 0.2:
        return []
    return [
        Evidence("warning", f"{percent(late)} of the tokens are clipped at the end of the run", steps[-1])
    ]


def sampler_gap(run: RunRecord) -> list[Evidence]:
    """A sampler (vLLM) whose log-probabilities are not the trainer's."""
    steps, gaps = run.series("sampling/sampling_logp_difference/mean")
    if gaps:
        late = fmean(tail(gaps))
        ratios = run.series("sampling/importance_sampling_ratio/mean")[1]
        ratio = fmean(tail(ratios)) if ratios else None
        zero = ratio is not None and ratio < 0.5
        if late > 0.1 or zero:
            text = f"sampler and trainer differ by {late:.3g} nats per token"
            if ratio is not None:
                text += f"; mean importance ratio {ratio:.3g}"
            return [Evidence("abnormal" if late > 0.5 or zero else "warning", text, steps[-1])]
    return []
