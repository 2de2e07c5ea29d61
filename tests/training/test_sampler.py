"""The data order is a function of seed and epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from medgrpo.training.trainers.sampler import (
    EpochOrder,
    balanced,
    brought_together,
    epoch_permutation,
    side_by_side,
)


def rows_of(order: EpochOrder, epoch: int) -> list[int]:
    order.set_epoch(epoch)
    return list(order)


def test_one_epoch_worked_by_hand():
    # 5 rows in chunks of 2, unshuffled: chunks [0, 1] and [2, 3]; row 4 does not fill a chunk.
    order = EpochOrder(5, seed=0, chunk=2, group=2, repeat_count=2, shuffle=False)
    assert list(order) == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]


def test_the_next_chunk_is_told_when_one_begins():
    told = []
    order = EpochOrder(5, seed=0, chunk=2, group=2, repeat_count=2, shuffle=False, coming=told.append)
    list(order)
    assert told == [[2, 3]]


def test_an_epoch_is_the_same_whichever_epoch_came_before():
    fresh, used = (EpochOrder(20, seed=3, chunk=4) for _ in range(2))
    for epoch in range(4):
        rows_of(used, epoch)
    assert rows_of(fresh, 4) == rows_of(used, 4)


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_permutation(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_every_row_comes_at_most_once_per_repetition_and_the_length_is_told(
    rows, chunk, group, repeat, epoch
):
    order = EpochOrder(rows, seed=1, chunk=chunk, group=group, repeat_count=repeat)
    drawn = rows_of(order, epoch)
    assert len(drawn) == len(order) == rows // chunk * chunk * group * repeat
    assert set(Counter(drawn).values()) <= {group * repeat}


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12), st.integers(1, 4))
def test_shares_have_equally_many_rows_and_no_more_uneven_weights_than_one_row_makes(weights, shares):
    weights = weights[: len(weights) // shares * shares]
    rows = list(range(len(weights)))
    found = balanced(rows, weights, shares)
    assert sorted(found) == rows
    room = len(rows) // shares
    sums = [sum(weights[row] for row in found[at * room : (at + 1) * room]) for at in range(shares)]
    drawn = [sum(weights[at * room : (at + 1) * room]) for at in range(shares)]
    assert max(sums) - min(sums) <= max(max(weights, default=0), max(drawn) - min(drawn))


def test_large_and_small_pictures_are_shared_evenly():
    assert balanced([0, 1, 2, 3], [1300, 1300, 100, 100], 2) == [0, 2, 1, 3]


def test_a_chunk_is_handed_out_as_it_is_arranged():
    order = EpochOrder(4, seed=0, chunk=2, repeat_count=2, shuffle=False, arrange=lambda rows: rows[::-1])
    assert list(order) == [1, 0, 1, 0, 3, 2, 3, 2]
    assert order.chunks(0) == [[0, 1], [2, 3]]


PICTURES = st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=60)


@given(PICTURES, st.integers(1, 9), st.integers(1, 12), st.integers(0, 3), st.integers(0, 3))
def test_rows_brought_together_are_all_rows_once_and_no_more_of_a_picture_than_allowed(
    pictures, most, chunk, seed, epoch
):
    rows = epoch_permutation(len(pictures), seed, epoch)
    found = brought_together(rows, pictures, most=most, chunk=chunk, seed=seed, epoch=epoch)
    assert sorted(found) == list(range(len(pictures)))
    assert found == brought_together(rows, pictures, most=most, chunk=chunk, seed=seed, epoch=epoch)
    unshuffled = brought_together(rows, pictures, most=1, chunk=chunk, seed=None, epoch=epoch)
    assert unshuffled == rows  # bundles of one row each, each where it was


def test_steps_of_rows_brought_together_show_few_pictures_and_a_picture_with_many_rows_comes_no_earlier():
    pictures = [0] * 40 + [number for number in range(1, 41) for _ in range(7)]
    first_of_0, steps = [], []
    for epoch in range(200):
        found = brought_together(
            epoch_permutation(320, 0, epoch), pictures, most=8, chunk=32, seed=0, epoch=epoch
        )
        shown = [[pictures[row] for row in found[at : at + 32]] for at in range(0, 320, 32)]
        steps += [len(set(step)) for step in shown]
        first_of_0 += [place for place, row in enumerate(found) if pictures[row] == 0]
    assert sum(steps) / len(steps) < 5.5  # 32 rows at 7 a picture are 4.6
    assert 150 < sum(first_of_0) / len(first_of_0) < 170  # the middle of an epoch is 160


@given(PICTURES, st.integers(1, 6))
def test_rows_side_by_side_are_the_same_rows_and_as_they_were_where_nothing_is_shared(pictures, size):
    pictures = pictures[: len(pictures) // size * size]
    rows = list(range(len(pictures)))
    found = side_by_side(rows, pictures, size=size)
    assert sorted(found) == rows
    shown = [one for one in pictures if one is not None]
    if len(shown) == len(set(shown)):
        assert found == rows
    batches = [found[at : at + size] for at in range(0, len(found), size)]
    spread = {one: sum(any(pictures[row] == one for row in batch) for batch in batches) for one in shown}
    assert sum(spread.values()) <= len(set(shown)) + len(batches)  # each batch's border cuts one at most
