"""What a check hands to the table of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from medgrpo.runs.findings import Severity
from medgrpo.runs.record import RunRecord
from medgrpo.runs.said import Clause
from medgrpo.runs.trend import window


class Evidence(NamedTuple):
    """The figures that made a rule speak, and how bad that is."""

    severity: Severity
    said: tuple[Clause, ...]
    step: int | None = None
    remedy: str | None = None
    """Name of what to do here, where it differs from the rule's general remedy."""


def found(
    severity: Severity, *said: Clause, step: int | None = None, remedy: str | None = None
) -> list[Evidence]:
    """One piece of evidence, as a check returns it."""
    return [Evidence(severity, said, step, remedy)]


def tail(values: Sequence[float], share: float = 0.2) -> list[float]:
    """The last part of a curve: `share` of it, at least as much as its end is judged by."""
    size = max(window(len(values)), round(len(values) * share))
    return list(values[-size:]) if values else []


def setting(run: RunRecord, name: str) -> Any:
    """A setting by its own name, wherever the config holds it; None if it does not.

    Sections nearer to the top win, so `training.beta` is found before `stages.sft.beta`.
    """
    level: list[Any] = [run.config]
    while level:
        for section in level:
            if isinstance(section, dict) and name in section and not isinstance(section[name], dict):
                return section[name]
        level = [
            value
            for section in level
            if isinstance(section, dict)
            for value in section.values()
            if isinstance(value, dict)
        ]
    return None
