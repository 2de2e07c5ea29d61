"""Logs that are tables: exports of wandb, SwanLab, TensorBoard and mlflow as CSV, tables of notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.records import BadRow, csv_rows, delimiter_of, lines
from medgrpo.runs.metric_names import canonical, canonical_entry, is_understood
from medgrpo.runs.readers.parsed import Parsed

STEP_COLUMNS = ("step", "_step", "global_step", "train/global_step", "steps", "iteration")
LONG = (("name", "key", "metric", "tag"), ("value",))
"""Columns of a table with a row for each value: what the metric's name is called, and its value."""
RUN_COLUMNS = (
    "run",
    "run_id",
    "run_name",
    "run_uuid",
    "runid",
    "experiment",
    "experiment_id",
    "trial",
    "trial_id",
    "seed",
)
"""Columns that say which run a row is of."""
_RANGE = re.compile(r"__(MIN|MAX)$")
_STAMPS = re.compile(r"timestamp|wall[ _]?time$", re.IGNORECASE)


def read_table(text: str, name: str) -> Parsed | None:
    """The log in a CSV, tab-separated or Markdown table; None if its header names no step and no metric.

    Raises:
        MedgrpoError: the table holds several runs.
    """
    rows = _markdown(text) or _separated(text, name)
    if not rows:
        return None
    found = entries_of_table(rows, name)
    return None if found is None else Parsed(name, "table", found)


def _separated(text: str, name: str) -> list[dict[str, Any]]:
    first = text.lstrip().partition("\n")[0]
    if first.count(delimiter_of(text)) == 0:
        return []
    try:
        return [row for _, row in csv_rows(text.lstrip(), name) if not isinstance(row, BadRow)]
    except MedgrpoError:
        return []


def _markdown(text: str) -> list[dict[str, Any]]:
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines(text)
        if line.strip().startswith("|") and line.strip().endswith("|")
    ]
    if len(cells) < 3 or not all(set(cell) <= set("-: ") for cell in cells[1]):
        return []
    return [dict(zip(cells[0], row, strict=False)) for row in cells[2:]]


def entries_of_table(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]] | None:
    """The entries in the rows of a table, by step; None if its columns are none of a log.

    Raises:
        MedgrpoError: the table holds several runs.
    """
    header = list(rows[0])
    names = {column.lower(): column for column in header}
    kind = next((names[column] for column in LONG[0] if column in names), None)
    value = next((names[column] for column in LONG[1] if column in names), None)
    step = next((names[column] for column in STEP_COLUMNS if column in names), None)
    if value and step and kind:
        _refuse_several(rows, {column: at for column, at in names.items() if at != kind}, name)
        return _pivoted((row[kind], row[step], row[value]) for row in rows)
    if (
        value and step and any(_STAMPS.search(column) for column in header)
    ):  # TensorBoard's export of one curve
        return _pivoted((_tag_of(name), row[step], row[value]) for row in rows)
    _refuse_several(rows, names, name)
    if step is None and {"name", "state"} <= names.keys():
        raise MedgrpoError(
            f"{name} is a table of runs, as wandb exports it: one row for each run, no history",
            expected="the history of one run",
            hint="export the run's charts as CSV, or its history",
        )
    metrics = {
        column: _metric_of(column) for column in header if column != step and not _RANGE.search(column)
    }
    understood = [metric for metric in metrics.values() if is_understood(metric)]
    if step is None and not understood:
        return None
    twice = sorted({metric for metric in understood if understood.count(metric) > 1})
    if twice:
        raise MedgrpoError(
            f"{name} holds several runs: {twice[0]} is in more than one column",
            expected="the table of one run",
            hint="export each run by itself",
        )
    kept = {column: metric for column, metric in metrics.items() if not _STAMPS.search(column)}
    places = [({"step": row[step]} if step else {}) | {m: row[c] for c, m in kept.items()} for row in rows]
    return [entry for place in places if (entry := canonical_entry(place))]


def _refuse_several(rows: list[dict[str, Any]], names: dict[str, str], table: str) -> None:
    """Raises MedgrpoError where a column names the run of each row, and there are several."""
    for column in RUN_COLUMNS:
        values = (
            {str(row.get(names[column]) or "").strip() for row in rows} - {""} if column in names else set()
        )
        if len(values) > 1:
            shown = ", ".join(sorted(values)[:3])
            raise MedgrpoError(
                f"{table} holds several runs: {names[column]} is {shown}{', …' if len(values) > 3 else ''}",
                expected="the table of one run",
                hint=f"export each run by itself, or keep the rows of one {names[column]}",
            )


def _pivoted(values: Iterable[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    by_step: dict[Any, dict[str, Any]] = {}
    for metric, step, value in values:
        by_step.setdefault(step, {"step": step})[str(metric)] = value
    return [canonical_entry(entry) for entry in by_step.values()]


def _tag_of(name: str) -> str:
    """The metric in the name of TensorBoard's file: `run-tag-train_loss` is loss."""
    return re.sub(r"^.*?tag-", "", name).removeprefix("train_").removeprefix("train/")


def _metric_of(column: str) -> str:
    """The metric that a column is of: wandb and SwanLab write the run's name before it."""
    if is_understood(canonical(column)):
        return canonical(column)
    for cut in re.finditer(r" - |[-: ]", column):
        if is_understood(canonical(column[cut.end() :])):
            return canonical(column[cut.end() :])
    return column


class _Tables(HTMLParser):
    """The cells of all tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell).strip())
            self._cell = None


def read_html(text: str, name: str) -> Parsed | None:
    """The log in the tables of a page or of a notebook's output: the table with the most entries."""
    parser = _Tables()
    parser.feed(text)
    best: list[dict[str, Any]] = []
    for table in parser.tables:
        rows = [dict(zip(table[0], row, strict=False)) for row in table[1:] if len(row) == len(table[0])]
        found = entries_of_table(rows, name) if rows else None
        best = max(best, found or [], key=len)
    return Parsed(name, "table of a notebook", best) if best else None


def notebook_outputs(document: dict[str, Any]) -> tuple[str, str]:
    """The HTML and the text that the cells of a notebook (.ipynb) put out."""
    page: list[str] = []
    said: list[str] = []
    for cell in document.get("cells") or ():
        for output in (cell.get("outputs") or ()) if isinstance(cell, dict) else ():
            data = output.get("data") or {}
            page.append(_joined(data.get("text/html")))
            said.append(_joined(output.get("text") or data.get("text/plain")))
    return "\n".join(page), "\n".join(said)


def _joined(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else value if isinstance(value, str) else ""


def is_notebook(document: Any) -> bool:
    """Whether a JSON document is a notebook."""
    return isinstance(document, dict) and isinstance(document.get("cells"), list) and "nbformat" in document
