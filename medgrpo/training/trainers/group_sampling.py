"""Rollouts with Transformers: each prompt read once for its group (`engine/decode.py`), or TRL's `generate`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from medgrpo.engine.decode import Draw, sample
from medgrpo.engine.inner import picture_ids, text_config_of
from medgrpo.training.trainers.sharding import is_whole

if TYPE_CHECKING:
    from medgrpo.training.trainers.shown_prompts import Asked


SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""What Transformers calls a factor of the logits (Cohere, Granite); `decode.py` knows none."""


def why_not_sampled_by_group(trainer: Any) -> str | None:
    """Why a rollout goes through `generate`; None where it need not."""
    if not trainer.engine.is_on:
        return "the engine is off"
    if not is_whole(trainer):
        return "the weights are spread over several GPUs"
    config = trainer.generation_config
    if trainer.args.generation_kwargs or trainer.use_transformers_continuous_batching:
        return "generation has settings of its own"
    if config.repetition_penalty not in (None, 1.0):
        return "the repetition penalty looks back at the prompt"
    text = text_config_of(trainer.model)
    if any(getattr(text, name, None) not in (None, 1) for name in SCALES):
        return "the model scales its logits"
    return None


def sampled_by_group(trainer: Any, asked: Asked) -> list[list[int]]:
    """A completion for each row of a batch, without log probabilities."""
    from trl.models.utils import disable_gradient_checkpointing

    clock = trainer.context.clock
    with clock.phase("vision"):
        trainer.engine.keep_features(trainer, asked.shown)
    with (
        disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs),
        clock.phase("prefill"),
    ):
        return sample(
            trainer.accelerator.unwrap_model(trainer.model_wrapped),
            asked.shown,
            asked.of_row,
            draw_of(trainer),
            autocast=lambda: _autocast(trainer),
            prefilled=lambda: clock.turn_to("rollout"),
        )


def draw_of(trainer: Any) -> Draw:
    """From TRL's generation settings."""
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    config = trainer.generation_config
    warpers: list[Any] = []
    if config.top_k:
        warpers.append(TopKLogitsWarper(config.top_k))
    if config.top_p is not None and config.top_p < 1:
        warpers.append(TopPLogitsWarper(config.top_p))
    if config.min_p:
        warpers.append(MinPLogitsWarper(config.min_p))
    return Draw(
        temperature=config.temperature or 1.0,
        ends=tuple(trainer.eos_token_ids),
        padding=trainer._tokenizer.pad_token_id,
        longest=config.max_new_tokens,
        shortest=config.min_new_tokens or 0,
        never=picture_ids(trainer.model),
        warpers=tuple(warpers),
    )


def _autocast(trainer: Any) -> Any:
    """The trainer's arithmetic, without the cache of casts that a recorded step would point into."""
    import torch

    if not (trainer.args.bf16 or trainer.args.fp16):
        return nullcontext()
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float16
    return torch.autocast(trainer.accelerator.device.type, dtype, cache_enabled=False)
