"""Intervals and the paired test: worked by hand, edges, and their promise checked by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from medgrpo.evaluation import statistics
from medgrpo.evaluation.quantiles import t_cdf, t_quantile
from medgrpo.evaluation.statistics import (
    ClusterSums,
    _wilson,
    careful_effect,
    cluster_sums,
    degrees_of_freedom,
    design_effect,
    estimate,
    mean_interval,
    paired_difference,
    proportion_interval,
    sign_flip_p_value,
)


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 19, 50, 232, 5000, 10_000_000])
@pytest.mark.parametrize("probability", [0.51, 0.8, 0.95, 0.975, 0.9999])
def test_the_t_quantile_agrees_with_scipy(probability, degrees):
    assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-6)


def test_the_t_distribution_function_agrees_with_scipy():
    for t, degrees in itertools.product([-30, -2.1, -0.1, 0, 0.7, 3, 40], [1, 4, 30, 400]):
        assert t_cdf(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), abs=1e-12)


def test_the_t_quantile_refuses_what_has_none():
    with pytest.raises(ValueError, match="degrees"):
        t_quantile(0.975, 0)


def test_sums_per_image_leave_out_rows_that_were_not_judged():
    groups = cluster_sums([1, 0, np.nan, 1, np.nan], ["a", "a", "a", "b", "c"])
    assert groups.sums.tolist() == [1, 1]
    assert groups.sizes.tolist() == [2, 1]


def test_one_label_for_each_row_is_demanded():
    with pytest.raises(ValueError, match="2 values but 1"):
        cluster_sums([1, 0], ["a"])


def test_images_of_one_question_are_independent_rows():
    assert design_effect(cluster_sums([1] * 15 + [0] * 5)) == 1.0


def test_the_limit_of_more_failures_allows_for_images_that_failed_as_a_whole():
    # 20 images of 4, five with one wrong each: mean .9375, V = 20/19 · (5·.75² + 15·.25²)/80² = .000617,
    # naive = .0586/80 = .000732, observed .8421; weights 6^-3 = .00463 and 1.25/6.25 = .2.
    groups = cluster_sums([0, 1, 1, 1] * 5 + [1] * 60, [index // 4 for index in range(80)])
    assert design_effect(groups) == pytest.approx((1 - 6**-3) * 0.8421 + 6**-3 * 2.5, abs=1e-3)
    assert careful_effect(groups) == pytest.approx(0.8 * 0.8421 + 0.2 * 4, abs=1e-3)
    low, high = proportion_interval(groups)
    mirrored = ClusterSums(groups.sizes - groups.sums, groups.sizes)
    assert proportion_interval(mirrored) == pytest.approx((1 - high, 1 - low))
    even = _wilson(groups.mean, groups.rows / design_effect(groups), 1.96)
    assert groups.mean - low > 1.1 * (groups.mean - even[0])
    assert high == pytest.approx(even[1], abs=0.005)


@pytest.mark.parametrize(("images", "share"), [(30, 0.9), (60, 0.95)])
def test_coverage_holds_where_half_of_the_images_are_all_or_nothing(images, share):
    rng = np.random.default_rng(4)
    runs, covered = 1500, 0
    for _ in range(runs):
        whole = 4.0 * (rng.random(images // 2) < share)
        sums = np.concatenate([whole, rng.binomial(4, share, images - images // 2)])
        low, high = proportion_interval(ClusterSums(sums, np.full(images, 4.0)))
        covered += low <= share <= high
    assert 0.93 <= covered / runs <= 0.975  # 91 and 92 % with one design effect for both limits


def test_the_design_effect_of_a_few_wrong_answers_is_drawn_halfway_to_the_worst_case():
    # 10 images of 2 questions, one image wrong in both: mean .9, V = 10/9 · (9·.2² + 1.8²)/20² = .01;
    # naive = .09/20 = .0045, observed 2.2222. Worst 2, halfway 1.5; one wrong image: weight 2^-3 = .125.
    groups = cluster_sums([1] * 18 + [0] * 2, [index // 2 for index in range(20)])
    assert design_effect(groups) == pytest.approx(0.875 * 2.22222 + 0.125 * 1.5, abs=1e-4)


def test_unequal_images_have_fewer_degrees_of_freedom():
    # One question each, independent: v = sizes = 1, so 20 images count as 20; (20 - 1) / .5 = 38.
    assert degrees_of_freedom(cluster_sums([1] * 15 + [0] * 5), 1.0) == 38
    # Ten images of 1 question and one of 10, all agreeing: v = sizes² = 1 (ten times) and 100:
    # (110)² / (10 + 10000) = 1.209; worst effect = (10 + 100)/20 = 5.5; .209/(1 - 1/5.5) = .26: at least 1.
    sizes = np.array([1.0] * 10 + [10.0])
    assert degrees_of_freedom(ClusterSums(sizes * 0, sizes), 5.5) == 1
    # The same, independent: v = 1 and 10: 20²/(10 + 100) = 3.636; 2.636/.818 = 3.2.
    assert degrees_of_freedom(ClusterSums(sizes * 0, sizes), 1.0) == 3


def test_the_interval_of_a_proportion_by_hand():
    # 100 images, one question each, 80 right: effect 1, n = 100; t(.975; 99/.5) = 1.972017, t² = 3.888853.
    # centre = (.8 + 3.888853/200) / (1 + 3.888853/100) = .819444/1.038889 = .788770
    # half = 1.972017·√(.16/100 + 3.888853/(4·100²)) / 1.038889 = 1.972017·.0411971/1.038889
    low, high = proportion_interval(cluster_sums([1] * 80 + [0] * 20))
    assert low == pytest.approx(0.788770 - 0.0781998, abs=2e-5)
    assert high == pytest.approx(0.788770 + 0.0781998, abs=2e-5)


def test_repeating_each_answer_about_an_image_gives_no_narrower_interval():
    once = [1, 0, 1, 1, 0] * 8
    images = list(range(40))
    low, high = proportion_interval(cluster_sums(once, images))
    low_4, high_4 = proportion_interval(cluster_sums(np.repeat(once, 4), np.repeat(images, 4).tolist()))
    assert high_4 - low_4 == pytest.approx(high - low, rel=0.02)
    independent = proportion_interval(cluster_sums(np.repeat(once, 4)))
    assert independent[1] - independent[0] < 0.6 * (high - low)


@pytest.mark.parametrize("value", [0, 1])
def test_none_or_all_right_never_has_zero_width(value):
    result = estimate([value] * 60, [index // 2 for index in range(60)])
    # 30 images of 2, none failed as a whole: as if each counted once, effect 2, n = 30; Wilson at 0 of 30 with
    # t(.975; 29/.5) = 2.00172: t²/(30 + t²) = .11783
    assert result.high - result.low == pytest.approx(0.11783, abs=1e-4)
    assert result.value == value
    assert (result.high if value else result.low) == value


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_graded_scores_that_do_not_vary_have_a_width(value):
    low, high = mean_interval(cluster_sums([value] * 30))
    assert 0 <= low < high <= 1
    assert low <= value <= high


def test_images_that_are_each_half_right_do_not_pin_the_value_down():
    # No variance between images at all; the interval must not collapse.
    result = estimate([0, 1] * 30, [index // 2 for index in range(60)])
    assert result.high - result.low > 0.15


def test_nothing_to_average_is_null():
    assert estimate([], []).as_dict() == {"value": None, "low": None, "high": None, "n": 0}
    assert estimate([np.nan, np.nan], ["a", "b"]).as_dict()["n"] == 0


def test_one_row_has_the_widest_interval_and_says_so():
    result = estimate([1.0], ["a"])
    assert result.low < 0.1
    assert result.high == 1.0
    assert "too few images (1)" in result.as_dict()["note"]


def test_nineteen_images_are_too_few_and_twenty_are_not():
    assert estimate([0, 1] * 19, [i // 2 for i in range(38)]).note == "too few images (19)"
    assert estimate([0, 1] * 20, [i // 2 for i in range(40)]).note is None


def test_the_same_data_give_the_same_interval():
    scores = np.random.default_rng(1).random(50)
    assert mean_interval(cluster_sums(scores)) == mean_interval(cluster_sums(scores))


def test_scores_without_bounds_may_leave_zero_to_one():
    low, high = mean_interval(cluster_sums([5.0, 7.0, 6.0, 9.0] * 10), bounds=None)
    assert 5.5 < low < 6.75 < high < 8


def test_the_bootstrap_interval_of_normal_scores_is_nearly_the_t_interval():
    scores = np.random.default_rng(0).normal(0.5, 0.05, 200)
    low, high = mean_interval(cluster_sums(scores))
    expected = stats.t.interval(0.95, 199, scores.mean(), scores.std(ddof=1) / 200**0.5)
    assert (low, high) == pytest.approx(expected, abs=0.1 * (expected[1] - expected[0]))


@pytest.mark.parametrize("shift", [2.5, -0.3, 0.7])
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_an_interval_holds_its_value_wherever_the_scores_lie(shift, bounds):
    scores = shift + np.random.default_rng(0).normal(0, 0.5, 80)
    result = estimate(scores, [index // 2 for index in range(80)], bounds=bounds)
    half = stats.t.ppf(0.975, 39) * scores.std(ddof=1) / 80**0.5
    assert result.low < result.value < result.high
    assert result.high - result.low == pytest.approx(2 * half, rel=0.4)


def test_scores_that_do_not_vary_beyond_0_to_1_keep_their_value():
    result = estimate([2.5] * 30)
    assert (result.low, result.value, result.high) == (2.5, 2.5, 2.5)


def test_an_interval_of_counts_does_not_go_below_zero():
    result = estimate([0.0] * 28 + [1.0, 9.0], bounds=(0.0, np.inf))
    assert result.low >= 0
    assert result.high > 1  # many


def test_counts_that_happen_to_be_0_or_1_are_no_shares():
    counts, shares = (estimate([0, 1] * 30, bounds=bounds) for bounds in ((0.0, np.inf), (0.0, 1.0)))
    assert (counts.low, counts.high) != (shares.low, shares.high)


def test_a_cluster_beyond_the_bounds_is_no_score_of_theirs():
    with pytest.raises(ValueError, match="outside of 0 to 1"):
        mean_interval(cluster_sums([0.5, 2.5, 0.5, 0.5]))


# --- the paired test ---


@pytest.mark.parametrize("bounds", [None, (0.0, np.inf), (0.0, 1.0)])
def test_a_difference_may_be_larger_than_1(bounds):
    rng = np.random.default_rng(0)
    before, after = rng.normal(9, 1, 80), rng.normal(3, 1, 80)
    result = paired_difference(before, after, bounds=bounds)
    assert result.low < result.difference < result.high < -5


def test_equal_pairs_of_wide_scores_leave_as_much_open_as_the_scores_are_wide():
    narrow = paired_difference([0.0, 1.0] * 20, [0.0, 1.0] * 20)
    wide = paired_difference([0.0, 5.0] * 20, [0.0, 5.0] * 20)
    assert wide.high == pytest.approx(5 * narrow.high)
    assert paired_difference([0.0, 5.0] * 20, [0.0, 5.0] * 20, bounds=(0.0, 10.0)).high == pytest.approx(
        10 * narrow.high
    )


def mid_p_by_enumeration(differences):
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    return np.mean([(s > observed + 1e-9) + 0.5 * (abs(s - observed) <= 1e-9) for s in sums])


def test_five_pairs_all_better_by_hand():
    # Of 32 sign patterns 2 reach |S| = 5 and none exceeds it: mid-p = .5 · 2/32.
    assert sign_flip_p_value([1, 1, 1, 1, 1]) == pytest.approx(1 / 32)


def test_no_difference_has_p_one():
    assert sign_flip_p_value([]) == 1.0
    assert sign_flip_p_value([0, 0, 0]) == 1.0


@pytest.mark.parametrize(
    "differences", [[2, -1, 1, 3], [1, 1, -1, -1], [0.3, -0.1, 0.25, 0.7, 0.01], [1, 0, 0]]
)
def test_the_exact_p_value_agrees_with_all_sign_patterns(differences):
    assert sign_flip_p_value(differences) == pytest.approx(mid_p_by_enumeration(differences))


def test_drawn_flips_agree_with_the_exact_distribution():
    rng = np.random.default_rng(3)
    whole = rng.integers(-2, 4, 40).astype(float)
    exact = sign_flip_p_value(whole)
    drawn = sign_flip_p_value(whole * (1 + 1e-7))  # no longer whole numbers, so drawn
    assert drawn == pytest.approx(exact, abs=0.01)


def test_a_paired_difference_by_hand():
    # Images a: +1 +1, b: 0, c: -1. Mean (2 + 0 - 1)/4 = .25; flips of 2 and 1: |S| in {3, 1}, observed 1:
    # P(> 1) = 1/2, P(= 1) = 1/2, mid-p = .75.
    result = paired_difference([0, 0, 1, 1], [1, 1, 1, 0], ["a", "a", "b", "c"])
    assert result.difference == pytest.approx(0.25)
    assert result.p_value == pytest.approx(0.75)
    assert result.note == "too few images (3)"


def test_equal_models_differ_by_nothing_but_not_with_certainty():
    result = paired_difference([1, 0] * 20, [1, 0] * 20)
    assert result.difference == 0
    assert result.p_value == 1
    assert result.low < 0 < result.high


def test_rows_that_one_model_could_not_answer_leave_the_comparison():
    result = paired_difference([1, np.nan, 0], [1, 1, 1])
    assert result.n == 2
    assert result.difference == pytest.approx(0.5)


def test_models_must_be_scored_on_the_same_rows():
    with pytest.raises(ValueError, match="2 scores of the first model but 1"):
        paired_difference([1, 0], [1])


# --- the promise: coverage and size, by simulation ---


def draw_proportions(rng, runs, images, questions, p, correlation):
    """Right answers and questions of each image, (runs, images) each; sizes vary from 1 to 2q - 1."""
    sizes = np.ones((runs, images), dtype=int)
    if questions > 1:
        sizes = rng.integers(1, 2 * questions, (runs, images))
    chances = np.full((runs, images), p)
    if correlation:
        spread = (1 - correlation) / correlation
        chances = rng.beta(p * spread, (1 - p) * spread, (runs, images))
    return rng.binomial(sizes, chances), sizes


PROPORTIONS = [
    (images, questions, correlation, p)
    for images in (20, 60, 150)
    for questions, correlation in ((3, 0.1), (8, 0.3))
    for p in (0.5, 0.7, 0.9, 0.95, 0.98)
]


@pytest.mark.slow
@pytest.mark.parametrize(("images", "questions", "correlation", "p"), PROPORTIONS)
def test_intervals_of_proportions_cover_95_percent(images, questions, correlation, p):
    """Within 93–97 % where at least ten wrong answers are expected from separate images; where so few
    answers are wrong that their correlation cannot be seen, up to 98 %."""
    rng = np.random.default_rng(20261121)
    runs = 2000
    right, sizes = draw_proportions(rng, runs, images, questions, p, correlation)
    covered = 0
    for sums, counts in zip(right, sizes, strict=True):
        low, high = proportion_interval(ClusterSums(sums.astype(float), counts.astype(float)))
        covered += low <= p <= high
    coverage = covered / runs
    noise = 2.6 * (0.95 * 0.05 / runs) ** 0.5  # of the simulation itself
    assert coverage >= 0.93 - noise
    assert coverage <= (0.97 if images * (1 - p) >= 10 else 0.98) + noise


@pytest.mark.parametrize("images", [20, 30, 60, 150])
def test_with_one_question_an_image_coverage_is_as_near_to_95_percent_as_whole_numbers_allow(images):
    """Exact, for p from .5 to .98. No interval that is not randomised stays within 93–97 % everywhere."""
    right = np.arange(images + 1)
    limits = np.array(
        [proportion_interval(cluster_sums(np.repeat([1.0, 0.0], [r, images - r]))) for r in right]
    )
    shares = np.linspace(0.5, 0.98, 193)
    chances = stats.binom.pmf(right, images, shares[:, None])
    covered = (limits[:, 0] <= shares[:, None]) & (shares[:, None] <= limits[:, 1])
    coverage = (chances * covered).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.955, abs=0.01)
    assert coverage.min() > 0.90
    assert (coverage < 0.93).mean() <= 0.02
    assert (coverage > 0.97).mean() <= 0.25


@pytest.mark.slow
@pytest.mark.parametrize("images", [20, 50, 150])
@pytest.mark.parametrize("kind", ["token F1", "recall", "reward"])
def test_bootstrap_intervals_cover_95_percent(monkeypatch, images, kind):
    """Graded scores as token F1 has them: many 0, many 1, some between; questions of an image alike."""
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng = np.random.default_rng(7)
    runs = 1500
    shares = {"token F1": (0.4, 0.35), "recall": (0.2, 0.6), "reward": (0.05, 0.3)}[kind]
    truth = shares[1] + (1 - sum(shares)) * 0.5
    covered = 0
    for _ in range(runs):
        sizes = rng.integers(1, 6, images)
        # A share of the rows copy the first row of their image: correlation within the image of about .2.
        owners = np.repeat(np.arange(images), sizes)
        copied = rng.random(len(owners)) < 0.45
        own, first = (draw_graded(rng, count, shares) for count in (len(owners), images))
        scores = np.where(copied, first[owners], own)
        groups = ClusterSums(np.bincount(owners, scores, images), sizes.astype(float))
        low, high = mean_interval(groups)
        covered += low <= truth <= high
    assert covered / runs == pytest.approx(0.95, abs=0.02 + 2.6 * (0.95 * 0.05 / runs) ** 0.5)


def draw_graded(rng, count, shares):
    kind = rng.random(count)
    return np.where(kind < shares[0], 0.0, np.where(kind < sum(shares), 1.0, rng.random(count)))


@pytest.mark.slow
@pytest.mark.parametrize("images", [20, 60, 150])
@pytest.mark.parametrize("graded", [False, True])
def test_the_paired_test_rejects_equal_models_in_5_percent(images, graded):
    rng = np.random.default_rng(11)
    runs = 2000
    rejected = 0
    for _ in range(runs):
        sizes = rng.integers(1, 6, images)
        owners = np.repeat(np.arange(images), sizes)
        shared = rng.normal(0, 1, images)[owners]  # hard images are hard for both models
        first, second = (
            (shared + rng.normal(0, 1, images)[owners] + rng.normal(0, 1, len(owners)) > 0).astype(float)
            for _ in range(2)
        )
        if graded:
            first, second = first * rng.random(len(owners)), second * rng.random(len(owners))
        totals = np.bincount(owners, second - first, images)
        rejected += sign_flip_p_value(totals, flips=2000) < 0.05
    assert rejected / runs == pytest.approx(0.05, abs=0.015)


def test_infinite_scores_have_a_mean_and_no_interval():
    """|P| / |R| of an empty reference, for one."""
    for scores in ([1.0, np.inf], [1.0, 2.0, np.inf, 3.0]):
        found = estimate(scores, bounds=(0, np.inf))
        assert (found.value, found.low, found.high) == (np.inf, None, None)
    assert paired_difference([1.0, np.inf, 2.0], [1.0, 1.0, 2.0]).difference is None


def test_one_image_of_an_unknown_range_has_no_interval():
    assert estimate([0.3]).low is None
    assert estimate([0.1, 0.2, 0.3], ["a"] * 3).high is None
    assert paired_difference([0.1], [0.9]).low is None
    assert estimate([0.3], bounds=(0, 1)).high > 0.9


@pytest.mark.parametrize("power", [300, 160, -14, -160, -300])
def test_the_size_of_scores_does_not_change_their_interval(power):
    scores = np.array([1.0, 2.0, 3.0, 7.0])
    usual, other = estimate(scores), estimate(scores * 10.0**power)
    assert other.low / 10.0**power == pytest.approx(usual.low, rel=1e-6)
    assert other.high / 10.0**power == pytest.approx(usual.high, rel=1e-6)


@pytest.mark.parametrize("confidence", [0, 1, 95, np.nan])
def test_a_confidence_that_is_no_share_is_refused(confidence):
    for ask in (estimate, lambda scores, **asked: paired_difference(scores, scores, **asked)):
        with pytest.raises(ValueError, match="expected a share between 0 and 1"):
            ask([0.0, 1.0], confidence=confidence)
