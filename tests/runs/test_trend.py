"""A trend is told from noise, and its error is honest."""

import math

import numpy as np
import pytest
from scipy import stats

from medgrpo.runs.trend import block_means, ends, noise, student_p, trend


def test_p_values_agree_with_scipy():
    for df in (3, 8, 18, 60):
        for t in (0.5, 1.0, 2.0, 3.0, 5.0):
            assert student_p(t, df) == pytest.approx(2 * stats.t.sf(t, df), abs=0.004)


def test_a_flat_noisy_curve_is_called_rising_or_falling_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(2000):
        found = trend(rng.normal(size=200).tolist())
        called += found.rises(0.05) or found.falls(0.05)
    assert 0.035 < called / 2000 < 0.065  # 5 %, 3 standard errors of 2,000 draws are 1.5 %


def test_the_change_of_a_line_is_its_rise_between_the_outer_blocks():
    values = [0.01 * i for i in range(100)]  # 20 blocks of 5: centres 0.02 and 0.97
    found = trend(values)
    assert found.change == pytest.approx(0.95)
    assert found.rises()


def test_a_constant_has_no_trend():
    found = trend([0.1 + 0.2] * 50)
    assert (found.change, found.t, found.p) == (0.0, 0.0, 1.0)


def test_four_values_are_too_few_for_a_trend():
    found = trend([0.0, 1.0, 2.0, 3.0])
    assert found.error == math.inf
    assert not found.rises()


def test_ends_are_means_of_max_five_or_a_tenth():
    assert ends(list(range(100))) == (4.5, 94.5)  # 10 values each
    assert ends(list(range(20))) == (2.0, 17.0)  # 5 values each
    assert ends([1.0, 3.0]) == (1.0, 3.0)  # halves
    assert all(map(math.isnan, ends([])))


def test_noise_ignores_a_slow_trend():
    rng = np.random.default_rng(1)
    values = (np.linspace(0, 10, 1000) + rng.normal(0, 0.5, 1000)).tolist()
    assert noise(values) == pytest.approx(0.5, rel=0.1)


def test_block_means_cover_every_value_once():
    assert block_means([1, 2, 3, 4, 5, 6, 7], 3) == [1.5, 4.0, 6.5]  # 2, 3 and 2 values
    assert block_means([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
