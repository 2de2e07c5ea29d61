"""Trying a reward on eight rows before training."""

import pytest

from medgrpo.rewards.plugins import RewardError, try_reward
from medgrpo.rewards.text import answer_match

ROWS = [
    f"<answer>{word}</answer>" for word in ["yes", "no", "yes", "no", "yes", "no", "yes", "no", "yes", "no"]
]
COLUMNS = {"answer": ["yes"] * 10, "question": ["Is it?"] * 10}


def big(completions, **_):
    return [5.0] * len(completions)


def silent(completions, **_):
    return [None] * len(completions)


def late(completions, **_):
    return [1.0 / (c != ROWS[1]) for c in completions]


def test_a_good_reward_passes_on_the_first_eight_rows():
    trial = try_reward("answer_match", answer_match, ROWS, COLUMNS)
    assert trial.values == [1.0, 0.0] * 4
    assert trial.notes == []
    assert trial.seconds < 5


def test_values_outside_0_to_1_and_rows_never_judged_are_noted():
    assert "from 5 to 5" in try_reward("big", big, ROWS, COLUMNS).notes[0]
    assert "None for each" in try_reward("silent", silent, ROWS, COLUMNS).notes[0]


def test_the_row_that_fails_is_named():
    with pytest.raises(RewardError, match=r"'late' failed at row 1: ZeroDivisionError"):
        try_reward("late", late, ROWS, COLUMNS)


def test_what_a_worker_cannot_receive_is_refused():
    with pytest.raises(RewardError, match="cannot be pickled"):
        try_reward("inner", lambda completions, **_: [1.0] * len(completions), ROWS, COLUMNS)


def test_fewer_than_eight_rows_are_enough():
    assert try_reward("answer_match", answer_match, ROWS[:2], {"answer": ["yes", "no"]}).values == [1.0, 1.0]
