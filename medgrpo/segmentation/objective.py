"""The policy gradient of drawn masks: draw, judge, share out, and the loss whose gradient that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import UsageError
from medgrpo.rewards.masks import DynamicRecallWeight, MaskReward
from medgrpo.segmentation.credit import Judged, Truth, judge, local_credit, whole_credit

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
    """As `MaskSampler.log_prob` gives log-probabilities; (group, 1, 1) for `whole`."""
    old: Tensor
    """Log-probabilities when the group was drawn."""


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
    """Rewards and measures of a group; masks leave the device once, as bytes."""
    masks = draw.masks.cpu().numpy()
    if objective.reward is not None:
        found = judge(masks, truth, objective.reward)
        return found.rewards, found.measures, found
    count = len(masks)
    columns: dict[str, Any] = {"mask": [truth.mask] * count}
    if truth.fov is not None:
        columns["fov"] = [truth.fov] * count
    table = objective.composite.score(list(masks), columns)
    return table.total, {name: table.column(name) for name in table.names}, None


def drawn(
    objective: MaskObjective,
    draw: Draw,
    log_prob: Tensor,
    earned: tuple[Floats, dict[str, Floats], Judged | None],
    truth: Truth,
) -> Drawn:
    """The group with its credit."""
    import torch

    rewards, measures, found = earned
    if objective.credit == "local" and found is not None:
        credit = local_credit(draw, found, truth)
    else:
        known = np.nan_to_num(rewards - np.nanmean(rewards)) if np.isnan(rewards).any() else rewards
        shared = whole_credit(known, is_scaled=objective.scale_rewards == "group")
        credit = torch.from_numpy(shared).float().to(log_prob.device)
        credit = credit.view(-1, *([1] * (log_prob.dim() - 1)))
        credit = credit / log_prob[0].numel()  # GRPO's mean over a completion's tokens
    return Drawn(draw, rewards, measures, credit.to(log_prob.dtype), log_prob.detach())


def policy_loss(objective: MaskObjective, group: Drawn, log_prob: Tensor) -> tuple[Tensor, float]:
    """-Σ min(ratio·credit, clipped ratio·credit), mean over the group; and the share of units that were clipped.

    In the first iteration every ratio is 1 and the gradient is that of the expected reward.
    """
    ratio = (log_prob - group.old).exp()
    high = objective.epsilon if objective.epsilon_high is None else objective.epsilon_high
    clipped = ratio.clamp(1 - objective.epsilon, 1 + high)
    gained, kept = ratio * group.credit, clipped * group.credit
    loss = -gained.minimum(kept).flatten(1).sum(1).mean()
    return loss, float((kept < gained).float().mean())


def kl_of_pixels(logits: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of the pixels' probabilities from the reference model's, mean over the pixels."""
    import torch
    from torch.nn.functional import logsigmoid

    chance = torch.sigmoid(logits)
    on = logsigmoid(logits) - logsigmoid(reference)
    off = logsigmoid(-logits) - logsigmoid(-reference)
    return (chance * on + (1 - chance) * off).mean()
