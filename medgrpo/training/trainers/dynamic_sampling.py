"""Dynamic sampling (DAPO): a group without spread teaches nothing, so another prompt takes its place.

The prompts that step in come from a second order of the epoch's rows, a function of seed and epoch alone;
how many were drawn is saved with a checkpoint. The first order, which says what an epoch is, stays as it
is. Source: DAPO, arXiv 2503.14476, section 3.2, with bounded retries and single groups exchanged instead
of sampling whole batches until enough groups are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medgrpo.rewards.composite import Floats
    from medgrpo.training.trainers.sampler import EpochOrder

SPREAD = 1e-9
"""Largest difference within a group that counts as none."""


def dead_groups(signal: Floats, group_size: int) -> list[int]:
    """Numbers of the groups whose advantages are all 0.

    Args:
        signal: (n,) what advantages are made of, NaN where nothing could judge; the completions of a prompt
            beside each other.
        group_size: completions per prompt.
    """
    groups = signal.reshape(-1, group_size)
    highest = np.where(np.isnan(groups), -np.inf, groups).max(axis=1)
    lowest = np.where(np.isnan(groups), np.inf, groups).min(axis=1)
    return [int(number) for number in np.flatnonzero(~(highest - lowest > SPREAD))]


class FreshPrompts:
    """Row numbers for groups that have to be replaced.

    Args:
        order: the run's data order; its epoch's rows are drawn from.
        seed: of the run.
    """

    def __init__(self, order: EpochOrder, seed: int) -> None:
        self._order = order
        self._seed = seed
        self._epoch = 0
        self._drawn = 0
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def take(self, count: int) -> list[int]:
        """The next rows of this epoch; after all were drawn they come again in another order."""
        if self._epoch != self._order.epoch:
            self._epoch, self._drawn = self._order.epoch, 0
        taken = [self._row(self._drawn + number) for number in range(count)]
        self._drawn += count
        return taken

    def _row(self, position: int) -> int:
        round_, place = divmod(position, len(self._shuffled(self._epoch, 0)))
        return self._shuffled(self._epoch, round_)[place]

    def _shuffle(self, epoch: int, round_: int) -> list[int]:
        rows = sorted(set(self._order.order(epoch)))
        # The first order's generator is seeded with [seed, epoch], which is [seed, epoch, 0].
        shuffled = np.random.default_rng([self._seed, epoch, 1 + round_]).permutation(rows)
        return [int(row) for row in shuffled]

    def state_dict(self) -> dict[str, int]:
        """Where the order stands."""
        return {"epoch": self._epoch, "drawn": self._drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a checkpoint stood."""
        self._epoch, self._drawn = state["epoch"], state["drawn"]


@dataclass(frozen=True)
class Share:
    """What one process has of the groups that are replaced."""

    places: list[int]
    """Its own completions that are replaced, counted from its first."""
    rows: list[int]
    """Row number for each of them; then rows again, until every process generates equally many."""


def share_of(
    process: int, processes: int, dead: Sequence[int], rows: Sequence[int], *, group_size: int, samples: int
) -> Share:
    """The part of one process in replacing groups, which may lie over two processes.

    All processes generate together (ZeRO-3 and vLLM wait for each other), so that those with fewer
    completions to replace generate as many more, which are thrown away.

    Args:
        process: its number, of `processes`.
        dead: numbers of the groups over all processes.
        rows: the row that takes each one's place.
        group_size: completions per prompt.
        samples: completions of one process.
    """
    wanted: list[list[tuple[int, int]]] = [[] for _ in range(processes)]
    for group, row in zip(dead, rows, strict=True):
        for sample in range(group * group_size, (group + 1) * group_size):
            wanted[sample // samples].append((sample % samples, row))
    mine = wanted[process]
    longest = max(len(one) for one in wanted)
    padding = [rows[-1]] * (longest - len(mine))
    return Share([place for place, _ in mine], [row for _, row in mine] + padding)
