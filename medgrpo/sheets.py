"""CSV that people open: no cell of it is run as a formula, whatever a model, a patient's file or a stranger wrote."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from medgrpo.terminal import plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula; the wide forms in Chinese and Japanese ones."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?%?")


def harmless(cell: Any) -> Any:
    """The cell, text with an apostrophe before what a spreadsheet would run; numbers stay numbers, halves of surrogate
    pairs become question marks."""
    if isinstance(cell, str):
        cell = cell.encode("utf-8", "replace").decode("utf-8")
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def for_people(cell: Any) -> Any:
    """`harmless`, and what would give a terminal orders is shown as a picture of it; for sheets that people fill in."""
    return harmless("\r".join(map(plain, cell.split("\r"))) if isinstance(cell, str) else cell)


def write_sheet(
    stream: TextIO,
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    shown: Callable[[Any], Any] = harmless,
) -> None:
    """Write a table as CSV. Every text is in quotes: where a list is parted by `;`, a cell `x;=1+1` would else become two.

    Args:
        shown: what a cell becomes; `for_people` in a sheet that is read by people alone, where data keeps every character.
    """
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([shown(name) for name in head])
    for row in rows:
        writer.writerow(["" if cell is None else shown(cell) for cell in row])
