"""Mean average precision over a dataset, with an interval over its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medgrpo.evaluation.quantiles import t_quantile
from medgrpo.evaluation.score import BOX_COLUMNS, Scored
from medgrpo.evaluation.statistics import MIN_CLUSTERS

if TYPE_CHECKING:
    from medgrpo.rewards.box_precision import BoxMatches

BLOCKS = 40
"""Blocks of images that the jackknife leaves out in turn; one image each where there are fewer."""


def detection_metrics(scored: Scored, blind: Scored | None = None, *, seed: int = 0) -> dict[str, Any] | None:
    """`map` (COCO, IoU .50 to .95), `map_50` and `map_75`, each with value, low, high, n; None without boxes.

    `blind`, the same rows with the typical box everywhere, gives each its `blind_baseline`.

    mAP is no mean over rows, so its interval is a block jackknife over images with a t quantile.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.
    """
    judged = [index for index, row in enumerate(scored.rows) if row.get("boxes")]
    if not judged:
        return None
    owners = [scored.clusters[index] for index in judged]
    images = list(dict.fromkeys(owners))
    matches = _matches(scored, judged)
    whole = matches.means()
    order = np.random.default_rng(seed).permutation(len(images))
    block_of = {images[place]: number % BLOCKS for number, place in enumerate(order.tolist())}
    blocks = np.array([block_of[owner] for owner in owners], dtype=np.int64)
    # Which detection finds which reference does not depend on other images: matched once, read without each block.
    left_out = [matches.means(kept=blocks != block) for block in np.unique(blocks)]
    found = {
        name: _with_interval(whole[name], [one[name] for one in left_out], len(judged), len(images))
        for name in whole
    }
    if blind is not None:
        for name, value in _matches(blind, judged).means().items():
            found[name]["blind_baseline"] = None if math.isnan(value) else value
    return found


def label_table(scored: Scored) -> list[dict[str, Any]]:
    """mAP of each label: `label`, `references`, `map`, `map_50`, `map_75`, `mar`; [] without boxes."""
    judged = [index for index, row in enumerate(scored.rows) if row.get("boxes")]
    if not judged:
        return []
    rows = _matches(scored, judged).per_label()
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _matches(scored: Scored, indices: Sequence[int]) -> BoxMatches:
    from medgrpo.rewards.box_precision import BoxMatches

    rows = [scored.rows[index] for index in indices]
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in BOX_COLUMNS}
    completions = [scored.completions[index] for index in indices]
    return BoxMatches.of_completions(completions, **columns, areas=("all",), max_detections=(100,))


def _with_interval(value: float, left_out: Sequence[float], rows: int, images: int) -> dict[str, Any]:
    if math.isnan(value):
        return {"value": None, "low": None, "high": None, "n": 0}
    parts = np.array(left_out, dtype=np.float64)
    parts = parts[~np.isnan(parts)]
    count = len(parts)
    low, high = 0.0, 1.0
    if count > 1:
        error = math.sqrt((count - 1) / count * float(((parts - parts.mean()) ** 2).sum()))
        reach = t_quantile(0.975, count - 1) * error
        if reach > 0:
            low, high = max(0.0, value - reach), min(1.0, value + reach)
        else:  # every block agrees (all found, or none): what as many agreeing images still allow
            square = t_quantile(0.975, count - 1) ** 2
            width = square / (images + square)
            low, high = max(0.0, value - width), min(1.0, value + width)
    document: dict[str, Any] = {"value": value, "low": low, "high": high, "n": rows}
    if images < MIN_CLUSTERS:
        document["note"] = f"too few images ({images})"
    return document
