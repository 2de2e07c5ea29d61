"""Scoring a file of completions: which rewards, the result of each row, and writing the rows back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import UsageError, missing_extra
from medgrpo.files import json_line, storable, written_aside
from medgrpo.rewards.columns import RESERVED, SETTINGS
from medgrpo.rewards.weights import resolve_weights
from medgrpo.sheets import write_sheet

if TYPE_CHECKING:
    from medgrpo.rewards.completions_file import CompletionRows
    from medgrpo.rewards.composite import CompositeReward, RewardTable

PLAIN_WEIGHTS = {
    "answer_match": 1.0,
    "answer_match_graded": 0.0,
    "exact_match": 0.0,
    "token_recall": 0.0,
    "token_f1": 0.0,
    "word_f1": 0.0,
    "levenshtein": 0.0,
}
"""For completions without tags: the reward, and the other measures of an answer beside it, not summed."""

NOT_ASKED = {
    "answer_match": None,
    "answer_match_graded": None,
    "rule": "not asked",
    "field": None,
    "reference": None,
}
"""What is explained of a completion whose tags have no answer, such as boxes alone."""

OUTPUT_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True)
class ScoredFile:
    """A file's rows with what they earned."""

    rows: CompletionRows
    table: RewardTable
    explained: list[dict[str, Any]]
    """Of `rewards.text.explain`, one a row."""

    @property
    def rules(self) -> dict[str, int]:
        """Rule that decided → rows, the most frequent first."""
        return dict(Counter(str(row["rule"]) for row in self.explained).most_common())

    def summary(self) -> dict[str, dict[str, float]]:
        """Component (and `total`) → mean, std, coverage, weight, as `--json` prints them; NaN for no rows."""
        table = self.table
        means, stds, coverage = table.means, table.stds, table.coverage
        parts = {
            name: {
                "mean": means[name],
                "std": stds[name],
                "coverage": coverage[name],
                "weight": table.weights.get(name, 0.0),
            }
            for name in table.names
        }
        scored = float((table.total == table.total).mean()) if len(table) else 0.0
        parts["total"] = {"mean": means["total"], "std": stds["total"], "coverage": scored, "weight": 1.0}
        return parts

    def scored_rows(self) -> list[dict[str, Any]]:
        """The file's rows, each with a column per component, `total`, and `rule`.

        A column of the file that has such a name stays as `<name>_original`.
        """
        names = (*self.table.names, "total")
        values = {name: self.table.column(name) for name in names}
        scored = []
        for index, row in enumerate(self.rows.rows):
            added: dict[str, Any] = {
                name: None if column[index] != column[index] else float(column[index])
                for name, column in values.items()
            }
            added["rule"] = self.explained[index]["rule"]
            kept = {f"{name}_original" if name in added else name: value for name, value in row.items()}
            if "answer" in self.rows.columns and self.rows.names.get("answer") not in row:
                kept.setdefault("answer", self.rows.columns["answer"][index])
            scored.append(kept | added)
        return scored


def choose_weights(rewards: Sequence[str] | None, weights: str | None, *, plain: bool) -> dict[str, float]:
    """The weights that `score` uses: as given, else `balanced`, else for plain answers `PLAIN_WEIGHTS`."""
    if rewards is None and weights is None and plain:
        return dict(PLAIN_WEIGHTS)
    return resolve_weights(weights, rewards)


def score_rows(rows: CompletionRows, composite: CompositeReward) -> ScoredFile:
    """Scores the rows and says for each which rule decided on its answer.

    Raises:
        RewardError: a reward failed (unless the composite skips such rows).
    """
    from medgrpo.rewards.text import explain

    table = composite.score(rows.completions, rows.columns)
    known = {name: column for name, column in rows.columns.items() if name not in (*RESERVED, *SETTINGS)}
    arguments: dict[str, Any] = {**known, **composite.settings}
    if arguments.get("plain") or "answer" in (arguments.get("tags") or ("answer",)):
        return ScoredFile(rows, table, explain(rows.completions, **arguments))
    return ScoredFile(rows, table, [dict(NOT_ASKED) for _ in rows.completions])


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows in the format that the suffix names: .jsonl, .json, .csv or .parquet.

    Raises:
        UsageError: another suffix, or the folder does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        raise UsageError(f"cannot write {path}", expected=f"a name that ends in {', '.join(OUTPUT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    with written_aside(path) as partial:
        if suffix == ".parquet":
            _write_parquet(rows, partial)
        elif suffix == ".csv":
            _write_csv(rows, partial)
        else:
            lines = [json_line(row) for row in rows]
            text = "\n".join(lines) if suffix == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]"
            partial.write_bytes(f"{text}\n".encode("utf-8", errors="replace"))


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    fields = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        write_sheet(file, fields, ([_cell(row.get(name)) for name in fields] for row in rows))


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", f"writing {path}") from error
    fields = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, Any] = {}
    for name in fields:
        values = [storable(row.get(name)) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column of mixed types: as text
            columns[name] = pa.array([None if value is None else str(value) for value in values])
    parquet.write_table(pa.table({storable(name): column for name, column in columns.items()}), path)
