"""Whether a model's certainty means something: agreement of its samples against being right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.evaluation.statistics import estimate
from medgrpo.figures import SHARE

BINS = 10


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """ECE: the gap between certainty and accuracy, averaged over equally wide bins by their rows.

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,) 0 or 1.
    Raises:
        ValueError: nothing to average, or a confidence outside [0, 1].

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    certain, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if len(certain) == 0 or certain.min() < 0 or certain.max() > 1:
        raise ValueError("confidence must be a non-empty array within [0, 1]")
    place = np.minimum((certain * bins).astype(np.int64), bins - 1)
    gaps = np.abs(np.bincount(place, right - certain, minlength=bins))
    return float(gaps.sum() / len(certain))


def brier_score(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean of (confidence - correct)²: 0 is perfect, .25 is what always saying .5 gives.

    Source: Brier 1950, Monthly Weather Review 78(1).
    """
    certain, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    return float(np.mean((certain - right) ** 2))


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> list[dict[str, Any]]:
    """For each bin that has rows: its limits, mean confidence, accuracy and n."""
    certain, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    place = np.minimum((certain * bins).astype(np.int64), bins - 1)
    return [
        {
            "from": index / bins,
            "to": (index + 1) / bins,
            "confidence": float(certain[place == index].mean()),
            "accuracy": float(right[place == index].mean()),
            "n": int((place == index).sum()),
        }
        for index in range(bins)
        if (place == index).any()
    ]


def sample_metrics(
    answers: Sequence[Sequence[str]],
    scores: Sequence[ArrayLike],
    clusters: Sequence[Hashable],
) -> dict[str, Any]:
    """Accuracy over k samples a question, and the calibration of their agreement.

    Args:
        answers: for each question the answer of each of its samples; equal texts agree (compare in lower
            case without outer blanks and full stops).
        scores: for each question the 0/1 score of each sample; questions with a NaN are left out.
        clusters: the image of each question.
    Returns:
        `k` (least and most samples), `mean` (of samples), `majority` (the commonest answer that is not
        empty, the earlier one in a tie), `best` (any sample right: an upper bound, not an accuracy), each with interval; and
        `ece`, `brier`, `reliability`, where the confidence is the share of samples that give the
        commonest answer.
    """
    means, majorities, bests, certain, kept = [], [], [], [], []
    for texts, marks, cluster in zip(answers, scores, clusters, strict=True):
        values: NDArray[np.float64] = np.asarray(marks, dtype=np.float64)
        if len(values) == 0 or np.isnan(values).any():
            continue
        folded = [text.strip().rstrip(".。").casefold() for text in texts]
        counts = Counter(text for text in folded if text)
        commonest, count = counts.most_common(1)[0] if counts else ("", 0)
        means.append(float(values.mean()))
        majorities.append(float(values[folded.index(commonest)]))
        bests.append(float(values.max()))
        certain.append(count / len(folded))
        kept.append((cluster, len(folded)))
    owners = [cluster for cluster, _ in kept]
    document: dict[str, Any] = {
        "mean": estimate(means, owners, bounds=SHARE).as_dict(),
        "majority": estimate(majorities, owners, bounds=SHARE).as_dict(),
        "best": estimate(bests, owners, bounds=SHARE).as_dict(),
    }
    if kept:
        sizes = [size for _, size in kept]
        document["k"] = [min(sizes), max(sizes)]
        document["ece"] = expected_calibration_error(certain, majorities)
        document["brier"] = brier_score(certain, majorities)
        document["reliability"] = reliability(certain, majorities)
    return document


def stated_calibration(confidences: Sequence[float | None], marks: ArrayLike) -> dict[str, Any]:
    """Whether what a model says of its certainty holds: `ece`, `brier`, `reliability`, `n`.

    Rows without a stated confidence or without a mark are left out.
    """
    values = np.asarray(marks, dtype=np.float64)
    pairs = [
        (share, mark)
        for share, mark in zip(confidences, values.tolist(), strict=True)
        if share is not None and not np.isnan(mark)
    ]
    if not pairs:
        return {"ece": None, "brier": None, "reliability": [], "n": 0}
    certain, right = zip(*pairs, strict=True)
    return {
        "ece": expected_calibration_error(certain, right),
        "brier": brier_score(certain, right),
        "reliability": reliability(certain, right),
        "n": len(pairs),
    }
