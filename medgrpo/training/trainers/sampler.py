"""The data order: a function of seed and epoch alone, so that a resumed run continues it.

TRL 1.16's `RepeatSampler` draws its permutations from one generator and has no `set_epoch`: a resumed
run replays epoch 0. This one restarts the generator for each epoch, and the trainers of this package
tell it the epoch (`RunTrainer` in `base.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler

Order = Callable[[int], list[int]]
"""Row numbers of an epoch, in order; may be fewer than all rows."""


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
        self._arrange = arrange
        self._arranged: dict[tuple[int, ...], list[int]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def order(self, epoch: int) -> list[int]:
        """Row numbers of an epoch, each once, before chunks and repetitions."""
        if self._order is not None:
            return self._order(epoch)
        return epoch_permutation(self.rows, self.seed, epoch) if self.shuffle else list(range(self.rows))

    def chunks(self, epoch: int) -> list[list[int]]:
        """Rows of an epoch by chunk, as they are drawn."""
        order = self.order(epoch)
        return [
            order[start : start + self.chunk] for start in range(0, len(order) - self.chunk + 1, self.chunk)
        ]

    def arranged(self, chunk: list[int]) -> list[int]:
        """A chunk in the order in which its rows are handed out."""
        if self._arrange is None:
            return chunk
        known = self._arranged.get(tuple(chunk))
        if known is None:
            if (
                len(self._arranged) >= 4
            ):  # it is asked for as the next chunk, as this one, and by who samples ahead
                self._arranged.clear()
            known = self._arranged[tuple(chunk)] = self._arrange(chunk)
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
