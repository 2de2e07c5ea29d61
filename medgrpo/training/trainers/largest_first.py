"""The largest sample first: a step that does not fit fails in the first minute, and leaves no trace."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from medgrpo.training.run.context import StageContext

BOOKS = (
    "_metrics",
    "_logs",
    "_pending_metrics",
    "_pending_extra_logs",
    "_total_train_tokens",
    "_current_train_step_time",
    "_last_loaded_step",
    "_entropy_window_stats",
    "_last_world_entropy",
)
"""What TRL's trainers keep of the steps so far."""


class LargestFirst(TrainerCallback):
    """Before training, one forward and backward pass on the row with the longest prompt, at full length.

    Weights, random states, logs and the place in the generation cycle are as before afterwards.

    Args:
        row: number of that row in the trainer's data.
    """

    def __init__(self, context: StageContext, trainer: Any, row: int) -> None:
        self._context = context
        self._trainer = trainer
        self._row = row

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Take the step; what does not fit is raised as in any step."""
        trainer = self._trainer
        with untouched(trainer), self._probing():
            batch = trainer.data_collator(
                [trainer.train_dataset[self._row] for _ in range(trainer.rows_of_a_pass)]
            )
            trainer.training_step(trainer.model_wrapped, batch, None)
            # AdamW's two moments are made at the first real step.
            held = [
                torch.empty_like(parameter, dtype=torch.float32)
                for parameter in trainer.model.parameters()
                if parameter.requires_grad
                for _ in range(2)
            ]
            del held

    @contextmanager
    def _probing(self) -> Iterator[None]:
        """Completions of full length, which no reward sees and no log keeps."""
        self._context.is_probing = True
        sampling = getattr(self._trainer, "generation_config", None)
        if sampling is not None:
            shortest, sampling.min_new_tokens = sampling.min_new_tokens, sampling.max_new_tokens
        try:
            yield
        finally:
            self._context.is_probing = False
            if sampling is not None:
                sampling.min_new_tokens = shortest


@contextmanager
def untouched(trainer: Any) -> Iterator[None]:
    """Put back what a step changes besides weights: gradients, random states, books, generation cycle."""
    import copy

    on_gpu = torch.cuda.is_available()
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    gpu_states = torch.cuda.get_rng_state_all() if on_gpu else []
    books = {name: copy.deepcopy(getattr(trainer, name)) for name in BOOKS if hasattr(trainer, name)}
    tokens_seen = trainer.state.num_input_tokens_seen
    cycle = {name: getattr(trainer, name) for name in ("_step", "_buffered_inputs") if hasattr(trainer, name)}
    if cycle:
        trainer._step, trainer._buffered_inputs = 0, None
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    try:
        yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        for name, value in {**books, **cycle}.items():
            setattr(trainer, name, value)
        trainer.state.num_input_tokens_seen = tokens_seen
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpu:
            torch.cuda.set_rng_state_all(gpu_states)
            gc.collect()
            torch.cuda.empty_cache()


def is_wanted(context: StageContext) -> bool:
    """Whether the stage begins so; DeepSpeed counts passes and keeps gradients itself, and is left alone."""
    wanted = context.config.training.largest_first
    on_gpu = torch.cuda.is_available()
    return (on_gpu if wanted is None else wanted) and not context.config.launch.deepspeed
