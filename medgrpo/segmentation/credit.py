"""Which pixel of a drawn mask earned what: the reward of a mask, shared out to the draws that made it.

`whole` is GRPO's: every unit of a mask gets the mask's advantage in its group. With a quarter of a million units that share one number, a
unit hears the others' luck. `local` asks what the mask would have earned had only this pixel been as in the group's other masks. The
measures that the mask rewards are made of (Dice, recall, area, clDice, skeleton length) are functions of five sums
over pixels, so the answer needs no second look at the mask:

    credit(pixel) = Σ_sums ∂R/∂sum · (pixel's part of the sum - its mean part in the other masks)

to first order, which is exact to a part in a thousand for one pixel of a picture. What is subtracted does not depend on the pixel's own
draw: a baseline, so that the gradient's mean stays what it was and only noise goes. Two of the sums count pixels of the skeleton of the
prediction. A pixel moves the skeleton around it too: there the part is summed over a window, and what a pixel does to the
skeleton beyond it is left out. That is the one bias; `whole` has none and serves rewards that are no function of these sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.rewards.masks import MaskReward, skeletonize

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.segmentation.samplers import Draw

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SUMS = ("area", "hits", "covered", "skeleton", "skeleton_hits")
"""|P|, |P∩R|, |S(R)∩P|, |S(P)|, |S(P)∩R|; S is the skeleton."""
OF_SKELETON = 2
"""The last two count the prediction's skeleton."""
WINDOW_PX = 3
"""Side of the window over which a pixel answers for the skeleton."""


@dataclass(frozen=True)
class Truth:
    """A reference mask with what its rewards need, worked out once."""

    mask: Mask
    """bool, (height, width), background outside the field of view."""
    skeleton: Mask
    fov: Mask | None = None

    @classmethod
    def of(cls, mask: Mask, fov: Mask | None = None) -> Truth:
        """From a mask and its field of view."""
        inside = np.ascontiguousarray(mask if fov is None else mask & fov)
        return cls(inside, np.asarray(skeletonize(inside[None])[0]), fov)

    @property
    def area(self) -> int:
        """Foreground pixels."""
        return int(self.mask.sum())

    @property
    def length(self) -> int:
        """Pixels of the skeleton."""
        return int(self.skeleton.sum())


def measures_of_sums(sums: Mapping[str, Floats], area: int, length: int) -> dict[str, Floats]:
    """Dice, recall, precision, area ratio, clDice and length agreement from the five sums.

    Args:
        sums: any equal shape, under the names of `SUMS`.
        area: foreground pixels of the reference.
        length: pixels of its skeleton.
    Returns:
        the same shape; empty masks as in `medgrpo.rewards.masks`.
    """
    predicted, hits = sums["area"], sums["hits"]
    is_empty = predicted <= 0
    along = _ratio(sums["skeleton_hits"], sums["skeleton"], np.full(predicted.shape, length == 0))
    covered = _ratio(sums["covered"], np.full(predicted.shape, float(length)), is_empty)
    true_area = np.full(predicted.shape, float(area))
    return {
        "dice": _ratio(2 * hits, predicted + area, np.ones(predicted.shape)),
        "recall": _ratio(hits, true_area, is_empty),
        "precision": _ratio(hits, predicted, true_area == 0),
        "area_ratio": np.where(area > 0, predicted / max(area, 1), np.where(is_empty, 1.0, np.inf)),
        "cldice": _ratio(2 * along * covered, along + covered, np.zeros(predicted.shape)),
        "length_agreement": np.maximum(0.0, 1 - np.abs(sums["skeleton"] - length) / max(length, 1)),
    }


def _ratio(part: Floats, whole: Floats, if_empty: NDArray[np.generic]) -> Floats:
    """part / whole, and `if_empty` where the whole is 0."""
    return np.divide(part, whole, out=if_empty.astype(np.float64), where=whole > 0)


@dataclass(frozen=True)
class Judged:
    """What a group of masks earned."""

    rewards: Floats
    """(group,)."""
    measures: dict[str, Floats]
    """(group,) each."""
    sums: Floats
    """(5, group)."""
    slopes: Floats
    """(5, group): ∂R/∂sum."""
    skeletons: NDArray[np.bool_] | Tensor
    """(group, height, width); a tensor where the masks were drawn on a GPU."""


def judge(masks: NDArray[np.bool_], truth: Truth, reward: MaskReward) -> Judged:
    """The reward of every mask of a group, from one skeleton each.

    Args:
        masks: bool, (group, height, width); what lies outside the field of view is left out.
    """
    inside = masks if truth.fov is None else masks & truth.fov
    skeletons = np.asarray(skeletonize(np.ascontiguousarray(inside)))
    return judged_by_sums(_counted(inside, skeletons, truth), skeletons, truth, reward)


def _counted(inside: Mask, skeletons: Mask, truth: Truth) -> Floats:
    """The five sums of each mask, (5, group).

    A mask at a time, in memory that stays in the cache; numpy counts a whole mask with vector instructions, along axes it
    adds numbers up.
    """
    scratch = np.empty(truth.mask.shape, np.bool_)

    def shared(mask: Mask, other: Mask) -> int:
        return int(np.count_nonzero(np.logical_and(mask, other, out=scratch)))

    counts = [
        (
            np.count_nonzero(mask),
            shared(mask, truth.mask),
            shared(mask, truth.skeleton),
            np.count_nonzero(lines),
            shared(lines, truth.mask),
        )
        for mask, lines in zip(inside, skeletons, strict=True)
    ]
    return np.array(counts, dtype=np.float64).T.copy()


def judge_on_device(
    masks: Tensor, truth: Truth, reward: MaskReward, to_host: Callable[[Tensor], Mask]
) -> Judged:
    """The same for masks on a GPU: pixels are counted there, and only skeletons are made on the host.

    Args:
        to_host: brings masks to the CPU.
    """
    import torch

    def there(array: Mask) -> Tensor:
        return tensor_of(array, masks.device)

    inside = masks if truth.fov is None else masks & there(truth.fov)
    skeletons = torch.from_numpy(np.asarray(skeletonize(to_host(inside)))).to(masks.device)
    reference = there(truth.mask)
    parts = (inside, inside & reference, inside & there(truth.skeleton), skeletons, skeletons & reference)
    sums = torch.stack([part.flatten(1).sum(1) for part in parts]).cpu().numpy().astype(np.float64)
    return judged_by_sums(sums, skeletons, truth, reward)


def judged_by_sums(
    sums: Floats, skeletons: NDArray[np.bool_] | Tensor, truth: Truth, reward: MaskReward
) -> Judged:
    """Measures, rewards and slopes of a group from its five sums."""
    area, length = truth.area, truth.length
    measures = measures_of_sums(dict(zip(SUMS, sums, strict=True)), area, length)
    return Judged(reward.combine(measures), measures, sums, _slopes(sums, area, length, reward), skeletons)


def _slopes(sums: Floats, area: int, length: int, reward: MaskReward) -> Floats:
    """∂R/∂sum by central differences of half a pixel."""
    slopes = np.zeros_like(sums)
    for row in range(len(SUMS)):
        ends = []
        for step in (0.5, -0.5):
            moved = sums.copy()
            moved[row] = np.maximum(0.0, moved[row] + step)
            ends.append(reward.combine(measures_of_sums(dict(zip(SUMS, moved, strict=True)), area, length)))
        slopes[row] = ends[0] - ends[1]
    return slopes


def whole_credit(rewards: Floats, *, is_scaled: bool = True) -> Floats:
    """GRPO's advantage, (group,): reward minus the group's mean, over its deviation if scaled."""
    centred = rewards - rewards.mean()
    if is_scaled:
        centred = centred / (rewards.std() + 1e-4)
    return np.asarray(centred)


def slope_map(draw: Draw, judged: Judged, truth: Truth) -> Tensor:
    """What turning a pixel on adds to a mask's reward by area, hits and the reference's skeleton, (group, height, width).

    These three sums take each pixel for itself, so that both states of a pixel can be weighed without drawing
    either (see `objective.policy_loss`); outside the field of view 0.
    """
    slopes = _onto(draw, judged.slopes.astype(np.float32))[:, :, None, None]
    reference, thin = _onto(draw, truth.mask).float(), _onto(draw, truth.skeleton).float()
    added = slopes[0] + slopes[1] * reference + slopes[2] * thin
    return added if truth.fov is None else added * _onto(draw, truth.fov)


def skeleton_credit(draw: Draw, judged: Judged, truth: Truth, *, window: int = WINDOW_PX) -> Tensor:
    """What the drawn skeleton around each pixel earned beyond the other masks' there, (group, height, width).

    Args:
        window: side over which a pixel answers for the skeleton, odd, in pixels.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    slopes = _onto(draw, judged.slopes.astype(np.float32))[:, :, None, None]
    lines = _beyond_others(_onto(draw, judged.skeletons).float())
    earned = lines * (slopes[3] + slopes[4] * _onto(draw, truth.mask).float())
    if window > 1:
        earned = avg_pool2d(earned[:, None], window, 1, window // 2)[:, 0] * window**2
    if truth.fov is not None:
        earned = torch.where(_onto(draw, truth.fov), earned, 0.0)
    return earned


def local_credit(draw: Draw, judged: Judged, truth: Truth, *, window: int = WINDOW_PX) -> Tensor:
    """What each unit of each mask earned: (group, height, width), or (group, segments) where segments were drawn.

    Raises:
        ValueError: a group of one mask has no others to compare with.
    """
    from medgrpo.segmentation.samplers import segment_sums

    if draw.masks.shape[0] < 2:
        raise ValueError("local credit compares the masks of a group: expected two or more")
    is_whole = draw.units is not None  # a segment answers for the skeleton in it
    credit = _beyond_others(draw.masks.float()) * slope_map(draw, judged, truth)
    credit = credit + skeleton_credit(draw, judged, truth, window=1 if is_whole else window)
    if draw.units is None:
        return credit
    assert draw.keeps is not None
    return segment_sums(credit, draw.units, draw.keeps.shape[1])


def _beyond_others(field: Tensor) -> Tensor:
    """Difference to the mean of the group's other masks."""
    group = field.shape[0]
    return (field - field.mean(0, keepdim=True)) * (group / max(1, group - 1))


def _onto(draw: Draw, array: NDArray[np.generic] | Tensor) -> Tensor:
    return tensor_of(array, draw.masks.device)


def tensor_of(array: NDArray[np.generic] | Tensor, device: Any) -> Tensor:
    """The array on a device; a tensor as it is. What cannot be written to is copied: torch warns of sharing it."""
    import torch

    if isinstance(array, torch.Tensor):
        return array
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
