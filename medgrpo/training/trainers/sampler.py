"""The data order: a function of seed and epoch alone, so that a resumed run continues it.

TRL 1.16's `RepeatSampler` draws its permutations from one generator and has no `set_epoch`: a resumed
run replays epoch 0. This one restarts the generator for each epoch, and the trainers of this package
tell it the epoch (`RunTrainer` in `base.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Sampler

Order = Callable[[int], list[int]]
"""Row numbers of an epoch, in order; may be fewer than all rows."""
BUNDLES_AHEAD = 64
"""So many bundles are looked through for one that fits what is left of a step."""


class EpochOrder(Sampler[int]):
    """Rows in the order of an epoch, in whole chunks, repeated as a GRPO generation batch needs them.

    Yields, for each chunk of `chunk` rows: `repeat_count` times the chunk, each row `group` times in a row.
    A last chunk that is not full is dropped; with a new permutation each epoch other rows are dropped.

    Args:
        rows: number of rows.
        seed: of the permutation.
        chunk: rows of one generation batch (prompts per step, for one generation a step).
        group: completions per prompt.
        repeat_count: how often the batch is handed out again (iterations x slices of it).
        shuffle: permute; otherwise rows keep their order.
        order: replaces the permutation, such as a curriculum's.
        coming: told the rows of the next chunk when one is begun.
        gather: makes another order of the permutation, given it and the epoch; all rows of it. A curriculum's is left alone.
        arrange: puts the rows of a chunk in the order in which the processes take their shares; a function of the rows alone.
    """

    def __init__(
        self,
        rows: int,
        *,
        seed: int,
        chunk: int,
        group: int = 1,
        repeat_count: int = 1,
        shuffle: bool = True,
        order: Order | None = None,
        coming: Callable[[list[int]], None] | None = None,
        arrange: Callable[[list[int]], list[int]] | None = None,
        gather: Callable[[list[int], int], list[int]] | None = None,
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.chunk = chunk
        self.group = group
        self.repeat_count = repeat_count
        self.shuffle = shuffle
        self.epoch = 0
        self._order = order
        self._coming = coming
        self.arrange = arrange
        self.gather = gather
        self._arranged: dict[tuple[int, ...], list[int]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def order(self, epoch: int) -> list[int]:
        """Row numbers of an epoch, each once, before chunks and repetitions."""
        if self._order is not None:
            return self._order(epoch)
        rows = epoch_permutation(self.rows, self.seed, epoch) if self.shuffle else list(range(self.rows))
        return rows if self.gather is None else self.gather(rows, epoch)

    def chunks(self, epoch: int) -> list[list[int]]:
        """Rows of an epoch by chunk, as they are drawn."""
        order = self.order(epoch)
        return [
            order[start : start + self.chunk] for start in range(0, len(order) - self.chunk + 1, self.chunk)
        ]

    def arranged(self, chunk: list[int]) -> list[int]:
        """A chunk in the order in which its rows are handed out."""
        if self.arrange is None:
            return chunk
        known = self._arranged.get(tuple(chunk))
        if known is None:
            if (
                len(self._arranged) >= 4
            ):  # it is asked for as the next chunk, as this one, and by who samples ahead
                self._arranged.clear()
            known = self._arranged[tuple(chunk)] = self.arrange(chunk)
        return known

    def __iter__(self) -> Iterator[int]:
        chunks = self.chunks(self.epoch)
        for number, chunk in enumerate(chunks):
            if self._coming is not None and number + 1 < len(chunks):
                self._coming(self.arranged(chunks[number + 1]))
            rows = self.arranged(chunk)
            for _ in range(self.repeat_count):
                for row in rows:
                    yield from [row] * self.group

    def __len__(self) -> int:
        return self.rows // self.chunk * self.chunk * self.group * self.repeat_count


def epoch_permutation(rows: int, seed: int, epoch: int) -> list[int]:
    """A permutation of `range(rows)` that depends on seed and epoch alone, on any machine."""
    import numpy as np

    return np.random.default_rng([seed, epoch]).permutation(rows).tolist()  # type: ignore[no-any-return]


def brought_together(
    order: Sequence[int],
    pictures: Mapping[int, Any] | Sequence[Any],
    *,
    most: int,
    chunk: int,
    seed: int | None,
    epoch: int,
) -> list[int]:
    """The rows with up to `most` about one picture beside each other, all of them once; a function of its arguments.

    The rows of a picture are cut into bundles in the order in which they come, and the bundles are shuffled, so that a picture
    with many rows comes no earlier than others. A bundle goes over the border of a step only where none of the
    next ones fits into what is left of the step.

    Args:
        pictures: by row, what stands for its pictures; None: it has none.
        most: rows of a bundle.
        chunk: rows of a step.
        seed: of the bundles' order; None: each where its first row is.
    """
    import numpy as np

    bundles: list[list[int]] = []
    open_bundle: dict[Any, list[int]] = {}
    for row in order:
        bundle = open_bundle.get(pictures[row]) if pictures[row] is not None else None
        if bundle is None or len(bundle) >= min(most, chunk):
            bundle = []
            bundles.append(bundle)
            open_bundle[pictures[row]] = bundle
        bundle.append(row)
    if seed is not None:
        drawn = np.random.default_rng([seed, epoch, 1]).permutation(len(bundles)).tolist()
        bundles = [bundles[number] for number in drawn]
    return _filled(bundles, chunk)


def _filled(bundles: list[list[int]], chunk: int) -> list[int]:
    """The bundles in steps of `chunk` rows, the first that fits next."""
    found: list[int] = []
    waiting = dict(enumerate(bundles))
    while waiting:
        room = chunk - len(found) % chunk
        ahead = islice(waiting, BUNDLES_AHEAD)
        fitting = next((number for number in ahead if len(waiting[number]) <= room), None)
        found += waiting.pop(next(iter(waiting)) if fitting is None else fitting)
    return found


def side_by_side(rows: list[int], pictures: Mapping[int, Any], *, size: int) -> list[int]:
    """The rows of a step in batches of `size`, those about one picture in the same batch as far as that goes.

    As they were where no two have a picture in common.

    Args:
        pictures: by row, what stands for its pictures; None: it has none.
        size: divides the number of rows.
    """
    groups: dict[Any, list[int]] = {}
    for row in rows:
        groups.setdefault(("row", row) if pictures[row] is None else pictures[row], []).append(row)
    if len(groups) == len(rows):
        return rows
    batches: list[list[int]] = [[] for _ in range(len(rows) // size)]
    for group in sorted(groups.values(), key=len, reverse=True):
        left = group
        while left:
            emptiest = min(batches, key=len)
            taken = size - len(emptiest)
            emptiest += left[:taken]
            left = left[taken:]
    return [row for batch in batches for row in batch]


def balanced(rows: list[int], weights: list[int], shares: int) -> list[int]:
    """The rows in as many shares of equal count, one after the other, whose weights are as even as can be had at once.

    The heaviest first, each to the lightest share that has room; equal weights keep their order.

    Args:
        rows: their number is a multiple of `shares`.
        weights: of each row, such as its tokens.
    """
    room = len(rows) // shares
    found: list[list[int]] = [[] for _ in range(shares)]
    sums = [0] * shares
    for place in sorted(range(len(rows)), key=lambda place: -weights[place]):
        share = min(
            (one for one in range(shares) if len(found[one]) < room), key=lambda one: (sums[one], one)
        )
        found[share].append(rows[place])
        sums[share] += weights[place]
    return [row for share in found for row in share]
