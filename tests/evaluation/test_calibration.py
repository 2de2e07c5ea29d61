"""Calibration and accuracy over samples, worked by hand."""

import numpy as np
import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.calibration import (
    brier_score,
    ece_by_chance,
    expected_calibration_error,
    reliability,
    sample_metrics,
)


def test_ece_by_hand():
    # Bin .8–.9: .9, right: gap .1. Bin .9–1: 1, wrong: gap 1. Bin .4–.5: .5, right 1/2: gap 0. (.1 + 1)/4
    assert expected_calibration_error([0.9, 1.0, 0.5, 0.5], [1, 0, 1, 0]) == pytest.approx(0.275)


def test_nine_of_ten_and_ten_of_ten_do_not_share_a_bin():
    # Bins closed on the left would put .9 and 1 together: confidence .95, accuracy .95, no gap at all.
    certain, right = [0.9] * 10 + [1.0] * 10, [1] * 10 + [1] * 9 + [0]
    assert expected_calibration_error(certain, right) == pytest.approx(0.1)
    # Every k of 10 has a bin of its own, and 0 is in the first.
    edges = [one["to"] for one in reliability(np.arange(11) / 10, np.ones(11))]
    assert edges == [k / 10 for k in range(1, 11)]


def naive_ece(certain, right, bins):
    total = 0.0
    for k in range(bins):
        inside = [n for n, c in enumerate(certain) if k / bins < c <= (k + 1) / bins or (k == 0 and c == 0)]
        total += abs(sum(right[n] - certain[n] for n in inside))
    return total / len(certain)


def test_ece_agrees_with_the_definition():
    rng = np.random.default_rng(3)
    for _ in range(200):
        size, bins = int(rng.integers(1, 40)), int(rng.integers(1, 16))
        certain = rng.integers(0, bins + 1, size) / bins if rng.random() < 0.5 else rng.random(size)
        right = rng.integers(0, 2, size)
        found = expected_calibration_error(certain, right, bins)
        assert found == pytest.approx(naive_ece(certain, right, bins), abs=1e-12)


def test_bins_of_equal_mass_hold_as_many_rows_and_keep_equals_together():
    certain = [0.05, 0.1, 0.15, 0.2, 0.9, 0.91, 0.92, 0.93]
    assert [one["n"] for one in reliability(certain, [0] * 8, 4, "equal_mass")] == [2, 2, 2, 2]
    # (|.15 - 0| + |.35 - 1| + |1.81 - 2| + |1.85 - 1|) / 8
    found = expected_calibration_error(certain, [0, 0, 0, 1, 1, 1, 1, 0], 4, "equal_mass")
    assert found == pytest.approx((0.15 + 0.65 + 0.19 + 0.85) / 8)
    tied = [0.5] * 7 + [0.8]
    assert [one["n"] for one in reliability(tied, [1] * 8, 4, "equal_mass")] == [7, 1]
    with pytest.raises(UsageError, match="binning"):
        expected_calibration_error([0.5], [1], 10, "equal_with")


def test_true_confidences_show_an_error_by_chance_that_shrinks_with_the_rows():
    rng = np.random.default_rng(0)
    few, many = rng.random(30), rng.random(3000)
    assert ece_by_chance(few) > 0.1
    assert ece_by_chance(many) < 0.03
    observed = [expected_calibration_error(few, rng.random(30) < few) for _ in range(400)]
    assert ece_by_chance(few) == pytest.approx(np.mean(observed), abs=0.01)


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


@pytest.mark.parametrize("judge", [expected_calibration_error, brier_score])
@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [([0.5, 0.6], [1], "correct \\(1,\\)"), ([], [], "non-empty"), ([0.5], [np.nan], "correct holds NaN")],
)
def test_calibration_wants_one_judgement_for_each_confidence(judge, confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        judge(confidence, correct)


@pytest.mark.parametrize("measure", [expected_calibration_error, brier_score, reliability])
@pytest.mark.parametrize(
    ("confidence", "correct"), [([np.nan], [1]), ([2.0], [1]), ([-0.1], [1]), ([0.5], [2]), ([0.5], [-1])]
)
def test_what_is_no_share_is_refused(measure, confidence, correct):
    with pytest.raises(ValueError, match="within"):
        measure(confidence, correct)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        expected_calibration_error([0.5], [1], 0)
