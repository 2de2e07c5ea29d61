"""Names of columns: what other people's files call them, and which fields no reward may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medgrpo.errors import UsageError

LEAKED_FIELDS = frozenset({"findings", "diagnosis"})
LEAKED_PREFIXES = ("case.", "topic.")
"""Fields that state the answer: never offered to a reward, whatever the dataset holds."""

ALIASES: dict[str, tuple[str, ...]] = {
    "completion": (
        "completion",
        "prediction",
        "text",
        "response",
        "answer_pred",
        "pred_answer",
        "original_pred",
    ),
    "answer": (
        "answer",
        "reference",
        "gt",
        "solution",
        "answer_gt",
        "original_gt",
        "ground_truth",
    ),
    "answers": ("answers",),
    "question": ("question", "problem", "prompt"),
    "options": ("options",),
    "plane": ("plane",),
    "modality": ("modality",),
    "caption": ("caption",),
    "answer_type": ("answer_type", "asnwer_type"),
    "boxes": ("boxes",),
}
"""Column → the names under which it is found, the first that a file has."""


def parse_columns(text: str | None) -> dict[str, str]:
    """`completion=…,answer=…` as {column of ours: column of the file}.

    Raises:
        UsageError: a part without `=`.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        ours, equals, theirs = part.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise UsageError(f"--columns has {part!r}", expected="completion=NAME,answer=NAME")
        mapping[ours.strip()] = theirs.strip()
    return mapping


def find_columns(present: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """{column of ours: column of the file} for the columns that are there.

    Args:
        present: the file's column names.
        given: the user's mapping, which wins over the aliases.
    Raises:
        UsageError: a mapping names a column that the file does not have.
    """
    names = list(present)
    found: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        match = next((alias for alias in aliases if alias in names), None)
        if match is not None:
            found[ours] = match
    for ours, theirs in (given or {}).items():
        if theirs not in names:
            raise UsageError(f"no column {theirs!r} for {ours!r}", expected=f"one of {', '.join(names)}")
        found[ours] = theirs
    return found


def leaks(name: str) -> bool:
    """Whether a field of that name states the answer: MedPix's `case.*` and `topic.*` fields and their like."""
    return name in LEAKED_FIELDS or name.startswith(LEAKED_PREFIXES)
