"""What benchmarks of whole trainers share: a clock at each step's end, a run of medgrpo, TRL's trainer in medgrpo's order."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import CallbackHandler

ENDS: list[tuple[float, float]] = []
"""When each step ended, the device waited for: by the clock and in CPU seconds, the same for every side."""


def clocked() -> None:
    """Every trainer's steps are timed."""
    before = CallbackHandler.on_step_end

    def on_step_end(self: Any, *words: Any) -> Any:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ENDS.append((time.perf_counter(), time.process_time()))
        return before(self, *words)

    CallbackHandler.on_step_end = on_step_end


def run_medgrpo(config: Any, folder: Path) -> tuple[list[dict], list[str]]:
    """The log of a run, and what it said of the engine."""
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.reporter import SilentReporter

    reporter = SilentReporter()
    train(config, name="medgrpo", reporter=reporter, output=folder, logs=None)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return log, [one for one in reporter.notes + reporter.warnings if "engine" in one]


def in_order(trainer: type) -> type:
    """TRL's trainer, which takes the rows in their order and as they are prepared."""
    from torch.utils.data import SequentialSampler

    class Stock(trainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset or self.train_dataset)

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # it would be asked for all pictures at once

    return Stock
