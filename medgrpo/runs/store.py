"""The completion store: every sampled completion with what it earned, in parquet parts.

Rows are first appended to `spool.jsonl`, which a `kill -9` cannot take back, and become a part every
hundred steps. `make-dpo`, the viewer and the health rules read the parts; a run that is resumed turns
what is left of the spool into a part before it goes on. A spool is named after its part before that is
written, and the part decides: whatever the moment of a kill, each row counts once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import append_lines, storable, sync, written_aside
from medgrpo.foreign import reads
from medgrpo.records import json_objects
from medgrpo.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

STEPS_PER_PART = 100
SPOOL = "spool.jsonl"
SPOOL_SUFFIX = ".spool"
ROW_COLUMNS = (
    *("stage", "step", "prompt_id", "images", "question", "answer", "completion", "reward", "truncated"),
)
"""What the viewer and the health rules look at."""
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("stage", "prompt_id", "image_id", "question", "answer", "completion"), (str,)),
    **dict.fromkeys(("step", "tokens"), (int,)),
    **dict.fromkeys(("reward", "advantage"), (float, int)),
    "rewards": (dict,),
    "images": (list,),
    "truncated": (bool,),
}
"""What a column holds where it holds something."""
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
        self._spool = folder / SPOOL
        self._steps_per_part = steps_per_part
        self._steps: set[tuple[str, int]] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for spool in _named_spools(folder):
            _write_part(_part_of(spool), _table(_spooled(spool)))
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
        append_lines(self._spool, map(vars, rows), is_data=True)

    def close_part(self) -> Path | None:
        """The spool as a new part; None when it is empty."""
        rows = _spooled(self._spool)
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
        names = (
            re.fullmatch(r"part-([0-9]{1,15})", path.stem) for path in self._folder.glob("part-*.parquet")
        )
        numbers = [int(name[1]) for name in names if name]
        return max(numbers, default=0) + 1


@reads("run", "a run folder with its completions")
def read_completions(run: Path) -> pa.Table:
    """Every completion of a run that counts: parts and spools, abandoned ones left out.

    Args:
        run: the run folder. It may be that of a run still going on or killed; nothing is written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts, spools = _files(run)
    tables = [read_table(part) for part in parts]
    if rows := [row for spool in spools for row in _spooled(spool)]:
        tables.append(_table(rows))
    if not tables:
        return _table([])
    table = pa.concat_tables(tables, promote_options="default")
    return table.filter(pc.invert(table["abandoned"]))


@reads("run", "a run folder with its completions")
def read_rows(run: Path, columns: Sequence[str] = ROW_COLUMNS) -> list[dict[str, Any]]:
    """The same as rows, some columns of them; of the parts nothing where pyarrow is not installed.

    pyarrow.compute would bring pandas along, a second of start-up: it is left alone here.
    """
    parts, spools = _files(run)
    return [*_rows_of(parts, columns), *_rows_of_spools(spools)]


RECENT_STEPS = 16


TRL_PLAIN = ("step", "advantage")
"""Numbers in TRL's files of completions that are no rewards."""


@reads("run", "a run folder with its completions")
def read_recent_rows(run: Path) -> list[dict[str, Any]]:
    """Those of the last steps: of what is not in a part yet, or else of the newest part."""
    parts, spools = _files(run)
    if rows := _rows_of_spools(spools):
        return rows
    rows = _rows_of(parts[-1:], ROW_COLUMNS) or _rows_of_trl(run / "completions")
    last = max((row["step"] for row in rows), default=0)
    return [row for row in rows if row["step"] > last - RECENT_STEPS]


def _files(run: Path) -> tuple[list[Path], list[Path]]:
    """The parts of a run, and the spools whose rows are in no part, in the order of their steps."""
    folder = run / "completions"
    spools = [*_named_spools(folder), folder / SPOOL]
    return sorted(folder.glob("part-*.parquet")), [spool for spool in spools if spool.is_file()]


def _rows_of(parts: Sequence[Path], columns: Sequence[str]) -> list[dict[str, Any]]:
    if not parts or find_spec("pyarrow") is None:
        return []
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for part in parts:
        with pq.ParquetFile(part) as file:
            names = file.schema_arrow.names
        present = [name for name in (*columns, "abandoned") if name in names]
        rows += _checked(part, read_table(part, present).to_pylist())
    return list(filter(_counts, rows))


def _rows_of_trl(folder: Path) -> list[dict[str, Any]]:
    """The completions that TRL itself stores (`log_completions`): a file a step, a column for each reward; the reward
    is their sum, as TRL's weights are 1 unless set."""
    files = sorted(folder.glob("completions_*.parquet"))[-RECENT_STEPS:]
    if not files or find_spec("pyarrow") is None:
        return []

    rows = []
    for row in (row for file in files for row in read_table(file).to_pylist()):
        values = [value for name, value in row.items() if name not in TRL_PLAIN and isinstance(value, float)]
        prompt = str(row.get("prompt"))
        told = {"prompt_id": prompt, "question": prompt, "completion": row.get("completion")}
        rows.append({"step": int(row.get("step") or 0), "reward": sum(values) if values else None, **told})
    return list(filter(_counts, rows))


def _rows_of_spools(spools: Sequence[Path]) -> list[dict[str, Any]]:
    return [row for spool in spools for row in _spooled(spool) if _counts(row)]


def _spooled(spool: Path) -> Sequence[dict[str, Any]]:
    """What is in no part yet."""
    rows = _checked(spool, json_objects(spool))
    for number, row in enumerate(rows, 1):
        if not all(isinstance(one, str) for one in row.get("images") or []):
            raise _odd(spool, number, "images", row["images"], "texts")
        if not all(_is_value(one) for one in (row.get("rewards") or {}).values()):
            raise _odd(spool, number, "rewards", row["rewards"], "numbers or null")
    return rows


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _checked(file: Path, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The rows, if what each column holds is what the store writes there: what reads them groups and sorts by it."""
    for number, row in enumerate(rows, 1):
        for name, kind in KINDS.items():
            value = row.get(name)
            if value is None or isinstance(value, kind):
                continue
            raise _odd(file, number, name, value, " or ".join(one.__name__ for one in kind))
    return rows


def _odd(file: Path, number: int, name: str, value: object, expected: str) -> MedgrpoError:
    return MedgrpoError(
        f"{file}, row {number}: {name} is {str(value)[:60]!r}",
        expected=f"{expected}, as training writes it",
        hint="copy the run's completions/ again from where it was trained",
    )


def _counts(row: dict[str, Any]) -> bool:
    return not row.get("abandoned") and row.get("completion") is not None


def _part_of(spool: Path) -> Path:
    return spool.with_name(spool.name.removeprefix(".").removesuffix(SPOOL_SUFFIX) + ".parquet")


def _named_spools(folder: Path) -> list[Path]:
    """Spools on their way into a part that is not there yet."""
    return [spool for spool in sorted(folder.glob(f".*{SPOOL_SUFFIX}")) if not _part_of(spool).is_file()]


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Columns: the fields of `Completion`, one `rewards/<name>` per component, `abandoned`."""
    import pyarrow as pa

    rewards = [row.get("rewards") or {} for row in rows]
    names = sorted({name for one in rewards for name in one})
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
    columns = {
        name: pa.array([storable(row.get(name)) for row in rows], kind) for name, kind in plain.items()
    }
    for name in names:
        columns[f"rewards/{name}"] = pa.array([one.get(name) for one in rewards], pa.float64())
    columns["abandoned"] = pa.array([False] * len(rows), pa.bool_())
    return pa.table(columns).replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})


def _write_part(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with written_aside(path) as partial:
        pq.write_table(table, partial)
