"""Checks of what is sampled: dead groups, dead components, truncation, length, repetition."""

from __future__ import annotations

from statistics import fmean

from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, found, setting, tail
from medgrpo.runs.rules.rule import SAMPLING, Rule
from medgrpo.runs.said import Clause, moved, say
from medgrpo.runs.trend import ends, trend

OVERLONG = "overlong"
"""The length penalty of training: 0 throughout means that no completion was too long."""


def dead_groups(run: RunRecord) -> list[Evidence]:
    """Groups whose completions all score the same, and which component is to blame."""
    steps, values = run.series("frac_reward_zero_std")
    if len(values) < 3:
        return []
    drawn = late = fmean(tail(values))
    left = run.series("dynamic_sampling/dead_share")[1]
    if left:
        late = fmean(tail(left))
    if drawn >= 0.5 > late:
        return found(
            "info", say("groups_replaced", drawn=drawn, left=late), step=steps[-1], remedy="replaced"
        )
    if late < 0.5:
        return []
    said = [say("groups_dead", share=late)]
    if left:
        said.append(say("although_replaced"))
    said += _by_component(run)
    if _is_solved(run):
        return found("info", *said, say("most_solved"), step=steps[-1], remedy="solved")
    remedy = "still_dead" if left else None
    return found("abnormal" if late > 0.8 else "warning", *said, step=steps[-1], remedy=remedy)


def _by_component(run: RunRecord) -> list[Clause]:
    """The share of dead groups of each component, the largest first."""
    shares = []
    for name in run.components:
        for key in (f"rewards/{name}/frac_zero_std", f"rewards/{name}/dead_groups"):
            part = run.series(key)[1]
            if part:
                shares.append((fmean(tail(part)), name))
    told = [
        say("and_component_share" if place else "component_share", name=name, share=share)
        for place, (share, name) in enumerate(sorted(shares)[::-1])
    ]
    return [say("by_component"), *told] if told else []


def _is_solved(run: RunRecord) -> bool:
    """Whether the reward is high in every component, on the usual scale from 0 to 1; penalties may be small."""
    means = [part for name in run.components if (part := run.series(f"rewards/{name}/mean")[1])]
    rewards = [part for part in means if max(part) > 0]
    return (
        bool(rewards)
        and all(max(part) <= 1.001 and fmean(tail(part)) >= 0.8 for part in rewards)
        and all(fmean(tail(part)) > -0.05 for part in means if max(part) <= 0)
    )


def components(run: RunRecord) -> list[Evidence]:
    """Reward components that no longer tell completions apart, or are traded away."""
    seen: list[Evidence] = []
    reward = trend(run.series("reward")[1])
    for name in run.components:
        steps, means = run.series(f"rewards/{name}/mean")
        if len(means) < 10:
            continue
        late = fmean(tail(means))
        spreads = run.series(f"rewards/{name}/std")[1]
        if spreads and len(spreads) >= 10 and max(tail(spreads)) < 1e-6:
            if late == 0 and max(means) <= 0 and min(means) < 0:
                continue  # a penalty that nothing earns any more
            if late == 0 and name == OVERLONG:
                continue
            top = late >= max(means) - 1e-6 and late > 0
            if (top and max(means) - min(means) > 1e-6) or late >= 0.999:
                seen += found("info", say("saturated", name=name, score=late), step=steps[-1])
            else:
                dead = say("component_dead", name=name, score=late)
                seen += found("warning", dead, step=steps[-1], remedy="component_dead")
            continue
        if late >= 0.97 and fmean(tail(means, 0.5)) >= 0.95 and max(means) <= 1.001:
            seen += found("info", say("nearly_saturated", name=name, score=late), step=steps[-1])
        line = trend(means)
        if line.falls() and reward.rises() and line.last < line.first - 0.05:
            seen += found("warning", say("traded_away", name=name), moved(line), step=steps[-1])
    return seen


def coverage(run: RunRecord) -> list[Evidence]:
    """Components that can judge hardly any row."""
    seen: list[Evidence] = []
    for name in run.components:
        steps, values = run.series(f"rewards/{name}/coverage")
        if values and (mean := fmean(values)) < 0.05:
            said = say("covers", name=name, share=mean)
            seen += found("warning" if mean == 0 else "info", said, step=steps[-1])
    return seen


def truncation(run: RunRecord) -> list[Evidence]:
    """Completions cut off at the length limit."""
    steps, values = run.series("completions/clipped_ratio")
    if len(values) < 3:
        return []
    late = fmean(tail(values))
    if late < 0.1:
        return []
    remedy = "left_out" if setting(run, "mask_truncated_completions") else None
    said = say("cut_off", share=late)
    return found("abnormal" if late > 0.5 else "warning", said, step=steps[-1], remedy=remedy)


def length_growth(run: RunRecord) -> list[Evidence]:
    """Completions that grow while nothing that is measured improves."""
    steps, lengths = run.series("completions/mean_length")
    if len(lengths) < 20:
        return []
    grown = trend(lengths)
    if not (grown.rises() and grown.last > 1.5 * grown.first > 0):
        return []
    grows = say("length_grows", first=grown.first, last=grown.last)
    held_out = [
        key for key in ("eval_reward", "eval_rewards/answer_match/mean", "eval_answer") if key in run.keys
    ]
    for key in [*held_out, "rewards/answer_match/mean", "rewards/accuracy/mean", "reward"]:
        values = run.series(key)[1]
        if len(values) >= 5:
            line = trend(values)
            if line.rises(0.05):
                return []
            return found("warning", grows, say("without_gain", key=key), moved(line), step=steps[-1])
    return []


def length_collapse(run: RunRecord) -> list[Evidence]:
    """Completions that shrink to almost nothing."""
    steps, lengths = run.series("completions/mean_length")
    if len(lengths) < 10:
        return []
    first, late = max(lengths[0], ends(lengths)[0]), fmean(tail(lengths))
    if first < 16 or late > 0.25 * first:
        return []
    return found("warning", say("length_shrinks", first=first, late=late), step=steps[-1])


def repetition(run: RunRecord) -> list[Evidence]:
    """The same completion again and again within a group."""
    for key in ("completions/unique_fraction", "completions/distinct_ratio"):
        steps, values = run.series(key)
        if len(values) >= 5:
            late = fmean(tail(values))
            if late < 0.3:
                said = say("few_differ", share=late)
                return found("abnormal" if late < 0.15 else "warning", said, step=steps[-1])
    return []


RULES = (
    Rule("dead_groups", SAMPLING, dead_groups),
    Rule("components", SAMPLING, components),
    Rule("coverage", SAMPLING, coverage),
    Rule("truncation", SAMPLING, truncation),
    Rule("length_growth", SAMPLING, length_growth),
    Rule("length_collapse", SAMPLING, length_collapse),
    Rule("repetition", SAMPLING, repetition),
)
