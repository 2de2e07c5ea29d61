"""Records out of files as people really have them.

The content decides, not the name: JSON lists named .jsonl, JSON lines named .json, objects keyed by id,
byte-order marks and GB18030 are all met in practice.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medgrpo.data.readers.base import BadRow
from medgrpo.errors import MedgrpoError

ROW_LISTS = ("data", "rows", "questions", "annotations", "examples", "items")
"""Keys under which a JSON object may hold its list of rows."""

PIPE_FIELDS = "_fields"
"""Field that takes the values of a line of fields between pipes."""
KEY_FIELD = "_key"
"""Field that takes the key of each row of an object keyed by id."""


def read_records(file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The records of a file with their number, counted from 1; a `BadRow` in place of a broken one.

    Raises:
        MedgrpoError: the file as a whole cannot be read.
    """
    if file.suffix.lower() in (".parquet", ".arrow"):
        yield from _tables(file)
        return
    text = decoded(file)
    if file.suffix.lower() in (".csv", ".tsv"):
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
    if start == "{" and _is_json_lines(text):
        yield from _json_lines(text)
    else:
        yield from _json(text, file)


def first_record(file: Path) -> dict[str, Any] | None:
    """The first record that is not broken; None if there is none."""
    for _, record in read_records(file):
        if not isinstance(record, BadRow):
            return record
    return None


def decoded(file: Path) -> str:
    """The text of a file: UTF-8 with or without mark, UTF-16 with mark, or else GB18030.

    Raises:
        MedgrpoError: it is none of these, or cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MedgrpoError(f"{file} cannot be read: {error.strerror}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as utf8_error:
        try:
            return content.decode("gb18030")
        except UnicodeDecodeError:
            position = utf8_error.start
            raise MedgrpoError(
                f"{file} is neither UTF-8 nor GB18030: byte {position} is {content[position]:#04x}",
                expected="a text file in UTF-8",
            ) from utf8_error


def _is_json_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        # the first line may be the broken one: an object over several lines has no second line with {
        return first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    number = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        number += 1
        try:
            value = json.loads(line)
        except ValueError as error:
            yield number, BadRow("not JSON", "line", f"{error}", "one JSON object a line")
            continue
        yield number, _object(value)


def _object(value: Any) -> dict[str, Any] | BadRow:
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, ensure_ascii=False)[:60]
    return BadRow("not an object", "row", f"{shown} is no JSON object", "an object with the fields of a row")


def _json(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MedgrpoError(
            f"{file} is not valid JSON: {error}",
            expected="a JSON list, a JSON object, or one object a line",
            hint="correct the file; `python -m json.tool FILE` shows the place",
        ) from error
    if isinstance(content, dict):
        listed = next((content[key] for key in ROW_LISTS if isinstance(content.get(key), list)), None)
        if listed is not None:
            content = listed
        elif content and all(isinstance(value, dict) for value in content.values()):
            content = [{KEY_FIELD: key, **value} for key, value in content.items()]
        else:
            content = [content]
    for number, value in enumerate(content, start=1):
        yield number, _object(value)


def _csv(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    delimiter = "\t" if file.suffix.lower() == ".tsv" else _delimiter(text)
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        for number, row in enumerate(reader, start=1):
            if None in row:
                problem = f"{len(row) + len(row[None]) - 1} columns, the header has {len(row) - 1}"
                yield number, BadRow("wrong number of columns", "row", problem, "one value per column")
            else:
                yield number, {(key or "").strip(): value for key, value in row.items()}
    except csv.Error as error:
        raise MedgrpoError(f"{file} is not valid CSV: {error}") from error


def _piped(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Lines of fields between pipes; a text without them is a README and has no records."""
    lines = [line for line in text.splitlines() if line.strip()]
    if sum("|" in line for line in lines) < 0.9 * len(lines):
        raise MedgrpoError(f"{file} holds no records", expected="lines of fields between |")
    for number, line in enumerate(lines, start=1):
        if "|" in line:
            yield number, {PIPE_FIELDS: line.split("|")}
        else:
            yield number, BadRow("no fields", "line", f"{line[:60]!r} has no |", "fields between |")


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _tables(file: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Rows of a parquet or Arrow file; pictures inside it are replaced by the cell they are in."""
    from medgrpo.data.cells import batches, without_pictures

    number = 0
    for batch in batches(file):
        for row in batch.to_pylist():
            number += 1
            yield number, without_pictures(row, number)
