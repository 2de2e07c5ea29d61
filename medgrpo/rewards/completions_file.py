"""Ready completions from a file, in whatever form other programs wrote them, joined with their references."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError, typed_path
from medgrpo.files import check_regular
from medgrpo.foreign import reads
from medgrpo.json_in import json_value
from medgrpo.records import (
    BadRow,
    are_json_lines,
    csv_rows,
    decoded,
    json_lines,
    listed_rows,
    read_text,
)
from medgrpo.rewards.columns import ALIASES, RESERVED, find_columns
from medgrpo.rewards.completion_values import reference_in, samples_in
from medgrpo.tables import read_table
from medgrpo.workbooks import is_workbook, read_workbook

Record = dict[str, Any]

ROW_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".xlsx", ".md")
"""How files of rows are mostly called; what one is, its content says."""
PARQUET_MAGIC = b"PAR1"
ROLLOUT_HEADER = re.compile(r"^## === Rollout Step (\d+)", re.MULTILINE)
ROLLOUT_SAMPLE = re.compile(r"^### Sample (\d+)\s*$", re.MULTILINE)
ROLLOUT_PARTS = re.compile(
    r"\*\*Prompt:\*\*(?P<prompt>.*?)\*\*Completion:\*\*(?P<completion>.*?)"
    r"\*\*Solution:\*\*(?P<solution>.*?)(?:\*\*Rewards:\*\*(?P<rewards>[^\n]*)|\Z)",
    re.DOTALL,
)
MIN_QUESTION_AGREEMENT = 0.5
"""A join is refused where fewer of the questions on both sides are the same: it would score against
other questions' references."""


@dataclass(frozen=True)
class CompletionRows:
    """The rows of a completions file, with our names for the columns."""

    path: Path
    format: str
    """`JSON lines`, `JSON list`, `CSV`, `workbook`, `parquet` or `Markdown rollouts`: what it is, not what it is called."""
    rows: list[Record]
    """As in the file."""
    completions: list[Any]
    """(n,) strings, or lists of chat messages."""
    columns: dict[str, list[Any]]
    """Our column → (n,) values: `answer`, `question`, `options`, `plane`, … and whatever else the rows have."""
    names: dict[str, str]
    """Our column → the file's (or the references') name for it."""
    unmatched: int = 0
    """Rows for which the references have no entry; their answer is None."""
    notes: list[str] = field(default_factory=list)
    """What a user should know: repeated keys, empty answers, …"""

    def __len__(self) -> int:
        return len(self.completions)


@reads("path", "completions: JSON lines, JSON, CSV or parquet")
def read_completions(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    references: str | Path | None = None,
    join: str | None = None,
    *,
    require_references: bool = True,
    require_completions: bool = True,
    instead: str | None = None,
    limit: int | None = None,
) -> CompletionRows:
    """The completions in a file, with references from it or from another file.

    Args:
        path: JSON lines, a JSON list (whatever the name ends in), CSV, a workbook, parquet, or Markdown rollouts.
        columns: our column → the file's, where the aliases do not find it; "" leaves a column out.
        references: a file of the same kinds with `answer` and what else it has (`question`, `plane`, …), or
            a prepared dataset (its test split). Its columns win over the file's.
        join: `row` (row i belongs to row i), `key` or `key=key` (ours=theirs).
        require_references: raise where no row has an answer, caption, plane, modality or boxes.
        require_completions: raise where there is no column of them; else `completions` is empty then.
        instead: a column that does for both of them, where the file has it: completions may then be empty.
        limit: read only the first rows.
    Raises:
        UsageError: no such file, no completions, no references, or a join that does not fit.
        MedgrpoError: the file cannot be read.
    """
    path = Path(path)
    rows, kind = read_rows(path)
    if not rows:
        raise UsageError(f"{path} has no rows", expected="at least one completion")
    present = list(dict.fromkeys(name for row in rows for name in row))
    names = find_columns(present, columns, where=str(path))
    if instead in present:
        require_completions = require_references = False
    if "completion" not in names and require_completions:
        raise UsageError(
            f"{path} has no completions: its columns are {', '.join(present)}",
            expected=f"one of {', '.join(ALIASES['completion'])}",
            hint="name it: --columns completion=NAME",
        )
    own = ALIASES["answer"]  # a reward may ask for the reference by the file's own name
    taken = {theirs for ours, theirs in names.items() if ours != theirs and theirs not in own}
    taken |= {ours for ours, theirs in (columns or {}).items() if not theirs}
    values = {name: [row.get(name) for row in rows] for name in present if name not in taken}
    values |= {ours: [row.get(theirs) for row in rows] for ours, theirs in names.items()}
    reserved = [name for name in RESERVED if name in values]
    notes = [
        f"the column {name!r} is handed to no reward: the name is that of an argument" for name in reserved
    ]
    if kind == "workbook":
        notes += [
            f"{note} ({count:,})" if count > 1 else note for note, count in read_workbook(path).notes.items()
        ]
    elif kind != "parquet" and (guessed := read_text(path).note):
        notes.append(guessed)
    values = {name: column for name, column in values.items() if name not in RESERVED}
    unmatched = 0
    if references is not None:
        joined = _join(path, rows, values, Path(references), join or "row")
        unmatched = joined.unmatched
        notes += joined.notes
        names |= joined.names
        values |= joined.columns
    elif join is not None:
        raise UsageError("--join is given without --references", hint="name the file: --references FILE")
    values = {name: column[:limit] for name, column in values.items()}
    rows = rows[:limit]
    for name in ("answer", "answers"):
        if name in values:
            values[name] = [reference_in(v, f"{path}, row {n}") for n, v in enumerate(values[name], start=1)]
    cells = values.pop("completion", [])
    if not require_completions:
        cells = ["" if cell is None else cell for cell in cells]
    samples = [samples_in(cell, f"{path}, row {n}") for n, cell in enumerate(cells, start=1)]
    completions = [sample for found in samples for sample in found]
    if len(completions) > len(samples):
        rows, values = _one_row_a_sample(rows, values, samples, names["completion"])
        several = sum(len(found) > 1 for found in samples)
        notes.append(
            f"{several} rows hold several completions: each is a row of its own, a sample of one question"
        )
    references_found = ("answer", "answers", "caption", "plane", "modality", "boxes")
    known = {name for name in references_found if any(_filled(value) for value in values.get(name, ()))}
    if require_references and not known:
        raise UsageError(
            f"{path} has no references: its columns are {', '.join(present)}",
            expected=f"one of {', '.join(ALIASES['answer'])}",
            hint="--references FILE --join row (row i of both) or --join key[=key]; "
            "or --columns answer=NAME if the answers are here under another name",
        )
    return CompletionRows(path, kind, rows, completions, values, names, unmatched, notes)


def read_rows(path: Path) -> tuple[list[Record], str]:
    """The rows of a file and what kind of file it is, told from its content.

    Raises:
        UsageError: there is no such file.
        MedgrpoError: it cannot be read as any of the kinds; says where it goes wrong.
    """
    if path.is_dir() and (path / "test.parquet").is_file():
        path = path / "test.parquet"
    check_regular(path)
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in ROW_SUFFIXES)
        raise UsageError(
            f"{path} is a folder, and no prepared dataset",
            expected="a file of rows",
            hint=f"name the file, such as {typed_path(inside[0])}" if inside else None,
        )
    if not path.is_file():
        raise UsageError(
            f"no file {path}", expected="JSON lines, a JSON list, CSV, parquet or Markdown rollouts"
        )
    content = path.read_bytes()
    if content.startswith(PARQUET_MAGIC):
        return _parquet_rows(path), "parquet"
    if is_workbook(path):
        return _workbook_rows(path), "workbook"
    text = decoded(content, str(path)).text
    if ROLLOUT_SAMPLE.search(text) and "**Completion:**" in text:
        return _rollout_rows(text), "Markdown rollouts"
    if text.lstrip()[:1] in ("[", "{"):
        return _json_rows(path, text)
    if path.suffix.lower() in (".json", ".jsonl"):
        raise MedgrpoError(f"{path} is not JSON: it begins with {text.strip()[:40]!r}")
    return _csv_rows(path, text), "CSV"


def _json_rows(path: Path, text: str) -> tuple[list[Record], str]:
    if are_json_lines(text):
        return _json_lines(path, text), "JSON lines"
    try:
        whole = json_value(text)
    except json.JSONDecodeError as error:
        if text.lstrip()[0] == "[":
            raise MedgrpoError(f"{path}, line {error.lineno}: {error.msg}", expected="a JSON list") from error
        return _json_lines(path, text), "JSON lines"
    except ValueError as error:
        raise MedgrpoError(f"{path}: {error}", expected="one value for each name") from error
    if isinstance(whole, list):
        return [_row(path, index, item) for index, item in enumerate(whole)], "JSON list"
    if (rows := listed_rows(whole)) is not None:
        return rows, "JSON list"
    if whole and all(isinstance(item, dict) for item in whole.values()):  # keyed by an id, as PubMedQA is
        return [{"id": key, **item} for key, item in whole.items()], "JSON object by id"
    return [whole], "JSON lines"


def _json_lines(path: Path, text: str) -> list[Record]:
    rows = []
    for number, value in json_lines(text):
        if isinstance(value, BadRow):
            raise MedgrpoError(f"{path}, line {number}: {value.problem}", expected=value.expected)
        rows.append(_row(path, number, value))
    return rows


def _row(path: Path, index: int, item: Any) -> Record:
    if not isinstance(item, dict):
        raise MedgrpoError(
            f"{path}, row {index}: {type(item).__name__}", expected="an object with named fields"
        )
    return item


def _csv_rows(path: Path, text: str) -> list[Record]:
    rows = []
    for line, row in csv_rows(text, str(path)):
        if isinstance(row, BadRow):
            raise MedgrpoError(f"{path}, line {line}: {row.problem}", expected=row.expected)
        rows.append(row)
    return rows


def _workbook_rows(path: Path) -> list[Record]:
    rows = []
    for number, row in read_workbook(path).rows:
        if isinstance(row, BadRow):
            raise MedgrpoError(f"{path}, row {number}: {row.problem}", expected=row.expected)
        rows.append(row)
    return rows


def _parquet_rows(path: Path) -> list[Record]:
    rows: list[Record] = read_table(path).to_pylist()
    return rows


def _rollout_rows(text: str) -> list[Record]:
    """Samples of a Markdown dump of GRPO rollouts: prompt, completion, solution, step, and the rewards line."""
    rows: list[Record] = []
    steps = [(match.start(), int(match[1])) for match in ROLLOUT_HEADER.finditer(text)]
    samples = list(ROLLOUT_SAMPLE.finditer(text))
    ends = [*(match.start() for match in samples[1:]), len(text)]
    for sample, end in zip(samples, ends, strict=True):
        parts = ROLLOUT_PARTS.search(text, sample.end(), end)
        if parts is None:
            continue
        step = max((number for start, number in steps if start < sample.start()), default=None)
        row: Record = {name: parts[name].strip() for name in ("prompt", "completion", "solution")}
        row |= {"step": step, "sample": int(sample[1])}
        row["logged_rewards"] = (parts["rewards"] or "").strip() or None
        rows.append(row)
    return rows


def _one_row_a_sample(
    rows: Sequence[Record], values: Mapping[str, list[Any]], samples: Sequence[list[Any]], column: str
) -> tuple[list[Record], dict[str, list[Any]]]:
    """Rows and columns repeated for each sample; where they have no `id`, the number of the row becomes it."""
    places = [index for index, found in enumerate(samples) for _ in found]
    texts = [sample for found in samples for sample in found]
    repeated = [{**rows[index], column: text} for index, text in zip(places, texts, strict=True)]
    found = {name: [kept[index] for index in places] for name, kept in values.items()}
    found.setdefault("id", [f"row {index + 1}" for index in places])
    return repeated, found


def _filled(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_filled(item) for item in value)
    return (
        value is not None
        and not (isinstance(value, float) and math.isnan(value))
        and str(value).strip() != ""
    )


@dataclass(frozen=True)
class _Joined:
    columns: dict[str, list[Any]]
    names: dict[str, str]
    unmatched: int
    notes: list[str]


def _join(
    path: Path, rows: Sequence[Record], values: Mapping[str, list[Any]], other: Path, join: str
) -> _Joined:
    references, _ = read_rows(other)
    present = list(dict.fromkeys(name for row in references for name in row))
    names = find_columns(present, where=str(other))
    names.pop("completion", None)
    if not names:
        raise UsageError(
            f"{other} has no references: its columns are {', '.join(present)}",
            expected=f"one of {', '.join(ALIASES['answer'])}",
        )
    notes: list[str] = []
    if join == "row":
        if len(rows) != len(references):
            raise UsageError(
                f"{path} has {len(rows)} rows and {other} has {len(references)}",
                expected="as many rows in both for --join row",
                hint="--join key[=key] matches rows by a column: "
                + (
                    f"both have {', '.join(sorted(set(rows[0]) & set(present)))}"
                    if set(rows[0]) & set(present)
                    else f"{', '.join(rows[0])} = {', '.join(present)}"
                ),
            )
        matched: list[Record | None] = list(references)
    else:
        matched, notes = _by_key(path, values, references, present, other, join)
    unmatched = sum(row is None for row in matched)
    if unmatched:
        notes.append(f"{unmatched} of {len(rows)} rows have no reference in {other}")
    columns = {
        ours: [None if row is None else row.get(theirs) for row in matched] for ours, theirs in names.items()
    }
    _check_questions(path, values.get("question"), columns.get("question"), other, join)
    return _Joined(columns, names, unmatched, notes)


def _by_key(
    path: Path,
    values: Mapping[str, list[Any]],
    references: Sequence[Record],
    present: Sequence[str],
    other: Path,
    join: str,
) -> tuple[list[Record | None], list[str]]:
    ours, _, theirs = join.partition("=")
    theirs = theirs or ours
    if ours not in values:
        raise UsageError(f"{path} has no column {ours!r} to join by", expected=f"one of {', '.join(values)}")
    if theirs not in present:
        raise UsageError(
            f"{other} has no column {theirs!r} to join by",
            expected=f"one of {', '.join(present)}",
            hint=f"--join {ours}=NAME",
        )
    by_key: dict[str, Record] = {}
    ambiguous: set[str] = set()
    answer = find_columns(present).get("answer")
    for row in references:
        key = _key(row.get(theirs))
        if key in by_key and (answer is None or _key(by_key[key].get(answer)) != _key(row.get(answer))):
            ambiguous.add(key)
        by_key.setdefault(key, row)
    wanted = [_key(value) for value in values[ours]]
    matched = [None if key in ambiguous else by_key.get(key) for key in wanted]
    if all(row is None for row in matched):
        why = f"{len(ambiguous)} of its keys stand for several answers" if ambiguous else "no key is in both"
        raise UsageError(
            f"no row of {path} finds its reference in {other} by {ours}={theirs}: {why}",
            expected=f"keys like {wanted[0]!r}",
            hint="join by a column that is unique, or by row",
        )
    hit = sum(key in ambiguous for key in wanted)
    notes = [f"{hit} rows have a key with several answers in {other}: left without reference"] if hit else []
    return matched, notes


def _key(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _check_questions(
    path: Path, ours: Sequence[Any] | None, theirs: Sequence[Any] | None, other: Path, join: str
) -> None:
    if ours is None or theirs is None:
        return
    pairs = [
        (_letters(mine), _letters(reference))
        for mine, reference in zip(ours, theirs, strict=True)
        if _filled(mine) and _filled(reference)
    ]
    if not pairs:
        return
    agree = sum(reference in mine or mine in reference for mine, reference in pairs)
    if agree < MIN_QUESTION_AGREEMENT * len(pairs):
        raise UsageError(
            f"{path} and {other} do not belong together by --join {join}: "
            f"only {agree} of {len(pairs)} questions are the same",
            expected="the same question on both sides",
            hint="join by another key; or --columns question= if they are worded differently on purpose",
        )


def _letters(value: Any) -> str:
    return re.sub(r"[\W_]+", "", str(value)).casefold()
