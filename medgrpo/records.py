"""Rows out of text files as people really have them: encodings, JSON in lines or in one piece, CSV.

A line ends at a line feed and nowhere else. `str.splitlines` also cuts at U+0085, U+2028, U+2029 and more, which
stand inside of JSON strings and CSV cells: a completion with one of them would be lost, or torn into two rows.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import check_regular
from medgrpo.json_in import TwoValues, json_value

ROW_LISTS = (
    *("data", "rows", "questions", "annotations", "examples", "items"),
    *("predictions", "results", "samples", "records", "per_sample_results", "sample_results", "per_sample"),
)
"""Keys under which a JSON object may hold its list of rows, the first that is there."""


class BadRow(Exception):
    """A row that cannot be used.

    Args:
        reason: a few words that rows with the same fault share; skipped rows are counted by it.
        field: the field at fault.
        problem: what is wrong with which value.
        expected: what would have been right.
        hint: what to type, where leaving such rows out is not what anybody wants.
    """

    def __init__(self, reason: str, field: str, problem: str, expected: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.reason = reason
        self.field = field
        self.problem = problem
        self.expected = expected
        self.hint = hint


ARCHIVES: tuple[tuple[bytes, str, str], ...] = (
    (b"opendocument.spreadsheet", "a sheet of OpenDocument", "save it as .xlsx, or as CSV (UTF-8)"),
    (b"xl/", "a workbook of Excel", "give it a name that ends in .xlsx"),
    (b"word/", "a document of Word", "give its table as CSV (UTF-8)"),
    (b"", "a zip archive", "unpack it, and give the folder or a file of it"),
)
"""What a zip archive that holds these bytes is, and what to do; the first that fits."""
PAGES = (b"<html", b"<!doctype html", b"<table")
"""How a page of HTML begins, which some programs name .xls."""
BINARY: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\xd0\xcf\x11\xe0",
        "a document of Excel or Word, before 2007 or protected by a password",
        "save it as .xlsx without a password, or its sheet as CSV (UTF-8)",
    ),
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gunzip FILE"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: unzstd FILE"),
    (b"%PDF", "a PDF", "give the data that it was made from"),
    (
        b"SQLite format 3",
        "a database of SQLite",
        "write its table as CSV: sqlite3 -csv -header FILE 'select * from TABLE'",
    ),
    (b"\x93NUMPY", "an array of NumPy", "give a table of rows"),
    (b"\x89HDF", "an HDF5 file", "give a table of rows"),
    (b"\x89PNG", "a picture", "give the file of the rows that name it"),
    (b"\xff\xd8\xff", "a picture", "give the file of the rows that name it"),
    (b"PAR1", "a parquet file", "give it a name that ends in .parquet"),
    (b"ARROW1", "an Arrow file", "give it a name that ends in .arrow"),
)
"""How a file begins that is no text, what it is, and what to do."""


@dataclass(frozen=True)
class Text:
    """The text of a file, and the encoding that it was read as."""

    text: str
    encoding: str

    @property
    def note(self) -> str | None:
        """What to say where the encoding was guessed; None for UTF-8 and UTF-16 with its mark."""
        if self.encoding in ("UTF-8", "UTF-16"):
            return None
        return f"read as {self.encoding}, as it is no UTF-8"


def read_text(file: Path) -> Text:
    """The text of a file in UTF-8 or UTF-16, or else in GB18030 or Windows-1252, whichever it looks like.

    Raises:
        MedgrpoError: it cannot be read, or is UTF-8 with damaged places.
    """
    check_regular(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MedgrpoError(f"{file} cannot be read: {error.strerror}") from error
    return decoded(content, str(file))


def decoded(content: bytes, name: str) -> Text:
    """The text that bytes spell; `name` is the file's, for messages.

    Raises:
        MedgrpoError: no encoding fits, or it is UTF-8 with damaged places.
    """
    _refuse_binary(content, name)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return Text(content.decode("utf-16"), "UTF-16")
        except UnicodeDecodeError as error:
            raise MedgrpoError(f"{name} is damaged UTF-16: {error.reason} at byte {error.start}") from error
    try:
        return Text(content.decode("utf-8-sig"), "UTF-8")
    except UnicodeDecodeError as error:
        fault = error
    for encoding in _guesses(content):
        try:
            return Text(content.decode(encoding), "GB18030" if encoding == "gb18030" else "Windows-1252")
        except UnicodeDecodeError:
            continue
    line = content.count(b"\n", 0, fault.start) + 1
    raise MedgrpoError(
        f"{name} is neither UTF-8 nor GB18030: line {line}, byte {fault.start} is {content[fault.start]:#04x}",
        expected="a text file in UTF-8",
        hint="save it again as UTF-8",
    )


def _refuse_binary(content: bytes, name: str) -> None:
    """Words what is no text as what it is: "byte 22 is 0x8f" helps nobody who gave a workbook.

    Raises:
        MedgrpoError: it begins like a file of `BINARY`.
    """
    found = [(what, hint) for start, what, hint in BINARY if content.startswith(start)]
    if content.startswith(b"PK\x03\x04"):
        found = [(what, hint) for part, what, hint in ARCHIVES if part in content]
    elif content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGES):
        found = [("a page of HTML", "open it in Excel and save it as .xlsx, or as CSV (UTF-8)")]
    if not found:
        return
    what, hint = found[0]
    raise MedgrpoError(
        f"{name} is {what}, which is not read", expected="JSON, JSON lines, CSV, .xlsx or parquet", hint=hint
    )


def _guesses(content: bytes) -> tuple[str, ...]:
    """Encodings to try on bytes that are no UTF-8, the likelier first; none where UTF-8 was damaged.

    Chinese text in GB18030 is mostly pairs of high bytes; in Windows-1252 a high byte stands alone among ASCII
    letters, and the pair would be read as one rare character.
    """
    right = sum(character > "\x7f" for character in content.decode("utf-8", "ignore"))
    wrong = content.decode("utf-8", "replace").count("\ufffd")
    if right >= 4 * wrong:
        return ()
    pairs = alone = position = 0
    while position < len(content):
        if content[position] < 0x80:
            position += 1
        elif position + 1 < len(content) and content[position + 1] >= 0x80:
            pairs += 1
            position += 2
        else:
            alone += 1
            position += 1
    return ("gb18030", "cp1252") if pairs > 4 * alone else ("cp1252",)


def lines(text: str) -> list[str]:
    """The lines of a text, cut at line feeds only; a carriage return before one goes, as does an empty last line."""
    found = [line.removesuffix("\r") for line in text.split("\n")]
    if found and not found[-1]:
        found.pop()
    return found


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """(line number from 1, JSON value) of each line that is not blank; a `BadRow` in place of a broken one."""
    for number, line in enumerate(lines(text), start=1):
        if line.strip():
            try:
                yield number, json_value(line)
            except (ValueError, RecursionError) as error:
                yield number, BadRow("not JSON", "line", f"{error}", "one JSON object a line")


def json_objects(file: Path) -> list[dict[str, Any]]:
    """The objects of a file that is appended to, one a line; what a kill cut off is left out, as is an absent file."""
    if not file.is_file():
        return []
    check_regular(file)
    found = []
    for line in lines(file.read_text("utf-8", errors="replace")):
        with suppress(ValueError, RecursionError):
            value = json_value(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def json_cell(text: str, field: str) -> Any:
    """The JSON value in a cell of a table.

    Raises:
        BadRow: an object in it has two values for one name.
        ValueError: it is no JSON: the cell may mean a text.
    """
    try:
        return json_value(text)
    except TwoValues as error:
        raise BadRow("two values for one name", field, f"{error}", "one value for each name") from error


def listed_rows(document: dict[str, Any]) -> list[Any] | None:
    """The list of rows in a JSON object that holds one under a name of `ROW_LISTS`; None where it holds none."""
    found = (document.get(name) for name in ROW_LISTS)
    rows = (
        rows
        for rows in found
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    )
    return next(rows, None)


def are_json_lines(text: str) -> bool:
    """True for one JSON object a line, also where the first line is the broken one."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json_value(first), dict)
    except (ValueError, RecursionError):
        # an object over several lines has no second line with {
        return first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def csv_rows(
    text: str, name: str, delimiter: str | None = None
) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """(line number, record) of each row of a CSV text below its header; a `BadRow` in place of a broken one.

    Args:
        delimiter: None: comma, semicolon or tab, whichever the header has most of.
    Raises:
        MedgrpoError: the header names a column twice, or a quote is never closed; `name` is the file's.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    cut = list(io.StringIO(text, newline=""))
    separator = delimiter or delimiter_of(text)
    reader = csv.reader(cut, delimiter=separator)
    try:
        header = [column.strip() for column in next(reader, [])]
        twice = sorted({column for column in header if column and header.count(column) > 1})
        if twice:
            raise MedgrpoError(
                f"{name} has two columns called {twice[0]!r}", expected="a name of its own for each column"
            )
        begun = reader.line_num
        for cells in reader:
            if reader.line_num == len(cut):
                _refuse_open_quote(cut[begun:], separator, name, begun + 1)
            if cells:
                yield reader.line_num, _csv_row(header, cells)
            begun = reader.line_num
    except csv.Error as error:
        raise MedgrpoError(f"{name}, line {reader.line_num}, is not valid CSV: {error}") from error


def _refuse_open_quote(last: list[str], separator: str, name: str, line: int) -> None:
    """An open quote takes in all rows to the end of the file."""
    try:
        list(csv.reader(last, delimiter=separator, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise MedgrpoError(
                f"{name}: the row that begins in line {line} opens a quote that is never closed",
                expected='quotes in pairs, a quote inside a cell doubled ("")',
            ) from error


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | BadRow:
    if len(cells) > len(header):
        if any(cell.strip() for cell in cells[len(header) :]):
            problem = f"{len(cells)} fields, the header has {len(header)} columns"
            return BadRow("wrong number of columns", "row", problem, "one value per column")
        cells = cells[: len(header)]
    values: Iterable[str | None] = [*cells, *[None] * (len(header) - len(cells))]
    return dict(zip(header, values, strict=True))


def delimiter_of(text: str) -> str:
    """Comma, semicolon or tab, whichever the first line has most of."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)
