"""The one sink of every command: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TextIO

import typer

from medgrpo.files import finite, json_line
from medgrpo.language import language
from medgrpo.masking import masked
from medgrpo.terminal import escaped, one_message, plain

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
ForceBaseOption = Annotated[
    bool,
    typer.Option("--force-base", help="Take base and adapter although they differ from what was trained."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the base model.")
]
RevisionOption = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of a base on the hub. Default: as trained, else main."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")]


@contextmanager
def results_alone() -> Iterator[None]:
    """Lead what libraries print on stdout to stderr, so that stdout holds the command's document alone.

    Transformers prints a line there as soon as it finds WANDB_MODE=offline.
    """
    Output.results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        Output.results = None


def spoken(line: str) -> str:
    """The line in the person's language; English where the table has none. Orders to a terminal that it quotes are shown."""
    line = plain(line)
    if language() == "en":
        return line
    from medgrpo.cli.chinese import in_chinese

    return in_chinese(line)


class Output:
    """Prints what a command has to say.

    Args:
        as_json: stdout holds exactly one JSON document; tables are left out.
        quiet: notes and progress are left out; errors and results are not.
    """

    results: ClassVar[TextIO | None] = None
    """Where the document goes while stdout is led elsewhere."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def stderr(self) -> Console:
        """A rich console on stderr, for live displays; silent when quiet."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet)

    def note(self, message: str) -> None:
        """A line for the person watching, on stderr."""
        if not self.quiet:
            print(wrapped(spoken(message), sys.stderr), file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """A line that is shown even when quiet, on stderr."""
        words = one_message(spoken(f"warning: {message}"))
        print(wrapped(words, sys.stderr), file=sys.stderr, flush=True)

    def text(self, message: str) -> None:
        """A line of the result, on stdout; left out when the result is JSON."""
        if not self.as_json:
            print(wrapped(spoken(message), sys.stdout))

    def next(self, *commands: str) -> None:
        """What a person may type next, on stderr; the last lines of a command."""
        for command in commands:
            self.note(f"next: {command}")

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: int = 0
    ) -> None:
        """A table of the result, on stdout; numbers to the right; left out when the result is JSON.

        On a terminal too narrow for its columns what may be pasted stands below, in lines that are never broken; else a few
        rows stand side by side, and each of many becomes a paragraph.

        Args:
            whole: so many of the first columns are never broken, however narrow the terminal is.
        """
        if self.as_json:
            return
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        cells = [list(row) for row in rows]
        heads = [spoken(column) for column in columns]
        shown = [[_shown(cell) for cell in row] for row in cells]
        console = Console()
        if title:
            console.print(Text(f"\n{spoken(title)}"))
        columns_of_text = [[head, *(row[index] for row in shown)] for index, head in enumerate(heads)]
        for longest in LONGEST_UNBROKEN:
            least = [_least_width(texts, longest, whole=i < whole) for i, texts in enumerate(columns_of_text)]
            if sum(least) + 3 * len(least) + 1 <= console.width:
                break
        else:
            self._narrow_table(console, columns, cells, whole)
            return
        longest_cells = [max(map(cell_len, texts)) for texts in columns_of_text]
        widths = _shared_widths(least, longest_cells, console.width - 3 * len(least) - 1)
        if widths[0] < longest_cells[0] and len(shown) <= MOST_SIDE_BY_SIDE:
            turned = _turned_lines(columns_of_text)
            if len(turned[0]) < len(heads) and _fits(turned, console.width):  # a name would be broken
                _turned(console, turned)
                return
        table = Table()
        for index, head in enumerate(heads):
            numeric = all(isinstance(row[index], int | float) or row[index] is None for row in cells)
            table.add_column(
                head,
                justify="right" if numeric and cells else "left",
                overflow="fold",
                no_wrap=index < whole,
                width=widths[index],
            )
        for cells_of_row in shown:
            table.add_row(*map(Text, cells_of_row))  # Text: model output is never markup
        console.print(table)

    def _narrow_table(
        self, console: Console, columns: Sequence[str], cells: Sequence[Sequence[object]], whole: int
    ) -> None:
        """What stands for a table whose columns do not fit."""
        from rich.text import Text

        heads = [spoken(column) for column in columns]
        shown = [[_shown(cell) for cell in row] for row in cells]
        texts = [[head, *(row[index] for row in shown)] for index, head in enumerate(heads)]
        aside = {index for index in range(1, len(heads)) if any(map(TO_PASTE.match, texts[index][1:]))}
        kept = [index for index in range(len(heads)) if index not in aside]
        least = [_least_width(texts[index], LONGEST_UNBROKEN[-1], whole=index < whole) for index in kept]
        if aside and sum(least) + 3 * len(least) + 1 <= console.width:
            self.table("", [columns[i] for i in kept], [[row[i] for i in kept] for row in cells], whole=whole)
            for row in shown:
                for cell in (row[index] for index in sorted(aside)):
                    if cell not in ("", "–"):
                        console.print(Text(f"{row[0]}: {cell}"), soft_wrap=True)
            return
        turned = _turned_lines(texts)
        if len(shown) <= MOST_SIDE_BY_SIDE and _fits(turned, console.width):
            _turned(console, turned)
            return
        for row in shown:
            for line, may_break in _paragraph(heads, row):
                console.print(Text(line), soft_wrap=not may_break)

    def lines(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        cut: Sequence[int] = (),
        spare: Sequence[int] = (),
    ) -> None:
        """A table of one line a row, on stdout. On a terminal it is made to fit; files and pipes get it whole.

        Args:
            cut: columns that may be cut with an ellipsis, the least needed first.
            spare: columns that are left out where that is not enough, the least needed first; a line names them.
        """
        if self.as_json:
            return
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        cells = [[_shown(cell) for cell in row] for row in rows]
        heads = [spoken(column) for column in columns]
        console = Console()
        widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
        kept = list(range(len(widths)))

        def excess() -> int:
            return sum(widths[place] + 3 for place in kept) + 1 - console.width

        if console.is_terminal:
            for place in spare:
                if excess() > sum(max(0, widths[one] - LEAST_CUT) for one in cut if one in kept):
                    kept.remove(place)
            for place in (place for place in cut if place in kept):
                widths[place] = max(min(widths[place], LEAST_CUT), widths[place] - max(0, excess()))
            if excess() > 0:
                self.table("", columns, cells)
                return
        console.width = max(console.width, console.width + excess())
        left_out = [heads[place] for place in range(len(widths)) if place not in kept]
        heads, *cells = ([row[place] for place in kept] for row in (heads, *cells))
        widths = [widths[place] for place in kept]
        table = Table()
        for place, head in enumerate(heads):
            told = {row[place] for row in cells} - {"–"}
            is_number = bool(told) and all(NUMBER.fullmatch(text) for text in told)
            table.add_column(
                head,
                justify="right" if is_number else "left",
                no_wrap=True,
                overflow="ellipsis",
                width=widths[place],
            )
        for line in cells:
            table.add_row(*map(Text, line))
        console.print(table)
        if left_out:
            self.note(f"a wider terminal and --json also show: {', '.join(left_out)}")

    def result(self, document: dict[str, Any]) -> None:
        """The JSON document of the command, on stdout, if it was asked for. NaN becomes null.

        One of several processes leaves it to the command that started them: only that knows how the run ended.
        """
        if not self.as_json:
            return
        stream = Output.results or sys.stdout
        is_utf = "utf" in (stream.encoding or "utf").lower()
        words = escaped(json_line(document)) if is_utf else json.dumps(finite(document))
        if "MEDGRPO_FAILURES" in os.environ:
            from medgrpo.training.before.failures import leave_result, place_to_leave

            if folder := place_to_leave():
                leave_result(words, folder)
                return
        print(words, file=stream)

    @contextmanager
    def progress(self, label: str, total: int | None = None, unit: str = "rows") -> Iterator[Any]:
        """A progress bar with rate and time left on stderr; yields `advance(n=1)`."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.1f} {unit}/s" if task.speed else f"? {unit}/s")

        console = self.stderr
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=self.quiet or not console.is_terminal,  # a file would get an empty line of each bar
        )
        with progress:
            task = progress.add_task(label, total=total)

            def advance(count: int = 1) -> None:
                progress.advance(task, count)

            yield advance


LEAST_CUT = 12
"""A column that is cut keeps so many characters, or the table is another."""
NUMBER = re.compile(r"[<≥~ ]*[\d.,]+")
LONGEST_WHOLE = 14
"""Cells up to so many characters are not broken: an interval, a date."""
LONGEST_UNBROKEN = (20, 12)
"""Columns are at least as wide as their longest word, so many characters of it; less where that is too wide."""


MOST_SIDE_BY_SIDE = 4
"""Rows of a table that is too wide become columns, where they are no more."""


def _fits(lines: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table of these lines fits without breaking any cell."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, texts)) for texts in zip(*lines, strict=True)]
    return sum(widths) + 3 * len(widths) + 1 <= width


def _turned_lines(columns: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The lines of a table whose rows are its columns: the names, and each column that says something."""
    return [columns[0], *(column for column in columns[1:] if set(column[1:]) - {"", "–"})]


def _turned(console: Console, lines: Sequence[Sequence[str]]) -> None:
    """A table whose rows are its columns: the first line holds their names."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in lines[0]:
        table.add_column(Text(name), no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)


def _least_width(texts: Sequence[str], longest: int, *, whole: bool) -> int:
    from rich.cells import cell_len

    if whole:
        return max(map(cell_len, texts))
    to_paste = max((cell_len(text) for text in texts[1:] if TO_PASTE.match(text)), default=0)
    short = [text for text in texts[1:] if cell_len(text) <= min(longest, LONGEST_WHOLE)]
    words = [word for text in texts for word in text.split()]
    return max(min(max(map(cell_len, [*words, *short, ""])), longest), to_paste)


def _shared_widths(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns that together fit: each its least, and of what is left as much as the others leave it.

    rich shares by itself, but may end up wider than the terminal and then cuts the last column off.
    """
    widths = list(least)
    short = {place for place, width in enumerate(widths) if width < wanted[place]}
    left = room - sum(widths)
    while short and left > 0:
        step = max(1, left // len(short))
        for place in sorted(short, key=lambda place: wanted[place] - widths[place]):
            more = min(step, wanted[place] - widths[place], left)
            widths[place] += more
            left -= more
        short = {place for place in short if widths[place] < wanted[place]}
    return widths


def _paragraph(heads: Sequence[str], row: Sequence[str]) -> list[tuple[str, bool]]:
    """A row of a table in lines, and whether each may be broken: its first cell, those that say something with their column's
    name, those that may be pasted."""
    told = [(head, cell) for head, cell in zip(heads[1:], row[1:], strict=True) if cell not in ("", "–")]
    cells = " · ".join(f"{head} {cell}" for head, cell in told if not TO_PASTE.match(cell))
    pasted = [(f"  {head} {cell}", False) for head, cell in told if TO_PASTE.match(cell)]
    first = (f"{heads[0]} {row[0]}".strip(), not TO_PASTE.match(row[0]))
    return [first, *([(f"  {cells}", True)] if cells else []), *pasted]


def wrapped(message: str, stream: TextIO) -> str:
    """The message as a terminal shows it well: broken between words. What may be pasted stays in one line.

    Files and pipes get the line as it is, so that it can be searched for.
    """
    if not stream.isatty():
        return message
    from shutil import get_terminal_size

    width = get_terminal_size().columns
    return "\n".join(line if TO_PASTE.search(line) else _broken(line, width) for line in message.split("\n"))


TO_PASTE = re.compile(r"medgrpo [a-z-]+ |pip install |\bhttps?://|^--[a-z]")
"""In a line or a cell of a table: what a person copies, a command, options, an address."""


def _broken(line: str, width: int) -> str:
    from rich.cells import cell_len

    if cell_len(line) <= width:
        return line
    from textwrap import wrap

    if line.isascii():
        return "\n".join(
            wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        )
    return line  # of Chinese the terminal breaks between any two characters, which is right


def _shown(cell: object) -> str:
    """A cell of a table; secrets are masked, orders to a terminal shown."""
    if cell is None:
        return "–"
    if isinstance(cell, float) and math.isnan(cell):
        return "–"  # not judged
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 100 else f"{cell:,.1f}"
    return plain(masked(str(cell)))
