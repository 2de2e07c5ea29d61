"""What every reader gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.runs.said import Clause
from medgrpo.runs.status import Status


@dataclass(frozen=True)
class Stage:
    """A stage that came before the main one, such as an SFT warm start."""

    name: str
    history: list[dict[str, Any]]
    method: str | None = None


@dataclass(frozen=True)
class Overlap:
    """Steps that the log holds more than once because the run was resumed from an earlier step."""

    first_step: int
    last_step: int
    dropped_entries: int


@dataclass
class Parsed:
    """A log as it was read: entries with TRL's keys in file order, repeated steps not yet settled."""

    name: str
    source_format: str
    entries: list[dict[str, Any]]
    config: dict[str, Any] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    finished: bool | None = None
    status: Status | None = None
    error: str | None = None
    total_steps: int | None = None
    method: str | None = None
    remarks: list[Clause] = field(default_factory=list)
    folder: Path | None = None
    """The run folder, where it is known and still there: it holds the completions."""
    validation: dict[str, Any] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)
