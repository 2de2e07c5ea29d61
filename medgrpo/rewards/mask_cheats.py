"""Masks that deserve no reward, and what they earn: the audit of mask rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import UsageError
from medgrpo.rewards.audit import AuditReport, CheatScore
from medgrpo.rewards.masks import skeletonize
from medgrpo.rewards.plain_arrays import plain_array

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward

Mask = NDArray[np.bool_]

DILATION_PX = 3
"""The dilated cheat widens the truth by so many pixels on each side."""
SEED = 0


def dilated(mask: Mask, radius_px: int = DILATION_PX) -> Mask:
    """The mask grown by a square of side 2·radius + 1: whatever is near a vessel is called a vessel."""
    grown = mask.copy()
    for _ in range(radius_px):
        for axis in (0, 1):
            before = grown.copy()
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            grown[tuple(ahead)] |= before[tuple(behind)]
            grown[tuple(behind)] |= before[tuple(ahead)]
    return grown


def _speckle(mask: Mask) -> Mask:
    drawn: Mask = np.random.default_rng(SEED).random(mask.shape) < mask.mean()
    return drawn


def _skeleton(mask: Mask) -> Mask:
    skeleton: Mask = np.asarray(skeletonize(mask[None])[0], dtype=bool)
    return skeleton


MASK_CHEATS: dict[str, tuple[str, Callable[[Mask], Mask]]] = {
    "skeleton_only": ("the truth's skeleton, one pixel wide", _skeleton),
    "dilated": (f"the truth widened by {DILATION_PX} px on each side", dilated),
    "all_on": ("every pixel", np.ones_like),
    "all_off": ("no pixel", np.zeros_like),
    "speckle": ("random pixels, as many as the truth has", _speckle),
}
"""Name → what it does, and how it is made from the reference mask."""


def audit_masks(
    references: Sequence[NDArray[Any]],
    composite: CompositeReward,
    *,
    predictions: Sequence[NDArray[Any] | None] | None = None,
    fov: Sequence[NDArray[Any]] | None = None,
) -> AuditReport:
    """Scores every mask cheat, and honest masks, with a mask reward on the same pictures.

    Args:
        references: the truth, (height, width) each, of any sizes; what is not 0 is foreground.
        composite: a sum of mask rewards, e.g. `CompositeReward("multi_objective")`.
        predictions: honest masks, None where one failed; without them the references themselves, which earn 1.
        fov: field of view of each picture.
    Raises:
        UsageError: no references.
    """
    if not len(references):
        raise UsageError("nothing to audit: there are no masks")
    truth = [plain_array(mask, f"reference {row}") != 0 for row, mask in enumerate(references)]
    columns: dict[str, Any] = {"mask": truth} if fov is None else {"mask": truth, "fov": list(fov)}
    honest = composite.score(list(truth if predictions is None else predictions), columns)
    scores = []
    for name, (description, make) in MASK_CHEATS.items():
        table = composite.score([make(mask) for mask in truth], columns)
        both = ~np.isnan(table.total) & ~np.isnan(honest.total)
        means = table.means
        scores.append(
            CheatScore(
                name=name,
                description=description,
                measure="total",
                rows=int(both.sum()),
                mean=float(table.total[both].mean()) if both.any() else math.nan,
                honest=float(honest.total[both].mean()) if both.any() else math.nan,
                components={component: means[component] for component in table.names},
            )
        )
    scores.sort(key=lambda score: math.inf if math.isnan(score.mean) else -score.mean)
    return AuditReport(
        honest=honest.means["total"],
        honest_source="references" if predictions is None else "completions",
        cheats=scores,
    )
