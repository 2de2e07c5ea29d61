"""How far an estimate may be off: what the rows of `measured.csv` that nothing was fitted to were off by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import median

from medgrpo.estimate.history import Calibration
from medgrpo.estimate.workload import Workload

MEASURED_CARDS = frozenset({"H200"})
"""Cards that medgrpo's own runs were measured on."""
PUBLISHED_CARDS = frozenset({"A100", "A100-40GB", "H100", "L20", "RTX4090", "A6000"})
"""Cards with published figures of other trainers in the table."""


@dataclass(frozen=True)
class Spread:
    """Actual over estimated seconds, lowest and highest, that hold four of five of the table's rows, and why these."""

    factors: tuple[float, float]
    reason: str


OWN = Spread((0.70, 1.45), "medgrpo was measured on this card")
PUBLISHED = Spread(
    (0.62, 1.75), "other trainers' published figures on this card; medgrpo itself was not measured on it"
)
UNMEASURED = Spread((0.45, 2.2), "nothing was measured on this card: by its data sheet")
GUESSED = Spread((0.33, 3.0), "this card is not in the table: its speed is a guess")
PROCESSOR = Spread((0.33, 3.0), "processors differ widely: --probe measures this one")
PROBED = (0.85, 1.2)
"""Of a run beside a probe whose steps agree: what one machine differs by from one run to the next."""
FOUR_OF_FIVE = 1.28
"""Standard errors to either side."""
ONE_STEP_APART = 0.15
"""Standard deviation of the logarithm of a step's seconds, where a single one was measured."""
CALIBRATED = (0.8, 1.3)


def spread_of(work: Workload, calibration: Calibration) -> Spread:
    """The range that belongs to a workload."""
    if calibration.runs:
        return Spread(CALIBRATED, f"corrected by {calibration.runs} earlier run(s) on this machine")
    if work.gpu.is_cpu:
        return PROCESSOR
    if not work.gpu.is_known or work.gpu.maker == "huawei":
        return GUESSED
    if work.gpu.name in MEASURED_CARDS:
        return OWN
    return PUBLISHED if work.gpu.name in PUBLISHED_CARDS else UNMEASURED


def probed_range(ratios: Sequence[float]) -> tuple[float, float]:
    """Factors of the seconds that a probe gives, lowest and highest, wider where its steps differ.

    Args:
        ratios: of each step that counts, seconds measured over those that the corrected estimate says of its rows.
    """
    apart = ONE_STEP_APART
    if len(ratios) > 1:  # by absolute deviations: one step that something disturbed says little of the others
        middle = median(map(log, ratios))
        apart = 1.25 * sum(abs(log(one) - middle) for one in ratios) / (len(ratios) - 1)
    of_median = FOUR_OF_FIVE * 1.25 * apart / sqrt(max(1, len(ratios)))  # 1.25 times that of a mean
    below, above = (sqrt(log(end) ** 2 + of_median**2) for end in PROBED)
    return exp(-below), exp(above)
