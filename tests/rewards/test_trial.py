"""Trying rewards on eight rows before a run."""

import pytest

from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.plugins import RewardError
from medgrpo.rewards.trial import TRIAL_ROWS, trial_rows, try_rewards

ROWS = [f"<answer>{word}</answer>" for word in ["yes", "no"] * 4]
COLUMNS = {"answer": ["yes"] * 8, "question": ["Is it?"] * 8}


def big(completions, **_):
    return [5.0] * len(completions)


def silent(completions, **_):
    return [None] * len(completions)


def late(completions, **_):
    return [1.0 / (c != ROWS[1]) for c in completions]


def composite(function, **options):
    name = getattr(function, "__name__", "answer_match")
    return CompositeReward({name: 1.0}, rewards={name: function}, **options)


def test_a_good_reward_passes():
    table, notes = try_rewards(CompositeReward({"answer_match": 1.0}), ROWS, COLUMNS)
    assert table.total.tolist() == [1.0, 0.0] * 4
    assert notes == []


def test_values_outside_0_to_1_and_rows_never_judged_are_noted():
    assert "big gives 5 to 5" in try_rewards(composite(big), ROWS, COLUMNS)[1][0]
    (note,) = try_rewards(composite(silent), ROWS, COLUMNS)[1]
    assert "silent judged none of 8" in note
    assert "--set rewards.weights.silent=0" in note
    left_out = CompositeReward({"answer_match": 1.0, "silent": 0.0}, rewards={"silent": silent})
    assert try_rewards(left_out, ROWS, COLUMNS)[1] == []


def test_the_reward_and_the_row_that_fail_are_named():
    with pytest.raises(RewardError, match=r"'late' failed at row 1: ZeroDivisionError"):
        try_rewards(composite(late), ROWS, COLUMNS)


def test_rows_that_are_skipped_are_noted():
    (note,) = try_rewards(composite(late, on_error="skip"), ROWS, COLUMNS)[1]
    assert "late failed on 4 of 8 trial rows: row 1: ZeroDivisionError" in note


def test_what_a_worker_cannot_receive_is_refused():
    with pytest.raises(RewardError, match="cannot be pickled"):
        try_rewards(composite(lambda completions, **_: [1.0] * len(completions)), ROWS, COLUMNS)


def test_rows_with_labels_are_tried_though_the_first_ones_have_none():
    rows = [{"id": n, "answer": "yes", "plane": "axial" if n in (40, 41) else None} for n in range(100)]
    chosen = trial_rows(rows)
    assert [row["id"] for row in chosen] == [0, 40, 1, 2, 3, 4, 5, 6]
    table, notes = try_rewards(
        CompositeReward({"plane_match": 1.0}),
        ["<answer>yes</answer><plane>axial</plane>"] * 8,
        {name: [row[name] for row in chosen] for name in ("answer", "plane")},
    )
    assert (table.coverage["plane_match"], notes) == (1 / 8, [])


def test_no_more_than_eight_rows_are_tried_and_fewer_are_enough():
    assert len(trial_rows({f"column{n}": n} for n in range(30))) == TRIAL_ROWS
    assert trial_rows([{"answer": "yes"}]) == [{"answer": "yes"}]
