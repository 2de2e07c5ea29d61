"""Which unit of a drawn mask earned what: the reward of a mask, shared out to the draws that made it.

`whole` is GRPO's: every unit of a mask gets the mask's advantage in its group. `local` asks what the mask would have earned
had only this unit been drawn otherwise. The measures that the mask rewards are made of (Dice, recall, area,
clDice, skeleton length) are ratios of five sums over pixels, so the answer needs no second look at the mask: the unit's
sums are replaced by those of the other masks at the same place.

    credit(unit) = R(sums) - R(sums - sums of the unit + mean sums of the other masks there)

What is subtracted does not depend on the unit's own draw, so the gradient's mean stays what it was (a baseline);
only its noise goes: the other units' luck. Two sums count skeleton pixels, and a skeleton may change a few pixels beyond
the unit that changed: that part of the credit goes to the neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medgrpo.rewards.masks import MaskReward, skeletonize

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.segmentation.samplers import Draw

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SUMS = ("area", "hits", "skeleton", "skeleton_hits", "covered")
"""|P|, |P∩R|, |S(P)|, |S(P)∩R|, |S(R)∩P|."""


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
        inside = mask if fov is None else mask & fov
        return cls(inside, np.asarray(skeletonize(inside[None])[0]), fov)

    @property
    def area(self) -> int:
        """Foreground pixels."""
        return int(self.mask.sum())

    @property
    def length(self) -> int:
        """Pixels of the skeleton."""
        return int(self.skeleton.sum())


def measures_of_sums(sums: Mapping[str, Floats], truth: Truth) -> dict[str, Floats]:
    """Dice, recall, precision, area ratio, clDice and length agreement from the five sums.

    Args:
        sums: any equal shape, under the names of `SUMS`.
    Returns:
        the same shape; empty masks as in `medgrpo.rewards.masks`.
    """
    area, hits = sums["area"], sums["hits"]
    precision = _ratio(sums["skeleton_hits"], sums["skeleton"], truth.length == 0)
    recall = _ratio(sums["covered"], float(truth.length), sums["skeleton"] == 0)
    return {
        "dice": _ratio(2 * hits, area + truth.area, True),
        "recall": _ratio(hits, float(truth.area), area == 0),
        "precision": _ratio(hits, area, truth.area == 0),
        "area_ratio": np.where(
            truth.area == 0, np.where(area == 0, 1.0, np.inf), area / max(truth.area, 1)
        ),
        "cldice": _ratio(2 * precision * recall, precision + recall, False),
        "length_agreement": np.maximum(
            0.0, 1 - np.abs(sums["skeleton"] - truth.length) / max(truth.length, 1)
        ),
    }


def _ratio(part: Floats, whole: Floats | float, if_empty: Floats | NDArray[np.bool_] | bool) -> Floats:
    """part / whole, and `if_empty` where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    agreed = np.broadcast_to(np.asarray(if_empty, dtype=np.float64), part.shape)
    return np.divide(part, whole, out=agreed.copy(), where=whole > 0)


@dataclass(frozen=True)
class Judged:
    """What a group of masks earned."""

    rewards: Floats
    """(group,)."""
    measures: dict[str, Floats]
    """(group,) each."""
    maps: NDArray[np.bool_]
    """(5, group, height, width): the pixels that each of `SUMS` counts."""


def judge(masks: NDArray[np.bool_], truth: Truth, reward: MaskReward) -> Judged:
    """The reward of every mask of a group, from one skeleton each.

    Args:
        masks: bool, (group, height, width); what lies outside the field of view is left out.
    """
    inside = masks if truth.fov is None else masks & truth.fov
    skeletons = np.asarray(skeletonize(np.ascontiguousarray(inside)))
    maps = np.stack(
        [inside, inside & truth.mask, skeletons, skeletons & truth.mask, inside & truth.skeleton]
    )
    sums = dict(zip(SUMS, maps.sum(axis=(2, 3)).astype(np.float64), strict=True))
    measures = measures_of_sums(sums, truth)
    return Judged(reward.combine(measures), measures, maps)


def whole_credit(rewards: Floats, *, is_scaled: bool = True) -> Floats:
    """GRPO's advantage, (group, 1): reward minus the group's mean, over its deviation if scaled."""
    centred = rewards - rewards.mean()
    if is_scaled:
        centred = centred / (rewards.std() + 1e-4)
    return centred[:, None]


def local_credit(judged: Judged, draw: Draw, truth: Truth, reward: MaskReward) -> Floats:
    """What each unit of each mask earned, (group, units): see the module's first lines.

    Raises:
        ValueError: a group of one mask has no others to compare with.
    """
    group = judged.maps.shape[1]
    if group < 2:
        raise ValueError("local credit compares the masks of a group: expected two or more")
    own, others = _sums_of_units(judged, draw)
    totals = judged.maps.sum(axis=(2, 3)).astype(np.float64)  # (5, group)
    instead = totals[:, :, None] - own + others
    without = measures_of_sums(dict(zip(SUMS, instead, strict=True)), truth)
    return judged.rewards[:, None] - reward.combine(without)


def _sums_of_units(judged: Judged, draw: Draw) -> tuple[Floats, Floats]:
    """The five sums in each unit, and their means over the group's other masks: (5, group, units) each."""
    group = judged.maps.shape[1]
    own = np.zeros((len(SUMS), group, draw.units))
    others = np.zeros_like(own)
    counts = judged.maps.sum(axis=1, dtype=np.int32)
    for level in draw.levels:
        numbers = level.cpu().numpy()
        for index in range(group):
            at = numbers[index].ravel()
            has_unit = at >= 0
            at = at[has_unit]
            for row in range(len(SUMS)):
                mine = judged.maps[row, index].ravel()[has_unit]
                rest = (counts[row].ravel()[has_unit] - mine) / (group - 1)
                own[row, index] += np.bincount(at, mine, minlength=draw.units)
                others[row, index] += np.bincount(at, rest, minlength=draw.units)
    return own, others


Credit = Callable[[Judged, "Draw", Truth, MaskReward], "Tensor"]
