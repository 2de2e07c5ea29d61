"""The threshold that suits a metric."""

import numpy as np
import pytest

from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.masks import simple_dice
from medgrpo.segmentation.credit import Truth
from medgrpo.segmentation.examples import Example
from medgrpo.segmentation.measuring import THRESHOLDS, best_threshold, measure_rows
from tests.segmentation.conftest import drawn


class Pictures:
    """Two drawn pictures, the second with a field of view."""

    def whole(self, number):
        picture, mask = drawn(number)
        fov = None if number == 0 else np.indices((48, 48))[0] < 40
        truth = Truth.of(np.asarray(mask) > 0, fov)
        return Example(str(number), np.asarray(picture), truth)


def double(completions, mask, **columns):
    """A reward of one's own."""
    return [2 * value for value in simple_dice(completions, mask=mask)]


@pytest.mark.parametrize(
    "metric", ["reward", "dice", "betti0_error", "hausdorff95", "multi_objective_guarded"]
)
@pytest.mark.parametrize("own", [False, True])
def test_it_is_the_best_of_all_that_are_tried(metric, own):
    examples, rng = Pictures(), np.random.default_rng(0)
    logits = [
        (4 * examples.whole(number).truth.mask - 3 + rng.normal(0, 1.5, (48, 48))).astype(np.float32)
        for number in (0, 1)
    ]
    weights = {"multi_objective_guarded": 1.0} | ({"double": 0.5} if own else {})
    composite = CompositeReward(weights, rewards={"double": double} if own else {})
    found = best_threshold(logits, examples, composite, metric)
    sign = -1 if metric in ("betti0_error", "hausdorff95") else 1
    means = [
        sign * measure_rows(logits, examples, one, composite).values[metric].mean() for one in THRESHOLDS
    ]
    winners = [one for one, mean in zip(THRESHOLDS, means, strict=True) if mean >= max(means) - 1e-9]
    assert found == winners[len(winners) // 2]
