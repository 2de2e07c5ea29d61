"""Scored completions that other trainers left behind: TRL's parquet, ms-swift's completions.jsonl, verl's dumps.

They name no row of a dataset. A completion belongs to the row whose question stands in its prompt; where several rows
ask the same, the reference decides, and what is still not certain is left out and counted: a pair must never be put
beside another picture.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import UsageError
from medgrpo.figures import as_float, is_finite_number, written_number
from medgrpo.foreign import reads
from medgrpo.json_in import TwoValues, json_value
from medgrpo.preference.pairs import Candidate
from medgrpo.records import BadRow, json_lines, read_text
from medgrpo.rows import Row
from medgrpo.tables import read_table

HELD_OUT = "test"
"""The split whose rows make no pairs: pairs train a model."""
_NOT_REWARDS = {
    "step", "gen_step", "prompt", "completion", "advantage", "advantages", "input", "output", "gts", "score", "solution",
    "image", "images", "id", "prompt_id", "request_id", "tokens", "truncated", "is_truncated", "response_clip", "answer",
    "acc", "completion_length", "trajectory_infos",
}  # fmt: skip
_IDS = ("prompt_id", "id")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Rollout:
    """One completion as another trainer recorded it."""

    prompt: str
    completion: str
    reward: float
    components: dict[str, float | None]
    step: int | None
    row_id: str | None
    reference: str | None
    truncated: bool | None
    has_score: bool = False
    """Whether the row says its reward itself."""


@reads("path", "rollouts of a trainer, or a run folder")
def is_rollouts(path: Path) -> bool:
    """Whether the path holds completions of TRL, ms-swift or verl."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in (".parquet", ".jsonl") else []
    for pattern in ("completions_*.parquet", "completions/completions_*.parquet", "completions.jsonl"):
        if found := sorted(path.glob(pattern)):
            return found
    dumps = [file for file in path.glob("*.jsonl") if file.stem.isdigit()]
    return sorted(dumps, key=lambda file: int(file.stem))


@reads("path", "rollouts of a trainer")
def read_rollouts(path: Path, left_out: Counter[str] | None = None) -> list[Rollout]:
    """Every completion of a folder or file.

    Args:
        left_out: counts lines that are no JSON objects.

    Raises:
        UsageError: it holds none, or a row that cannot be understood.
    """
    lost: Counter[str] = Counter() if left_out is None else left_out
    found = [_rollout(row, where) for file in _files(path) for where, row in _rows(file, lost)]
    if not found:
        raise UsageError(
            f"{path} holds no completions",
            expected="TRL's completions/*.parquet, ms-swift's completions.jsonl, or verl's <step>.jsonl",
        )
    return found


def _rows(file: Path, left_out: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, columns) of each completion."""
    if file.suffix == ".parquet":
        for number, row in enumerate(read_table(file).to_pylist(), start=1):
            yield f"{file}, row {number}", row
        return
    for number, line in json_lines(read_text(file).text):
        where = f"{file}, line {number}"
        if isinstance(line, BadRow) or not isinstance(line, dict):
            left_out["line that is no JSON object"] += 1  # the last one, where the trainer was killed
            continue
        completions = line.get("completion")
        if not isinstance(completions, list) or (completions and isinstance(completions[0], dict)):
            yield where, line
            continue
        # a table: one list per column
        lists = {name: values for name, values in line.items() if isinstance(values, list)}
        for name, values in lists.items():
            if len(values) != len(completions):
                raise UsageError(
                    f"{where}: {len(completions)} completions and {len(values)} values of {name}",
                    expected="a list of the same length for each column",
                )
        same = {name: value for name, value in line.items() if name not in lists}
        for place in range(len(completions)):
            yield where, same | {name: values[place] for name, values in lists.items()}


def _rollout(row: Mapping[str, Any], where: str) -> Rollout:
    prompt, completion = row.get("prompt", row.get("input")), row.get("completion", row.get("output"))
    if prompt is None or completion is None:
        raise UsageError(
            f"{where} is without prompt and completion: its columns are {', '.join(map(str, row))}",
            expected="prompt and completion (TRL, ms-swift) or input and output (verl)",
        )
    components = {
        str(name): None if value is None else as_float(value)
        for name, value in row.items()
        if name not in _NOT_REWARDS
        and (value is None or (isinstance(value, int | float) and not isinstance(value, bool)))
    }
    return Rollout(
        as_text(prompt),
        as_text(completion),
        _reward(row, components),
        components,
        _whole_number(row.get("step", row.get("gen_step"))),
        next((str(row[name]) for name in _IDS if row.get(name) is not None), None),
        _reference(row),
        _flag(row.get("truncated", row.get("is_truncated"))),
        "score" in row,
    )


def _reward(row: Mapping[str, Any], components: Mapping[str, float | None]) -> float:
    """The row's own score where there is such a column, else the sum of its rewards; NaN: none."""
    if "score" in row:
        score = row["score"]
        return float(score) if isinstance(score, bool) else as_float(score)
    known = [value for value in components.values() if value is not None]
    return sum(known) if known else math.nan


def summed_rewards(rollouts: Sequence[Rollout]) -> list[str]:
    """The columns whose sum is taken for the reward; none where the rows have a score."""
    names = dict.fromkeys(
        name
        for one in rollouts
        if not one.has_score
        for name, value in one.components.items()
        if value is not None
    )
    return list(names)


def _whole_number(value: Any) -> int | None:
    try:
        return int(value) if float(value).is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _flag(value: Any) -> bool | None:
    return None if value is None or value not in (0, 1) else bool(value)


def _reference(row: Mapping[str, Any]) -> str | None:
    for name in ("answer", "solution", "gts"):
        value = row.get(name)
        if isinstance(value, Mapping):
            value = value.get("ground_truth", value.get("answer"))
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if is_finite_number(value):
            value = written_number(value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def as_text(messages: Any) -> str:
    """A prompt or completion as one text: a string, or chat messages in any of their forms."""
    if isinstance(messages, str):
        if messages[:1] in "[{" and '"role"' in messages:
            try:
                return as_text(json_value(messages))
            except TwoValues:
                raise
            except ValueError:
                return messages
        return messages
    if isinstance(messages, Mapping):
        return as_text(messages.get("content", messages.get("text") or ""))
    if isinstance(messages, Sequence):
        return "\n".join(filter(None, (as_text(one) for one in messages)))
    return "" if messages is None else str(messages)


def candidates_of_rollouts(
    rollouts: Sequence[Rollout], dataset: PreparedDataset, source: str
) -> tuple[list[Candidate], Counter[str]]:
    """The completions with the rows that they answer, and those left out by reason.

    Rows of the test split are left out: pairs train a model.
    """
    split_of = {row["id"]: split for split in dataset.splits for row in dataset.rows(split)}
    rows = {row["id"]: row for split in dataset.splits for row in dataset.rows(split)}
    finder = _Finder(rows, {row_id for row_id, split in split_of.items() if split == HELD_OUT})
    left_out: Counter[str] = Counter()
    found = []
    for one in rollouts:
        row_id = finder.row_of(one)
        if row_id is None:
            left_out[finder.why] += 1
            continue
        if split_of[row_id] == HELD_OUT:
            left_out["completion of a test row"] += 1
            continue
        label = f"{source}:{one.step}" if one.step is not None else source
        found.append(
            Candidate(
                row_id,
                one.completion,
                one.reward,
                label,
                truncated=one.truncated,
                step=one.step,
                components=one.components,
            )
        )
    return found, left_out


class _Finder:
    """The row that a prompt asks about.

    Rows that are held out are known too, since their question may hold one of a training row; of rows that ask the same
    those to train on are meant.
    """

    def __init__(self, rows: Mapping[str, Row], held_out: Set[str] = frozenset()) -> None:
        self._rows = rows
        self._by_question: dict[str, list[str]] = defaultdict(list)
        for row_id, row in rows.items():
            self._by_question[_plain(row["question"])].append(row_id)
        for question, ids in self._by_question.items():
            self._by_question[question] = [one for one in ids if one not in held_out] or ids
        self._questions = sorted(self._by_question, key=len, reverse=True)
        self._seen: dict[str, list[str]] = {}
        self.why = ""

    def row_of(self, one: Rollout) -> str | None:
        """Its id; None where none or several are possible, and `why`."""
        prompt = _plain(one.prompt)
        if prompt not in self._seen:
            # the longest question wins: a short one may stand inside another
            hit = next((question for question in self._questions if question and question in prompt), None)
            self._seen[prompt] = self._by_question[hit] if hit is not None else []
        found = self._seen[prompt]
        if one.row_id is not None and one.row_id in self._rows:
            # Another trainer's numbering may happen to be ours: the question must not be another row's.
            if not found or one.row_id in found or _plain(self._rows[one.row_id]["question"]) in prompt:
                return one.row_id
            self.why = "completion whose id and question are of different rows"
            return None
        if one.reference is not None:
            wanted = _plain(one.reference)
            fitting = [
                row_id
                for row_id in found
                if any(_plain(answer) in (wanted, _inner(wanted)) for answer in self._rows[row_id]["answers"])
            ]
            found = fitting or found
        if len(found) == 1:
            return found[0]
        self.why = (
            "completion whose prompt several rows ask" if found else "completion of no row of the dataset"
        )
        return None


def _plain(text: str) -> str:
    return _SPACES.sub(" ", str(text)).strip().casefold()


def _inner(text: str) -> str:
    match = re.search(r"<answer>(.*?)</answer>", text)
    return match[1].strip() if match else text
