"""What the stages of one run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.runs.writer import RunWriter
    from medgrpo.training.before.datasets import ChosenRows
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.run.context import StopRequest
    from medgrpo.training.run.resume import ResumePoint
    from medgrpo.training.watch.reporter import Reporter

MAIN = None
"""Name of the main stage in `medgrpo.config.plan`."""


@dataclass
class Run:
    """A run under way; `config` and `resume` change where a stage is tried again in smaller passes."""

    config: RunConfig
    checks: Preflight
    dataset: PreparedDataset
    writer: RunWriter
    reporter: Reporter
    stop: StopRequest
    is_main_process: bool
    world_size: int
    rows: ChosenRows
    """Of the training split, read as they are asked for."""
    resume: ResumePoint | None
    validation: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] | None = None
