"""Opens a vision-language or language model with its processor, and says early what is no model.

`check_model` looks at the folder (or asks the hub for the configuration alone) before anything heavy is
imported or read, so that a mistyped path ends a command within a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError, missing_extra, typed_path
from medgrpo.files import check_regular, foreign_json
from medgrpo.foreign import reads
from medgrpo.models.adapter_files import check_finite
from medgrpo.models.chat_templates import check_template
from medgrpo.models.families import (
    family_of_model,
    family_of_processor,
    is_lora_target,
    tower_layers,
    tower_of,
)
from medgrpo.models.families.base import Tower
from medgrpo.models.folders import instead_of_missing, is_hub_name
from medgrpo.models.picture_words import check_files_of_pictures, check_written_picture
from medgrpo.models.tensor_files import check_files, listed


@dataclass(frozen=True)
class LoadedModel:
    """A model with the processor (or tokenizer, for text-only models) that belongs to it."""

    model: Any
    processor: Any
    is_vision: bool
    """Whether it takes pictures."""

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer, or the tokenizer itself."""
        return getattr(self.processor, "tokenizer", self.processor)


@reads("path", "a model: config.json, weights, tokenizer")
def check_model(path: str, *, revision: str | None = None) -> dict[str, Any] | None:
    """The model's config.json as a dict; None for a hub name, which is only looked up when it is loaded.

    Raises:
        UsageError: a folder or file that is no model, or a path that is not there and no hub name either.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _check_folder(folder)
    if folder.exists():
        raise UsageError(
            f"{path} is a file, not a model",
            expected="a model folder with config.json, or a hub name",
            hint=f"--model {typed_path(folder.parent)}",
        )
    if not is_hub_name(path):
        raise UsageError(
            f"no model at {path}",
            expected="a model folder with config.json, or a hub name such as Qwen/Qwen2.5-VL-3B-Instruct",
            hint=instead_of_missing(path),
        )
    return None


def _check_folder(folder: Path) -> dict[str, Any]:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} holds an adapter, not a whole model",
            expected="a model folder with config.json",
            hint=f"medgrpo merge-lora {typed_path(folder)} --output MERGED, or give it as the adapter over its base model",
        )
    for file in folder.iterdir():
        check_regular(file)  # Transformers would read a pipe or a hole for ever
    file = folder / "config.json"
    if not file.is_file():
        inside = next((sub.parent for sub in sorted(folder.glob("*/config.json"))), None)
        raise UsageError(
            f"{folder} is not a model: it has no config.json",
            expected="a model folder with config.json, weights and tokenizer",
            hint=f"did you mean {inside}?" if inside else None,
        )
    try:
        config = foreign_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UsageError(f"{file} names no model_type", expected="the config.json of a Transformers model")
    if not any(
        any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.safetensors.index.json")
    ):
        raise UsageError(
            f"{folder} has a config.json but no weights",
            expected="*.safetensors beside config.json",
            hint="was the download or the save interrupted?",
        )
    check_files(folder)
    check_files_of_pictures(folder, config)
    return config


@reads("path", "a model: config.json, weights, tokenizer")
def load_model(
    path: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str = "auto",
    attn_implementation: str | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    thinking: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization_config: Any | None = None,
    allow_unexpected: bool = False,
) -> LoadedModel:
    """A model in evaluation mode and its processor, from a folder or the hub.

    Args:
        path: folder or hub name.
        revision: branch, tag or commit of a hub model.
        trust_remote_code: run Python that comes with the model.
        dtype: `auto` is bfloat16 where a GPU has it, else float32; or `float32`, `bfloat16`, `float16`.
        attn_implementation: as Transformers names it; None: its own choice.
        max_pixels: the largest picture the model sees; larger ones are scaled down by the processor.
        min_pixels: the smallest; smaller ones are enlarged.
        thinking: `on` or `off`, for a model with two modes.
        device_map: as Transformers takes it; None: the CPU (trainers move the model themselves).
        quantization_config: of Transformers, for QLoRA.
        allow_unexpected: take a model with tensors that it has no place for.
    Raises:
        UsageError: it is no model (see `check_model`).
        MedgrpoError: it cannot be loaded, or not wholly (see `check_loaded`); the reason and what to try.
    """
    check_model(path, revision=revision)
    try:
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    except ImportError as error:
        raise missing_extra("transformers", "train", "loading a model") from error
    common: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **common)
        is_vision = is_vision_config(config)
        if attn_implementation is None:
            _refuse_kernels(path, config)
        kind = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
        options: dict[str, Any] = {"dtype": torch_dtype(dtype), **common}
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        if device_map is not None:
            options["device_map"] = device_map
        if quantization_config is not None:
            options["quantization_config"] = quantization_config
        model, found = kind.from_pretrained(path, output_loading_info=True, **options)
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        ImportError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise _not_loadable(path, error, trust_remote_code) from error
    check_loaded(model, found, path, allow_unexpected=allow_unexpected)
    processor = load_processor(
        path,
        is_vision=is_vision,
        revision=revision,
        trust_remote_code=trust_remote_code,
        max_pixels=max_pixels,
        min_pixels=min_pixels,
        thinking=thinking,
    )
    if is_vision:
        check_written_picture(config, processor, path)
    return LoadedModel(model.eval(), processor, is_vision)


def check_loaded(model: Any, found: Mapping[str, Any], path: str, *, allow_unexpected: bool = False) -> None:
    """Refuse a model that is not wholly what its files say: Transformers draws missing weights at random and says so in a
    log.

    Args:
        model: as loaded.
        found: the `loading_info` of Transformers.
        path: for the message.
        allow_unexpected: tensors that the model has no place for are fine.
    Raises:
        MedgrpoError: tensors that are missing, unexpected, of another shape, or not finite.
    """
    kind, total = type(model).__name__, len(model.state_dict())
    whole = "truncated or renamed? Fetch the model again, or with the version of Transformers that it was saved with"
    mismatched = [
        str(one[0]) if isinstance(one, tuple) else str(one) for one in found.get("mismatched_keys") or ()
    ]
    for names, words in (
        (found.get("missing_keys") or (), f"lacks {{count}} of the {total} tensors of {kind}"),
        (mismatched, f"has {{count}} tensors of another shape than {kind}"),
        (
            () if allow_unexpected else found.get("unexpected_keys") or (),
            f"has {{count}} tensors that {kind} has no place for",
        ),
    ):
        if names:
            raise MedgrpoError(
                f"the model {path} {words.format(count=len(names))}: {listed(sorted(names))}",
                expected="every weight that the model needs, and no other",
                hint=whole,
            )
    if found.get("error_msgs"):
        raise MedgrpoError(f"the model {path} cannot be loaded: {found['error_msgs'][0]}", hint=whole)
    check_finite(model.state_dict(), f"the model {path}")


def _refuse_kernels(path: str, config: Any) -> None:
    """A `config.json` may name an attention kernel of the hub, which is code."""
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    for part in parts:
        named = getattr(part, "_attn_implementation", None)
        if isinstance(named, str) and "/" in named:
            raise MedgrpoError(
                f"the model {path} asks for a kernel from the hub, {named}, which is code",
                hint=f"where that is what you want, in training: --set model.attn_implementation={named}",
            )


@reads("path", "a model with its tokenizer and processor")
def load_processor(
    path: str,
    *,
    is_vision: bool,
    revision: str | None = None,
    trust_remote_code: bool = False,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    thinking: str | None = None,
) -> Any:
    """The processor of a vision-language model with these picture limits, or the tokenizer of a text model.

    Raises:
        MedgrpoError: it cannot be loaded, or has no chat template.
    """
    from transformers import AutoProcessor, AutoTokenizer

    common: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        processor = (AutoProcessor if is_vision else AutoTokenizer).from_pretrained(path, **common)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _not_loadable(path, error, trust_remote_code) from error
    if is_vision:
        limit_pixels(processor, max_pixels=max_pixels, min_pixels=min_pixels)
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if (
        getattr(processor, "chat_template", None) is None
        and getattr(tokenizer, "chat_template", None) is None
    ):
        raise MedgrpoError(
            f"the model {path} has no chat template",
            expected="an instruction-tuned model",
            hint="take the -Instruct version of the model",
        )
    check_template(processor, path)
    if thinking in ("on", "off"):
        set_thinking(processor, is_on=thinking == "on")
    return processor


def check_thinking(folder: Path) -> None:
    """Refuse a fixed mode where the chat templates beside the weights have no switch for it.

    Raises:
        UsageError: the same as when the model is loaded; a hub model is looked at only then.
    """
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "{%" in (text := (folder / name).read_text("utf-8")):
            _refuse_without_switch(text)
            return


def _refuse_without_switch(template: str) -> None:
    if "enable_thinking" not in template:
        raise UsageError(
            "this model's chat template has no switch for thinking",
            expected="a template with enable_thinking, as Qwen3's",
            hint="leave model.thinking out",
        )


def set_thinking(processor: Any, *, is_on: bool) -> None:
    """Fix the mode of a model that can reason or not (Qwen3's `enable_thinking`), in its chat template.

    The template and not an argument of each call, so that training, evaluation and whoever loads the saved
    tokenizer write the same prompt.

    Raises:
        UsageError: the template has no such switch.
    """
    for holder in {id(one): one for one in (processor, getattr(processor, "tokenizer", processor))}.values():
        template = getattr(holder, "chat_template", None)
        if template is None:
            continue
        _refuse_without_switch(template)
        bare = re.sub(r"^\{%- set enable_thinking = \w+ -%\}", "", template)
        holder.chat_template = f"{{%- set enable_thinking = {str(is_on).lower()} -%}}{bare}"


def limit_pixels(processor: Any, *, max_pixels: int | None = None, min_pixels: int | None = None) -> None:
    """Sets the largest and smallest picture, in pixels.

    Which of them a processor knows, and how, is its family's matter (`families/`).

    Raises:
        UsageError: the smallest is larger than the largest.
    """
    family_of_processor(processor).limit_pixels(
        getattr(processor, "image_processor", None), max_pixels, min_pixels
    )


def is_vision_config(config: Any) -> bool:
    """Whether a Transformers config is of a model that takes pictures and writes text."""
    return getattr(config, "vision_config", None) is not None


def torch_dtype(name: str) -> Any:
    """The torch type of a name; `auto` is bfloat16 where a GPU has it, else float32."""
    import torch

    if name == "auto":
        return torch.bfloat16 if has_bfloat16() else torch.float32
    return getattr(torch, name)


def has_bfloat16() -> bool:
    """Whether there is a GPU that computes bfloat16 itself; older ones (T4, V100) emulate it, many times slower."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def lora_targets(model: Any, towers: Sequence[Tower] = ("language",)) -> str:
    """A regular expression over module names for PEFT's `target_modules`: the linear layers of these towers.

    Raises:
        UsageError: the model has no such layers; says what its layers are called.
    """
    import torch

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    family = family_of_model(model)
    for tower in towers:
        if not any(is_lora_target(name, tower, family) for name in linear):
            examples = ", ".join(linear[:3])
            raise UsageError(
                f"this model has no layers that look like its {tower} tower",
                expected=f"linear layers named as in Qwen-VL, InternVL or Gemma-3; here they are {examples}, …",
                hint="give train a regular expression: --set tuning.target_modules='…'",
            )
    return "|".join(f"(?:{tower_layers(tower, family)})" for tower in towers)


def freeze_towers(model: Any, trained: Sequence[Tower]) -> int:
    """Keep all but the trained towers from learning; gives how many weights are frozen."""
    frozen = 0
    for name, parameter in model.named_parameters():
        if tower_of(name) not in trained:
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen


def _not_loadable(path: str, error: Exception, trust_remote_code: bool) -> MedgrpoError:
    text = str(error).strip()
    hint = None
    if "trust_remote_code" in text and not trust_remote_code:
        hint = "it comes with Python code of its own; read that, then: --trust-remote-code (train: --set model.trust_remote_code=true)"
    elif "gated" in text or "401" in text:
        hint = "it needs an account with access: `hf auth login`"
    elif not Path(path).expanduser().exists():
        hint = "check the name; without a network, give the path of a downloaded model folder"
    first_line = text.splitlines()[0] if text else type(error).__name__
    return MedgrpoError(f"the model {path} cannot be loaded: {first_line}", hint=hint)
