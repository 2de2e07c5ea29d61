"""Mask rewards: the formula by hand, the guard, rows without a mask, weights that change."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medgrpo.rewards import masks

BAR = np.zeros((8, 12), bool)
BAR[3, 1:11] = True  # a line of 10 pixels, its own skeleton
SHORT = np.zeros((8, 12), bool)
SHORT[3, 1:7] = True  # 6 of them


def test_multi_objective_is_the_weighted_sum_of_the_requirements():
    # Dice 2·6/16 = .75; recall 6/10 of a target of .85; skeletons lie inside, so clDice = 2·1·.6/1.6 = .75;
    # lengths 6 and 10: 1 − 4/10 = .6.
    expected = 0.5 * 0.75 + 0.2 * (0.6 / 0.85) + 0.2 * 0.75 + 0.1 * 0.6
    assert masks.multi_objective([SHORT], mask=[BAR]) == [pytest.approx(expected)]


def test_the_guard_takes_away_for_a_wrong_area_and_for_less_dice_than_at_the_start():
    raw = masks.multi_objective([SHORT], mask=[BAR])[0]
    area = math.exp(-(abs(math.log(6 / 10)) - 0.2))
    assert masks.multi_objective_guarded([SHORT], mask=[BAR]) == [pytest.approx(raw * area)]
    started = masks.multi_objective_guarded([SHORT], mask=[BAR], dice_start=0.9)
    assert started == [pytest.approx(raw * area * 0.75 / 0.9)]
    assert masks.multi_objective_guarded([SHORT], mask=[BAR], dice_start=0.5) == [pytest.approx(raw * area)]


def test_simple_dice_and_recall_focused_are_what_they_say():
    assert masks.simple_dice([SHORT], mask=[BAR]) == [0.75]
    assert masks.recall_focused([SHORT], mask=[BAR]) == [pytest.approx(0.7 * 0.6 + 0.3 * 0.75)]


def test_betti_numbers_can_stand_for_topology():
    split = BAR.copy()
    split[3, 5] = False  # two components instead of one
    reward = masks.MaskReward(dice=0, recall=0, length=0, topology=1, topology_measure="betti_agreement")
    assert reward([split, BAR], mask=[BAR, BAR]) == [0.5, 1.0]


def test_a_row_without_reference_is_not_judged_and_a_failed_prediction_earns_nothing():
    rewards = masks.multi_objective([BAR, None, BAR, None], mask=[None, BAR, BAR, None], question=["?"] * 4)
    assert rewards == [None, 0.0, 1.0, None]


def test_nothing_to_judge_gives_no_rewards():
    assert masks.multi_objective([], mask=[]) == []
    assert masks.multi_objective([BAR], mask=[None]) == [None]


def test_a_prepared_reference_gives_the_same_rewards():
    predictions = np.stack([BAR, SHORT, SHORT, BAR])
    expected = masks.multi_objective(predictions, mask=np.stack([BAR, BAR, SHORT, SHORT]))
    assert masks.multi_objective(predictions, mask=masks.Reference([BAR, SHORT])) == expected


@pytest.mark.parametrize(
    "reward",
    [
        masks.multi_objective,
        masks.multi_objective_guarded,
        masks.simple_dice,
        masks.recall_focused,
        masks.recall_focused_guarded,
    ],
)
def test_rewards_survive_pickling_and_have_a_name(reward):
    again = pickle.loads(pickle.dumps(reward))
    assert again([SHORT], mask=[BAR]) == reward([SHORT], mask=[BAR])
    assert isinstance(reward.__name__, str)


@given(
    hnp.arrays(bool, (2, 6, 7)),
    st.sampled_from([masks.multi_objective, masks.multi_objective_guarded, masks.recall_focused_guarded]),
)
def test_rewards_are_never_nan_and_stay_between_0_and_1(pair, reward):
    (value,) = reward([pair[0]], mask=[pair[1]])
    assert 0.0 <= value <= 1.0 + 1e-12


@given(hnp.arrays(bool, (6, 7)))
def test_a_perfect_prediction_earns_everything(mask):
    assert masks.multi_objective_guarded([mask], mask=[mask], dice_start=0.9) == [pytest.approx(1.0)]


def test_recall_weighs_more_until_its_mean_has_risen():
    dynamic = masks.DynamicRecallWeight(decay=0.5)
    assert dynamic.weight == 0.4
    dynamic.update(np.array([0.6, 0.8]))  # mean .7
    assert dynamic.weight == 0.4
    dynamic.update(np.array([1.0]))  # .5·.7 + .5·1 = .85
    assert dynamic.mean_recall == pytest.approx(0.85)
    assert dynamic.weight == 0.2
    dynamic.update(np.array([]))
    assert dynamic.mean_recall == pytest.approx(0.85)


def test_a_resumed_run_weighs_recall_as_the_run_before_it():
    dynamic = masks.DynamicRecallWeight()
    dynamic.update(np.array([0.95]))
    resumed = masks.DynamicRecallWeight()
    resumed.load_state_dict(dynamic.state_dict())
    dynamic.update(np.array([0.1]))
    resumed.update(np.array([0.1]))
    assert resumed == dynamic


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dice": -0.1}, "expected none below 0"),
        ({"dice": 0, "recall": 0, "topology": 0, "length": 0}, "one above"),
        ({"recall_target": 0}, "recall_target is 0"),
        ({"topology_measure": "cl_dice"}, "expected cldice or betti_agreement"),
    ],
)
def test_impossible_rewards_are_refused_when_built(fields, message):
    with pytest.raises(ValueError, match=message):
        masks.MaskReward(**fields)


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 predictions but 2 reference masks"):
        masks.multi_objective([BAR], mask=[BAR, BAR])
