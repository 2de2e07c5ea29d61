"""Checks of whether anything is learned: reward, validation, and for SFT and DPO the loss."""

from __future__ import annotations

import math
from statistics import fmean

from medgrpo.figures import direction
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, percent, tail
from medgrpo.runs.trend import block_means, ends, noise, trend, window

GO_BACK = "go back to the best checkpoint (best_lora/), halve the learning rate, and read completions from before and after"
LOSS_AT_START = (
    "check the chat template, the labels and whether the trainer sums the loss over accumulation steps; "
    "harmless if it falls within a few steps"
)
LOSS_NEAR_ZERO = "check that prompt, image and padding tokens are not scored and that the answer does not stand in the prompt"
LOG_VOCABULARY = 12.0
"""ln of 160,000 tokens: the loss of a model that guesses uniformly."""


def reward_trend(run: RunRecord) -> list[Evidence]:
    """Whether the reward rises beyond its noise over the run."""
    steps, values = run.series("reward")
    if len(values) < 10:
        return []
    moved = trend(values)
    text = f"reward {moved.words()}, noise {noise(values):.2g} an entry"
    if moved.falls():
        return [Evidence("abnormal", f"the reward falls: {text}", steps[-1], GO_BACK)]
    collapse = _collapse(values)
    if collapse:
        return [
            Evidence(
                "abnormal",
                f"the reward had reached {collapse[0]:.3g} and fell back to {collapse[1]:.3g}: {text}",
                steps[-1],
                GO_BACK,
            )
        ]
    if moved.rises(0.05):
        return [Evidence("info", f"the reward rises: {text}", steps[-1])]
    if len(values) < 30:
        return []
    kl = run.series("kl")[1]
    learning_rate = run.series("learning_rate")[1]
    hints = []
    if kl:
        hints.append(f"KL from the start is {fmean(tail(kl)):.2g}")
    if learning_rate:
        hints.append(f"peak learning rate {max(learning_rate):.2g}")
    after = f" ({', '.join(hints)})" if hints else ""
    return [Evidence("warning", f"no measurable rise over {len(values)} entries: {text}{after}", steps[-1])]


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
    found = []
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
            text = f"{train_key} still improves, but {key} was best at step {at} ({sign * best:.3g}) and is now {sign * last:.3g}"
            worse_than_start = last < good[0] - 2 * wobble
            found.append(Evidence("abnormal" if worse_than_start else "warning", text, steps[-1]))
    return found


def validation_plateau(run: RunRecord) -> list[Evidence]:
    """Held-out reward that has stopped rising in the second half: said, not held against the run."""
    steps, values = run.series("eval_reward")
    if len(values) < 10:
        return []
    whole, half = trend(values), trend(values[len(values) // 2 :])
    if whole.rises(0.05) and not half.rises(0.05):
        text = f"eval_reward stands still since step {steps[len(values) // 2]}: {half.words()}"
        return [Evidence("info", text, steps[-1])]
    return []


def supervised_loss(run: RunRecord) -> list[Evidence]:
    """For SFT and DPO the loss is the objective: it has to fall."""
    steps, values = run.series("loss")
    if len(values) < 5:
        return []
    found = []
    high = [step for step, value in zip(steps, values, strict=True) if value > LOG_VOCABULARY]
    if high:
        text = (
            f"loss starts at {values[0]:.3g}, above ln(vocabulary) ≈ {LOG_VOCABULARY:.0f}, worse than uniform guessing; "
            f"{values[len(values) // 2]:.3g} half-way"
        )
        found.append(Evidence("warning" if len(high) > 1 else "info", text, high[-1], LOSS_AT_START))
    late = fmean(tail(values))
    held_out = run.series("eval_loss")[1]
    if late < 0.005 and len(values) >= 10 and (not held_out or held_out[-1] < 0.005):
        text = (
            f"loss is {late:.2g} at the end (eval_loss {held_out[-1]:.2g})"
            if held_out
            else f"loss is {late:.2g} at the end"
        )
        found.append(
            Evidence("warning", text + ": nearly every scored token is certain", steps[-1], LOSS_NEAR_ZERO)
        )
    if len(values) >= 10:
        moved = trend(values)
        if moved.rises():
            found.append(Evidence("abnormal", f"the loss rises: {moved.words()}", steps[-1]))
        elif late > 0.9 * ends(values)[0] and not moved.falls(0.05):
            found.append(Evidence("warning", f"the loss does not fall: {moved.words()}", steps[-1]))
        else:
            text = f"the loss falls {ends(values)[0]:.3g} → {fmean(values[-window(len(values)) :]):.3g}"
            found.append(Evidence("info", text, steps[-1]))
    return found


def preference_saturated(run: RunRecord) -> list[Evidence]:
    """DPO that has nothing left to learn: every pair is ranked right by a wide margin and the loss is 0."""
    steps, losses = run.series("loss")
    accuracies, margins = run.series("rewards/accuracies")[1], run.series("rewards/margins")[1]
    if len(losses) < 3 or not margins or not accuracies:
        return []
    if losses[-1] < 1e-3 and accuracies[-1] >= 0.999 and margins[-1] > 10:
        gone = next(step for step, loss in zip(steps, losses, strict=True) if loss < 1e-3)
        text = (
            f"from step {gone} on the loss is {losses[-1]:.2g}, {percent(accuracies[-1])} of the pairs are ranked right "
            f"and the margin is {margins[-1]:.3g} nats: the pairs are too easy"
        )
        return [Evidence("warning", text, steps[-1])]
    return []


def preference_likelihood(run: RunRecord) -> list[Evidence]:
    """DPO that lowers the probability of the chosen answers too."""
    steps, chosen = run.series("rewards/chosen")
    if len(chosen) < 5:
        return []
    late = fmean(tail(chosen))
    margins = run.series("rewards/margins")[1]
    if late < -1 and margins and fmean(tail(margins)) > 0:
        text = f"rewards/chosen falls to {late:.3g}: the chosen answers become less likely, only less so than the rejected"
        return [Evidence("warning", text, steps[-1])]
    return []
