"""Splits by group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.data.splits import Groups, assign, parse_split, text_key
from medgrpo.errors import UsageError


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(0, 5))
def test_no_group_is_ever_split(owners, seed):
    groups = Groups(len(owners))
    for row, owner in enumerate(owners):
        groups.add(row, owner)
    plan = assign(groups, [f"k{owner}" for owner in owners], (0.6, 0.2, 0.2), [None] * len(owners), seed)
    for owner in set(owners):
        assert len({plan.names[row] for row in range(len(owners)) if owners[row] == owner}) == 1
    assert "train" in plan.names


@given(st.permutations(range(40)))
def test_the_order_of_the_rows_does_not_decide_the_split(order):
    def split(rows):
        groups = Groups(len(rows))
        for place, row in enumerate(rows):
            groups.add(place, row // 2)
        plan = assign(groups, [f"k{row // 2}" for row in rows], (0.5, 0.25, 0.25), [None] * len(rows))
        return dict(zip(rows, plan.names, strict=True))

    assert split(order) == split(range(40))


@pytest.mark.parametrize(
    ("rows", "low", "high"), [(10_000, 1000, 1250), (2600, 300, 375), (1000, 200, 200), (20, 4, 4)]
)
def test_auto_gives_a_tenth_at_least_300_rows_at_most_a_fifth(rows, low, high):
    plan = assign(Groups(rows), [str(i) for i in range(rows)], "auto", [None] * rows)
    for split in ("validation", "test"):
        assert low <= plan.names.count(split) <= high


def test_one_group_stays_in_train():
    groups = Groups(5)
    for row in range(5):
        groups.add(row, "all")
    assert assign(groups, ["k"] * 5, "auto", [None] * 5).names == ["train"] * 5


def test_groups_join_over_several_keys():
    groups = Groups(4)
    groups.add(0, "a")
    groups.add(1, "a")
    groups.add(1, "b")
    groups.add(2, "b")
    assert groups.members() == {0: [0, 1, 2], 3: [3]}


def test_the_official_split_is_asked_for_where_there_is_none():
    with pytest.raises(UsageError, match="no splits of its own"):
        assign(Groups(2), ["a", "b"], "official", [None, "train"])


@pytest.mark.parametrize("text", [".9", "1,1,1", "a,b,c", "-.1,.6,.5", "0,.5,.5", ".8,.1,.05"])
def test_impossible_shares_are_refused(text):
    with pytest.raises(UsageError, match="sum to 1"):
        parse_split(text)


def test_two_shares_leave_out_the_test_split():
    assert parse_split(".9,.1") == (0.9, 0.1, 0.0)


def test_texts_are_compared_without_case_and_punctuation():
    assert text_key("Is  it  CT?") == text_key("is it ct") != text_key("is it mr")
    assert text_key("这是CT吗？") == text_key("这是ct吗")
