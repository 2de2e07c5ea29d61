"""Opens Sa2VA: a folder of ours, a released checkpoint (on Qwen or InternVL), or a vision-language model and a SAM put together."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import foreign_json
from medgrpo.segmentation.sa2va.internvl import internvl_config, internvl_processor, is_internvl
from medgrpo.segmentation.sa2va.internvl import place_of as place_of_internvl
from medgrpo.segmentation.sa2va.keys import from_released, missing_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

RELEASED = "sa2va_chat"
"""`model_type` of the released checkpoints."""
SAM_LARGE: dict[str, Any] = {
    "model_type": "sam2",
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 144,
            "num_attention_heads": 2,
            "blocks_per_stage": [2, 6, 36, 4],
            "embed_dim_per_stage": [144, 288, 576, 1152],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 16, 8],
            "global_attention_blocks": [23, 33, 43],
        },
        "backbone_channel_list": [1152, 576, 288, 144],
    },
}
"""SAM 2 Hiera-L, the one that all released Sa2VA models have."""


def is_released(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a released Sa2VA, on Qwen or on InternVL."""
    return is_internvl(config) or (config.get("model_type") == RELEASED and "text_config" in config)


def load_released(folder: Path, *, dtype: Any, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Model and processor of a released Sa2VA checkpoint, without the code that comes with it.

    Args:
        trust_remote_code: whether a tokenizer that is Python code (InternLM2's) may run.
    Raises:
        MedgrpoError: weights are missing, or there are names that the map does not know.
    """
    import torch
    from transformers import AutoProcessor

    from medgrpo.segmentation.sa2va.model import SEG, Sa2VA, Sa2VAConfig

    stored = foreign_json(folder / "config.json")
    place_of = None
    if is_internvl(stored):
        processor = internvl_processor(folder, stored, trust_remote_code=trust_remote_code)
        language = internvl_config(stored, processor.image_token_id)
        place_of = partial(place_of_internvl, config=language)
    else:
        processor, language = AutoProcessor.from_pretrained(folder), _language_config(stored)
    seg = processor.tokenizer.convert_tokens_to_ids(SEG)
    config = Sa2VAConfig(language, dict(SAM_LARGE), seg_token_id=seg)
    with torch.device("meta"):
        model = Sa2VA(config)
    mapped = from_released(dict(_weights(folder)), place_of)
    is_tied = bool(getattr(config.vlm_config, "tie_word_embeddings", False))
    missing = missing_names(model.state_dict(), mapped, is_tied=is_tied)
    if missing or mapped.unknown:
        raise MedgrpoError(
            f"{folder} is no Sa2VA checkpoint as they were released: {len(missing)} weights are missing "
            f"({', '.join(missing[:3])}), {len(mapped.unknown)} are unknown ({', '.join(mapped.unknown[:3])})",
            expected="Sa2VA-Qwen2_5-VL-3B, -7B, Sa2VA-Qwen3-VL-4B, Sa2VA-1B to -26B, or one trained from them",
        )
    model.load_state_dict(
        {name: value.to(dtype) for name, value in mapped.weights.items()}, assign=True, strict=False
    )
    model.tie_weights()
    return _with_buffers(model, dtype), processor


def put_together(vlm: str, sam: str, *, dtype: Any, seed: int) -> tuple[Any, Any]:
    """A new Sa2VA from a vision-language model and a SAM; [SEG] and the MLP between them are drawn from the seed.

    It knows no vessels: train it by SFT first.
    """
    import torch
    from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

    from medgrpo.segmentation.sa2va.model import SEG, Sa2VA, Sa2VAConfig

    processor = AutoProcessor.from_pretrained(vlm)
    processor.tokenizer.add_tokens([SEG], special_tokens=True)
    language = AutoModelForImageTextToText.from_pretrained(vlm, dtype=dtype)
    eyes = AutoModel.from_pretrained(sam, dtype=dtype)
    seg = processor.tokenizer.convert_tokens_to_ids(SEG)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if language.get_input_embeddings().num_embeddings < len(processor.tokenizer):
            language.resize_token_embeddings(len(processor.tokenizer))  # draws the new word's
        model = Sa2VA(Sa2VAConfig(language.config, eyes.config, seg_token_id=seg))
    model.vlm, model.sam = language, eyes
    return model.to(dtype), processor


def _language_config(stored: dict[str, Any]) -> Any:
    """The configuration of the language model inside; released ones name their own type."""
    from transformers import AutoConfig

    kinds = {"qwen2_5_vl_text": "qwen2_5_vl", "qwen3_vl_text": "qwen3_vl"}
    text = stored["text_config"].get("model_type", "qwen2_5_vl_text")
    if text not in kinds:
        raise UsageError(f"a Sa2VA on {text} is not known", expected=f"one on {' or '.join(kinds.values())}")
    ours = {
        key: value
        for key, value in stored.items()
        if key not in ("model_type", "auto_map", "template", "architectures")
    }
    return AutoConfig.for_model(kinds[text], **ours)


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} has no weights", expected="*.safetensors beside config.json")
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a dict
                yield name, opened.get_tensor(name)


def _with_buffers(model: Any, dtype: Any) -> Any:
    """The model with the buffers that no checkpoint holds, made anew: on the meta device they were never filled."""
    fresh = {}
    for name, module in model.named_modules():
        if any(buffer.is_meta for _, buffer in module.named_buffers(recurse=False)):
            fresh[name] = module
    for name, module in fresh.items():
        rebuilt = _rebuilt(module)
        for key, buffer in rebuilt.named_buffers(recurse=False):
            persistent = key not in module._non_persistent_buffers_set
            module.register_buffer(key, buffer, persistent=persistent)
        if any(buffer.is_meta for _, buffer in module.named_buffers(recurse=False)):
            raise MedgrpoError(f"the buffers of {name} cannot be made anew with this Transformers")
    return model.to(dtype) if dtype is not None else model


def _rebuilt(module: Any) -> Any:
    """The module made anew from its configuration, or from the one size that a rotary embedding of pictures takes."""
    config = getattr(module, "config", None)
    if config is not None:
        return type(module)(config)
    return type(module)(module.dim, getattr(module, "theta", 10_000.0))
