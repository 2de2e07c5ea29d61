"""What is left of the accuracy where the picture cannot help: does the model look at the image at all?"""

from __future__ import annotations

from typing import Any

import numpy as np

from medgrpo.evaluation.score import Scored
from medgrpo.evaluation.statistics import estimate, paired_difference
from medgrpo.figures import SHARE

KEPT_TOO_MUCH = 0.8
"""Above this share of the accuracy kept without the picture, a warning is due."""


def compare_with_real(real: Scored, other: Scored) -> dict[str, Any]:
    """How much of the accuracy is left without the right picture.

    Returns:
        `answer_match` (value, interval), `difference` (real - counterfactual, paired, with interval and p),
        `kept` (share of the accuracy that stays), `changed` (share of answers that are worded otherwise:
        image sensitivity), and `warning` where more than 80 % stays or the difference may be nothing.
    """
    seen, unseen = real.scores["answer_match"], other.scores["answer_match"]
    difference = paired_difference(unseen, seen, real.clusters, bounds=SHARE)
    left = estimate(unseen, real.clusters, bounds=SHARE)
    full = float(np.nanmean(seen)) if np.isfinite(seen).any() else 0.0
    kept = left.value / full if left.value is not None and full > 0 else None
    changed = [
        a.strip().casefold() != b.strip().casefold() for a, b in zip(real.answers, other.answers, strict=True)
    ]
    document: dict[str, Any] = {
        "answer_match": left.as_dict(),
        "difference": difference.as_dict(),
        "kept": kept,
        "changed": estimate(np.array(changed, dtype=np.float64), real.clusters, bounds=SHARE).as_dict(),
        "warning": None,
    }
    if kept is not None and kept > KEPT_TOO_MUCH:
        document["warning"] = (
            f"the model answers {left.value:.1%} right with them and {full:.1%} with the real ones: little of its "
            "accuracy comes from looking at the picture"
        )
    elif difference.low is not None and difference.low <= 0:
        document["warning"] = "the picture is not shown to help: the interval of its gain includes 0"
    return document
