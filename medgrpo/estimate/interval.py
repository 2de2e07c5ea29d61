"""How far an estimate may be off: what the rows of `measured.csv` that nothing was fitted to were off by."""

from __future__ import annotations

from dataclasses import dataclass

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
