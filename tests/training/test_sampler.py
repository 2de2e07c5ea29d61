"""The data order is a function of seed and epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from medgrpo.training.trainers.sampler import EpochOrder, balanced, epoch_permutation


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
