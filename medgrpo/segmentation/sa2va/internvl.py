"""Released Sa2VA on InternVL (1B to 26B), under Transformers' own InternVL: configuration, names of weights, processor.

Written from the public source (github.com/bytedance/Sa2VA, `projects/sa2va/hf/models`) and Transformers' conversion of InternVL. The
vision tower is InternViT, the language model Qwen2, Qwen3, Llama or InternLM2; InternLM2 is Llama with query, key and value in one
matrix, a group of heads after the other. Phi-3 (the first 4B) has no place in Transformers' InternVL and is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from medgrpo.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LANGUAGES = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
    "InternLM2ForCausalLM": "llama",
}
"""Class that a config.json names -> Transformers' model type."""
CONTEXT_TOKEN, START_TOKEN, END_TOKEN = "<IMG_CONTEXT>", "<img>", "</img>"
TILES = (1, 12)
"""Fewest and most tiles that a picture is cut into, as the released models do it."""
_VISION: tuple[tuple[str, str], ...] = (
    (r"^vision_model\.embeddings\.class_embedding$", "vision_tower.embeddings.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding$", "vision_tower.embeddings.position_embeddings"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "vision_tower.embeddings.patch_embeddings.projection."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.ls([12])$", r"vision_tower.encoder.layer.\1.lambda_\2"),
    (r"^vision_model\.encoder\.layers\.(\d+)\.attn\.proj\.", r"vision_tower.encoder.layer.\1.attention.projection_layer."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.attn\.", r"vision_tower.encoder.layer.\1.attention."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.norm1\.", r"vision_tower.encoder.layer.\1.layernorm_before."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.norm2\.", r"vision_tower.encoder.layer.\1.layernorm_after."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.mlp\.", r"vision_tower.encoder.layer.\1.mlp."),
    (r"^mlp1\.0\.", "multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "multi_modal_projector.linear_2."),
)  # fmt: skip
_TEXT: tuple[tuple[str, str], ...] = (
    (r"^language_model\.model\.tok_embeddings\.", "language_model.embed_tokens."),
    (r"\.attention\.wo\.", ".self_attn.o_proj."),
    (r"\.attention\.wqkv\.", ".self_attn.qkv."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
    (r"^language_model\.model\.", "language_model."),
)


def is_internvl(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a released Sa2VA on InternVL."""
    return config.get("model_type") == "sa2va_chat" and "llm_config" in config


def internvl_config(stored: dict[str, Any], image_token: int) -> Any:
    """Transformers' configuration of the vision-language model inside.

    Args:
        stored: the released config.json.
        image_token: number of `<IMG_CONTEXT>`.
    Raises:
        UsageError: a language model that Transformers' InternVL does not have.
    """
    from transformers import AutoConfig, InternVLConfig, InternVLVisionConfig

    text, eyes = dict(stored["llm_config"]), dict(stored["vision_config"])
    names = text.get("architectures") or ["InternLM2ForCausalLM"]
    if names[0] not in LANGUAGES:
        raise UsageError(
            f"a Sa2VA on {names[0]} is not known", expected=f"one on {', '.join(LANGUAGES)}, or on Qwen-VL"
        )
    if str(stored.get("ps_version", "v2")) != "v2":
        raise UsageError(f"ps_version is {stored['ps_version']}", expected="v2, as in all released Sa2VA")
    kind = LANGUAGES[names[0]]
    known = AutoConfig.for_model(kind).to_dict()
    kept = {name: value for name, value in text.items() if name in known and name != "model_type"}
    if text.get("rope_theta") is not None:
        kept.pop("rope_parameters", None)
        scaling = {"rope_type": (text.get("rope_scaling") or {}).get("type", "default")}
        scaling |= {key: value for key, value in (text.get("rope_scaling") or {}).items() if key == "factor"}
        kept["rope_parameters"] = {"rope_theta": text["rope_theta"], **scaling}
    side, patch = int(stored.get("force_image_size") or eyes["image_size"]), int(eyes["patch_size"])
    ratio = float(stored.get("downsample_ratio", 0.5))
    vision = InternVLVisionConfig(
        hidden_size=eyes["hidden_size"],
        num_hidden_layers=eyes["num_hidden_layers"],
        num_attention_heads=eyes["num_attention_heads"],
        intermediate_size=eyes["intermediate_size"],
        attention_bias=bool(eyes.get("qkv_bias", False)),
        use_qk_norm=bool(eyes.get("qk_normalization", False)),
        norm_type=eyes.get("norm_type", "layer_norm"),
        hidden_act=eyes.get("hidden_act", "gelu"),
        layer_norm_eps=eyes.get("layer_norm_eps", 1e-6),
        image_size=side,
        patch_size=patch,
    )
    return InternVLConfig(
        vision_config=vision,
        text_config=AutoConfig.for_model(kind, **{**kept, "tie_word_embeddings": False}),
        image_token_id=image_token,
        image_seq_length=int((side // patch) ** 2 * ratio**2),
        downsample_ratio=ratio,
        vision_feature_layer=int(stored.get("select_layer", -1)),
        tie_word_embeddings=False,
    )


def place_of(name: str, value: Tensor, config: Any) -> dict[str, Tensor]:
    """Where a weight of the vision-language model goes: one name, or three for a matrix of query, key and value.

    Args:
        name: as released, `vision_model.…`, `mlp1.…` or `language_model.…`.
        config: of Transformers' InternVL.
    Returns:
        empty where the name is not known.
    """
    if name.startswith("language_model."):
        return _of_text(name, value, config)
    for pattern, place in _VISION:
        renamed, count = re.subn(pattern, place, name)
        if count:
            return _of_vision(f"vlm.model.{renamed}", value)
    return {}


def _of_vision(place: str, value: Tensor) -> dict[str, Tensor]:
    if ".attention.qkv." not in place:
        return {place: value}
    parts = zip("qkv", value.chunk(3), strict=True)
    # Each has memory of its own: views of one tensor would be saved as shared.
    return {place.replace(".qkv.", f".{letter}_proj."): part.clone() for letter, part in parts}


def _of_text(name: str, value: Tensor, config: Any) -> dict[str, Tensor]:
    if name in ("language_model.output.weight", "language_model.lm_head.weight"):
        return {"vlm.lm_head.weight": value}
    place = name
    for pattern, replacement in _TEXT:
        place = re.sub(pattern, replacement, place)
    place = f"vlm.model.{place}"
    if ".self_attn.qkv." not in place:
        return {place: value}
    text = config.text_config
    heads, shared = text.num_attention_heads, text.num_key_value_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    grouped = value.view(shared, heads // shared + 2, width, *value.shape[1:])
    parts = {"q": grouped[:, :-2].flatten(0, 2), "k": grouped[:, -2].flatten(0, 1), "v": grouped[:, -1].flatten(0, 1)}  # fmt: skip
    return {place.replace(".qkv.", f".{letter}_proj."): part.clone() for letter, part in parts.items()}


def internvl_processor(folder: Path, config: dict[str, Any], *, trust_remote_code: bool = False) -> Any:
    """Transformers' processor around the tokenizer of a released folder: tiles of 448 px, the chat of `<|im_start|>`.

    Raises:
        UsageError: the tokenizer only comes as Python code (InternLM2), and running it was not allowed.
    """
    from transformers import AutoTokenizer, GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    tokens = {
        "start_image_token": START_TOKEN,
        "end_image_token": END_TOKEN,
        "context_image_token": CONTEXT_TOKEN,
        "video_token": END_TOKEN,  # videos are not asked about: a token that no prompt has, and none is added
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, extra_special_tokens=tokens
        )
    except (ValueError, ImportError, OSError) as error:
        raise UsageError(
            f"the tokenizer of {folder} cannot be opened: {str(error).splitlines()[0]}",
            expected="a tokenizer.json, or one that Transformers knows",
            hint="InternLM2's tokenizer is Python code beside the weights: --set model.trust_remote_code=true runs it",
        ) from error
    side = int(config.get("force_image_size") or config["vision_config"]["image_size"])
    patch, ratio = (
        int(config["vision_config"]["patch_size"]),
        float(config.get("downsample_ratio", 0.5)),
    )
    images = GotOcr2ImageProcessor(
        size={"height": side, "width": side},
        crop_to_patches=True,
        min_patches=TILES[0],
        max_patches=TILES[1],
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return InternVLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(),
        image_seq_length=int((side // patch) ** 2 * ratio**2),
        chat_template=CHAT,
    )


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>\n{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's and InternLM2's chat are the same; no system prompt, as Sa2VA has none."""
