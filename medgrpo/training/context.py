"""What a stage's trainer, callbacks and rollout share."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from medgrpo.config.plan import StagePlan
from medgrpo.config.sections import RunConfig
from medgrpo.runs.writer import RunWriter, StageFolder, write_json
from medgrpo.training.completions import CompletionStore
from medgrpo.training.reporter import Reporter

if TYPE_CHECKING:
    from medgrpo.training.curriculum import Curriculum
    from medgrpo.training.datasets import Variation
    from medgrpo.training.sampler import Order


class StopRequest:
    """Whether someone asked the run to stop; set by CTRL-C and SIGTERM, seen at the end of a step.

    A second CTRL-C stops at once.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.requested is not None:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


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
    variation: Variation | None = None
    """How pictures are varied; told each epoch."""
    curriculum: Curriculum | None = None
    """Which rows are asked when; None: all of them in every epoch."""
    stop: StopRequest = field(default_factory=StopRequest)
    is_main_process: bool = True
    best: dict[str, Any] | None = None
    """Step and value of the best validation so far."""
    validations_without_gain: int = 0
    was_stopped: bool = False
    """Whether training ended because someone asked for it."""
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

    def stop_agreed(self) -> bool:
        """Whether any process was asked to stop: all must leave the loop at the same step."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        asked = self.stop.requested is not None
        self.was_stopped = any(gather_object([asked])) if PartialState().num_processes > 1 else asked
        return self.was_stopped

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on as if nothing had happened."""
        return {"best": self.best, "validations_without_gain": self.validations_without_gain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.best = state.get("best")
        self.validations_without_gain = int(state.get("validations_without_gain", 0))

    def write_metadata(self, folder: Path) -> None:
        """`medgrpo.json`: what eval, merge and serving need to use the weights as they were trained."""
        write_json(folder / "medgrpo.json", self.metadata)
