"""The policy of a stage: model, processor and adapter, loaded from what the stage before wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.models.adapter_files import is_adapter, recorded_metadata
from medgrpo.models.coordinates import BoxCoordinates, box_coordinates
from medgrpo.models.weights import Weights, check_fingerprints, check_trust, find_weights

ALL_LINEAR = "all-linear"
"""PEFT's own word for every linear layer but the last."""


@dataclass
class Policy:
    """A loaded policy. `peft_config` is set where the trainer has to add a new adapter."""

    model: Any
    processor: Any
    peft_config: Any | None
    is_vision: bool
    coordinates: BoxCoordinates
    """How it writes boxes."""
    segmenter: Any | None = None
    """A model that answers with masks (`medgrpo.segmentation.segmenters.Segmenter`); None: one that writes."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, whether the processor is one or holds one."""
        return getattr(self.processor, "tokenizer", self.processor)


def trained_weights(final: Path, before: Weights) -> Weights:
    """The weights that a stage ended with. An adapter records where its base lay then, and that may have moved."""
    if is_adapter(final):
        return replace(before, adapter=final, metadata=recorded_metadata(final))
    return find_weights(str(final))


def load_policy(weights: Weights, config: RunConfig) -> Policy:
    """Load model and processor, ready for a trainer.

    An adapter is continued when the tuning method is one of adapters, else merged first.

    Raises:
        MedgrpoError: the model or adapter cannot be loaded, or not wholly.
        UsageError: base or adapter are not those that were trained (see `check_fingerprints`).
    """
    from medgrpo.models.loading import freeze_towers, load_model

    settings, tuning = config.model, config.tuning
    loaded = load_model(
        weights.base,
        revision=settings.revision or weights.revision,
        trust_remote_code=check_trust(
            weights, is_given=settings.trust_remote_code, option="--set model.trust_remote_code=true"
        ),
        allow_unexpected=settings.force_base,
        dtype=weight_dtype(config),
        attn_implementation=settings.attn_implementation,
        max_pixels=settings.max_pixels,
        min_pixels=settings.min_pixels,
        thinking=settings.thinking,
        quantization_config=four_bit() if tuning.method == "qlora" else None,
    )
    model, processor = loaded.model, loaded.processor
    loaded.tokenizer.padding_side = "left"  # prompts end where completions begin
    peft_config = None
    if weights.adapter is not None:
        from medgrpo.models.adapters import load_adapter

        check_fingerprints(weights, force=settings.force_base)
        model = load_adapter(model, weights.adapter, base=weights.base, is_trainable=tuning.method != "full")
        # It records where its base lay when it was saved, and is saved with what it records.
        model.active_peft_config.base_model_name_or_path = weights.base
        if tuning.method == "full":
            model = model.merge_and_unload()
    elif tuning.method != "full":
        peft_config = new_adapter(model, config)
    if tuning.method == "full":
        freeze_towers(model, tuning.towers)
    coordinates = box_coordinates(model.config.model_type, processor, config.data.box_format)
    return Policy(model, processor, peft_config, loaded.is_vision, coordinates)


def weight_dtype(config: RunConfig) -> str:
    """Type that the weights are held in, by its name.

    `auto` is bfloat16 under an adapter where the GPU has it. Where all weights are trained they stay in
    float32, since updates of a small learning rate vanish in bfloat16; the arithmetic is bfloat16 by autocast.
    """
    if config.model.dtype == "auto" and config.tuning.method == "full":
        return "float32"
    return config.model.dtype


def four_bit() -> Any:
    """QLoRA's quantisation: NF4 with double quantisation, arithmetic in bfloat16."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def new_adapter(model: Any, config: RunConfig) -> Any:
    """The LoRA (or DoRA) configuration for the chosen towers of this model."""
    from peft import LoraConfig

    from medgrpo.models.loading import lora_targets

    tuning = config.tuning
    if tuning.target_modules not in (None, ALL_LINEAR):
        _check_hits(model, str(tuning.target_modules))
    return LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        use_dora=tuning.method == "dora",
        target_modules=tuning.target_modules or lora_targets(model, tuning.towers),
        task_type="CAUSAL_LM",
    )


def _check_hits(model: Any, pattern: str) -> None:
    import re

    import torch

    if any(re.fullmatch(pattern, name) for name, _ in model.named_modules()):
        return
    linear = (name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    ends = dict.fromkeys(name.rpartition(".")[2] for name in linear)
    raise UsageError(
        f"tuning.target_modules = {pattern!r} hits no module of this model",
        expected=f"a pattern for whole names; its linear layers end in {', '.join(ends)}",
        hint="leave it out: tuning.towers chooses by part",
    )
