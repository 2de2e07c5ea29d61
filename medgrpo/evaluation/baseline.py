"""What is reached without looking at any picture: the figures that an accuracy must be read against."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from medgrpo.data.boxes import TypicalBox
from medgrpo.evaluation.score import kind_of
from medgrpo.rows import Row, columns

Blindness = Literal["majority", "blind"]
COLUMNS = ("answer", "plane", "modality")
REPEATED = 20
"""A question asked at least so often in training has a majority answer of its own."""
LONGEST_MAJORITY = 200
"""Longer answers, in characters, are nobody's majority and are not counted: a set of texts would be held whole."""


def constant_completions(
    rows: Sequence[Row], learnt_from: Sequence[Row], tags: Sequence[str], blindness: Blindness
) -> list[str]:
    """The well-formed completion that always gives the commonest answer, or the typical box.

    Args:
        rows: what is asked.
        learnt_from: rows that the commonest answers are counted in (the train split).
        tags: of a completion; empty: the bare answer.
        blindness: `majority`: one answer for all closed and one for all open questions of a language;
            `blind`: the answer of the question's wording if it is asked often, else of its type.
    """
    counts = Counter(hash(row.get("question")) for row in learnt_from)  # numbers: the questions are not held
    levels: list[Callable[[Row], Hashable]] = [_by_kind, _by_language, _by_nothing]
    if blindness == "blind":
        levels = [lambda row: _by_question(row, counts), _by_type, *levels]
    seen: dict[tuple[int, Hashable, str], Counter[str]] = defaultdict(Counter)
    for row in learnt_from:
        for level, key in enumerate(levels):
            for column in COLUMNS:
                if row.get(column) and len(str(columns(row)[column])) <= LONGEST_MAJORITY:
                    seen[level, key(row), column][str(columns(row)[column]).strip()] += 1
    typical = TypicalBox.of(learnt_from) if "boxes" in tags else None
    return [
        _completion(
            {column: _commonest(row, column, levels, seen) for column in COLUMNS} | _boxes(row, typical), tags
        )
        for row in rows
    ]


def _boxes(row: Row, typical: TypicalBox | None) -> dict[str, str]:
    """The typical box, written as the row's model writes boxes."""
    from medgrpo.rewards.boxes import written_boxes

    if typical is None:
        return {}
    return {"boxes": json.dumps(written_boxes({**row, "boxes": typical.column(row)}), ensure_ascii=False)}


def _by_question(row: Row, counts: Counter[Any]) -> Hashable:
    question = row.get("question")
    return ("question", question) if counts[hash(question)] >= REPEATED else ("type", _by_type(row))


def _by_type(row: Row) -> Hashable:
    return (row.get("language"), kind_of(row), row.get("question_type"))


def _by_kind(row: Row) -> Hashable:
    return (row.get("language"), kind_of(row))


def _by_language(row: Row) -> Hashable:
    return (row.get("language"),)


def _by_nothing(_: Row) -> Hashable:
    return ()


def _commonest(
    row: Row,
    column: str,
    levels: Sequence[Callable[[Row], Hashable]],
    seen: dict[tuple[int, Hashable, str], Counter[str]],
) -> str:
    for level, key in enumerate(levels):
        found = seen.get((level, key(row), column))
        if found:
            return max(found.items(), key=lambda item: (item[1], item[0]))[0]
    return ""


def _completion(values: dict[str, str], tags: Sequence[str]) -> str:
    if not tags:
        return values["answer"]
    filled = {tag: values.get(tag, "no picture was seen") for tag in tags}
    # A tag that no row has a label for is not judged, but an empty one would cost the reward `format`.
    filled = {tag: text or ("" if tag in ("answer", "boxes") else "unknown") for tag, text in filled.items()}
    return "".join(f"<{tag}>{text}</{tag}>" for tag, text in filled.items())
