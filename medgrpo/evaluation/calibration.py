"""Whether a model's certainty means something: agreement of its samples against being right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.errors import choice_error
from medgrpo.evaluation.statistics import estimate
from medgrpo.figures import SHARE

BINS = 10
CHANCE_DRAWS = 200
"""Simulated answers behind `ece_by_chance`."""

Binning = Literal["equal_width", "equal_mass"]


def bin_edges(
    confidence: ArrayLike, bins: int = BINS, binning: Binning = "equal_width"
) -> NDArray[np.float64]:
    """Edges of the bins, rising, (bins + 1,); each bin is open on the left and closed on the right.

    Args:
        confidence: (n,) in [0, 1].
        bins: how many at most.
        binning: `equal_width`: k / bins, as Guo et al. 2017, arXiv:1706.04599. `equal_mass`: as many rows in each as
            equal confidences allow (they stay together, so there may be fewer bins), as Nguyen and O'Connor
            2015, arXiv:1508.05154.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins: expected at least one")
    if binning == "equal_width":
        return np.arange(bins + 1) / bins
    if binning != "equal_mass":
        raise choice_error("binning", binning, get_args(Binning))
    certain = np.sort(np.asarray(confidence, dtype=np.float64))
    last = np.ceil(np.arange(1, bins + 1) * len(certain) / bins).astype(np.int64) - 1
    return np.concatenate([[0.0], np.unique(certain[np.maximum(last, 0)])])


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, binning: Binning = "equal_width"
) -> float:
    """ECE: the gap between certainty and accuracy, averaged over bins by their rows.

    Bins are closed on the right, so that 9 of 10 and 10 of 10 do not share one. ECE of few rows is biased upwards:
    with right answers drawn by chance every bin misses its confidence by luck. `ece_by_chance` says by how much.

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,) 0 or 1.
        bins, binning: see `bin_edges`.
    Raises:
        ValueError: nothing to average, a confidence outside [0, 1], or not one judgement for each.

    Source: Guo et al. 2017, arXiv:1706.04599. torchmetrics' bins are closed on the left.
    """
    certain, right = _paired(confidence, correct)
    place = _places(certain, bins, binning)
    return float(_gaps(place, right - certain).sum() / len(certain))


def ece_by_chance(
    confidence: ArrayLike, bins: int = BINS, binning: Binning = "equal_width", *, seed: int = 0
) -> float:
    """The ECE that these confidences would show on average if each were exactly true: its bias from few rows.

    An observed ECE of about this size is no sign of bad calibration. Mean over 200 simulated sets of answers.

    Source: Bröcker and Smith 2007, doi:10.1175/WAF993.1 (consistency resampling); Kumar et al. 2019, arXiv:1909.10155,
    on the bias.
    """
    certain = np.asarray(confidence, dtype=np.float64)
    place = _places(certain, bins, binning)
    rng = np.random.default_rng(seed)
    drawn = [_gaps(place, (rng.random(len(certain)) < certain) - certain).sum() for _ in range(CHANCE_DRAWS)]
    return float(np.mean(drawn) / len(certain))


def _paired(confidence: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    certain, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not certain.size or not ((certain >= 0) & (certain <= 1)).all():
        raise ValueError("confidence must be a non-empty array within [0, 1]")
    if certain.ndim != 1 or certain.shape != right.shape:
        raise ValueError(
            f"confidence has shape {certain.shape}, correct {right.shape}: expected one of each for every row"
        )
    if np.isnan(right).any():
        raise ValueError("correct holds NaN: leave out what was not judged")
    if not ((right >= 0) & (right <= 1)).all():
        raise ValueError("correct must lie within [0, 1]: 1 is right, 0 is wrong")
    return certain, right


def _places(certain: NDArray[np.float64], bins: int, binning: Binning) -> NDArray[np.int64]:
    """The bin of each row."""
    if len(certain) == 0 or not (certain.min() >= 0 and certain.max() <= 1):
        raise ValueError("confidence must be a non-empty array within [0, 1]")
    edges = bin_edges(certain, bins, binning)
    return np.maximum(np.searchsorted(edges, certain, side="left") - 1, 0).astype(np.int64)


def _gaps(place: NDArray[np.int64], difference: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(np.bincount(place, difference))


def brier_score(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean of (confidence - correct)²: 0 is perfect, .25 is what always saying .5 gives.

    Raises:
        ValueError: as `expected_calibration_error`.

    Source: Brier 1950, Monthly Weather Review 78(1).
    """
    certain, right = _paired(confidence, correct)
    return float(np.mean((certain - right) ** 2))


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, binning: Binning = "equal_width"
) -> list[dict[str, Any]]:
    """For each bin that has rows: its limits (above `from`, up to `to`), mean confidence, accuracy and n."""
    certain, right = _paired(confidence, correct)
    place, edges = _places(certain, bins, binning), bin_edges(certain, bins, binning).tolist()
    return [
        {
            "from": edges[index],
            "to": edges[index + 1] if index + 1 < len(edges) else edges[index],
            "confidence": float(certain[place == index].mean()),
            "accuracy": float(right[place == index].mean()),
            "n": int((place == index).sum()),
        }
        for index in np.unique(place).tolist()
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
        `ece`, `ece_equal_mass`, `ece_by_chance`, `brier`, `reliability`, where the confidence is the share of samples
        that give the commonest answer.
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
        document |= _calibration(certain, majorities)
    return document


def stated_calibration(confidences: Sequence[float | None], marks: ArrayLike) -> dict[str, Any]:
    """Whether what a model says of its certainty holds: `ece`, `ece_equal_mass`, `ece_by_chance`, `brier`, `reliability`, `n`.

    Rows without a stated confidence or without a mark are left out.
    """
    values = np.asarray(marks, dtype=np.float64)
    pairs = [
        (share, mark)
        for share, mark in zip(confidences, values.tolist(), strict=True)
        if share is not None and not np.isnan(mark)
    ]
    if not pairs:
        nothing = {"ece": None, "ece_equal_mass": None, "ece_by_chance": None, "brier": None}
        return {**nothing, "reliability": [], "n": 0}
    certain, right = zip(*pairs, strict=True)
    return {**_calibration(certain, right), "n": len(pairs)}


def _calibration(certain: Sequence[float], right: Sequence[float]) -> dict[str, Any]:
    return {
        "ece": expected_calibration_error(certain, right),
        "ece_equal_mass": expected_calibration_error(certain, right, binning="equal_mass"),
        "ece_by_chance": ece_by_chance(certain),
        "brier": brier_score(certain, right),
        "reliability": reliability(certain, right),
    }
