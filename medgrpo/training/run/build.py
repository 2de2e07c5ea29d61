"""The trainer of a stage, with our callbacks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from medgrpo.run_files import log_entries
from medgrpo.training.watch.events import event_writer

if TYPE_CHECKING:
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.run.context import StageContext
    from medgrpo.training.trainers.policy import Policy


def build_trainer(context: StageContext, policy: Policy, source: RowSource, checks: Preflight) -> Any:
    """The trainer of the stage's method, with our callbacks."""
    import transformers.trainer  # noqa: F401  # prints on stdout where it finds WANDB_MODE=offline: import it first

    from medgrpo.training.methods import stage_method
    from medgrpo.training.trainers.sharding import sum_in_float32
    from medgrpo.training.watch.callbacks import RunLog, StepClock
    from medgrpo.training.watch.finite import FiniteWeights
    from medgrpo.training.watch.trackers import keep_here, spare

    context.reporter.doing(f"{context.plan.name}: setting up the trainer")
    keep_here(context.config.logging, context.writer.path, os.environ)
    trainer = stage_method(context.plan.method).trainer(context, policy, source, checks)
    if policy.is_vision and policy.segmenter is None and trainer.accelerator.num_processes > 1:
        from medgrpo.training.trainers.pictures import look_at_blank_pictures

        for model in filter(None, (trainer.model, getattr(trainer, "ref_model", None))):
            look_at_blank_pictures(model, policy.processor)
    sum_in_float32(trainer.accelerator)
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    spare(trainer, context.reporter.warn)
    trainer.add_callback(StepClock(context))
    trainer.add_callback(FiniteWeights(context))
    trainer.add_callback(RunLog(context))
    _add_tensorboard(trainer, context)
    return trainer


def _add_tensorboard(trainer: Any, context: StageContext) -> None:
    if "tensorboard" not in context.config.logging.report_to or not context.is_main_process:
        return
    from transformers.integrations import TensorBoardCallback

    folder = context.writer.path / "tensorboard" / f"{context.stage.number}-{context.stage.method}"
    after = len(log_entries(context.stage.log))  # what a resumed run does again is not shown twice
    trainer.add_callback(TensorBoardCallback(event_writer(folder, after + 1)))
