"""Pictures inside parquet and Arrow files, as Hugging Face datasets hold them: read where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from medgrpo.data.source import UNION, ImageRef, union_of
from medgrpo.errors import MedgrpoError, missing_extra

CELL = "cell:"
"""Part of an `ImageRef`: `cell:7/image` is row 7 (from 1), column image; `cell:7/images/0` the first of a list."""


def batches(file: Path) -> Iterator[Any]:
    """The record batches of a parquet or Arrow file.

    Raises:
        MedgrpoError: it is neither, or damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", f"reading {file.name}") from error
    try:
        if file.suffix.lower() == ".arrow":
            with pyarrow.memory_map(str(file)) as mapped, _ipc(mapped) as reader:
                yield from reader
        else:
            with pyarrow.parquet.ParquetFile(file) as table:
                yield from table.iter_batches(batch_size=64)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise MedgrpoError(f"{file} is not a readable {file.suffix[1:]} file: {error}") from error


def _ipc(mapped: Any) -> Any:
    import pyarrow

    return pyarrow.ipc.open_stream(mapped)


def without_pictures(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The row with the bytes of its pictures replaced by `{"cell": …}`, so that rows stay small."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value and all(_is_picture(item) for item in value):
            found[name] = [{"cell": f"{number}/{name}/{place}"} for place in range(len(value))]
        else:
            found[name] = {"cell": f"{number}/{name}"} if _is_picture(value) else value
    return found


def _is_picture(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes))


def read_bytes(root: Path, ref: ImageRef) -> bytes:
    """The bytes of a picture's file, or of the cell that it is in.

    Raises:
        OSError: the file cannot be read.
    """
    if ref.part.startswith(UNION):
        return b"".join((root / path).read_bytes() for path in union_of(ref))
    if not ref.part.startswith(CELL):
        return (root / ref.path).read_bytes()
    number, _, column = ref.part.removeprefix(CELL).partition("/")
    name, _, place = column.rpartition("/") if column.rpartition("/")[2].isdecimal() else (column, "", "")
    value = _cells(root / ref.path, name, (int(number) - 1) // 64)[(int(number) - 1) % 64]
    if place:
        value = value[int(place)]
    return bytes(value["bytes"] if isinstance(value, Mapping) else value)


@lru_cache(maxsize=2)
def _cells(file: Path, column: str, block: int) -> list[Any]:
    """A column of 64 rows; the blocks of a file are read in order, each once."""
    import pyarrow.parquet

    if file.suffix.lower() == ".arrow":
        with pyarrow.memory_map(str(file)) as mapped, _ipc(mapped) as reader:
            table = reader.read_all()
            return list(table.column(column).slice(block * 64, 64).to_pylist())
    with pyarrow.parquet.ParquetFile(file) as table:
        start = 0
        wanted: list[Any] = []
        for group in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if start < (block + 1) * 64 and start + count > block * 64:
                values = table.read_row_group(group, columns=[column]).column(column)
                first = max(block * 64 - start, 0)
                wanted += values.slice(first, (block + 1) * 64 - start - first).to_pylist()
            start += count
        return wanted
