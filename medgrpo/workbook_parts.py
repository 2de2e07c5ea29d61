"""What a sheet of a workbook holds beside its values: merged cells, hidden rows, formulas never computed, pictures on it."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree
from zipfile import ZipFile

_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})")
_CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})")


@dataclass
class SheetParts:
    """Rows and columns count from 1."""

    merged: dict[int, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    """First row of merged cells -> (first column, last row, last column) of each."""
    hidden: set[int] = field(default_factory=set)
    uncomputed: set[tuple[int, int]] = field(default_factory=set)
    """(row, column) of formulas whose value was not stored."""
    pictures: set[int] = field(default_factory=set)
    """Rows on which the upper corner of a picture lies."""


def parts_of(archive: ZipFile, path: str) -> SheetParts:
    """Reads the sheet that lies at a path of the archive.

    Raises:
        ElementTree.ParseError: it is no XML.
    """
    from openpyxl.utils import column_index_from_string

    found = SheetParts()
    row = 0
    with archive.open(path) as opened:
        for _, element in ElementTree.iterparse(opened):
            kind = _plain(element.tag)
            if kind == "row":
                row = int(element.get("r") or row + 1)
                if element.get("hidden") in ("1", "true"):
                    found.hidden.add(row)
                element.clear()
            elif kind == "c":
                if _is_uncomputed(element) and (cell := _CELL.fullmatch(element.get("r") or "")):
                    found.uncomputed.add((int(cell[2]), column_index_from_string(cell[1])))
                element.clear()
            elif kind == "mergeCell" and (ends := _RANGE.fullmatch(element.get("ref") or "")):
                first, last = column_index_from_string(ends[1]), column_index_from_string(ends[3])
                found.merged[int(ends[2])].append((first, int(ends[4]), last))
    found.pictures = set(_picture_rows(archive, path))
    return found


def column_letters(number: int) -> str:
    """The letters of a column, A for 1."""
    from openpyxl.utils import get_column_letter

    letters: str = get_column_letter(number)
    return letters


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _is_uncomputed(cell: ElementTree.Element) -> bool:
    """Whether a cell is a formula without a stored value; an empty text (t="str") is a value."""
    kinds = {_plain(child.tag): child for child in cell}
    if "f" not in kinds or cell.get("t") == "str":
        return False
    return "v" not in kinds or not (kinds["v"].text or "")


def _picture_rows(archive: ZipFile, path: str) -> Iterator[int]:
    for drawing in _targets(archive, path, "/drawing"):
        for anchor in ElementTree.fromstring(archive.read(drawing)):
            if not any(_plain(element.tag) == "pic" for element in anchor.iter()):
                continue
            start = next((e for e in anchor if _plain(e.tag) == "from"), None)
            row = None if start is None else next((e for e in start if _plain(e.tag) == "row"), None)
            if row is not None and row.text:
                yield int(row.text) + 1


def _targets(archive: ZipFile, path: str, kind: str) -> Iterator[str]:
    """The parts of a kind that a part refers to."""
    folder, name = posixpath.split(path.lstrip("/"))
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.namelist():
        return
    for relation in ElementTree.fromstring(archive.read(relations)):
        target = relation.get("Target") or ""
        if (relation.get("Type") or "").endswith(kind) and relation.get("TargetMode") != "External":
            found = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
            if found in archive.namelist():
                yield found
