"""Calibration and accuracy over samples, worked by hand."""

import numpy as np
import pytest

from medgrpo.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    reliability,
    sample_metrics,
)


def test_ece_by_hand():
    # Bin .9–1: confidence (.9 + 1)/2 = .95, right 1/2: gap .45, share 1/2. Bin .5–.6: .5, right 1/2: gap 0.
    assert expected_calibration_error([0.9, 1.0, 0.5, 0.5], [1, 0, 1, 0]) == pytest.approx(0.225)


def test_ece_of_perfect_certainty_is_zero():
    assert expected_calibration_error([1, 1, 0], [1, 1, 0]) == 0


def test_ece_refuses_confidences_that_are_none():
    with pytest.raises(ValueError, match="within"):
        expected_calibration_error([1.2], [1])
    with pytest.raises(ValueError, match="non-empty"):
        expected_calibration_error([], [])


def test_brier_by_hand():
    assert brier_score([0.8, 0.4], [1, 0]) == pytest.approx((0.04 + 0.16) / 2)


def test_reliability_bins_hold_every_row_once():
    rng = np.random.default_rng(0)
    bins = reliability(rng.random(500), rng.integers(0, 2, 500))
    assert sum(one["n"] for one in bins) == 500


def test_mean_majority_and_best_of_samples_by_hand():
    found = sample_metrics(
        [["yes", "Yes.", "no"], ["left", "right", "right"]], [[1, 1, 0], [1, 0, 0]], ["a", "b"]
    )
    assert found["mean"]["value"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["majority"]["value"] == pytest.approx(1 / 2)
    assert found["best"]["value"] == 1
    assert found["k"] == [3, 3]
    # Both agree with 2/3; one is right: gap |1/2 - 2/3|; Brier ((1/3)² + (2/3)²)/2
    assert found["ece"] == pytest.approx(1 / 6)
    assert found["brier"] == pytest.approx((1 / 9 + 4 / 9) / 2)


def test_agreeing_to_say_nothing_is_no_certainty():
    found = sample_metrics([["", "", ""]], [[0, 0, 0]], ["a"])
    assert found["ece"] == 0
    assert found["brier"] == 0


def test_empty_answers_do_not_outvote_an_answer():
    found = sample_metrics([["", "", "yes"]], [[0, 0, 1]], ["a"])
    assert found["majority"]["value"] == 1
    assert found["brier"] == pytest.approx((1 / 3 - 1) ** 2)


def test_questions_without_reference_are_left_out():
    found = sample_metrics([["a"], ["b"]], [[float("nan")], [1]], ["x", "y"])
    assert found["mean"]["n"] == 1
