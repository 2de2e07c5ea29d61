"""What a run has to say while it goes; the command line shows it, tests keep it."""

from __future__ import annotations

from typing import Any, Protocol

from medgrpo.config.plan import StagePlan


class Reporter(Protocol):
    """Where notes, warnings and steps go."""

    def note(self, message: str) -> None:
        """A line for the person watching."""

    def warn(self, message: str) -> None:
        """A line that must be seen."""

    def doing(self, what: str) -> None:
        """What is being done now, while no steps are taken: "loading the model …"."""

    def stage_begins(self, plan: StagePlan, first_step: int) -> None:
        """A stage starts, or continues after `first_step` steps."""

    def step(self, entry: dict[str, Any]) -> None:
        """One optimiser step was logged."""

    def stage_ends(self) -> None:
        """The stage is over."""

    def stopping(self) -> None:
        """The run was asked to stop, and does so after what it is at."""


class SilentReporter:
    """Says nothing; keeps notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        """Keep the note."""
        self.notes.append(message)

    def warn(self, message: str) -> None:
        """Keep the warning."""
        self.warnings.append(message)

    def doing(self, what: str) -> None:
        """Nothing to show."""

    def stopping(self) -> None:
        """Nothing to show."""

    def stage_begins(self, plan: StagePlan, first_step: int) -> None:
        """Nothing to show."""

    def step(self, entry: dict[str, Any]) -> None:
        """Nothing to show."""

    def stage_ends(self) -> None:
        """Nothing to show."""
