"""Masks of whole splits: logits, the threshold that suits a metric, and the measures at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.figures import LESS, direction
from medgrpo.rewards.masks import MaskReward, Reference, measure
from medgrpo.segmentation.patches import stitched

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.credit import Truth
    from medgrpo.segmentation.examples import Examples
    from medgrpo.segmentation.segmenters import Segmenter

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Logits = NDArray[np.float32]

MEASURED = {
    "dice": "dice",
    "mask_recall": "recall",
    "mask_precision": "precision",
    "cldice": "cldice",
    "betti0_error": "betti0_error",
    "betti1_error": "betti1_error",
    "hausdorff95": "hausdorff95",
}
"""Name in `medgrpo eval` -> measure of the reward core."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))
"""Probabilities that are tried: .10 to .90."""
OF_REWARDS = ("dice", "recall", "precision", "cldice", "betti_agreement", "length_agreement", "area_ratio")


@dataclass(frozen=True)
class MaskMeasures:
    """Values of every row."""

    values: dict[str, Floats]
    """(rows,) under `reward`, the reward's name and the names of `MEASURED`."""


def predicted_logits(
    segmenter: Segmenter,
    model: Any,
    examples: Examples,
    patch: int | None = None,
    *,
    numbers: Iterable[int] | None = None,
) -> list[Logits]:
    """Logits of each whole picture, (height, width); stitched from patches where those are larger than a patch."""
    import torch

    from medgrpo.segmentation.examples import Example

    found = []
    with torch.no_grad():
        for number in range(len(examples)) if numbers is None else numbers:
            example = examples.whole(number)
            if patch is None or max(example.size) <= patch:
                logits = segmenter.logits(model, [example])[0].float().cpu()
            else:
                logits = stitched(
                    example.picture,
                    patch,
                    lambda piece: segmenter.logits(model, [Example("", np.ascontiguousarray(piece), None)])[
                        0
                    ],
                )
            segmenter.text_log_prob()
            found.append(logits.numpy())
    return found


def cut_at(logits: Logits, threshold: float) -> Mask:
    """Where the probability is above a threshold."""
    return logits > np.float32(np.log(threshold / (1 - threshold)))


def measure_rows(
    logits: Sequence[Logits], examples: Examples, threshold: float, composite: CompositeReward | None
) -> MaskMeasures:
    """Every measure of every row at one threshold, inside the field of view."""
    rows = []
    for number, one in enumerate(logits):
        truth = examples.whole(number).truth
        assert truth is not None
        mask, fov = cut_at(one, threshold), truth.fov
        found = measure([mask], [truth.mask], MEASURED.values(), fov=None if fov is None else [fov])
        row = {name: float(found[of][0]) for name, of in MEASURED.items()}
        if composite is not None:
            columns: dict[str, Any] = {"mask": [truth.mask]} | ({} if fov is None else {"fov": [fov]})
            with composite.unchanged():
                table = composite.score([mask], columns)
            row = {"reward": float(table.total[0]), **row}
            row |= {name: float(table.column(name)[0]) for name in table.names}
        rows.append(row)
    return MaskMeasures({name: np.array([row[name] for row in rows]) for name in rows[0]})


def best_threshold(
    logits: Sequence[Logits], examples: Examples, composite: CompositeReward, metric: str
) -> float:
    """The threshold of `THRESHOLDS` with the best mean of a metric; the middle one of equals.

    Only measures that the metric needs are taken: `reward` of one mask reward, or a measure of `MEASURED`.
    """
    scored = np.zeros(len(THRESHOLDS))
    for number, one in enumerate(logits):
        truth = examples.whole(number).truth
        assert truth is not None
        tried = np.stack([cut_at(one, threshold) for threshold in THRESHOLDS])
        scored += _values(tried, truth, composite, metric) / len(logits)
    scored[np.isnan(scored)] = -np.inf
    winners = [
        threshold
        for threshold, value in zip(THRESHOLDS, scored, strict=True)
        if value >= scored.max() - 1e-12
    ]
    return winners[len(winners) // 2]


def _values(tried: Mask, truth: Truth, composite: CompositeReward, metric: str) -> Floats:
    """A metric of several masks of one picture, the more the better; its reference is thinned once."""
    fov = None if truth.fov is None else truth.fov[None]
    reference = Reference(truth.mask[None], fov=fov)
    if metric in MEASURED:
        values = measure(tried, reference, [MEASURED[metric]])[MEASURED[metric]]
        return -values if direction(metric) == LESS else values
    name = composite.names[0] if metric == "reward" and len(composite.names) == 1 else metric
    reward = composite.functions[composite.names.index(name)] if name in composite.names else None
    if isinstance(reward, MaskReward) and (metric != "reward" or composite.gate is None):
        return np.array(reward(list(tried), mask=reference), dtype=np.float64)
    columns: dict[str, Any] = {"mask": [truth.mask] * len(tried)}
    if truth.fov is not None:
        columns["fov"] = [truth.fov] * len(tried)
    with composite.unchanged():
        return composite.score(list(tried), columns).total
