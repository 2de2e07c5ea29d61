"""The policy gradient of drawn masks: draw, judge, share out, and the loss whose gradient that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import UsageError
from medgrpo.rewards.masks import DynamicRecallWeight, MaskReward
from medgrpo.segmentation.credit import (
    WINDOW_PX,
    Judged,
    Truth,
    judge,
    judge_on_device,
    local_credit,
    skeleton_credit,
    slope_map,
    whole_credit,
)
from medgrpo.segmentation.samplers import Coins

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.samplers import Draw, MaskSampler

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MaskObjective:
    """What is rewarded, and how a drawn mask's reward becomes a gradient."""

    sampler: MaskSampler
    reward: MaskReward | None
    """One mask reward: its parts are shared out by pixel. None: `composite` judges whole masks."""
    composite: CompositeReward
    group: int
    credit: str = "local"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    scale_rewards: str = "group"
    window: int = WINDOW_PX
    """Side over which a pixel answers for the skeleton, in pixels."""

    def with_recall(self, recall: DynamicRecallWeight) -> MaskObjective:
        """The same with the weight that recall has now."""
        if self.reward is None:
            return self
        return replace(self, reward=replace(self.reward, recall=recall.weight))


@dataclass
class Drawn:
    """A group of masks of one picture, judged, and what the policy said of them when they were drawn."""

    draw: Draw
    rewards: Floats
    """(group,); NaN where nothing could judge."""
    measures: dict[str, Floats]
    credit: Tensor
    """Of what was drawn, as `MaskSampler.log_prob` gives log-probabilities; (group, 1, 1) for `whole`."""
    old: Tensor | None
    """Log-probabilities when the group was drawn; None where it is used once."""
    slopes: Tensor | None = None
    """(group, height, width): what a pixel adds to the reward by being on, where both its states are weighed."""
    old_coins: Tensor | None = None
    """(group, height, width): logits of the coins when the group was drawn."""
    gradient: Tensor | None = None
    """(height, width): the policy gradient by the logits themselves, for a group that is used once."""


def mask_reward_of(composite: CompositeReward, settings: Mapping[str, Any]) -> MaskReward | None:
    """The one mask reward of a sum, with the weights that the run sets; None where it is a sum of several.

    Args:
        settings: `recall_target`, `dice_weight`, `recall_weight`, None where the reward's own holds.
    Raises:
        UsageError: a weight is set, and there is no one reward that has it.
    """
    changed: dict[str, Any] = {
        name: settings.get(key)
        for name, key in (
            ("recall_target", "recall_target"),
            ("dice", "dice_weight"),
            ("recall", "recall_weight"),
        )
        if settings.get(key) is not None
    }
    only = composite.functions[0] if len(composite.functions) == 1 and composite.gate is None else None
    if isinstance(only, MaskReward):
        return replace(only, **changed)
    if changed:
        raise UsageError(
            f"masks.{next(iter(changed))} changes a mask reward, and rewards.weights names {', '.join(composite.names)}",
            expected="one of multi_objective, simple_dice, recall_focused, each also _guarded",
        )
    return None


def draw_masks(objective: MaskObjective, logits: Tensor, generator: Generator) -> Draw:
    """A group of masks from detached logits."""
    return objective.sampler.draw(logits.detach(), objective.group, generator)


def judged(
    objective: MaskObjective, draw: Draw, truth: Truth
) -> tuple[Floats, dict[str, Floats], Judged | None]:
    """Rewards and measures of a group; masks leave the device once, eight pixels a byte."""
    if objective.reward is not None:
        if draw.masks.device.type == "cpu":
            found = judge(to_host(draw.masks), truth, objective.reward)
        else:
            found = judge_on_device(draw.masks, truth, objective.reward, to_host)
        return found.rewards, found.measures, found
    masks = to_host(draw.masks)
    count = len(masks)
    columns: dict[str, Any] = {"mask": [truth.mask] * count}
    if truth.fov is not None:
        columns["fov"] = [truth.fov] * count
    table = objective.composite.score(list(masks), columns)
    return table.total, {name: table.column(name) for name in table.names}, None


def to_host(masks: Tensor) -> NDArray[np.bool_]:
    """Masks (bool) on the CPU; from a GPU they come bit-packed."""
    import torch

    if masks.device.type == "cpu":
        return np.asarray(masks.numpy())
    flat = masks.flatten()
    short = -flat.numel() % 8
    if short:
        flat = torch.cat([flat, flat.new_zeros(short)])
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=masks.device)
    packed = (flat.view(-1, 8) * weights).sum(1, dtype=torch.uint8).cpu().numpy()
    return np.unpackbits(packed, count=masks.numel()).view(np.bool_).reshape(tuple(masks.shape))


def drawn(
    objective: MaskObjective,
    draw: Draw,
    logits: Tensor,
    earned: tuple[Floats, dict[str, Floats], Judged | None],
    truth: Truth,
    *,
    is_used_once: bool = False,
) -> Drawn:
    """The group with its credit.

    Args:
        logits: those that it was drawn from.
        is_used_once: there is one update with it. All ratios are then 1, nothing is clipped, and the gradient by the logits
            is worked out here, without the steps back through a log-probability of every pixel of every mask.
    """
    import torch

    rewards, measures, found = earned
    logits = logits.detach()
    if (
        is_used_once
        and objective.credit == "local"
        and found is not None
        and isinstance(objective.sampler, Coins)
    ):
        credit = skeleton_credit(draw, found, truth, window=objective.window)
        chance = objective.sampler.coin_logits(logits, draw).sigmoid()
        by_coins = slope_map(draw, found, truth) * chance * (1 - chance) + credit * (
            draw.masks.float() - chance
        )
        gradient = by_coins.mean(0) / objective.sampler.temperature
        return Drawn(draw, rewards, measures, credit, None, gradient=gradient)
    old = objective.sampler.log_prob(logits, draw)
    if objective.credit == "local" and found is not None:
        if isinstance(objective.sampler, Coins):
            slopes, coins = slope_map(draw, found, truth), objective.sampler.coin_logits(logits, draw)
            credit = skeleton_credit(draw, found, truth, window=objective.window)
            return Drawn(draw, rewards, measures, credit, old, slopes, coins)
        return Drawn(draw, rewards, measures, local_credit(draw, found, truth), old)
    known = np.nan_to_num(rewards - np.nanmean(rewards)) if np.isnan(rewards).any() else rewards
    shared = whole_credit(known, is_scaled=objective.scale_rewards == "group")
    credit = torch.from_numpy(shared).to(old).view(-1, *([1] * (old.dim() - 1)))
    return Drawn(
        draw, rewards, measures, credit / old[0].numel(), old
    )  # GRPO's mean over a completion's tokens


def policy_loss(objective: MaskObjective, group: Drawn, logits: Tensor) -> tuple[Tensor, float]:
    """-Σ min(ratio·credit, clipped ratio·credit), mean over the group; and the share of units that were clipped.

    In the first iteration every ratio is 1 and the gradient is that of the expected reward. What a pixel changes by area, hits and
    the reference's skeleton is known for both its states, so both are weighed by their probabilities instead of the drawn one:
    the same mean, without the coin's own noise.
    """
    if group.gradient is not None:
        return -(group.gradient * logits.float()).sum(), 0.0
    assert group.old is not None
    low, high = 1 - objective.epsilon, 1 + (objective.epsilon_high or objective.epsilon)
    log_prob = objective.sampler.log_prob(logits, group.draw)
    loss, clipped = _clipped(log_prob - group.old, group.credit, low, high)
    if group.slopes is not None:
        assert isinstance(objective.sampler, Coins)
        assert group.old_coins is not None
        for coins, old, slopes in _both_states(objective.sampler, group, logits):
            chance = old.sigmoid()
            part, share = _clipped(
                _log_sigmoid(coins) - _log_sigmoid(old), slopes * chance * (1 - chance), low, high
            )
            loss, clipped = loss + part, (clipped + share) / 2
    return loss, clipped


def _both_states(sampler: Coins, group: Drawn, logits: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """On, then off: logits of that state now and then, and what it adds to the reward beyond the coin's mean."""
    assert group.old_coins is not None
    assert group.slopes is not None
    coins = sampler.coin_logits(logits, group.draw)
    yield coins, group.old_coins, group.slopes
    yield -coins, -group.old_coins, -group.slopes


def _clipped(log_ratio: Tensor, credit: Tensor, low: float, high: float) -> tuple[Tensor, float]:
    ratio = log_ratio.exp()
    gained, kept = ratio * credit, ratio.clamp(low, high) * credit
    return -gained.minimum(kept).flatten(1).sum(1).mean(), float((kept < gained).float().mean())


def _log_sigmoid(logits: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(logits)


def kl_of_pixels(logits: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of the pixels' probabilities from the reference model's, mean over the pixels."""
    import torch
    from torch.nn.functional import logsigmoid

    chance = torch.sigmoid(logits)
    on = logsigmoid(logits) - logsigmoid(reference)
    off = logsigmoid(-logits) - logsigmoid(-reference)
    return (chance * on + (1 - chance) * off).mean()
