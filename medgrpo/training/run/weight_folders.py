"""A run's folders of weights: their names, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.models.adapter_files import without_traces
from medgrpo.training.run.checkpoints import discard, partial_of, publish

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.training.run.context import StageContext


REFERENCE = "ref"
"""Adapter in which TRL 1.16 keeps what a stage began with; PEFT would save it inside of the weights that it became."""


def best_name(settings: RunConfig) -> str:
    """Folder of the best weights: `best_lora` for an adapter, `best_model` for a whole model."""
    return "best_model" if settings.tuning.method == "full" else "best_lora"


def final_name(settings: RunConfig) -> str:
    """Folder of the last weights: `final_lora` for an adapter, `final_model` for a whole model."""
    return "final_model" if settings.tuning.method == "full" else "final_lora"


def save_weights(trainer: Any, context: StageContext, target: Path, *, keep_previous: bool = False) -> None:
    """The trainer's weights, processor and `medgrpo.json` as a folder that is whole or absent."""
    partial = partial_of(target)
    try:
        trainer.save_model(str(partial))
        if trainer.args.should_save:
            discard(partial / REFERENCE)
            without_traces(partial)
            context.write_metadata(partial)
            record = {
                "step": trainer.state.global_step,
                "stage": context.stage.name,
                "waited": context.validations_without_gain,
            }
            publish(partial, target, record, keep_previous=keep_previous)
    except BaseException:
        if trainer.args.should_save:
            discard(partial)  # a full disk: make room
        raise
    trainer.accelerator.wait_for_everyone()
