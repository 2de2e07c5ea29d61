"""What a model said: completions beside the rows they answer, read from files and written back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.data.schema import guess_language
from medgrpo.errors import UsageError
from medgrpo.evaluation.foreign_rows import checked
from medgrpo.evaluation.mask_files import COLUMN, listed_masks
from medgrpo.figures import Bounds
from medgrpo.files import storable, written_aside
from medgrpo.foreign import reads
from medgrpo.rows import Row, as_row, columns

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """Completions beside the rows they answer; every list has one entry a row."""

    rows: list[Row]
    completions: list[str]
    """The completion that is scored: the greedy one, or the first of a file."""
    samples: list[list[str]] = field(default_factory=list)
    """Further completions, drawn at a temperature; empty where none were."""
    truncated: list[bool] = field(default_factory=list)
    """Which completions hit the length limit; empty where it is not known."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each completion; empty where it is not known."""
    confidences: list[float | None] = field(default_factory=list)
    """What the model says of its certainty, 0 to 1; empty where a file has no column `confidence`."""
    masks: list[Path | None] = field(default_factory=list)
    """Files of predicted masks; empty where a file has no column `mask_prediction`."""
    source: str = ""
    """Where they come from, in words."""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def head(self, limit: int | None) -> Predictions:
        """The first `limit` of them."""
        if limit is None or limit >= len(self):
            return self
        return Predictions(
            self.rows[:limit],
            self.completions[:limit],
            self.samples[:limit],
            self.truncated[:limit],
            self.lengths[:limit],
            self.confidences[:limit],
            self.masks[:limit],
            self.source,
            self.notes,
        )


@reads("path", "completions: JSON lines, JSON, CSV or parquet")
def read_predictions(
    path: str | Path,
    *,
    rows: Sequence[Row] | None = None,
    columns: Mapping[str, str] | None = None,
    references: str | Path | None = None,
    join: str | None = None,
) -> Predictions:
    """The completions of a file, beside rows of a dataset or the file's own columns.

    Several entries with the same id are samples of one question: the first is scored, all of them are
    samples.

    Args:
        path: any file that `medgrpo score` reads, or the `predictions.parquet` of an earlier `eval`.
        rows: rows of a prepared dataset that they answer, found by `id`, or by place with `join="row"`.
        columns, references, join: as in `medgrpo score`.
    Raises:
        UsageError: no such file, no completions, no references, or ids that are not in the dataset.
    """
    from medgrpo.rewards.completions_file import read_completions

    found = read_completions(
        path,
        columns=columns,
        references=references,
        join=None if rows is not None and references is None else join,
        require_references=rows is None,
        instead=COLUMN,
    )
    texts = [_text(completion) for completion in found.completions] or [""] * len(found.rows)
    present = [
        as_row(dict(zip(found.columns, values, strict=True)))
        for values in zip(*found.columns.values(), strict=True)
    ]
    present = present or [as_row({}) for _ in texts]
    notes = list(found.notes)
    if rows is not None:
        matched, matched_notes = _match(path, present, rows, join)
        notes += matched_notes
    else:
        matched = [
            _completed(as_row(checked(str(path), index, row)), index) for index, row in enumerate(present)
        ]
    matched = [
        row and as_row({**row, **_box_form(extra)}) for row, extra in zip(matched, present, strict=True)
    ]
    kept = [(row, text, extra) for row, text, extra in zip(matched, texts, present, strict=True) if row]
    grouped: dict[Any, list[tuple[Row, str, Row]]] = {}
    has_ids = _has_ids(kept)
    for index, (row, text, extra) in enumerate(kept):
        grouped.setdefault(row["id"] if has_ids else index, []).append((row, text, extra))
    groups = list(grouped.values())
    samples = [_samples(group) for group in groups]
    masks = listed_masks([group[0][2] for group in groups], Path(path).parent)
    if any(masks) and not any(group[0][0].get("mask") for group in groups):
        raise UsageError(
            f"{path} names predicted masks, and no row has a reference mask",
            expected="a column `mask` with the path of the reference, or the dataset: medgrpo eval DATA --predictions FILE",
        )
    return Predictions(
        rows=[group[0][0] for group in groups],
        completions=[group[0][1] for group in groups],
        samples=samples if any(samples) else [],
        confidences=_confidences(path, [group[0][2].get("confidence") for group in groups]),
        masks=masks if any(masks) else [],
        source=f"{Path(path).name} ({found.format})",
        notes=notes,
    )


def _box_form(extra: Row) -> dict[str, Any]:
    """How the completion writes boxes, where its file says so."""
    from medgrpo.rewards.boxes import WRITTEN_FORM

    return {name: columns(extra)[name] for name in WRITTEN_FORM if extra.get(name) is not None}


def _has_ids(kept: Sequence[tuple[Row, str, Row]]) -> bool:
    """Whether ids tell questions apart: rows with the same id must ask the same."""
    asked: dict[Any, Any] = {}
    return all(asked.setdefault(row["id"], row.get("question")) == row.get("question") for row, _, _ in kept)


def _samples(group: Sequence[tuple[Row, str, Row]]) -> list[str]:
    stored = group[0][2].get("samples")
    if isinstance(stored, list) and stored:
        return [str(text) for text in stored]
    return [text for _, text, _ in group] if len(group) > 1 else []


def _confidences(path: str | Path, stated: Sequence[Any]) -> list[float | None]:
    """The column as numbers; empty where no row has one.

    Raises:
        UsageError: a value that is no share.
    """
    found: list[float | None] = []
    for index, value in enumerate(stated):
        if value is None or str(value).strip() == "":
            found.append(None)
            continue
        try:
            share = float(value)
        except (TypeError, ValueError):
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise UsageError(
                f"{path}, row {index}: confidence is {value!r}",
                expected="a share from 0 to 1",
                hint="--columns confidence=NAME names another column; confidence= leaves it out",
            )
        found.append(share)
    return found if any(share is not None for share in found) else []


def _text(completion: Any) -> str:
    from medgrpo.rewards.text import completion_text

    return completion_text(completion)


def _completed(row: Row, index: int) -> Row:
    """A row of someone else's file with the columns that metrics look at."""
    question = str(row.get("question") or "")
    answer = row.get("answer")
    language = row.get("language") or guess_language(question + str(answer or ""))
    return as_row({**row, "id": row.get("id", index), "question": question, "language": language})


def _match(
    path: str | Path, present: Sequence[Row], rows: Sequence[Row], join: str | None
) -> tuple[list[Row | None], list[str]]:
    if join == "row" or (join is None and present and "id" not in present[0]):
        if len(present) != len(rows):
            raise UsageError(
                f"{path} has {len(present)} rows and the dataset's split has {len(rows)}",
                expected="an id for each row, or as many rows as the split, in its order",
                hint="--join KEY=KEY, or all rows (no --limit) of the split that was answered: --split",
            )
        return list(rows), []
    ours, _, theirs = (join or "id").partition("=")
    by_key = {str(row.get(theirs or ours)): row for row in rows}
    matched = [by_key.get(str(row.get(ours))) for row in present]
    missing = sum(row is None for row in matched)
    if missing == len(matched):
        raise UsageError(
            f"no row of {path} is in this split of the dataset by {join or 'id'}",
            expected=f"ids such as {next(iter(by_key), None)!r}",
            hint="--split names another split; --join KEY=KEY another key",
        )
    answered = {id(row) for row in matched if row is not None}
    notes = [f"{missing} predictions have no row in the split: left out"] if missing else []
    if len(answered) < len(rows):
        notes.append(f"{len(rows) - len(answered)} of {len(rows)} rows of the split have no prediction")
    return matched, notes


def write_predictions(
    path: Path, columns: Mapping[str, Sequence[Any]], *, bounds: Mapping[str, Bounds | None] | None = None
) -> None:
    """Writes one row per question as parquet, whole or not at all.

    Args:
        bounds: ranges of scores that only this evaluation knows; kept in the metadata of the file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        from medgrpo.errors import missing_extra

        raise missing_extra("pyarrow", "data", "writing predictions.parquet") from error
    table = pa.table(
        {name: pa.array([storable(value) for value in values]) for name, values in columns.items()}
    )
    table = table.replace_schema_metadata(
        {"schema_version": str(SCHEMA_VERSION), "bounds": json.dumps(dict(bounds or {}))}
    )
    with written_aside(path) as partial:
        pq.write_table(table, partial, compression="zstd")
