"""Intervals and tests for scores that come in clusters: several questions about one image.

Answers about one image rise and fall together, so questions do not count as independent: every
interval here is built from sums per image. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.evaluation.quantiles import t_quantile
from medgrpo.figures import SHARE, Bounds

Floats = NDArray[np.float64]

MIN_CLUSTERS = 20
"""Below so many images the intervals are not calibrated; results then say `too few images`."""

RESAMPLES = 2000
"""Bootstrap resamples; the Monte-Carlo error of a 2.5 % limit is then about a sixth of its spread."""

_MIN_DESIGN_EFFECT = 0.5
_FAMILIAR = (1e-3, 1e100)
"""Sizes of scores that are worked with as they are."""
_MAX_EXACT_SUM = 200_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, clustered by image; all None where there was nothing to average.

    The interval alone is None where nothing is known of it: an infinite score, or one image of a score whose
    range is not known.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Rows averaged."""
    clusters: int = 0
    """Images they come from."""

    @property
    def note(self) -> str | None:
        """What limits the interval, or None."""
        if 0 < self.clusters < MIN_CLUSTERS:
            return f"too few images ({self.clusters})"
        return None

    def as_dict(self) -> dict[str, Any]:
        """`value`, `low`, `high`, `n`, and `note` where there is one."""
        document: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        if self.note:
            document["note"] = self.note
        return document


EMPTY = Estimate(None, None, None, 0)


@dataclass(frozen=True)
class ClusterSums:
    """Scores summed per cluster: `sums` and `sizes`, float64 (clusters,)."""

    sums: Floats
    sizes: Floats

    @property
    def rows(self) -> int:
        """Rows over all clusters."""
        return int(self.sizes.sum())

    @property
    def mean(self) -> float:
        """Mean over rows."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def variance_of_mean(self) -> float:
        """Cluster-robust (linearised) variance of the mean; 0 for one cluster."""
        count = len(self.sums)
        if count < 2:
            return 0.0
        residuals = self.sums - self.mean * self.sizes
        return float(count / (count - 1) * (residuals**2).sum() / self.sizes.sum() ** 2)


def cluster_sums(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> ClusterSums:
    """Sums and sizes per cluster; rows whose value is NaN are left out.

    Args:
        values: float, (n,).
        clusters: a label for each row (the image id); None makes each row its own cluster.
    Raises:
        ValueError: the lengths differ.
    """
    scores = np.asarray(values, dtype=np.float64)
    judged = ~np.isnan(scores)
    if clusters is None:
        return ClusterSums(scores[judged], np.ones(int(judged.sum())))
    if len(clusters) != len(scores):
        raise ValueError(f"{len(scores)} values but {len(clusters)} cluster labels")
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(label, len(index)) for label in clusters], dtype=np.int64)[judged]
    sums: Floats = np.bincount(codes, weights=scores[judged], minlength=len(index)).astype(np.float64)
    sizes: Floats = np.bincount(codes, minlength=len(index)).astype(np.float64)
    return ClusterSums(sums[sizes > 0], sizes[sizes > 0])


def _wilson(mean: float, effective_n: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    centre = (mean + square / (2 * effective_n)) / (1 + square / effective_n)
    spread = mean * (1 - mean) / effective_n + square / (4 * effective_n**2)
    half = quantile * math.sqrt(spread) / (1 + square / effective_n)
    low = 0.0 if mean == 0 else max(0.0, float(centre - half))  # exactly, not but for rounding
    high = 1.0 if mean == 1 else min(1.0, float(centre + half))
    return low, high


def design_effect(groups: ClusterSums) -> float:
    """How many times more variance the mean of 0/1 scores has than with independent rows.

    1 where each image has one row: the mean then says all of the variance. Else the observed value, drawn towards halfway between independence and the worst case (all rows of an image
    agree) with weight (1 + E)^-3, where E counts the images that hold the rarer outcome: from few such
    images the correlation within an image cannot be seen.
    """
    return _blended_effect(groups, halfway=True)


def careful_effect(groups: ClusterSums) -> float:
    """The design effect where images that fail as a whole may exist and were not met.

    With p = .95 and 60 images, half of them all right or all wrong, one test set in five holds no image that is all
    wrong: it looks like independent rows with too few errors. So the observed value is drawn towards the size of an
    image with weight 1.25 / (1.25 + E), as if one image and a quarter more had failed as a whole; never below
    `design_effect`. It moves the limit that lies on the side of more failures, and no other: rows that are in truth
    independent then miss less often on that side, and as often as they should on the other.
    """
    return max(design_effect(groups), _blended_effect(groups, halfway=False))


UNSEEN = 1.25
"""Images that failed as a whole and were not met, as `careful_effect` allows for; chosen by the simulations of
benchmarks/interval_coverage.py."""


def _blended_effect(groups: ClusterSums, *, halfway: bool) -> float:
    worst = _worst_effect(groups)
    if worst == 1:
        return 1.0
    # What an image of the usual size adds when all of it fails at once is that size.
    target = 1 + (worst - 1) / 2 if halfway else groups.rows / len(groups.sums)
    naive = groups.mean * (1 - groups.mean) / groups.sizes.sum()
    if naive <= 0 or len(groups.sums) < 2:
        return target
    rarer = min(int((groups.sums > 0).sum()), int((groups.sums < groups.sizes).sum()))
    weight = (1.0 + rarer) ** -3 if halfway else UNSEEN / (UNSEEN + rarer)
    blended = (1 - weight) * groups.variance_of_mean / naive + weight * target
    return float(max(_MIN_DESIGN_EFFECT, blended))


def _worst_effect(groups: ClusterSums) -> float:
    """The design effect if all rows of an image agreed; 1 where each image has one row."""
    return float((groups.sizes**2).sum() / groups.sizes.sum())


def degrees_of_freedom(groups: ClusterSums, effect: float) -> int:
    """Degrees of freedom of the variance behind a design effect, at least 1.

    Satterthwaite's for images of unequal sizes: few large images say less about the variance than as many
    equal ones. More (up to twice) where images have one row or two: the variance of 0/1 scores is then
    known from the mean itself for the most part.

    Source: Satterthwaite 1946, doi:10.2307/3002019; Carter, Schnepel and Steigerwald 2017,
    doi:10.1162/REST_a_00639, for unequal clusters.
    """
    worst = _worst_effect(groups)
    correlation = min(1.0, max(0.0, (effect - 1) / (worst - 1))) if worst > 1 else 0.0
    variances = groups.sizes * (1 + (groups.sizes - 1) * correlation)
    effective = float(variances.sum() ** 2 / (variances**2).sum())
    return max(1, int((effective - 1) / max(0.5, 1 - 1 / worst) + 1e-9))


def proportion_interval(groups: ClusterSums, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of 0/1 scores; within [0, 1] and never of zero width.

    Wilson's interval with n divided by a design effect and a t quantile; the limit on the side of the rarer
    outcome takes `careful_effect`, the other `design_effect`.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; Korn and Graubard 1998, Survey
    Methodology 24(2), for the effective n. The shrinkage of the design effects is ours; the coverage, also of
    images that are unequally alike, is in docs/evaluation.md.
    """
    near, far = (
        _wilson_with(groups, effect, confidence) for effect in (design_effect(groups), careful_effect(groups))
    )
    if groups.mean >= 0.5:
        return min(near[0], far[0]), near[1]
    return near[0], max(near[1], far[1])


def _wilson_with(groups: ClusterSums, effect: float, confidence: float) -> tuple[float, float]:
    quantile = t_quantile(0.5 + confidence / 2, degrees_of_freedom(groups, effect))
    return _wilson(groups.mean, groups.rows / effect, quantile)


def mean_interval(
    groups: ClusterSums,
    confidence: float = 0.95,
    *,
    bounds: Bounds | None = SHARE,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of any scores, by the studentised (bootstrap-t) cluster bootstrap.

    Args:
        groups: sums per cluster.
        confidence: coverage aimed at.
        bounds: the range of a score, to cut the interval; an end may be infinite; None: no range is known.
        seed: of the resampling; the same data give the same interval.
    Returns:
        (low, high). Where the clusters do not vary, Wilson's interval with one row per cluster if
        the scores are bounded on both sides, so that the width is not zero.
    Raises:
        ValueError: the mean of a cluster lies outside of the bounds.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 and 5.2.
    """
    size = float(np.abs(groups.sums / groups.sizes).max())
    if bounds is None and size > 0 and not _FAMILIAR[0] <= size <= _FAMILIAR[1]:
        # Their squares could leave the range of floats, and their spread look like rounding.
        unit = 2.0 ** math.frexp(size)[1]
        low, high = mean_interval(
            ClusterSums(groups.sums / unit, groups.sizes), confidence, bounds=None, seed=seed
        )
        return low * unit, high * unit
    count, mean = len(groups.sums), groups.mean
    error = groups.variance_of_mean**0.5
    quantile = t_quantile(0.5 + confidence / 2, max(1, count - 1))
    least, most = bounds or (-math.inf, math.inf)
    outside = (groups.sums < least * groups.sizes - 1e-9) | (groups.sums > most * groups.sizes + 1e-9)
    if outside.any():
        raise ValueError(f"a score lies outside of {least:g} to {most:g}")
    if error <= 1e-12 or count < 3:
        width = most - least
        if math.isinf(width):
            return max(least, mean - quantile * error), min(most, mean + quantile * error)
        low, high = _wilson(min(1.0, max(0.0, (mean - least) / width)), count, quantile)
        return least + low * width, least + high * width
    statistics = _studentised(groups, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    below, above = np.quantile(statistics, [tail, 1 - tail])
    # Never tighter than half the t interval: few distinct clusters can collapse one tail.
    low = mean - max(float(above), 0.5 * quantile) * error
    high = mean - min(float(below), -0.5 * quantile) * error
    return max(least, low), min(most, high)


def _studentised(groups: ClusterSums, rng: np.random.Generator) -> Floats:
    """(resampled mean - mean) / its own standard error, for each resample that varies."""
    count = len(groups.sums)
    moments = np.stack(
        [groups.sums, groups.sizes, groups.sums**2, groups.sums * groups.sizes, groups.sizes**2], axis=1
    )
    totals = np.empty((RESAMPLES, 5))
    chunk = max(1, 4_000_000 // count)
    for start in range(0, RESAMPLES, chunk):
        stop = min(RESAMPLES, start + chunk)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=stop - start)
        totals[start:stop] = weights @ moments
    sums, sizes, squares, products, size_squares = totals.T
    means = sums / sizes
    variance = squares - 2 * means * products + means**2 * size_squares
    errors = np.sqrt(np.maximum(variance, 0) * count / (count - 1)) / sizes
    varied = errors > 1e-12
    return np.asarray((means - groups.mean)[varied] / errors[varied], dtype=np.float64)


def is_binary(values: Floats) -> bool:
    """Whether every judged value is 0 or 1."""
    judged = values[~np.isnan(values)]
    return bool(np.isin(judged, (0.0, 1.0)).all())


def held_bounds(values: Floats, bounds: Bounds | None) -> Bounds | None:
    """The bounds, if the values keep to them; 0 to 1 for values without known bounds that are all 0 or 1."""
    judged = values[~np.isnan(values)]
    if bounds is None:
        return SHARE if is_binary(values) else None
    if judged.min(initial=bounds[0]) < bounds[0] or judged.max(initial=bounds[1]) > bounds[1]:
        return None  # whatever they are, the range was not theirs
    return bounds


def estimate(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    seed: int = 0,
) -> Estimate:
    """The mean with its interval: Wilson's for 0/1 scores, the bootstrap's for others.

    Args:
        values: float, (n,); NaN = not judged, left out.
        clusters: the image of each row; None = rows are independent.
        bounds: the range of a score (`medgrpo.figures` knows it), which the interval keeps to; None: not
            known. Bounds that a value breaks are not used, and values that are all 0 or 1 are shares.
        confidence, seed: as in `mean_interval`.
    """
    scores = np.asarray(values, dtype=np.float64)
    groups = cluster_sums(scores, clusters)
    if len(groups.sums) == 0:
        return EMPTY
    low, high = _interval(groups, scores, confidence, held_bounds(scores, bounds), seed)
    return Estimate(groups.mean, low, high, groups.rows, len(groups.sums))


def _interval(
    groups: ClusterSums, scores: Floats, confidence: float, bounds: Bounds | None, seed: int
) -> tuple[float, float] | tuple[None, None]:
    _check_confidence(confidence)
    if bounds == SHARE and is_binary(scores):
        return proportion_interval(groups, confidence)
    if _says_nothing(groups, bounds):
        return None, None
    return mean_interval(groups, confidence, bounds=bounds, seed=seed)


def _says_nothing(groups: ClusterSums, bounds: Bounds | None) -> bool:
    """Whether no interval follows: a score is infinite, or one image is all there is and no range is known."""
    is_bounded = bounds is not None and np.isfinite(bounds).all()
    return not np.isfinite(groups.sums).all() or (len(groups.sums) == 1 and not is_bounded)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: expected a share between 0 and 1, such as 0.95")


@dataclass(frozen=True)
class PairedDifference:
    """How much the second of two models is better on the same rows."""

    difference: float | None
    """Mean of second - first."""
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided; None without rows or with infinite scores."""
    n: int
    clusters: int

    @property
    def note(self) -> str | None:
        """What limits the result, or None."""
        return f"too few images ({self.clusters})" if 0 < self.clusters < MIN_CLUSTERS else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        document: dict[str, Any] = {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p_value": self.p_value,
            "n": self.n,
        }
        if self.note:
            document["note"] = self.note
        return document


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    seed: int = 0,
) -> PairedDifference:
    """Mean of second - first over rows that both judge, its interval, and a sign-flip test.

    Nothing of it is defined where a score is infinite.

    Args:
        first, second: float, (n,), the scores of two models on the same rows; NaN = not judged.
        clusters: the image of each row; None = rows are independent.
        bounds: the range of one score, as in `estimate`; a difference reaches its width at most.
    Raises:
        ValueError: the lengths differ.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} scores of the first model but {len(after)} of the second")
    _check_confidence(confidence)
    if np.isinf(before).any() or np.isinf(after).any():
        return PairedDifference(None, None, None, None, 0, 0)
    groups = cluster_sums(after - before, clusters)
    if len(groups.sums) == 0:
        return PairedDifference(None, None, None, None, 0, 0)
    low, high = _difference_interval(groups, _reach(np.stack([before, after]), bounds), confidence, seed)
    p_value = sign_flip_p_value(groups.sums, seed=seed)
    return PairedDifference(groups.mean, low, high, p_value, groups.rows, len(groups.sums))


def _reach(scores: Floats, bounds: Bounds | None) -> tuple[float, float]:
    """How far one difference can go, and how far it went in what was seen: the first may be infinite."""
    judged = scores[:, ~np.isnan(scores).any(axis=0)]
    kept_to = held_bounds(judged, bounds)
    most = math.inf if kept_to is None else kept_to[1] - kept_to[0]
    return most, most if math.isfinite(most) else float(judged.max() - judged.min())


def _difference_interval(
    groups: ClusterSums, reach: tuple[float, float], confidence: float, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """The bootstrap-t interval; where no pair differs, what as many equal pairs still allow."""
    most, seen = reach
    if np.any(groups.sums != 0):
        bounds = (-most, most) if math.isfinite(most) else None
        if _says_nothing(groups, bounds):
            return None, None
        return mean_interval(groups, confidence, bounds=bounds, seed=seed)
    quantile = t_quantile(0.5 + confidence / 2, max(1, len(groups.sums) - 1))
    share = _wilson(0.0, len(groups.sums), quantile)[1]
    return -share * seen, share * seen


def sign_flip_p_value(differences: ArrayLike, *, seed: int = 0, flips: int = 20_000) -> float:
    """Two-sided mid-p of the sum of `differences` when each could as well have the other sign.

    Args:
        differences: float, (clusters,): the sum of second - first in each cluster.
        seed, flips: of the random flips that are drawn where the distribution is not computed in full.
    Returns:
        P(|S| > |observed|) + P(|S| = |observed|) / 2, in (0, 1]; exact where the differences are whole
        numbers (0/1 scores) or at most 16 of them are not zero.

    Source: Fisher's randomisation test; mid-p after Lancaster 1961, doi:10.1080/01621459.1961.10482105.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if len(values) == 0:
        return 1.0
    if np.allclose(values, np.round(values), rtol=0, atol=1e-9):
        whole = np.abs(np.round(values)).astype(np.int64)
        if whole.sum() * len(whole) <= _MAX_EXACT_SUM * 100:
            return _exact_whole(whole, int(abs(np.round(values.sum()))))
    observed = abs(values.sum())
    if len(values) <= 16:
        signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return _mid_p(np.abs(signs @ values), observed)
    rng = np.random.default_rng(seed)
    sums = np.empty(flips)
    chunk = max(1, 4_000_000 // len(values))
    for start in range(0, flips, chunk):
        stop = min(flips, start + chunk)
        drawn = rng.integers(0, 2, size=(stop - start, len(values)), dtype=np.int8) * 2.0 - 1.0
        sums[start:stop] = np.abs(drawn @ values)
    return _mid_p(np.append(sums, observed), observed)


def _mid_p(sums: Floats, observed: float) -> float:
    slack = 1e-9 * max(1.0, observed)
    return float(np.mean(sums > observed + slack) + 0.5 * np.mean(np.abs(sums - observed) <= slack))


def _exact_whole(sizes: NDArray[np.int64], observed: int) -> float:
    """Mid-p from the full distribution of ±sizes summed, by convolution."""
    total = int(sizes.sum())
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in sizes:
        chances = 0.5 * (np.roll(chances, size) + np.roll(chances, -size))
    sums = np.abs(np.arange(-total, total + 1))
    return float(min(1.0, chances[sums > observed].sum() + 0.5 * chances[sums == observed].sum()))
