"""Pictures inside parquet and Arrow files, as Hugging Face datasets hold them: read where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from medgrpo.data.embedded import EMBEDDED, digest_of, picture_text, read_embedded, unpacked
from medgrpo.data.source import UNION, ImageRef, split_word, union_of
from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.records import BadRow
from medgrpo.workbooks import is_workbook, read_workbook

TABLES = (".parquet", ".arrow")

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


def without_pictures(row: Mapping[str, Any], number: int) -> dict[str, Any] | BadRow:
    """The row with `{"cell": …}` in place of its pictures, be they bytes or base64, so that rows stay small; a
    `BadRow` where one of base64 cannot be used."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value and all(_is_picture(item) for item in value):
            found[name] = [{"cell": f"{number}/{name}/{place}"} for place in range(len(value))]
        elif _is_picture(value):
            found[name] = {"cell": f"{number}/{name}"}
        else:
            try:
                found[name] = _without_nested(value, f"{number}/{name}", name)
            except BadRow as fault:
                return fault
    return found


def _is_picture(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes))


def _without_nested(value: Any, place: str, field: str) -> Any:
    """A value without the pictures that lie deeper in it (parts of a conversation), and without base64."""
    if _is_picture(value):
        content = value if isinstance(value, bytes) else value["bytes"]
        digest = hashlib.blake2b(content, digest_size=12).hexdigest()
        return {"cell": f"{EMBEDDED}{digest}@{place}"}
    if isinstance(value, str):
        text = picture_text(value)
        return value if text is None else {"cell": f"{EMBEDDED}{digest_of(text, field)}@{place}"}
    if isinstance(value, list):
        return [
            _without_nested(item, f"{place}/{number}", f"{field}[{number}]")
            for number, item in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            name: _without_nested(item, f"{place}/{name}", f"{field}.{name}") for name, item in value.items()
        }
    return value


def read_bytes(root: Path, ref: ImageRef) -> bytes:
    """The bytes of a picture's file, or of the cell that it is in.

    Raises:
        OSError: the file cannot be read.
    """
    if ref.part.startswith(UNION):
        return b"".join((root / path).read_bytes() for path in union_of(ref))
    if ref.part.startswith(EMBEDDED):
        file = root / ref.path
        in_cells = file.suffix.lower() in TABLES or is_workbook(file)
        return _nested(file, ref.part) if in_cells else read_embedded(file, ref.part)
    if not ref.part.startswith(CELL):
        return (root / ref.path).read_bytes()
    number, _, column = ref.part.removeprefix(CELL).partition("/")
    name, _, place = column.rpartition("/") if column.rpartition("/")[2].isdecimal() else (column, "", "")
    value = _cells(root / ref.path, name, (int(number) - 1) // 64)[(int(number) - 1) % 64]
    if place:
        value = value[int(place)]
    return bytes(value["bytes"] if isinstance(value, Mapping) else value)


def _nested(file: Path, part: str) -> bytes:
    """A picture that lies deeper in a row of a table, or is base64 there: `7/messages/0/content/1/image_url`."""
    number, column, *steps = part.partition("@")[2].split("/")
    if is_workbook(file):
        value: Any = next(row for place, row in read_workbook(file, split_word).rows if place == int(number))
        value = value[column]
    else:
        value = _cells(file, column, (int(number) - 1) // 64)[(int(number) - 1) % 64]
    for step in steps:
        value = value[int(step)] if isinstance(value, list) else value[step]
    if isinstance(value, Mapping):
        value = value["bytes"]
    return unpacked((picture_text(value) or value).encode()) if isinstance(value, str) else bytes(value)


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
