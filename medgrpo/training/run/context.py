"""What a stage's trainer, callbacks and rollout share."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from medgrpo.config.plan import StagePlan
from medgrpo.config.sections import RunConfig
from medgrpo.files import sync, write_json
from medgrpo.models.weights import with_fingerprints
from medgrpo.runs.store import CompletionStore
from medgrpo.runs.writer import RunWriter, StageFolder
from medgrpo.training.before.failures import FOLDER
from medgrpo.training.before.standing import ASK
from medgrpo.training.before.stopping import SIGNALS, STOP_FILE, asked_by
from medgrpo.training.watch.phases import PhaseClock
from medgrpo.training.watch.reporter import Reporter

if TYPE_CHECKING:
    from medgrpo.segmentation.examples import Examples
    from medgrpo.training.before.curriculum import Curriculum
    from medgrpo.training.before.datasets import Variation
    from medgrpo.training.trainers.sampler import Order


class StopRequest:
    """Whether someone asked the run to stop; set by CTRL-C, SIGTERM and Slurm's warning, seen at the end of a step.

    A second CTRL-C stops at once. Launchers pass on a signal that the terminal sent to every process too, so
    that what comes within a second counts once.

    Args:
        tell: called at the first signal, to say that it was heard.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self._tell = tell
        self.requested: str | None = None
        self._file = os.environ.get(STOP_FILE)
        self._requested_at = 0.0
        self._before: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """Whether the run is to stop: by a signal, or by the launcher's word."""
        if self.requested is None and (name := asked_by(self._file)) is not None:
            self.requested, self._requested_at = name, time.monotonic()
        return self.requested is not None

    def agree(self) -> bool:
        """Whether any process was asked; then all of them know by which signal."""
        found = gathered(self.requested if self.is_asked else None)
        self.requested = next(filter(None, found), None)
        return self.requested is not None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            is_asked_for_stacks = FOLDER in os.environ  # by that signal
            for number in SIGNALS:
                if number == ASK and is_asked_for_stacks:
                    continue
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.requested is None:
            self.requested = signal.Signals(number).name
            self._requested_at = time.monotonic()
            if self._tell is not None:
                self._tell()
        elif number == signal.SIGINT and time.monotonic() - self._requested_at > 1:
            raise KeyboardInterrupt


@dataclass
class StageContext:
    """One stage: its settings, where it writes, and what it carries from step to step."""

    config: RunConfig
    plan: StagePlan
    stage: StageFolder
    writer: RunWriter
    store: CompletionStore | None
    reporter: Reporter
    metadata: dict[str, Any]
    """Written as `medgrpo.json` beside every set of weights."""
    data_folder: Path
    """Folder that the rows' pictures lie in."""
    variation: Variation | Examples | None = None
    """How pictures are varied; told each epoch."""
    curriculum: Curriculum | None = None
    """Which rows are asked when; None: all of them in every epoch."""
    stop: StopRequest = field(default_factory=StopRequest)
    is_main_process: bool = True
    before: dict[str, dict[str, Any]] | None = None
    """What validation found before the stage, a value with its interval for each metric; None: it was not measured."""
    best: dict[str, Any] | None = None
    """Step and value of the best validation so far."""
    validations_without_gain: int = 0
    was_stopped: bool = False
    """Whether training ended because someone asked for it."""
    is_probing: bool = False
    """Whether the step under way is a trial that nothing may remember (see `largest_first.py`)."""
    is_sick: str | None = None
    """Why a health rule stops the run."""
    clock: PhaseClock = field(default_factory=PhaseClock)
    """Of the step under way."""
    _pending: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch_order(self) -> Order | None:
        """The curriculum's order; None where there is none."""
        return None if self.curriculum is None else self.curriculum.order

    def add_pending(self, values: dict[str, Any]) -> None:
        """Values that join the log line of the step that is ending."""
        self._pending.update(values)

    def take_pending(self) -> dict[str, Any]:
        """The values, once."""
        values, self._pending = self._pending, {}
        return values

    def agree_to_stop(self) -> None:
        """Let all processes know whether any was asked to stop, or found the run sick: they must leave the
        loop at the same step."""
        self.was_stopped = self.stop.agree()
        self.is_sick = next(filter(None, gathered(self.is_sick)), None)

    @property
    def is_out_of_patience(self) -> bool:
        """Whether early stopping ended the training."""
        patience = self.config.training.early_stopping_patience
        return patience is not None and self.validations_without_gain >= patience

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on as if nothing had happened."""
        return {
            "best": self.best,
            "validations_without_gain": self.validations_without_gain,
            "rows": self.plan.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.best = state.get("best")
        self.validations_without_gain = int(state.get("validations_without_gain", 0))

    def sync(self) -> None:
        """Put log and completions on the disk: a checkpoint must not know more than they do."""
        if self.stage.log.is_file():
            sync(self.stage.log)
        if self.store is not None:
            self.store.sync()

    def write_metadata(self, folder: Path, at: Path | None = None) -> None:
        """`medgrpo.json`: what eval, merge and serving need to use the weights as they were trained.

        Args:
            folder: with the weights.
            at: where they will lie, if not beside it.
        """
        write_json(folder / "medgrpo.json", with_fingerprints(self.metadata, folder), at=at)


def gathered(item: Any) -> list[Any]:
    """The item of every process, in their order."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    found: list[Any] = gather_object([item]) if PartialState().num_processes > 1 else [item]
    return found
