"""The completion store: every sampled completion with what it earned, in parquet parts.

Rows are first appended to `spool.jsonl`, which a `kill -9` cannot take back, and become a part every
hundred steps. `make-dpo`, the viewer and the health rules read the parts; a run that is resumed turns
what is left of the spool into a part before it goes on. A spool is named after its part before that is
written, and the part decides: whatever the moment of a kill, each row counts once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.files import sync, written_aside
from medgrpo.records import json_objects

if TYPE_CHECKING:
    import pyarrow as pa

STEPS_PER_PART = 100
SPOOL_SUFFIX = ".spool"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Completion:
    """One sampled completion. `rewards` holds every component, None where it could not judge the row."""

    stage: str
    step: int
    prompt_id: str
    image_id: str | None
    images: list[str]
    question: str
    answer: str
    completion: str
    tokens: int
    truncated: bool
    reward: float | None
    advantage: float
    rewards: dict[str, float | None]


class CompletionStore:
    """Writes the parts of one run folder.

    Args:
        folder: `completions/` of the run folder.
        steps_per_part: a part is closed after so many steps.
    """

    def __init__(self, folder: Path, *, steps_per_part: int = STEPS_PER_PART) -> None:
        self._folder = folder
        self._spool = folder / "spool.jsonl"
        self._steps_per_part = steps_per_part
        self._steps: set[tuple[str, int]] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for spool in _named_spools(folder):
            _write_part(_part_of(spool), _table(json_objects(spool)))
        for spool in folder.glob(f".*{SPOOL_SUFFIX}"):
            spool.unlink()
        if self._spool.is_file():
            self.close_part()

    def add(self, rows: Sequence[Completion]) -> None:
        """Append the completions of one step, flushed; closes the part when it is full."""
        new_steps = {(row.stage, row.step) for row in rows} - self._steps
        if new_steps and len(self._steps) >= self._steps_per_part:
            self.close_part()
        self._steps |= new_steps
        with self._spool.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(_as_dict(row), ensure_ascii=False) + "\n" for row in rows))

    def close_part(self) -> Path | None:
        """The spool as a new part; None when it is empty."""
        rows = json_objects(self._spool)
        self._steps = set()
        if not rows:
            self._spool.unlink(missing_ok=True)
            return None
        path = self._folder / f"part-{self._next_number():05d}.parquet"
        named = self._folder / f".{path.stem}{SPOOL_SUFFIX}"
        self._spool.replace(named)
        _write_part(path, _table(rows))
        named.unlink()
        return path

    def sync(self) -> None:
        """Put the spool on the disk, for a checkpoint that builds on it."""
        if self._spool.is_file():
            sync(self._spool)

    def abandon(self, stage: str, last_step: int) -> int:
        """Mark the completions of a stage after `last_step` as abandoned; how many there are.

        A resumed run samples those steps again.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        self.close_part()
        count = 0
        for path in sorted(self._folder.glob("part-*.parquet")):
            table = pq.read_table(path)
            later = pc.and_(
                pc.equal(table["stage"], stage),
                pc.and_(pc.greater(table["step"], last_step), pc.invert(table["abandoned"])),
            )
            found = pc.sum(later).as_py() or 0
            if found:
                marks = pc.or_(table["abandoned"], later)
                index = table.schema.get_field_index("abandoned")
                _write_part(path, table.set_column(index, pa.field("abandoned", pa.bool_()), marks))
                count += found
        return count

    def _next_number(self) -> int:
        numbers = [int(path.stem.removeprefix("part-")) for path in self._folder.glob("part-*.parquet")]
        return max(numbers, default=0) + 1


def read_completions(run: Path) -> pa.Table:
    """Every completion of a run that counts: parts and spool, abandoned ones left out.

    Args:
        run: the run folder. It may be that of a run still going on or killed; nothing is written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = run / "completions"
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    for spool in [*_named_spools(folder), folder / "spool.jsonl"]:
        if rows := json_objects(spool):
            tables.append(_table(rows))
    if not tables:
        return _table([])
    table = pa.concat_tables(tables, promote_options="default")
    return table.filter(pc.invert(table["abandoned"]))


def _part_of(spool: Path) -> Path:
    return spool.with_name(spool.name.removeprefix(".").removesuffix(SPOOL_SUFFIX) + ".parquet")


def _named_spools(folder: Path) -> list[Path]:
    """Spools on their way into a part that is not there yet."""
    return [spool for spool in sorted(folder.glob(f".*{SPOOL_SUFFIX}")) if not _part_of(spool).is_file()]


def _as_dict(row: Completion) -> dict[str, Any]:
    values = {name: value for name, value in row.__dict__.items() if name != "rewards"}
    values["reward"] = _finite(row.reward)
    return {**values, "rewards": {name: _finite(value) for name, value in row.rewards.items()}}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Columns: the fields of `Completion`, one `rewards/<name>` per component, `abandoned`."""
    import pyarrow as pa

    names = sorted({name for row in rows for name in row["rewards"]})
    plain = {
        "stage": pa.string(),
        "step": pa.int64(),
        "prompt_id": pa.string(),
        "image_id": pa.string(),
        "images": pa.list_(pa.string()),
        "question": pa.string(),
        "answer": pa.string(),
        "completion": pa.string(),
        "tokens": pa.int64(),
        "truncated": pa.bool_(),
        "reward": pa.float64(),
        "advantage": pa.float64(),
    }
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in plain.items()}
    for name in names:
        columns[f"rewards/{name}"] = pa.array([row["rewards"].get(name) for row in rows], pa.float64())
    columns["abandoned"] = pa.array([False] * len(rows), pa.bool_())
    return pa.table(columns).replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})


def _write_part(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with written_aside(path) as partial:
        pq.write_table(table, partial)
