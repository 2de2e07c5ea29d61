"""Checks of whether anything is learned: reward, validation, and for SFT and DPO the loss."""

from __future__ import annotations

import math
from statistics import fmean

from medgrpo.figures import direction
from medgrpo.runs.findings import Severity
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, found, tail
from medgrpo.runs.rules.rule import ANY, PAIRS, SAMPLING, SUPERVISED, Rule
from medgrpo.runs.said import moved, say
from medgrpo.runs.trend import block_means, ends, noise, trend, window

LOG_VOCABULARY = 12.0
"""ln of 160,000 tokens: the loss of a model that guesses uniformly."""


def reward_trend(run: RunRecord) -> list[Evidence]:
    """Whether the reward rises beyond its noise over the run."""
    steps, values = run.series("reward")
    if len(values) < 10:
        return []
    line = trend(values)
    how = moved(line, "reward_moved", noise=noise(values))
    if line.falls():
        return found("abnormal", say("reward_falls"), how, step=steps[-1], remedy="go_back")
    collapse = _collapse(values)
    if collapse:
        fell = say("reward_fell_back", best=collapse[0], end=collapse[1])
        return found("abnormal", fell, how, step=steps[-1], remedy="go_back")
    if line.rises(0.05):
        return found("info", say("reward_rises"), how, step=steps[-1])
    if len(values) < 30:
        return []
    kl, rates = run.series("kl")[1], run.series("learning_rate")[1]
    hints = []
    if kl and rates:
        hints = [say("start_kl_and_rate", kl=fmean(tail(kl)), rate=max(rates))]
    elif kl:
        hints = [say("start_kl", kl=fmean(tail(kl)))]
    elif rates:
        hints = [say("peak_rate", rate=max(rates))]
    return found("warning", say("no_rise", entries=len(values)), how, *hints, step=steps[-1])


def _collapse(values: list[float]) -> tuple[float, float] | None:
    """(best, last) block mean if the reward rose well above its noise and lost most of it again."""
    if len(values) < 20:
        return None
    blocks = block_means(values, 10)
    best, last, start = max(blocks[1:]), blocks[-1], blocks[0]
    error = noise(values) / math.sqrt(len(values) / 10)
    gained, lost = best - start, best - last
    return (best, last) if lost > 5 * error and lost > 0.5 * gained and gained > 5 * error else None


def validation_gap(run: RunRecord) -> list[Evidence]:
    """Training improves while held-out data says otherwise."""
    gaps: list[Evidence] = []
    train_key, better = ("reward", 1) if run.series("reward")[1] else ("loss", -1)
    train = trend([better * value for value in run.series(train_key)[1]])
    if not train.rises(0.05):
        return []
    for key in sorted(run.keys):
        sign = direction(key)
        if not key.startswith("eval_") or sign == 0:
            continue
        steps, values = run.series(key)
        if len(values) < 3:
            continue
        good = [sign * value for value in values]
        best = max(good)
        last = fmean(good[-2:]) if len(good) > 4 else good[-1]
        wobble = noise(good) / math.sqrt(min(2, len(good)))
        reach = best - min(good) or abs(best) or 1.0
        if best - last > 3 * wobble and best - last > 0.15 * reach and good.index(best) < len(good) - 2:
            at = steps[good.index(best)]
            figures = {"train": train_key, "key": key, "step": at, "best": sign * best, "now": sign * last}
            worse_than_start = last < good[0] - 2 * wobble
            severity: Severity = "abnormal" if worse_than_start else "warning"
            gaps += found(severity, say("held_out_falls", **figures), step=steps[-1])
    return gaps


def validation_plateau(run: RunRecord) -> list[Evidence]:
    """Held-out reward that has stopped rising in the second half: said, not held against the run."""
    steps, values = run.series("eval_reward")
    if len(values) < 10:
        return []
    whole, half = trend(values), trend(values[len(values) // 2 :])
    if whole.rises(0.05) and not half.rises(0.05):
        still = say("stands_still", key="eval_reward", step=steps[len(values) // 2])
        return found("info", still, moved(half), step=steps[-1])
    return []


def supervised_loss(run: RunRecord) -> list[Evidence]:
    """For SFT and DPO the loss is the objective: it has to fall."""
    steps, values = run.series("loss")
    if len(values) < 5:
        return []
    high = [step for step, value in zip(steps, values, strict=True) if value > LOG_VOCABULARY]
    seen: list[Evidence] = []
    if high:
        start = say("loss_at_start", start=values[0], uniform=LOG_VOCABULARY, middle=values[len(values) // 2])
        seen += found("warning" if len(high) > 1 else "info", start, step=high[-1], remedy="loss_at_start")
    late = fmean(tail(values))
    held_out = run.series("eval_loss")[1]
    if late < 0.005 and len(values) >= 10 and (not held_out or held_out[-1] < 0.005):
        small = say("loss_near_zero", loss=late)
        if held_out:
            small = say("losses_near_zero", loss=late, held_out=held_out[-1])
        seen += found("warning", small, step=steps[-1], remedy="loss_near_zero")
    if len(values) >= 10:
        line = trend(values)
        if line.rises():
            seen += found("abnormal", say("loss_rises"), moved(line), step=steps[-1])
        elif late > 0.9 * ends(values)[0] and not line.falls(0.05):
            seen += found("warning", say("loss_stays"), moved(line), step=steps[-1])
        else:
            falls = say("loss_falls", start=ends(values)[0], end=fmean(values[-window(len(values)) :]))
            seen += found("info", falls, step=steps[-1])
    return seen


def preference_saturated(run: RunRecord) -> list[Evidence]:
    """DPO that has nothing left to learn: every pair is ranked right by a wide margin and the loss is 0."""
    steps, losses = run.series("loss")
    accuracies, margins = run.series("rewards/accuracies")[1], run.series("rewards/margins")[1]
    if len(losses) < 3 or not margins or not accuracies:
        return []
    if losses[-1] < 1e-3 and accuracies[-1] >= 0.999 and margins[-1] > 10:
        gone = next(step for step, loss in zip(steps, losses, strict=True) if loss < 1e-3)
        solved = say("pairs_solved", step=gone, loss=losses[-1], share=accuracies[-1], margin=margins[-1])
        return found("warning", solved, step=steps[-1])
    return []


def preference_likelihood(run: RunRecord) -> list[Evidence]:
    """DPO that lowers the probability of the chosen answers too."""
    steps, chosen = run.series("rewards/chosen")
    if len(chosen) < 5:
        return []
    late = fmean(tail(chosen))
    margins = run.series("rewards/margins")[1]
    if late < -1 and margins and fmean(tail(margins)) > 0:
        return found("warning", say("chosen_falls", chosen=late), step=steps[-1])
    return []


RULES = (
    Rule("reward_trend", SAMPLING, reward_trend),
    Rule("validation_gap", ANY, validation_gap),
    Rule("validation_plateau", SAMPLING, validation_plateau),
    Rule("supervised_loss", SUPERVISED, supervised_loss),
    Rule("preference_saturated", PAIRS, preference_saturated),
    Rule("preference_likelihood", PAIRS, preference_likelihood),
)
