"""A sheet of answers for a person to judge, and how far person and scorer agree."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgrpo.errors import UsageError
from medgrpo.evaluation.score import Scored
from medgrpo.evaluation.statistics import estimate
from medgrpo.figures import SHARE
from medgrpo.foreign import reads
from medgrpo.records import BadRow, csv_rows, read_text
from medgrpo.sheets import for_people, write_sheet

HUMAN = "human_verdict"
COMMENT = "comment"
COLUMNS = ("key", "image", "question", "reference", "completion", "answer", HUMAN, COMMENT)
"""Columns of the sheet. The scorer's verdict is left out, so that it does not lead the reviewer."""

LONGEST_CELL = 30_000
"""Characters; spreadsheets cut a cell at 32,767."""

VERDICTS = {
    **dict.fromkeys(("1", "right", "yes", "y", "correct", "true", "对", "正确", "是"), 1.0),
    **dict.fromkeys(("0", "wrong", "no", "n", "incorrect", "false", "错", "错误", "否"), 0.0),
}
"""What a reviewer may write; an empty cell is not judged."""


def review_sheet(scored: Scored, count: int, *, seed: int = 0) -> str:
    """CSV text of `count` rows: half of them drawn from right and half from wrong answers, as far as there are.

    Cells that a spreadsheet would run as a formula start with an apostrophe.
    """
    rng = np.random.default_rng(seed)
    marks = scored.scores["answer_match"]
    pools = [rng.permutation(np.flatnonzero(marks == value)).tolist() for value in (1.0, 0.0)]
    first = pools[0][: max(count // 2, count - len(pools[1]))]
    chosen = sorted(first + pools[1][: count - len(first)])
    stream = io.StringIO(newline="")
    lines = []
    for index in chosen:
        row = scored.rows[index]
        images = row.get("images") or [row.get("image_id") or ""]
        cells = [
            row_key(scored, index),
            images[0],
            row.get("question") or "",
            row.get("answer") or "",
            scored.completions[index],
            scored.answers[index],
            "",
            "",
        ]
        lines.append([str(cell)[:LONGEST_CELL] for cell in cells])
    write_sheet(stream, COLUMNS, lines, shown=for_people)
    return stream.getvalue()


def row_key(scored: Scored, index: int) -> str:
    """What a row is found by again: its id, or its place."""
    identity = scored.rows[index].get("id")
    return str(index if identity is None else identity)


@reads("path", "a review sheet that was filled in")
def read_review(path: str | Path, scored: Scored) -> dict[str, Any]:
    """How far a filled sheet agrees with the scorer.

    Returns:
        `n` rows judged, `agreement` with interval, `kappa` (Cohen's; None where one side never varies),
        `human_accuracy`, `scorer_accuracy`, and `disagreements` (key, question, reference, answer, human,
        scorer, rule).
    Raises:
        UsageError: no such file, a missing column, a verdict that is neither right nor wrong, a row that
            was not evaluated, or no verdict at all.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no review sheet at {file}")
    sheet = list(csv_rows(read_text(file).text, str(file)))
    for column in ("key", HUMAN):
        if any(column not in line for _, line in sheet if not isinstance(line, BadRow)):
            raise UsageError(
                f"{file} has no column {column!r}",
                expected=f"the sheet that eval wrote: {', '.join(COLUMNS)}",
            )
    keys = [row_key(scored, index) for index in range(len(scored))]
    places = {written: place for place, key in enumerate(keys) for written in (key, for_people(key))}
    human, indices = [], []
    for number, line in sheet:
        if isinstance(line, BadRow):
            raise UsageError(f"{file}, line {number}: {line.problem}", expected=line.expected)
        verdict = (line[HUMAN] or "").strip().casefold()
        if not verdict:
            continue
        key = line["key"] or ""
        if verdict not in VERDICTS:
            raise UsageError(
                f"{file}, line {number}: {HUMAN} is {line[HUMAN]!r}",
                expected="right or wrong (1 or 0), or empty",
            )
        if key not in places:
            raise UsageError(
                f"{file}, line {number}: row {line['key']!r} is not among those evaluated",
                hint="evaluate the same predictions that the sheet was written for",
            )
        human.append(VERDICTS[verdict])
        indices.append(places[key])
    if not human:
        raise UsageError(f"{file} has no verdicts", expected=f"right or wrong in the column {HUMAN}")
    return agreement(human, indices, scored) | {"file": str(file)}


def agreement(other: Sequence[float], indices: Sequence[int], scored: Scored) -> dict[str, Any]:
    """Agreement of 0/1 verdicts on some rows with `answer_match`: see `read_review`."""
    verdicts = np.asarray(other, dtype=np.float64)
    marks = scored.scores["answer_match"][list(indices)]
    clusters = [scored.clusters[index] for index in indices]
    judged = ~np.isnan(marks)
    same = np.where(judged, (verdicts == marks).astype(np.float64), np.nan)
    return {
        "n": int(judged.sum()),
        "agreement": estimate(same, clusters, bounds=SHARE).as_dict(),
        "kappa": cohens_kappa(verdicts[judged], marks[judged]),
        "human_accuracy": estimate(np.where(judged, verdicts, np.nan), clusters, bounds=SHARE).as_dict(),
        "scorer_accuracy": estimate(marks, clusters, bounds=SHARE).as_dict(),
        "disagreements": [
            {
                "key": row_key(scored, index),
                "question": scored.rows[index].get("question"),
                "reference": scored.references[index],
                "answer": scored.answers[index],
                "human": verdict,
                "scorer": float(mark),
                "rule": scored.rules[index],
            }
            for index, verdict, mark in zip(indices, verdicts.tolist(), marks.tolist(), strict=True)
            if mark in (0.0, 1.0) and verdict != mark
        ],
    }


def cohens_kappa(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float | None:
    """Agreement of 0/1 verdicts beyond chance: (observed - expected) / (1 - expected).

    Returns:
        at most 1; None without rows, or where both always say the same thing.

    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    if len(first) == 0:
        return None
    observed = float((first == second).mean())
    expected = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return None if expected >= 1 else (observed - expected) / (1 - expected)
