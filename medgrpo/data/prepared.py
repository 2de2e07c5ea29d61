"""The prepared dataset on disk: read in a streaming way, written all or nothing.

A folder with `dataset.json`, one parquet file per split, and `images/` and `masks/` that the rows point
into with relative paths.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, overload

from medgrpo.data.schema import (
    FILE_COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    SPLITS,
    arrow_schema,
    refuse_other_columns,
)
from medgrpo.errors import MedgrpoError, UsageError, missing_extra, typed_path
from medgrpo.files import PARTIAL, foreign_json, rename_folder, storable, sync, write_json
from medgrpo.foreign import reading
from medgrpo.pictures import check_names, stored_file
from medgrpo.rows import Row

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

INFO_NAME = "dataset.json"
EXPECTED = "a split of a prepared dataset, as `medgrpo preprocess` writes it"
LOCK_NAME = ".lock"
"""In the unfinished dataset: locked by the process that writes it."""
ROW_GROUP = 256
"""Rows per parquet row group: what is decoded to reach one row."""
LONGEST_BATCH = 65_536
"""Rows whose lengths are looked at together."""


@dataclass(frozen=True)
class Longest:
    """What no row exceeds.

    Attributes:
        length: bytes of all its texts.
        pictures: number of its pictures.
        size: (width, height) of a picture; None where a row does not say it.
    """

    length: int
    pictures: int
    size: tuple[int, int] | None

    def with_batch(self, length: int, pictures: int, size: tuple[int, ...] | None) -> Longest:
        """The same of these rows too."""
        sides = (
            None
            if self.size is None or size is None
            else (max(self.size[0], size[0]), max(self.size[1], size[1]))
        )
        return Longest(max(self.length, length), max(self.pictures, pictures), sides)


def _largest(column: Any) -> int:
    import pyarrow.compute as pc

    return pc.max(column).as_py() or 0


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", "reading a prepared dataset") from error
    return pyarrow.parquet


class PreparedDataset:
    """A prepared dataset that was opened for reading; rows are read as they are asked for.

    Attributes:
        path: its folder, absolute.
        info: what `dataset.json` says.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self._checked: set[str] = set()

    @classmethod
    def open(cls, path: str | Path) -> PreparedDataset:
        """The dataset in the folder `path`; what `--data` names, mixtures too, is opened by `mixture.open_data`.

        Raises:
            UsageError: there is no such folder, it is no prepared dataset, or a newer medgrpo wrote it.
        """
        folder = Path(path).expanduser()
        if not folder.exists():
            raise UsageError(
                f"no dataset at {folder}",
                expected="a folder written by `medgrpo preprocess`",
                hint=f"check the path, or make it: medgrpo preprocess SOURCE {typed_path(folder)}",
            )
        info_file = folder / INFO_NAME
        if not info_file.is_file():
            raise UsageError(
                f"{folder} is not a prepared dataset: it has no {INFO_NAME}",
                expected="a folder written by `medgrpo preprocess`",
                hint=f"medgrpo preprocess {typed_path(folder)} {typed_path(prepared_name(folder))}",
            )
        try:
            info = foreign_json(info_file)
        except (OSError, ValueError, RecursionError) as error:
            raise MedgrpoError(
                f"{info_file} cannot be read: {error}", hint="prepare the dataset again, into a new folder"
            ) from error
        if not isinstance(info, dict):
            raise MedgrpoError(f"{info_file} holds no JSON object")
        rows = info.get("rows")
        if not isinstance(rows, dict) or not all(
            type(count) is int and count >= 0 for count in rows.values()
        ):
            raise MedgrpoError(
                f"{info_file}: rows is {rows!r:.120}",
                expected='the number of rows of each split: {"train": 80, "test": 20}',
                hint="prepare the dataset again, into a new folder",
            )
        version = info.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise UsageError(
                f"{folder} has schema version {version}",
                expected=f"at most {SCHEMA_VERSION}, which this medgrpo writes",
                hint="update medgrpo, or prepare the dataset again",
            )
        return cls(folder.resolve(), info)

    @property
    def hash(self) -> str:
        """Hash of rows, splits and source images; the same wherever and however it was prepared."""
        return str(self.info["hash"])

    @property
    def location(self) -> str:
        """What `open` finds it by again, from any working directory."""
        return str(self.path)

    @property
    def splits(self) -> list[str]:
        """The splits that have rows, in the order train, validation, test."""
        return [split for split in SPLITS if self.count(split)]

    def count(self, split: str) -> int:
        """Number of rows in a split; 0 if the dataset has no such split."""
        return int(self.info.get("rows", {}).get(split, 0))

    def _file(self, split: str) -> Path:
        file = self.path / f"{split}.parquet"
        if split not in self.splits or not file.is_file():
            raise UsageError(
                f"{self.path} has no rows in the split {split!r}",
                expected=f"one of {', '.join(self.splits) or 'none: the dataset is empty'}",
                hint="`medgrpo preprocess --split .8,.1,.1` makes all three",
            )
        if split not in self._checked:
            with reading(file, EXPECTED):
                refuse_other_columns(_parquet().read_schema(file), file)
            self._checked.add(split)
        return file

    def table(self, split: str, columns: Sequence[str] | None = None) -> Any:
        """A split as a `pyarrow.Table`, or only some columns of it; images are not read."""
        with reading(self._file(split), EXPECTED):
            return _parquet().read_table(self._file(split), columns=list(columns) if columns else None)

    def rows(self, split: str, limit: int | None = None) -> Iterator[Row]:
        """The rows of a split in order, the first `limit` of them, a few hundred in memory at a time."""
        remaining = self.count(split) if limit is None else limit
        with reading(self._file(split), EXPECTED), _parquet().ParquetFile(self._file(split)) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP):
                for row in batch.to_pylist():
                    if remaining <= 0:
                        return
                    remaining -= 1
                    check_names(self.path, files_of(row))
                    yield row

    def longest(self, split: str) -> Longest | None:
        """What no row of a split exceeds, without a look at each row; None: a column holds something else than texts, numbers
        and lists of texts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        most = Longest(0, 0, (0, 0))
        with reading(self._file(split), EXPECTED), _parquet().ParquetFile(self._file(split)) as file:
            for batch in file.iter_batches(batch_size=LONGEST_BATCH):
                length = 0
                for column in batch.columns:
                    is_list = pa.types.is_list(column.type)
                    texts = pc.list_flatten(column) if is_list else column
                    count = _largest(pc.list_value_length(column)) if is_list else 1
                    if pa.types.is_string(texts.type):
                        length += count * _largest(pc.binary_length(texts))
                    elif not (pa.types.is_primitive(texts.type) or pa.types.is_null(texts.type)):
                        return None
                pictures = _largest(pc.list_value_length(batch.column("images")))
                sides = [batch.column(name) for name in ("width", "height")]
                size = None if any(side.null_count for side in sides) else tuple(map(_largest, sides))
                most = most.with_batch(length, pictures, size)
        return most

    def view(self, split: str) -> Sequence[Row]:
        """The rows of a split by index, for training in an order of its own (a `RowView`)."""
        return RowView(self._file(split))

    def find(self, ids: Iterable[str]) -> dict[str, Row]:
        """The rows with these ids, from whichever split they are in; ids that no row has are left out."""
        left = set(ids)
        found: dict[str, Row] = {}
        for split in self.splits:
            if not left:
                break
            for row in self.rows(split):
                if row["id"] in left:
                    found[row["id"]] = row
                    left.discard(row["id"])
        return found

    def drawn_by(self, seed: int) -> PreparedDataset:
        """The same dataset with the rows that this seed draws: itself, since only a mixture draws any."""
        del seed
        return self

    @property
    def hashes(self) -> set[str]:
        """Its own hash, those of a mixture's parts, and that of the dataset whose rows preference pairs were made of."""
        stated = [self.info.get("hash"), self.info.get("made_from_dataset")]
        stated += [part["hash"] for part in self.info.get("parts", [])]
        return {str(each) for each in stated if each}

    def copied_name(self, path: str) -> str:
        """The relative path at which a file that a row names lies in a dataset made of this one's rows."""
        return path

    def image_path(self, relative: str) -> Path:
        """The absolute path of an image, mask or field of view named by a row.

        Raises:
            MedgrpoError: the path leads out of the dataset's folder, or names no file at all.
        """
        check_names(self.path, [relative])
        return stored_file(self.path, relative)


def prepared_name(source: str | Path) -> Path:
    """Where the dataset made of a source may go: called after it, in the current folder, but never inside the source."""
    real = Path(source).expanduser().resolve()
    name = Path(f"{(real.stem if real.is_file() else real.name) or 'data'}-prepared")
    return real.parent / name if Path.cwd().resolve().is_relative_to(real) else name


def files_of(row: Mapping[str, Any]) -> Iterator[Any]:
    """Names of the files of a row: its pictures, its masks."""
    yield from row.get("images") or ()
    for column in FILE_COLUMNS:
        yield row.get(column)


class RowView(Sequence[Row]):
    """Rows of one parquet file by index; decodes row groups as needed and keeps a few of them.

    It can be pickled into data-loader workers: the file is opened where it is first used.
    """

    def __init__(self, file: Path, cached_groups: int = 16) -> None:
        self.file = file
        self.cached_groups = cached_groups
        self._open()

    def _open(self) -> None:
        self._reader = _parquet().ParquetFile(self.file)
        metadata = self._reader.metadata
        self._starts = [0]
        for index in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(index).num_rows)
        self._cache: OrderedDict[int, list[Row]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "cached_groups": self.cached_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.file = state["file"]
        self.cached_groups = state["cached_groups"]
        self._open()

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        from bisect import bisect_right

        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        group = bisect_right(self._starts, position) - 1
        return self._group(group)[position - self._starts[group]].copy()

    def _group(self, group: int) -> list[Row]:
        rows = self._cache.get(group)
        if rows is None:
            rows = self._reader.read_row_group(group).to_pylist()
            for row in rows:
                check_names(self.file.parent, files_of(row))
            self._cache[group] = rows
            if len(self._cache) > self.cached_groups:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(group)
        return rows


class PreparedWriter:
    """Writes a prepared dataset into a temporary folder beside `path` and renames it when complete.

    Use it as a context: on an error nothing appears at `path`.

        with PreparedWriter("out") as writer:
            save_image(writer.folder / "images" / "1.png")
            writer.write("train", rows)
            writer.finish({"name": "demo", "task": "vqa", "hash": "…"})

    Args:
        path: where the dataset is to appear.
        keep_partial: leave the temporary folder behind on an error, so that a later call resumes.

    Raises:
        UsageError: `path` exists and is not an empty folder, or another process is writing it.
    """

    def __init__(self, path: str | Path, *, keep_partial: bool = False) -> None:
        self.path = Path(path).expanduser().absolute()
        self.keep_partial = keep_partial
        self._refuse_taken()
        self.folder = self.path.with_name(f".{self.path.name}{PARTIAL}")
        self._lock: IO[str] | None = None
        self._counts: dict[str, int] = {}
        self._finished = False

    def _refuse_taken(self) -> None:
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise UsageError(
                f"{self.path} already exists and is not empty",
                expected="a new folder for the prepared dataset",
                hint="choose another folder, or remove this one",
            )

    def __enter__(self) -> PreparedWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder / LOCK_NAME, self.path)
        try:
            self._refuse_taken()  # another process may have finished while this one was starting
        except UsageError:
            self._lock.close()
            shutil.rmtree(self.folder)
            raise
        for left_over in () if self.keep_partial else list(self.folder.iterdir()):
            if left_over.is_dir():
                shutil.rmtree(left_over)
            elif left_over.name != LOCK_NAME:
                left_over.unlink()
        (self.folder / "images").mkdir(exist_ok=True)
        return self

    def write(self, split: str, rows: Iterable[Row]) -> int:
        """Writes a split, all of its rows in one call; returns how many rows it got.

        Raises:
            ValueError: a required column of a row is None.
        """

        schema = arrow_schema()
        file = self.folder / f"{split}.parquet"
        count = 0
        with _parquet().ParquetWriter(file, schema, compression="zstd") as writer:
            chunk: list[Row] = []
            for row in rows:
                _check_required(row)
                chunk.append(row)
                count += 1
                if len(chunk) == ROW_GROUP:
                    writer.write_table(_as_table(chunk, schema))
                    chunk = []
            if chunk:
                writer.write_table(_as_table(chunk, schema))
        sync(file)
        self._counts[split] = count
        return count

    def unfinished(self, info: dict[str, Any]) -> PreparedDataset:
        """What was written so far, opened for reading."""
        rows = {split: self._counts.get(split, 0) for split in SPLITS}
        return PreparedDataset(
            self.folder.resolve(), {"schema_version": SCHEMA_VERSION, **info, "rows": rows}
        )

    def finish(self, info: dict[str, Any]) -> PreparedDataset:
        """Writes `dataset.json` (rows per split and schema version are added), then renames the folder."""
        document = self.unfinished(info).info
        file = self.folder / INFO_NAME
        write_json(file, document)
        (self.folder / LOCK_NAME).unlink()
        rename_folder(self.folder, self.path, is_synced=True)  # pictures: thousands of waits
        self._finished = True
        return PreparedDataset.open(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished and not self.keep_partial:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _locked(file: Path, target: Path) -> IO[str]:
    """The open lock file: the system lets go of the lock when it is closed, also by the end of the process."""
    opened = file.open("w", encoding="utf-8")
    if fcntl is None:
        return opened
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        opened.close()
        raise UsageError(
            f"another process is preparing {target}",
            expected="one process to a folder",
            hint="wait for it, or choose another folder",
        ) from error
    return opened


def _as_table(rows: list[Row], schema: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:
        return pa.Table.from_pylist(storable(rows), schema=schema)


def _check_required(row: Row) -> None:
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise ValueError(f"row {row.get('id')!r} of {row.get('source_file')}: no {', '.join(missing)}")
