"""Records out of files as people really have them.

The content decides, not the name: JSON lists named .jsonl, JSON lines named .json, objects keyed by id,
byte-order marks and GB18030 are all met in practice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medgrpo.data.cells import TABLES, batches, without_pictures
from medgrpo.data.embedded import TextPictures, may_hold_pictures
from medgrpo.data.source import split_word
from medgrpo.errors import MedgrpoError
from medgrpo.json_in import json_value
from medgrpo.records import (
    BadRow,
    are_json_lines,
    csv_rows,
    json_lines,
    lines,
    listed_rows,
    read_text,
)
from medgrpo.workbooks import WORKBOOKS, is_workbook, read_workbook

PIPE_FIELDS = "_fields"
"""Field that takes the values of a line of fields between pipes."""
KEY_FIELD = "_key"
"""Field that takes the key of each row of an object keyed by id."""


def read_records(file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The records of a file with their number, counted from 1; a `BadRow` in place of a broken one.

    Raises:
        MedgrpoError: the file as a whole cannot be read.
    """
    if file.suffix.lower() in TABLES:
        yield from _tables(file)
        return
    if is_workbook(file):
        yield from _workbook(file)
        return
    text = read_text(file).text
    rows = _rows(text, file)
    if not may_hold_pictures(text):
        yield from rows
        return
    pictures = TextPictures(file.read_bytes())
    for number, row in rows:
        yield number, row if isinstance(row, BadRow) else pictures.taken_out(row)


def _rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    if file.suffix.lower() in (".csv", ".tsv", ".xls", *WORKBOOKS):  # texts under Excel's names are tables
        yield from _csv(text, file)
        return
    start = text.lstrip()[:1]
    if not start:
        return
    if file.suffix.lower() == ".txt":
        yield from _piped(text, file)
        return
    if start not in "[{":
        raise MedgrpoError(
            f"{file} holds no JSON", expected="a JSON list, a JSON object, or one object a line"
        )
    if start == "{" and are_json_lines(text):
        yield from _json_lines(text)
    else:
        yield from _json(text, file)


def first_record(file: Path) -> dict[str, Any] | None:
    """The first record that is not broken; None if there is none."""
    for _, record in read_records(file):
        if not isinstance(record, BadRow):
            return record
    return None


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for number, (_, value) in enumerate(json_lines(text), start=1):
        yield number, value if isinstance(value, BadRow) else _object(value)


def _object(value: Any) -> dict[str, Any] | BadRow:
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, ensure_ascii=False)[:60]
    return BadRow("not an object", "row", f"{shown} is no JSON object", "an object with the fields of a row")


def _json(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    try:
        content = json_value(text)
    except (ValueError, RecursionError) as error:
        raise MedgrpoError(
            f"{file} is not valid JSON: {error}",
            expected="a JSON list, a JSON object, or one object a line",
            hint="correct the file; `python -m json.tool FILE` shows the place",
        ) from error
    if isinstance(content, dict):
        listed = listed_rows(content)
        if listed is not None:
            content = listed
        elif _are_splits(content):
            content = [{"split": split, **row} for split, rows in content.items() for row in rows]
        elif content and all(isinstance(value, dict) for value in content.values()):
            content = [{KEY_FIELD: key, **value} for key, value in content.items()]
        else:
            content = [content]
    for number, value in enumerate(content, start=1):
        yield number, _object(value)


def _are_splits(content: dict[str, Any]) -> bool:
    """Whether an object is one list of rows for each split: {"train": […], "test": […]}."""
    rows = [
        value
        for value in content.values()
        if isinstance(value, list) and all(isinstance(r, dict) for r in value)
    ]
    return bool(rows) and len(rows) == len(content) and all(split_word(name) for name in content)


def _csv(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else None
    for number, (_, row) in enumerate(csv_rows(text, str(file), delimiter), start=1):
        yield number, row


def _piped(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Lines of fields between pipes; a text without them is a README and has no records."""
    filled = [line for line in lines(text) if line.strip()]
    if sum("|" in line for line in filled) < 0.9 * len(filled):
        raise MedgrpoError(f"{file} holds no records", expected="lines of fields between |")
    for number, line in enumerate(filled, start=1):
        if "|" in line:
            yield number, {PIPE_FIELDS: line.split("|")}
        else:
            yield number, BadRow("no fields", "line", f"{line[:60]!r} has no |", "fields between |")


def notes_of(file: Path) -> Counter[str]:
    """What is to be said of a file as a whole: a guessed encoding, what of a workbook is read and what is not."""
    if file.suffix.lower() in TABLES:
        return Counter()
    if is_workbook(file):
        return read_workbook(file, split_word).notes
    return Counter(filter(None, [read_text(file).note]))


def _workbook(file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Rows of a workbook, numbered as its margin; a picture as base64 in a cell is replaced by the cell."""
    for number, row in read_workbook(file, split_word).rows:
        yield number, row if isinstance(row, BadRow) else without_pictures(row, number)


def _tables(file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Rows of a parquet or Arrow file; pictures inside it are replaced by the cell they are in."""
    number = 0
    for batch in batches(file):
        for row in batch.to_pylist():
            number += 1
            yield number, without_pictures(row, number)
