"""Curriculum: which rows are asked when, by how hard they are.

A difficulty is a number per row, higher is harder: a column, the foreground of the row's mask (little is
hard), or what the start model earns on the row (little is hard). It is found once, kept in the run folder
as `curriculum.parquet`, and the order of an epoch is a function of that file, seed and epoch.

Schedules, over the whole run and not over an epoch:

- `linear`: at first the easiest `start` of the rows, then more and more, all of them from `full_at` on.
- `staged`: the easiest `start` of the rows until `full_at`, then all.
- `sorted`: all rows, from easy to hard in each epoch.

An epoch has as many prompts as there are rows whatever the schedule: while only some rows are available,
these come again in another order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.files import written_aside
from medgrpo.json_in import json_value
from medgrpo.pictures import opened_picture, stored_file
from medgrpo.rows import columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medgrpo.config.sections import CurriculumConfig
    from medgrpo.rows import Row

FILE_NAME = "curriculum.parquet"
COLUMN = "column:"
EASY_IF_HIGH = ("mask_area",)
THIN = "thin_vessels"
"""`curriculum.by` of masks: many thin vessels are hard."""
"""Columns in which large values are the easy ones."""


class Curriculum:
    """The order of a run's rows, in chunks: the rows of one generated batch (of one step, for sft and dpo).

    Args:
        difficulty: (rows,), higher is harder; NaN, not known, counts as hardest; infinite: the row is left out.
        settings: schedule and pace.
        seed: of the run.
        chunk: rows of a chunk.
        chunks: chunks of the whole run.
        steps_per_chunk: optimiser steps that learn from a chunk.
    """

    def __init__(
        self,
        difficulty: NDArray[np.float64],
        settings: CurriculumConfig,
        *,
        seed: int,
        chunk: int,
        chunks: int,
        steps_per_chunk: int = 1,
    ) -> None:
        import numpy as np

        self.settings = settings
        self.seed = seed
        self.chunk = chunk
        self.chunks = chunks
        self.steps_per_chunk = steps_per_chunk
        self._difficulty = difficulty
        ranked = np.argsort(difficulty, kind="stable")  # NaN last
        self._ranked = ranked[~np.isinf(difficulty[ranked])]
        self._chunks_of_epoch = len(difficulty) // chunk
        """An epoch keeps its number of steps: rows come again where others are left out."""
        self._last: tuple[int, list[int]] | None = None

    def available(self, chunk: int) -> float:
        """Share of the rows, the easiest first, that the chunk is drawn from."""
        start, full_at = self.settings.start, self.settings.full_at
        progress = chunk / max(self.chunks, 1)
        if self.settings.schedule == "sorted" or progress >= full_at:
            return 1.0
        grown = progress / full_at if self.settings.schedule == "linear" else 0.0
        return start + (1 - start) * grown

    def order(self, epoch: int) -> list[int]:
        """Row numbers of an epoch, in whole chunks."""
        if self._last is None or self._last[0] != epoch:
            self._last = (
                epoch,
                list(self._sorted(epoch) if self.settings.schedule == "sorted" else self._drawn(epoch)),
            )
        return self._last[1]

    def _sorted(self, epoch: int) -> Iterable[int]:
        import numpy as np

        from medgrpo.training.trainers.sampler import epoch_permutation

        whole, kept = self._chunks_of_epoch * self.chunk, np.sort(self._ranked)
        rounds = -(-whole // len(kept))  # which rows are left out at the end changes by epoch
        order = [
            row
            for number in range(rounds)
            for row in epoch_permutation(len(kept), self.seed, epoch + number * 1_000_003)
        ]
        shuffled = kept[np.asarray(order[:whole])]
        easiest_first = np.argsort(self._difficulty[shuffled], kind="stable")  # ties stay shuffled
        return map(int, shuffled[easiest_first])

    def _drawn(self, epoch: int) -> Iterable[int]:
        """Rows drawn from those available, each once before any comes again.

        A row that becomes available joins the round that is being drawn, at a random place of what is left.
        """
        import numpy as np

        draw = np.random.default_rng([self.seed, epoch]).random
        waiting: list[tuple[float, int]] = []
        joined = 0
        chunks = self._chunks_of_epoch
        for number in range(epoch * chunks, (epoch + 1) * chunks):
            allowed = max(self.chunk, math.ceil(self.available(number) * len(self._ranked)))
            now = waiting[0][0] if waiting else 0.0
            rest = math.floor(now) + 1 - now
            for row in self._ranked[joined:allowed].tolist():
                heapq.heappush(waiting, (now + rest * draw(), row))
            joined = max(joined, allowed)
            for _ in range(self.chunk):
                place, row = waiting[0]
                heapq.heapreplace(waiting, (math.floor(place) + 1 + draw(), row))
                yield row

    def log_entries(self, step: int) -> dict[str, float]:
        """Log entries of a step: the share available, and how hard its rows are by rank (0: the easiest of
        all, 1: the hardest, 0.5 on average without a curriculum).

        Args:
            step: counted from 1.
        """
        chunk = (step - 1) // self.steps_per_chunk
        epoch, place = divmod(chunk, self._chunks_of_epoch)
        rows = self.order(epoch)[place * self.chunk : (place + 1) * self.chunk]
        return {
            "curriculum/difficulty": float(self._ranks[rows].mean()),
            "curriculum/available": self.available(chunk),
        }

    @cached_property
    def _ranks(self) -> NDArray[np.float64]:
        """(rows,) rank from 0 to 1; rows that are equally hard share theirs."""
        import numpy as np

        known = np.where(np.isnan(self._difficulty), np.inf, self._difficulty)
        _, kind, counts = np.unique(known, return_inverse=True, return_counts=True)
        middle = counts.cumsum() - (counts + 1) / 2
        ranks: NDArray[np.float64] = middle[kind] / max(len(known) - 1, 1)
        return ranks


# ------------------------------------------------------------------------------------------- what is hard


def all_at_once(settings: CurriculumConfig) -> CurriculumConfig:
    """The settings of rows that are left out and otherwise not ordered."""
    return settings.model_copy(update={"start": 1.0, "schedule": "linear"})


def without_rates(
    difficulty: NDArray[np.float64], rates: NDArray[np.float64], drop: Sequence[float], *, at_least: int
) -> NDArray[np.float64]:
    """The difficulties, infinite where a row's pass rate is one of `drop`.

    Args:
        difficulty: (rows,).
        rates: (rows,) pass rates; a row that nothing judged stays.
        at_least: rows of one step, which have to be left.
    Raises:
        MedgrpoError: fewer are.
    """
    import numpy as np

    gone = np.zeros(len(rates), bool)
    for share in drop:
        gone |= np.isclose(rates, share, atol=1e-6)
    if len(rates) - gone.sum() < at_least:
        raise MedgrpoError(
            f"curriculum.drop leaves {len(rates) - gone.sum()} of {len(rates)} rows, fewer than the {at_least} of one step",
            hint="another start model or metric, more curriculum.samples, or --set curriculum.drop=none",
        )
    return np.where(gone, np.inf, difficulty)


def column_of(settings: CurriculumConfig) -> str | None:
    """The column that `curriculum.by` names; None for pass_rate and thin_vessels."""
    return None if settings.by in (None, "pass_rate", THIN) else str(settings.by).removeprefix(COLUMN)


def row_difficulty(
    rows: Sequence[Row],
    settings: CurriculumConfig,
    pass_rates: Callable[[], NDArray[np.float64]],
    folder: Path,
) -> NDArray[np.float64]:
    """(rows,) how hard each row is; `pass_rates` is called where `curriculum.by` asks for them.

    Args:
        folder: that the paths of the rows' masks start from.
    """
    if settings.by == THIN:
        shares = thin_shares(rows, folder)
        return -shares if settings.easy == "high" else shares
    return 1 - pass_rates() if column_of(settings) is None else column_difficulty(rows, settings)


def thin_shares(rows: Sequence[Row], folder: Path) -> NDArray[np.float64]:
    """(rows,) the share of each row's mask that is thin; NaN without a mask, or of an empty one."""
    import numpy as np

    from medgrpo.segmentation.thin import thin_share

    def of(name: str | None) -> float:
        if not name:
            return math.nan
        with opened_picture(stored_file(folder, name)) as opened:
            return thin_share(np.asarray(opened.convert("L")) > 127)

    return np.fromiter((of(row.get("mask")) for row in rows), np.float64, len(rows))


def column_difficulty(rows: Sequence[Row], settings: CurriculumConfig) -> NDArray[np.float64]:
    """(rows,) difficulty by a column, NaN where a row has no value.

    Raises:
        UsageError: there is no such column, or it holds no numbers and `curriculum.levels` does not say how
            hard its words are.
    """
    import numpy as np

    column = column_of(settings)
    assert column is not None
    values = np.fromiter((_number(row, column, settings) for row in rows), np.float64, len(rows))
    easy = settings.easy or ("high" if column in EASY_IF_HIGH else "low")
    return -values if easy == "high" else values


def check_column(rows: Sequence[Row], settings: CurriculumConfig) -> list[str]:
    """Warnings about the curriculum's column; nothing to check for pass_rate.

    Raises:
        UsageError: as `column_difficulty`, and where no row has a value.
    """
    import numpy as np

    if settings.by == THIN:
        missing = sum(not row.get("mask") for row in rows)
        if missing == len(rows):
            raise UsageError(
                "curriculum.by = thin_vessels measures masks, and no row has one",
                hint="medgrpo preprocess SOURCE OUTPUT --task vessels",
            )
        return [f"{missing} of {len(rows)} rows have no mask: they count as hardest"] if missing else []
    if column_of(settings) is None:
        return []
    unknown = int(np.isnan(column_difficulty(rows, settings)).sum())
    if unknown == len(rows):
        raise UsageError(
            f"no row has a value in the column {column_of(settings)}, which curriculum.by names",
            hint="choose another column, or --set curriculum.by=pass_rate",
        )
    if unknown:
        return [f"{unknown} of {len(rows)} rows have no {column_of(settings)}: they count as hardest"]
    return []


def _number(row: Row, column: str, settings: CurriculumConfig) -> float:
    if column not in row:
        raise choice_error("column for curriculum.by", column, row)
    value = columns(row)[column]
    if value is None:
        return math.nan
    if settings.levels:
        if value not in settings.levels:
            raise choice_error(f"value of {column} in curriculum.levels", str(value), settings.levels)
        return float(settings.levels.index(value))
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"the column {column} holds no numbers: {value!r}",
            hint='say how hard its values are, easy ones first: --set curriculum.levels=\'["closed", "open"]\'',
        ) from None


# ------------------------------------------------------------------------------------- in the run folder


def write_difficulty(
    path: Path, rows: Sequence[Row], difficulty: NDArray[np.float64], about: dict[str, Any]
) -> None:
    """Keep the difficulties: a table of `id` and `difficulty`, and what they are made of."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("id", pa.string()), ("difficulty", pa.float64())], metadata={"about": json.dumps(about)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(difficulty), 4096):
            block = difficulty[start : start + 4096]
            ids = [rows[number]["id"] for number in range(start, start + len(block))]
            writer.write_table(pa.table({"id": ids, "difficulty": block}, schema=schema))


def read_difficulty(path: Path, rows: int) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The difficulties of a run and what they are made of.

    Raises:
        MedgrpoError: they are of another number of rows.
    """

    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["difficulty"])
    if table.num_rows != rows:
        raise MedgrpoError(
            f"{path} has the difficulty of {table.num_rows} rows, and {rows} are trained on",
            expected="the rows that the run began with",
            hint="model.max_pixels and model.context_length decide which rows fit: leave them as they were",
        )
    return table.column("difficulty").to_numpy(), json_value(table.schema.metadata[b"about"])
