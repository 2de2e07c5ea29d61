"""The one sink of every command: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TextIO

import typer

from medgrpo.files import finite, json_line
from medgrpo.language import language
from medgrpo.masking import masked

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
    """The line in the person's language; English where the table has none."""
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
            print(spoken(message), file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """A line that is shown even when quiet, on stderr."""
        print(spoken(f"warning: {message}"), file=sys.stderr, flush=True)

    def text(self, message: str) -> None:
        """A line of the result, on stdout; left out when the result is JSON."""
        if not self.as_json:
            print(spoken(message))

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: int = 0
    ) -> None:
        """A table of the result, on stdout; numbers to the right; left out when the result is JSON.

        Args:
            whole: so many of the first columns are never broken, however narrow the terminal is.
        """
        if self.as_json:
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        cells = [list(row) for row in rows]
        table = Table()
        for index, column in enumerate(columns):
            numeric = all(isinstance(row[index], int | float) or row[index] is None for row in cells)
            table.add_column(
                column,
                justify="right" if numeric and cells else "left",
                overflow="fold",
                no_wrap=index < whole,
            )
        for row in cells:
            table.add_row(*(Text(masked(_shown(cell))) for cell in row))  # Text: model output is never markup
        console = Console()
        if title:
            console.print(Text(f"\n{title}"))
        console.print(table)

    def result(self, document: dict[str, Any]) -> None:
        """The JSON document of the command, on stdout, if it was asked for. NaN becomes null."""
        if self.as_json:
            stream = Output.results or sys.stdout
            is_utf = "utf" in (stream.encoding or "utf").lower()
            print(json_line(document) if is_utf else json.dumps(finite(document)), file=stream)

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

        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.stderr,
            transient=True,
            disable=self.quiet,
        )
        with progress:
            task = progress.add_task(label, total=total)

            def advance(count: int = 1) -> None:
                progress.advance(task, count)

            yield advance


def _shown(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 100 else f"{cell:,.1f}"
    return str(cell)
