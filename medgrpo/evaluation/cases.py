"""Which rows are worth looking at: the worst, the most uncertain, the nearly right."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from medgrpo.evaluation.evaluate import Evaluation

CASES = 24
"""Cases of each list."""


def worst_cases(result: Evaluation, count: int = CASES) -> list[int]:
    """Wrong answers, the least like the reference first; no image twice while others are left."""
    marks, graded = result.scored.scores["answer_match"], result.scored.scores["token_f1"]
    return _varied(result, np.flatnonzero(marks == 0.0), np.nan_to_num(graded), count)


def worst_masks(result: Evaluation, count: int = CASES) -> list[int]:
    """Rows with a reference mask, the least Dice first; none where masks were not measured."""
    if result.masks is None:
        return []
    dice = result.scored.scores["dice"]
    return _varied(result, np.flatnonzero(~np.isnan(dice)), np.nan_to_num(dice), count)


def nearly_right(result: Evaluation, count: int = CASES) -> list[int]:
    """Refused answers that share at least half of their words with the reference, the most alike first."""
    marks, graded = result.scored.scores["answer_match"], np.nan_to_num(result.scored.scores["token_f1"])
    return _varied(result, np.flatnonzero((marks == 0.0) & (graded >= 0.5)), -graded, count)


def uncertain_cases(result: Evaluation, count: int = CASES) -> list[int]:
    """Questions whose samples agree least; nothing without samples, or where all agree."""
    if not result.sample_answers:
        return []
    agreement = np.array(
        [max(Counter(texts).values()) / len(texts) if texts else math.nan for texts in result.sample_answers]
    )
    return _varied(result, np.flatnonzero(agreement < 1.0), agreement, count)


def _varied(result: Evaluation, candidates: Any, order: Any, count: int) -> list[int]:
    ranked = sorted(candidates.tolist(), key=lambda index: (order[index], index))
    seen: set[Any] = set()
    first: list[int] = []
    again: list[int] = []
    for index in ranked:
        cluster = result.scored.clusters[index]
        (again if cluster in seen else first).append(index)
        seen.add(cluster)
    return (first + again)[:count]
