"""What a model answered to the same held-out questions before and after training: ten of them, kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.files import read_json, write_json
from medgrpo.rows import Row

NAME = "answers.json"
SHOWN = 10
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Answered:
    """One held-out question with the reference and both completions."""

    question: str
    reference: str
    image: str
    before: str | None
    after: str | None


def chosen(count: int) -> list[int]:
    """Places of the questions that are kept: at even distances, so that nobody picks them."""
    shown = min(SHOWN, count)
    return sorted({round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)})


def keep_answers(run: Path, when: str, rows: Sequence[Row], completions: Sequence[str]) -> None:
    """Add the completions to the run's file.

    Args:
        run: its folder.
        when: `before` or `after`.
        rows: the held-out rows.
        completions: one for each row; none: nothing is written.
    """
    if len(completions) != len(rows) or not rows:
        return
    document = read_json(run / NAME) or {"schema_version": SCHEMA_VERSION, "answers": {}}
    for place in chosen(len(rows)):
        row = rows[place]
        entry = document["answers"].setdefault(str(row.get("id", place)), {})
        images = row.get("images") or []
        entry |= {
            "question": row.get("question"),
            "reference": row.get("answer"),
            "image": images[0] if images else "",
        }
        entry[when] = completions[place]
    write_json(run / NAME, document)


def kept_answers(run: Path) -> list[Answered]:
    """The run's answers; none where it kept none."""
    found: dict[str, Any] = read_json(run / NAME).get("answers") or {}
    return [
        Answered(
            str(one.get("question") or ""),
            str(one.get("reference") or ""),
            str(one.get("image") or ""),
            one.get("before"),
            one.get("after"),
        )
        for one in found.values()
        if isinstance(one, dict)
    ]
