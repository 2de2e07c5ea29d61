"""Rows out of workbooks of Excel (.xlsx, .xlsm): values as Excel last computed them; nothing of the file is run.

A sheet shows more than its cells hold: formats, cells that are merged, rows that are hidden, pictures that lie on it.
What changes the meaning of a row is read or makes it a bad one; the rest is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.records import BadRow
from medgrpo.workbook_parts import SheetParts, column_letters, parts_of

WORKBOOKS = (".xlsx", ".xlsm")
FLOOR, RATIO = 2**28, 50
"""Bytes that the sheets of a workbook may unfold to, and times its own size that a larger one's may; honest ones reach 20."""
MAX_CELLS = 20_000_000
MAX_ROWS = 1_048_576
"""As many as Excel has."""
TITLES = 5
"""Rows with one text each that may stand above the names of the columns."""
_CONTROL = re.compile(r"_x00([01][0-9A-Fa-f])_")
_PICTURE = re.compile(r"=?(_xlfn\.)?DISPIMG\(")
"""How WPS writes a picture in a cell."""
_WORDED = re.compile(r'(?:"(?P<before>[^"]+)")?(?:General|[#,0]*0(?:\.0+)?)(?:"(?P<after>[^"]+)")?')
"""Formats that put fixed words around a number."""
_ARCHIVE = b"PK\x03\x04"

Rows = list[tuple[int, "dict[str, Any] | BadRow"]]


@dataclass(frozen=True)
class Sheets:
    """The rows of a workbook, and what is to be said of it."""

    rows: Rows
    """Each with its number in the sheet's margin; where several sheets are read, the rows of those before are added."""
    notes: Counter[str]


def is_workbook(file: Path) -> bool:
    """Whether a file of that name is a workbook by its content too: many of that name are CSV or HTML."""
    if file.suffix.lower() not in WORKBOOKS:
        return False
    with file.open("rb") as opened:
        return opened.read(4) == _ARCHIVE


def read_workbook(file: Path, split_of: Callable[[str], str | None] | None = None) -> Sheets:
    """The rows below the names of the columns, of the first sheet that has any.

    Args:
        split_of: the split that a sheet's name stands for. Where each of several sheets has one, all are read.
    Raises:
        MedgrpoError: damaged, protected, unfolds to too much, has no rows or two columns of one name, or openpyxl is missing.
    """
    status = file.stat()
    return _read(file, split_of, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)  # a file is asked for its kind, its numbers of options and its rows
def _read(file: Path, split_of: Callable[[str], str | None] | None, _time: int, _size: int) -> Sheets:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise missing_extra("openpyxl", "data", f"reading {file.name}") from error
    with _worded(file), ZipFile(file) as archive:
        _check(archive.infolist(), archive, file)
        book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        try:
            return _chosen(book, archive, file, split_of)
        finally:
            book.close()


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    """What zipfile, the XML parser and openpyxl raise, in words."""
    try:
        yield
    except MedgrpoError:
        raise
    except Exception as error:
        raise MedgrpoError(
            f"{file} is damaged, or no workbook of Excel: {type(error).__name__}: {str(error)[:200]}",
            expected="an .xlsx file as Excel or LibreOffice save it",
            hint="open it there and save it again, or save its sheet as CSV (UTF-8)",
        ) from error


def _check(parts: Sequence[ZipInfo], archive: ZipFile, file: Path) -> None:
    """Refuses what unfolds to far more than it is, and parts that declare entities, before anything is parsed."""
    limit = max(FLOOR, RATIO * file.stat().st_size)
    size = sum(part.file_size for part in parts if not part.filename.startswith("xl/media/"))
    if size > limit:
        raise MedgrpoError(
            f"{file} unfolds to {size // 2**20:,} MiB, from {file.stat().st_size // 2**10:,} KiB on the disk",
            expected=f"at most {limit // 2**20:,} MiB",
            hint="if it is honest, save its sheet as CSV (UTF-8)",
        )
    if "xl/workbook.bin" in archive.namelist():
        raise MedgrpoError(f"{file} is a binary workbook (.xlsb)", expected=".xlsx", hint="save it as .xlsx")
    for part in parts:
        if part.filename.endswith((".xml", ".rels")):
            with archive.open(part) as opened:
                start = opened.read(4096)
            if b"<!DOCTYPE" in start or b"<!ENTITY" in start:
                raise MedgrpoError(
                    f"{file}: its part {part.filename} declares entities", expected="a plain workbook"
                )


def _chosen(book: Any, archive: ZipFile, file: Path, split_of: Callable[[str], str | None] | None) -> Sheets:
    notes: Counter[str] = Counter()
    filled: list[_Table] = []
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            notes[f"sheet {sheet.title!r} is hidden: left out"] += 1
        elif (table := _Table(sheet, archive, file)).rows:
            filled.append(table)
    if not filled:
        raise MedgrpoError(
            f"{file} has no sheet with rows",
            expected="names of columns, and below them a row for each question",
        )
    splits = [split_of(table.title) if split_of else None for table in filled]
    if len(filled) > 1 and all(splits):
        return _together(filled, splits, notes)
    first, *others = filled
    for table in others:
        notes[f"row of sheet {table.title!r} left out: {first.title!r}, the first, is read"] += len(
            table.rows
        )
    if others:
        notes[f"sheet {first.title!r} is read"] += 1
    return Sheets(first.rows, notes + first.notes)


def _together(filled: Sequence[_Table], splits: Sequence[str | None], notes: Counter[str]) -> Sheets:
    rows: Rows = []
    above = 0
    for table, split in zip(filled, splits, strict=True):
        for number, row in table.rows:
            whole = isinstance(row, BadRow) or "split" in row
            rows.append((above + number, row if whole else {"split": split, **row}))  # type: ignore[dict-item]
        above = rows[-1][0]
        notes += table.notes
        notes[f"sheet {table.title!r} is read as the split {split}"] += 1
    return Sheets(rows, notes)


class _Table:
    """One sheet: the names of its columns, and its rows."""

    def __init__(self, sheet: Any, archive: ZipFile, file: Path) -> None:
        self.title, self.file = str(sheet.title), file
        self.notes: Counter[str] = Counter()
        self.rows: Rows = []
        self.parts: SheetParts = parts_of(archive, str(sheet._worksheet_path))
        self.header: list[str] = []
        self.begins = 0
        """Last row of the names of the columns."""
        self.open: dict[int, tuple[int, Any]] = {}
        """Column -> last row and value of cells merged downwards."""
        sheet.reset_dimensions()  # what a program says of the size of its sheet may be wrong
        self._read(self._numbered(sheet))

    def _numbered(self, sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
        seen = 0
        for number, cells in enumerate(sheet.iter_rows(max_row=MAX_ROWS), start=1):
            seen += len(cells)
            if seen > MAX_CELLS:
                raise MedgrpoError(
                    f"{self.file} has more than {MAX_CELLS:,} cells",
                    expected="a table",
                    hint="save it as CSV (UTF-8)",
                )
            yield number, cells

    def _read(self, rows: Iterator[tuple[int, Sequence[Any]]]) -> None:
        above: list[tuple[int, Sequence[Any]]] = []
        for number, cells in rows:
            filled = sum(_is_filled(cell) for cell in cells)
            if self.header:
                self._add(number, cells, filled)
            elif filled == 1 and len(above) < TITLES:
                above.append((number, cells))
            elif filled:
                self._name(number, cells)
                for title, _ in above:
                    self.notes[f"row {title} stands above the names of the columns: not read"] += 1
        if above and not self.header:  # a sheet of one column
            self._name(*above[0])
            for number, cells in above[1:]:
                self._add(number, cells, 1)
        if hidden := self.parts.hidden.intersection(number for number, _ in self.rows):
            self.notes["row that the sheet hides: read"] += len(hidden)

    def _name(self, number: int, cells: Sequence[Any]) -> None:
        names = [str(cell.value).strip() if _is_filled(cell) else "" for cell in cells]
        self.begins = number
        for column, last, right in self.parts.merged.get(number, ()):
            if right > column:
                raise self._wrong(number, column, "is merged over several columns")
            self.begins = max(self.begins, last)
        times = Counter(names)
        for column, name in enumerate(names, start=1):
            if name and times[name] > 1:
                raise self._wrong(number, column, f"is {name!r}, as another column is")
        self.header = names

    def _wrong(self, number: int, column: int, what: str) -> MedgrpoError:
        return MedgrpoError(
            f"{self.file}, sheet {self.title!r}: {column_letters(column)}{number} {what}",
            expected="one row with a name of its own for each column",
        )

    def _add(self, number: int, cells: Sequence[Any], filled: int) -> None:
        """One row; without any value and picture it is none."""
        if filled and number <= self.begins:
            raise self._wrong(number, 1, "lies in a second row of names")
        notes: Counter[str] = Counter()
        try:
            values = self._values(number, cells, notes)
            if number in self.parts.pictures:
                problem = f"a picture lies on row {number} of sheet {self.title!r}"
                raise BadRow(
                    "picture on the sheet", "row", problem, "a column with the names of picture files"
                )
        except BadRow as fault:
            self.rows.append((number, fault))
            return
        if filled:
            self.notes += notes
            self.rows.append((number, values))

    def _values(self, number: int, cells: Sequence[Any], notes: Counter[str]) -> dict[str, Any]:
        found: dict[str, Any] = dict.fromkeys(name for name in self.header if name)
        merged = {column: (last, right) for column, last, right in self.parts.merged.get(number, ())}
        for column in range(1, max(len(cells), len(self.header)) + 1):
            name = self.header[column - 1] if column <= len(self.header) else ""
            cell = cells[column - 1] if column <= len(cells) else None
            at = _Place(number, column, name or column_letters(column))
            value = None if cell is None else self._value(cell, at, notes)
            last, right = merged.get(column, (number, column))
            if right > column and value is not None:
                raise at.bad(
                    "cell merged over columns", "is merged over several columns", "a cell for each column"
                )
            if last > number:
                self.open[column] = (last, value)
            elif value is None and column in self.open and number <= self.open[column][0]:
                value = self.open[column][1]
                notes["cell merged over several rows: its value is that of each"] += value is not None
            if name:
                found[name] = value
            elif value is not None:
                notes[f"cell of column {at.name}, which has no name: not read"] += 1
        return found

    def _value(self, cell: Any, at: _Place, notes: Counter[str]) -> Any:
        """A cell's value as the sheet shows it, where that differs from what is stored."""
        value = cell.value
        if (at.row, at.column) in self.parts.uncomputed:
            raise at.bad(
                "formula without a value",
                "is a formula whose value the file does not hold",
                "a workbook that was computed: open it in Excel or LibreOffice and save it again",
            )
        if cell.data_type == "e":
            raise at.bad("error in a cell", f"shows {value}", "a value, or an empty cell")
        if isinstance(value, str):
            if _PICTURE.match(value):
                raise at.bad("picture on the sheet", "is a picture", "the name of the picture's file")
            return _CONTROL.sub(lambda found: chr(int(found[1], 16)), value).replace("\r\n", "\n")
        if isinstance(value, datetime | date | time | timedelta):
            notes["date or time: written like 2024-05-31 or 13:05:00"] += 1
            return _dated(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _as_shown(value, str(cell.number_format), notes)
        return value


@dataclass(frozen=True)
class _Place:
    """A cell, in words."""

    row: int
    column: int
    name: str

    def bad(self, reason: str, problem: str, expected: str) -> BadRow:
        return BadRow(reason, self.name, f"{column_letters(self.column)}{self.row} {problem}", expected)


def _as_shown(value: float, pattern: str, notes: Counter[str]) -> Any:
    """A number; as text where its format changes what it says: a share in percent, zeros in front."""
    if isinstance(value, float):  # as many digits as Excel keeps
        value = int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.15g}")
    if re.fullmatch(r"0{2,}", pattern) and isinstance(value, int) and value >= 0:
        notes["number shown with zeros in front: read with them"] += 1
        return str(value).zfill(len(pattern))
    if re.fullmatch(r"[#,0]*0(\.0+)?%", pattern):
        notes["share shown in percent: read in percent"] += 1
        return f"{float(f'{100 * value:.12g}'):g}%"
    if (worded := _WORDED.fullmatch(pattern)) and (worded["before"] or worded["after"]):
        notes["number shown with words (as in 5 mm): read with them"] += 1
        return f"{worded['before'] or ''}{value}{worded['after'] or ''}"
    return value


def _is_filled(cell: Any) -> bool:
    return cell.value is not None and str(cell.value).strip() != ""


def _dated(value: datetime | date | time | timedelta) -> str:
    """A date without the time that Excel adds to it."""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    return str(value)
