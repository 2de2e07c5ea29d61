"""The policy of a stage: model, processor and adapter, loaded from what the stage before wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError

ADAPTER_FOLDERS = ("best_lora", "final_lora")
MODEL_FOLDERS = ("best_model", "final_model")
_VISION = ("visual", "vision_tower", "vision_model", "vision_encoder", "image_tower")
_ALIGNER = ("merger", "multi_modal_projector", "connector", "aligner", "mm_projector", "embed_vision")


@dataclass(frozen=True)
class Weights:
    """Where the weights of a policy lie: a base model, and the adapter on it if there is one."""

    base: str
    adapter: Path | None = None


@dataclass
class Policy:
    """A loaded policy. `peft_config` is set where the trainer has to add a new adapter."""

    model: Any
    processor: Any
    peft_config: Any | None
    is_vision: bool

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, whether the processor is one or holds one."""
        return getattr(self.processor, "tokenizer", self.processor)


def find_weights(path: str) -> Weights:
    """The weights that a `--model` names: model folder, adapter folder, run folder, or hub name.

    Raises:
        UsageError: there is a folder, but it is no model.
    """
    folder = Path(path)
    if not folder.exists():
        if path.count("/") == 1 and not path.startswith((".", "/", "~")):
            return Weights(path)  # a hub name; whether it exists is found when it is loaded
        raise UsageError(
            f"no model at {path!r}",
            expected="a model folder (with config.json), an adapter, a run folder, or a hub name such as "
            "Qwen/Qwen2.5-VL-3B-Instruct",
        )
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder)
    if (folder / "config.json").is_file():
        return Weights(str(folder))
    for name in ADAPTER_FOLDERS:
        if (folder / name / "adapter_config.json").is_file():
            return _adapter(folder / name)
    for name in MODEL_FOLDERS:
        if (folder / name / "config.json").is_file():
            return Weights(str(folder / name))
    raise UsageError(
        f"{path!r} is no model",
        expected="config.json or adapter_config.json in it, or a run folder with final weights",
    )


def _adapter(folder: Path) -> Weights:
    import json

    try:
        base = json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError) as error:
        raise UsageError(f"{folder}/adapter_config.json names no base model") from error
    return Weights(str(base), folder)


def load_policy(weights: Weights, config: RunConfig, *, dtype: Any | None = None) -> Policy:
    """Load model and processor, ready for a trainer.

    An adapter is continued when the tuning method is one of adapters, else merged first.

    Raises:
        MedgrpoError: the model cannot be loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    settings = config.model
    shared: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code, "revision": settings.revision}
    try:
        architecture = AutoConfig.from_pretrained(weights.base, **shared)
        is_vision = hasattr(architecture, "vision_config")
        loader = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
        options = {**shared, "dtype": dtype or weight_dtype(config)}
        if settings.attn_implementation:
            options["attn_implementation"] = settings.attn_implementation
        if config.tuning.method == "qlora":
            from transformers import BitsAndBytesConfig

            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
        model = loader.from_pretrained(weights.base, **options)
        processor = load_processor(weights.base, config)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MedgrpoError(
            f"cannot load the model {weights.base!r}: {first}",
            hint="give a folder with config.json and weights, or a hub name this machine can reach",
        ) from error
    peft_config = None
    if weights.adapter is not None:
        from peft import PeftModel

        trains_adapter = config.tuning.method != "full"
        model = PeftModel.from_pretrained(model, weights.adapter, is_trainable=trains_adapter)
        if not trains_adapter:
            model = model.merge_and_unload()
    elif config.tuning.method != "full":
        peft_config = new_adapter(model, config)
    return Policy(model, processor, peft_config, is_vision)


def load_processor(path: str, config: RunConfig) -> Any:
    """The processor (or tokenizer, for a text model), its image size limits set to the run's.

    The image size limits are in pixels of the picture that the vision tower sees.
    """
    from transformers import AutoProcessor

    settings = config.model
    processor = AutoProcessor.from_pretrained(
        path,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        padding_side="left",
        truncation_side="left",
    )
    images = getattr(processor, "image_processor", None)
    size = getattr(images, "size", None)
    if images is not None and size is not None and "longest_edge" in size and "shortest_edge" in size:
        size = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
        images.size = type(images.size)(**size) if not isinstance(images.size, dict) else size
        for name, value in (("min_pixels", settings.min_pixels), ("max_pixels", settings.max_pixels)):
            if getattr(images, name, None) is not None:
                setattr(images, name, value)
    return processor


def weight_dtype(config: RunConfig) -> Any:
    """Type that the weights are held in.

    `auto` is bfloat16 under an adapter where the GPU has it. All weights trained stay in float32, since
    updates of a small learning rate vanish in bfloat16; the arithmetic is bfloat16 by autocast.
    """
    import torch

    if config.model.dtype != "auto":
        return getattr(torch, config.model.dtype)
    use_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported() and config.tuning.method != "full"
    return torch.bfloat16 if use_bf16 else torch.float32


def new_adapter(model: Any, config: RunConfig) -> Any:
    """The LoRA (or DoRA) configuration for the chosen towers of this model."""
    from peft import LoraConfig

    tuning = config.tuning
    pattern = tuning.target_modules or tower_pattern(linear_layers(model), tuning.towers)
    return LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        use_dora=tuning.method == "dora",
        target_modules=pattern,
        task_type="CAUSAL_LM",
    )


def linear_layers(model: Any) -> list[str]:
    """Names of the model's linear layers, the output head left out."""
    from torch import nn

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith("lm_head")
    ]


def tower_of(name: str) -> str:
    """Which part a layer belongs to by its name: language, vision or aligner."""
    parts = set(name.split("."))
    if parts & set(_ALIGNER):
        return "aligner"
    return "vision" if parts & set(_VISION) else "language"


def tower_pattern(layers: list[str], towers: tuple[str, ...]) -> str:
    """A regular expression that matches exactly the linear layers of the towers.

    Raises:
        UsageError: a tower has none.
    """
    patterns: dict[str, None] = {}
    for tower in towers:
        found = [name for name in layers if tower_of(name) == tower]
        if not found:
            raise UsageError(
                f"the model has no linear layers in its {tower} tower",
                hint="--set tuning.target_modules=… names layers by a regular expression",
            )
        patterns |= dict.fromkeys(re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name)) for name in found)
    return "|".join(patterns)
