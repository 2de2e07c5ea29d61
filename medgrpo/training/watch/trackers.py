"""Trackers that keep to this machine unless asked, and that no run waits for; libraries that report nothing home."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from medgrpo.alarm import limited
from medgrpo.config.sections import LoggingConfig
from medgrpo.telemetry import SILENT

ANSWER_S = 30.0
"""Longest that a run waits for a tracker: at one event, and once more at the end of the process."""
LOCAL = "tensorboard"
"""Writes files, and asks nobody."""


def keep_here(logging: LoggingConfig, run: Path, environment: MutableMapping[str, str]) -> None:
    """Set what trackers read from the environment; what is set there already has been asked for and stays.

    Files go to the run folder: `wandb/`, `mlruns/`, `trackio/`.
    """
    here = run.absolute()
    wanted = {
        **SILENT,
        "WANDB_PROJECT": logging.project,
        "WANDB_DIR": str(here),
        "MLFLOW_EXPERIMENT_NAME": logging.project,
    }
    if logging.offline:
        wanted |= {
            "WANDB_MODE": "offline",
            "MLFLOW_TRACKING_URI": (here / "mlruns").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow asks for a database otherwise
            "TRACKIO_DIR": str(here / "trackio"),
        }
    for name, value in wanted.items():
        environment.setdefault(name, value)


def spare(trainer: Any, warn: Callable[[str], None], *, answer_s: float = ANSWER_S) -> None:
    """Put something around each tracker of the trainer that waits `answer_s` seconds for it at most, and leaves it out after an
    error: whoever trains for days is not to lose the run to a server of curves."""
    from transformers import TrainerCallback

    class Spared(TrainerCallback):
        def __init__(self, tracker: TrainerCallback) -> None:
            self.tracker = tracker
            self.name = type(tracker).__name__.removesuffix("Callback").lower()
            self.is_left_out = False
            for event in dir(TrainerCallback):
                if event.startswith("on_"):
                    setattr(self, event, partial(self._call, event))

        def _call(self, event: str, *arguments: Any, **options: Any) -> Any:
            if self.is_left_out:
                return None
            late = TimeoutError(f"it did not answer for {answer_s:g} s")
            try:
                with limited(answer_s, lambda: late):
                    return getattr(self.tracker, event)(*arguments, **options)
            except Exception as error:  # noqa: BLE001  (each library has errors of its own)
                self.is_left_out = True
                vars(self.tracker)["_auto_end_run"] = (
                    False  # MLflow's would end its run once more when it is forgotten
                )
                said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                warn(
                    f"the tracker {self.name} is left out from here on: {said}. The run's own log has every step "
                    f"(logging.report_to)"
                )
                return None

    handler = trainer.callback_handler
    handler.callbacks = [
        Spared(one) if type(one).__module__.startswith("transformers.integrations") else one
        for one in handler.callbacks
    ]


def end_in_time(trackers: Sequence[str], code: int, *, answer_s: float = ANSWER_S) -> None:
    """End this process with that code where trackers keep it `answer_s` seconds after its last word: they send what they have,
    and try for hours where nobody answers."""
    named = [one for one in trackers if one != LOCAL]
    if not named:
        return

    def end() -> None:
        time.sleep(answer_s)
        print(
            f"warning: {', '.join(named)} had not ended {answer_s:g} s after the run: what was not sent is left where it lies "
            "(wandb sync sends it)",
            file=sys.stderr,
            flush=True,
        )
        os._exit(code)

    threading.Thread(target=end, name="trackers", daemon=True).start()


@contextmanager
def failing_in_time(trackers: Sequence[str]) -> Iterator[None]:
    """`end_in_time` where the run fails."""
    try:
        yield
    except BaseException:
        end_in_time(trackers, 1)
        raise
