"""Weights and outputs that stop being numbers: found after the step that spoilt them, and said with the way back.

Without this the next rollout fails inside `torch.multinomial`, or a validation answers nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback

from medgrpo.errors import MedgrpoError, typed_path
from medgrpo.training.run.checkpoints import checkpoint_step, complete_checkpoints
from medgrpo.training.run.context import StageContext, gathered

MULTINOMIAL = "probability tensor contains either `inf`, `nan` or element < 0"
"""What torch 2.13 says on a CPU where it cannot sample."""
CUDA_ASSERT = "device-side assert triggered"
"""All that a GPU says of it; a token id outside of the vocabulary gives the same."""


class FiniteWeights(TrainerCallback):
    """Looks at all weights before the first step, and at those that learn after each: a few milliseconds."""

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Refuse weights that are no numbers to begin with."""
        name = next(filter(None, gathered(_first_bad(model, learning_only=False))), None)
        if name is None:
            return
        if state.global_step:
            raise stop_error(self._context, state.global_step, _bad_weights(name))
        raise MedgrpoError(
            f"{_bad_weights(name)} before the first step",
            expected="a model whose weights are numbers",
            hint="load the model anew, or --set model.dtype=float32 where float16 is too small for it",
        )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Let the run stop after this step's log line, before anything is saved."""
        name = next(filter(None, gathered(_first_bad(model, learning_only=True))), None)
        if name is not None:
            self._context.is_sick = _bad_weights(name)


def stop_error(context: StageContext, step: int, reason: str) -> MedgrpoError:
    """The error for a stage whose step `step` is not to be trusted: why, and from which checkpoint to go on."""
    rate = context.config.training.learning_rate / 2
    sound = [path for path in complete_checkpoints(context.stage.checkpoints) if checkpoint_step(path) < step]
    is_main = context.stage.path == context.writer.path
    if sound and is_main:
        hint = (
            f"medgrpo train --resume {typed_path(sound[-1])} --set training.learning_rate={rate:g} goes on from step "
            f"{checkpoint_step(sound[-1])} at half the rate"
        )
    else:
        key = "training" if is_main else f"stages.{context.stage.name}"
        hint = f"start a new run with --set {key}.learning_rate={rate:g}"
    return MedgrpoError(
        f"stopped at step {step}, {reason}",
        hint=f"{hint}; medgrpo health {typed_path(context.writer.path)} says more; training.stop_on lists the rules that stop a run",
    )


@contextmanager
def non_finite_outputs_in_words(context: StageContext, trainer: Any) -> Iterator[None]:
    """Say in words where a rollout fails because the model's outputs are no numbers."""
    try:
        yield
    except RuntimeError as error:
        if MULTINOMIAL in str(error):
            reason = "and in the next the model's outputs are NaN or infinite"
        elif CUDA_ASSERT in str(error):
            reason = "and in the next a CUDA kernel gave up, as it does where the model's outputs are NaN or infinite"
        else:
            raise
        raise stop_error(context, trainer.state.global_step, reason) from error


def _bad_weights(name: str) -> str:
    return f"the weights {name} are NaN or infinite"


def _first_bad(model: Any, *, learning_only: bool) -> str | None:
    """Name of the first parameter with a value that is no finite number, in what this process holds of it."""
    named = [
        (name, _own_part(parameter).detach())
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not learning_only
    ]
    named = [(name, values) for name, values in named if values.is_floating_point() and values.numel()]
    if not named:
        return None
    device = named[0][1].device
    is_bad = torch.stack([(~torch.isfinite(values)).any().to(device) for _, values in named])
    return named[int(is_bad.int().argmax())][0] if is_bad.any() else None


def _own_part(parameter: Any) -> Any:
    """What this process holds of a parameter that ZeRO-3 or FSDP has shared out; the parameter itself elsewhere."""
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter
