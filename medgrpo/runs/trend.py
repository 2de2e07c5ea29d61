"""How a noisy curve moves: change with its standard error, without numpy, so that `health` starts at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

BLOCKS = 20


@dataclass(frozen=True)
class Trend:
    """A straight line through block means of a curve.

    `change` is the line's rise from the first block to the last, `error` its standard error with `df` degrees of
    freedom: a curve that bends, or whose noise is correlated over less than a block, gets a larger error, not a
    smaller one. `first` and `last` are means over the first and last max(5, 10 %) values.
    """

    first: float
    last: float
    change: float
    error: float
    df: int

    @property
    def t(self) -> float:
        """The change in standard errors; infinite for a noiseless line, 0 for a constant."""
        if self.error > 0:
            return self.change / self.error
        return 0.0 if self.change == 0 else math.copysign(math.inf, self.change)

    @property
    def p(self) -> float:
        """Two-sided p-value of "no trend" (Student t by Wallace's normal approximation, error below .002)."""
        return student_p(self.t, self.df)

    def rises(self, p: float = 0.01) -> bool:
        """Whether the curve goes up beyond its noise."""
        return self.change > 0 and self.p < p

    def falls(self, p: float = 0.01) -> bool:
        """Whether the curve goes down beyond its noise."""
        return self.change < 0 and self.p < p


def student_p(t: float, df: int) -> float:
    """Two-sided p-value of Student's t with `df` degrees of freedom.

    Source: Wallace 1959, doi:10.1214/aoms/1177706259.
    """
    if df < 1:
        return 1.0
    if math.isinf(t):
        return 0.0
    z = (8 * df + 1) / (8 * df + 3) * math.sqrt(df * math.log1p(t * t / df))
    return math.erfc(z / math.sqrt(2))


def trend(values: Sequence[float]) -> Trend:
    """The trend of equally spaced values; with fewer than 5 of them its error is infinite."""
    count = len(values)
    first, last = ends(values)
    if count < 5:
        return Trend(first, last, last - first, math.inf, 0)
    blocks = block_means(values, min(BLOCKS, max(5, count // 3)))
    size = len(blocks)
    middle = (size - 1) / 2
    spread = math.fsum((i - middle) ** 2 for i in range(size))
    mean = fmean(blocks)
    slope = math.fsum((i - middle) * value for i, value in enumerate(blocks)) / spread
    residual = math.fsum((value - mean - slope * (i - middle)) ** 2 for i, value in enumerate(blocks))
    error = math.sqrt(max(residual, 0.0) / (size - 2) / spread)
    reach = size - 1
    if abs(slope) * reach < 1e-12 * max(1.0, abs(mean)):  # rounding of a constant
        slope = error = 0.0
    return Trend(first, last, slope * reach, error * reach, size - 2)


def window(count: int) -> int:
    """How many entries the start and the end of a curve are judged by: max(5, 10 %), at most all."""
    return min(count, max(5, count // 10))


def ends(values: Sequence[float]) -> tuple[float, float]:
    """Means over the first and the last max(5, 10 %) values, of fewer than 10 the halves; NaN for none."""
    if not values:
        return math.nan, math.nan
    size = min(window(len(values)), max(1, len(values) // 2))
    return fmean(values[:size]), fmean(values[-size:])


def block_means(values: Sequence[float], blocks: int) -> list[float]:
    """Means of `blocks` nearly equal runs of consecutive values."""
    count = len(values)
    edges = [round(i * count / blocks) for i in range(blocks + 1)]
    return [fmean(values[a:b]) for a, b in itertools.pairwise(edges) if b > a]


def noise(values: Sequence[float]) -> float:
    """Standard deviation of the step-to-step noise, from neighbouring differences: a slow trend leaves it alone."""
    if len(values) < 3:
        return 0.0
    differences = [b - a for a, b in itertools.pairwise(values)]
    return math.sqrt(fmean([d * d for d in differences]) / 2)


def typical(values: Sequence[float]) -> float:
    """The median; NaN for none."""
    return median(values) if values else math.nan
