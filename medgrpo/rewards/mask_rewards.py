"""Rewards for predicted masks, with TRL's signature: one number per completion, None where nothing is known.

Overlap, recall, topology and length can each be had cheaply by a mask that no reader would accept: the bare
skeleton has clDice 1, a dilated mask recall 1. The guarded rewards multiply by what such masks lack.

`multi_objective_guarded` is the default. On STARE and CHASE_DB1 the plain sum pays the truth widened by 3 px .75 and
.81, more than a second human observer earns (.73, .80); guarded, .32 and .45 against .63 and .77
(`benchmarks/audit_table.py`, table in docs/rewards.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.rewards.mask_measures import Reference, Values, measure

AREA_TOLERANCE = 0.2
"""How far |ln(area ratio)| may go before the guard bites: areas from −18 % to +22 % are free."""


@dataclass(frozen=True)
class MaskReward:
    """A weighted sum of mask components, in [0, 1].

    raw = (w_dice·Dice + w_recall·min(1, recall / target) + w_topology·topology + w_length·length) / Σw;
    guarded = raw × min(1, Dice / Dice_start) × exp(−max(0, |ln(A_P / A_R)| − 0.2)).

    Called like any reward: `reward(completions, mask=masks, …) -> list[float | None]`.
    """

    dice: float = 0.5
    """Weight of the Dice coefficient."""
    recall: float = 0.2
    """Weight of the recall bonus."""
    topology: float = 0.2
    """Weight of skeleton connectivity."""
    length: float = 0.1
    """Weight of the agreement in skeleton length."""
    recall_target: float = 0.85
    """Recall that earns the whole bonus."""
    topology_measure: Literal["cldice", "betti_agreement"] = "cldice"
    """What stands for topology: clDice, or 1 / (1 + |Δβ0| + |Δβ1|)."""
    is_guarded: bool = False
    """Whether Dice and area ratio guard the sum."""
    dice_start: float | None = None
    """Dice before training, below which the guard takes away; None: only the area guards."""

    def __post_init__(self) -> None:
        weights = (self.dice, self.recall, self.topology, self.length)
        if min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"weights are {weights}: expected none below 0 and one above")
        if not 0 < self.recall_target <= 1:
            raise ValueError(f"recall_target is {self.recall_target}: expected a number in (0, 1]")
        if self.topology_measure not in ("cldice", "betti_agreement"):
            raise ValueError(
                f"topology_measure is {self.topology_measure!r}: expected cldice or betti_agreement"
            )

    @property
    def __name__(self) -> str:
        """The name that TRL logs."""
        return "mask_reward_guarded" if self.is_guarded else "mask_reward"

    def measures(self) -> list[str]:
        """What has to be measured, no more."""
        needed = {
            "dice": self.dice > 0 or self.is_guarded,
            "recall": self.recall > 0,
            self.topology_measure: self.topology > 0,
            "length_agreement": self.length > 0,
            "area_ratio": self.is_guarded,
        }
        return [name for name, is_needed in needed.items() if is_needed]

    def combine(self, values: Mapping[str, Values], *, dice_start: ArrayLike | None = None) -> Values:
        """The reward from measured values.

        Args:
            values: (n,) under each name of `measures()`.
            dice_start: (n,) or one number, instead of the field of that name.
        Returns:
            (n,) in [0, 1].
        """
        parts = [
            (self.dice, "dice", 1.0),
            (self.recall, "recall", self.recall_target),
            (self.topology, self.topology_measure, 1.0),
            (self.length, "length_agreement", 1.0),
        ]
        used = [
            (weight, np.minimum(1.0, values[name] / target)) for weight, name, target in parts if weight > 0
        ]
        total: Values = np.sum([weight * part for weight, part in used], axis=0)
        total = total / sum(weight for weight, _ in used)
        if self.is_guarded:
            start = self.dice_start if dice_start is None else dice_start
            total = total * guard(values["dice"], values["area_ratio"], dice_start=start)
        return total

    def __call__(
        self,
        completions: Sequence[ArrayLike | None],
        mask: Sequence[ArrayLike | None] | Reference,
        fov: Sequence[ArrayLike] | None = None,
        threshold: float | None = None,
        dice_start: ArrayLike | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per predicted mask.

        Args:
            completions: predicted masks, (height, width) each or one array; None where prediction failed.
            mask: reference masks, None where there is none; or a `Reference` for groups of predictions.
            fov: field of view of each row.
            threshold: numbers above it are foreground.
            dice_start: Dice of the untrained model on each row, or one number, for the guard.
            columns: the row's other columns, not used.
        Returns:
            In [0, 1]; 0 for a failed prediction, None without a reference mask.
        """
        rows, judged = _judged_rows(completions, mask)
        if not judged:
            return rows
        reference = mask if isinstance(mask, Reference) else _take(mask, judged)
        if isinstance(mask, Reference) and len(judged) != len(completions):
            raise ValueError("a Reference needs every prediction: pass an empty mask for a failed one")
        view = None if fov is None else _take(fov, judged)
        values = measure(
            _take(completions, judged), reference, self.measures(), fov=view, threshold=threshold
        )
        start = dice_start
        if start is not None and np.ndim(start) > 0:
            start = np.asarray(start, dtype=np.float64)[judged]
        for row, value in zip(judged, self.combine(values, dice_start=start), strict=True):
            rows[row] = float(value)
        return rows


def guard(dice: Values, area_ratio: Values, *, dice_start: ArrayLike | None = None) -> Values:
    """What a mask keeps of its reward: min(1, Dice / Dice_start) × exp(−max(0, |ln(A_P / A_R)| − 0.2)).

    Args:
        dice: (n,).
        area_ratio: (n,) predicted over reference area; 1 where both are empty, 0 or infinite where one is.
        dice_start: Dice before training; None or 0 leaves the first factor at 1.
    Returns:
        (n,) in [0, 1].
    """
    with np.errstate(divide="ignore"):
        excess = np.maximum(0.0, np.abs(np.log(area_ratio)) - AREA_TOLERANCE)
    kept: Values = np.exp(-excess)
    if dice_start is not None:
        start = np.broadcast_to(np.asarray(dice_start, dtype=np.float64), dice.shape)
        kept = kept * np.minimum(1.0, np.divide(dice, start, out=np.ones_like(dice), where=start > 0))
    return kept


multi_objective = MaskReward()
"""0.5 Dice + 0.2 min(1, recall / 0.85) + 0.2 clDice + 0.1 length agreement."""
multi_objective_guarded = MaskReward(is_guarded=True)
"""`multi_objective`, multiplied by the guard: the default for masks (`data.audit.TASK_WEIGHTS`)."""
simple_dice = MaskReward(dice=1.0, recall=0.0, topology=0.0, length=0.0)
"""The Dice coefficient alone."""
recall_focused = MaskReward(dice=0.3, recall=0.7, topology=0.0, length=0.0, recall_target=1.0)
"""0.7 recall + 0.3 Dice."""
recall_focused_guarded = MaskReward(
    dice=0.3, recall=0.7, topology=0.0, length=0.0, recall_target=1.0, is_guarded=True
)
"""`recall_focused`, multiplied by the guard."""


@dataclass
class DynamicRecallWeight:
    """The weight of the recall bonus: high while the mean recall is low, and back when it has risen.

    Recall is an exponential mean over steps. Save `state_dict()` with a checkpoint and load it on resume, or a
    resumed run weighs its rewards differently from the run that it continues.
    """

    below: float = 0.80
    """Recall below which the high weight holds."""
    high: float = 0.4
    low: float = 0.2
    decay: float = 0.9
    """How much of the mean is kept each step."""
    mean_recall: float | None = field(default=None)
    """Exponential mean of recall; None before the first step."""

    @property
    def weight(self) -> float:
        """The weight for the next step."""
        return self.high if self.mean_recall is None or self.mean_recall < self.below else self.low

    def update(self, recall: NDArray[np.float64]) -> None:
        """Takes in the recall of one step's predictions, (n,); nothing changes for an empty step."""
        if recall.size == 0:
            return
        step = float(recall.mean())
        if self.mean_recall is None:
            self.mean_recall = step
        else:
            self.mean_recall = self.decay * self.mean_recall + (1 - self.decay) * step

    def state_dict(self) -> dict[str, float | None]:
        """What a checkpoint has to keep."""
        return {"mean_recall": self.mean_recall}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Goes on from a checkpoint."""
        self.mean_recall = state["mean_recall"]


def _judged_rows(
    completions: Sequence[ArrayLike | None], mask: Sequence[ArrayLike | None] | Reference
) -> tuple[list[float | None], list[int]]:
    """The result so far (0 for failed predictions, None without reference), and the rows to measure."""
    if isinstance(mask, Reference):
        has_reference = [True] * len(completions)
    elif len(mask) != len(completions):
        raise ValueError(f"{len(completions)} predictions but {len(mask)} reference masks")
    else:
        has_reference = [one is not None for one in mask]
    rows: list[float | None] = [0.0 if known else None for known in has_reference]
    judged = [row for row, known in enumerate(has_reference) if known and completions[row] is not None]
    return rows, judged


def _take(rows: Any, judged: list[int]) -> Any:
    """The rows to measure; the batch itself where that is all of them."""
    if len(judged) == len(rows):
        return rows if hasattr(rows, "ndim") else list(rows)
    return [rows[row] for row in judged]
