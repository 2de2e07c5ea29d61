"""The best cheating score of a prepared dataset: what its rewards would pay for answers that deserve nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medgrpo.data.binary_masks import binary
from medgrpo.errors import UsageError
from medgrpo.pictures import opened_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.rewards.audit import AuditReport
    from medgrpo.rewards.composite import CompositeReward

TASK_WEIGHTS = {
    "vqa": "balanced",
    "text": "text",
    "detection": "detection",
    "vessels": "multi_objective_guarded",
}
"""Task → the weights that it is usually trained with."""
AUDITED_ROWS = 1000
"""So many rows of a split say enough of a text reward."""
AUDITED_MASKS = 20
"""Masks are large; so many say enough."""


def audit_dataset(
    dataset: PreparedDataset, composite: CompositeReward, *, split: str = "train", limit: int | None = None
) -> AuditReport:
    """Cheats beside the references themselves, on the first rows of a split.

    Args:
        dataset: of questions, detection, or masks.
        composite: what it will be rewarded by.
        split: audited; another one that has rows where it is empty.
        limit: rows; None: 1000, or 20 masks.
    Raises:
        UsageError: no row has a reference.
    """
    from medgrpo.rewards.audit import audit
    from medgrpo.rewards.mask_cheats import audit_masks

    if not dataset.count(split) and dataset.splits:
        split = dataset.splits[0]
    rows = list(dataset.rows(split, limit or AUDITED_ROWS))
    if not any(row.get("mask") for row in rows):
        return audit(rows, composite)
    with_masks = [row for row in rows if row.get("mask")][: limit or AUDITED_MASKS]
    truth = [_mask(dataset, str(row["mask"])) for row in with_masks]
    views = [_mask(dataset, str(row["fov"])) for row in with_masks if row.get("fov")]
    return audit_masks(truth, composite, fov=views if len(views) == len(truth) else None)


def audit_by_task(dataset: PreparedDataset) -> dict[str, Any] | None:
    """The audit with the rewards that the dataset's task is usually trained with, for `dataset.json`; None where
    no row has a reference, as in pictures without answers."""
    from medgrpo.data.prompts import recorded_template
    from medgrpo.rewards.composite import CompositeReward

    weights = weights_for(dataset)
    settings = recorded_template(dataset.info.get("prompt_template")).reward_settings
    try:
        report = audit_dataset(dataset, CompositeReward(weights, settings=settings))
    except UsageError:
        return None
    return {"weights": weights, **report.to_dict()}


def weights_for(dataset: PreparedDataset) -> str:
    """The set of weights that the dataset's task is usually trained with."""
    return TASK_WEIGHTS.get(str(dataset.info.get("task")), "balanced")


def _mask(dataset: PreparedDataset, relative: str) -> NDArray[Any]:
    import numpy as np

    with opened_picture(dataset.image_path(relative)) as picture:
        mask: NDArray[Any] = np.asarray(binary(picture)) != 0
    return mask
