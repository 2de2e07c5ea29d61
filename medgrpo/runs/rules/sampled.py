"""Checks of what is sampled: dead groups, dead components, truncation, length, repetition."""

from __future__ import annotations

from statistics import fmean

from medgrpo.runs.findings import Severity
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, percent, setting, tail
from medgrpo.runs.trend import ends, trend

DEAD_COMPONENT = (
    "warm start by SFT so that it scores now and then, or fix the reward; at weight 0 it costs nothing"
)


OVERLONG = "overlong"
"""The length penalty of training: 0 throughout means that no completion was too long."""
SOLVED = "nothing is wrong: stop here, or bring harder prompts (curriculum, dynamic sampling)"
REPLACED = (
    "each step samples these groups again: drop prompts that are always or never solved to save the time"
)
LEFT_OUT = (
    "raise max_completion_length, or ask for shorter answers in the prompt: what is cut off is left out of the loss "
    "(mask_truncated_completions), and nothing is learned from it"
)
STILL_DEAD = (
    "more rounds of rollout.dynamic_sampling, more completions per prompt, or drop prompts that are always or never "
    "solved, or grade the reward more finely"
)


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
        text = f"{percent(drawn)} of the groups are drawn without spread in reward and replaced: {percent(late)} are left"
        return [Evidence("info", text, steps[-1], REPLACED)]
    if late < 0.5:
        return []
    text = f"{percent(late)} of the latest groups have no spread in reward: they teach nothing"
    if left:
        text += ", although dynamic sampling replaced what it could"
    shares = []
    for name in run.components:
        for key in (f"rewards/{name}/frac_zero_std", f"rewards/{name}/dead_groups"):
            part = run.series(key)[1]
            if part:
                shares.append((fmean(tail(part)), name))
    if shares:
        text += "; by component: " + ", ".join(
            f"{name} {percent(share)}" for share, name in sorted(shares)[::-1]
        )
    if _is_solved(run):
        text += "; most are solved, as every component scores high"
        return [Evidence("info", text, steps[-1], SOLVED)]
    return [Evidence("abnormal" if late > 0.8 else "warning", text, steps[-1], STILL_DEAD if left else None)]


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
    found = []
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
                text = f"{name} is saturated: every completion scores {late:.3g}"
                found.append(Evidence("info", text, steps[-1]))
            else:
                text = f"{name} is dead: every completion scores {late:.3g}, so it teaches nothing"
                found.append(Evidence("warning", text, steps[-1], DEAD_COMPONENT))
            continue
        if late >= 0.97 and fmean(tail(means, 0.5)) >= 0.95 and max(means) <= 1.001:
            text = f"{name} is nearly saturated at {late:.3g}: little is left to learn from it"
            found.append(Evidence("info", text, steps[-1]))
        moved = trend(means)
        if moved.falls() and reward.rises() and moved.last < moved.first - 0.05:
            found.append(
                Evidence("warning", f"{name} falls while the reward rises: {moved.words()}", steps[-1])
            )
    return found


def coverage(run: RunRecord) -> list[Evidence]:
    """Components that can judge hardly any row."""
    found = []
    for name in run.components:
        steps, values = run.series(f"rewards/{name}/coverage")
        if values and (mean := fmean(values)) < 0.05:
            severity: Severity = "warning" if mean == 0 else "info"
            found.append(Evidence(severity, f"{name} judges {percent(mean)} of the completions", steps[-1]))
    return found


def truncation(run: RunRecord) -> list[Evidence]:
    """Completions cut off at the length limit."""
    steps, values = run.series("completions/clipped_ratio")
    if len(values) < 3:
        return []
    late = fmean(tail(values))
    if late < 0.1:
        return []
    text = f"{percent(late)} of the latest completions are cut off at the length limit"
    remedy = LEFT_OUT if setting(run, "mask_truncated_completions") else None
    return [Evidence("abnormal" if late > 0.5 else "warning", text, steps[-1], remedy)]


def length_growth(run: RunRecord) -> list[Evidence]:
    """Completions that grow while nothing that is measured improves."""
    steps, lengths = run.series("completions/mean_length")
    if len(lengths) < 20:
        return []
    grown = trend(lengths)
    if not (grown.rises() and grown.last > 1.5 * grown.first > 0):
        return []
    text = f"completions grow {grown.first:.0f} → {grown.last:.0f} tokens"
    held_out = [
        key for key in ("eval_reward", "eval_rewards/answer_match/mean", "eval_answer") if key in run.keys
    ]
    for key in [*held_out, "rewards/answer_match/mean", "rewards/accuracy/mean", "reward"]:
        values = run.series(key)[1]
        if len(values) >= 5:
            moved = trend(values)
            if moved.rises(0.05):
                return []
            return [Evidence("warning", f"{text} while {key} does not improve: {moved.words()}", steps[-1])]
    return []


def length_collapse(run: RunRecord) -> list[Evidence]:
    """Completions that shrink to almost nothing."""
    steps, lengths = run.series("completions/mean_length")
    if len(lengths) < 10:
        return []
    first, late = max(lengths[0], ends(lengths)[0]), fmean(tail(lengths))
    if first < 16 or late > 0.25 * first:
        return []
    text = (
        f"completions shrink from {first:.0f} to {late:.1f} tokens: reasoning and tags are no longer written"
    )
    return [Evidence("warning", text, steps[-1])]


def repetition(run: RunRecord) -> list[Evidence]:
    """The same completion again and again within a group."""
    for key in ("completions/unique_fraction", "completions/distinct_ratio"):
        steps, values = run.series(key)
        if len(values) >= 5:
            late = fmean(tail(values))
            if late < 0.3:
                text = f"only {percent(late)} of a group's completions differ from each other"
                return [Evidence("abnormal" if late < 0.15 else "warning", text, steps[-1])]
    return []
