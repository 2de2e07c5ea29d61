"""Shapes of models: what the cost and memory models need to know, from a table or a config.json."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.files import foreign_json
from medgrpo.foreign import reads
from medgrpo.models.families import FAMILIES, family_named, image_family
from medgrpo.models.shape import ModelShape

TEXT_SHAPES = (
    ModelShape("Qwen3-0.6B", 28, 1024, 1024, 3072, 151_936, tied=True, query_width=2048),
    ModelShape("Qwen3-1.7B", 28, 2048, 1024, 6144, 151_936, tied=True),
    ModelShape("Qwen3-4B", 36, 2560, 1024, 9728, 151_936, tied=True, query_width=4096),
    ModelShape("Qwen3-8B", 36, 4096, 1024, 12_288, 151_936),
    ModelShape("Qwen3-14B", 40, 5120, 1024, 17_408, 151_936),
    ModelShape("Qwen3-32B", 64, 5120, 1024, 25_600, 151_936, query_width=8192),
    ModelShape("Qwen3-30B-A3B", 48, 2048, 512, 768, 151_936, query_width=4096, experts=128, experts_used=8),
    ModelShape("Qwen2.5-0.5B", 24, 896, 128, 4864, 151_936, tied=True),
    ModelShape("Qwen2.5-1.5B", 28, 1536, 256, 8960, 151_936, tied=True),
    ModelShape("Qwen2.5-3B", 36, 2048, 256, 11_008, 151_936, tied=True),
    ModelShape("Qwen2.5-7B", 28, 3584, 512, 18_944, 152_064),
    ModelShape("Qwen2.5-14B", 48, 5120, 1024, 13_824, 152_064),
    ModelShape("Qwen2.5-32B", 64, 5120, 1024, 27_648, 152_064),
    ModelShape("Qwen2.5-72B", 80, 8192, 1024, 29_568, 152_064),
    ModelShape("Qwen-1.8B", 24, 2048, 2048, 5504, 151_936),
    ModelShape("Qwen-7B", 32, 4096, 4096, 11_008, 151_936),
    ModelShape("Qwen-14B", 40, 5120, 5120, 13_696, 152_064),
    ModelShape("Qwen-72B", 80, 8192, 8192, 24_576, 152_064),
    ModelShape("Llama-2-7B", 32, 4096, 4096, 11_008, 32_000),
    ModelShape("Llama-3.1-8B", 32, 4096, 1024, 14_336, 128_256),
    ModelShape("MedGemma-27B-text", 62, 5376, 2048, 21_504, 262_144, tied=True, query_width=4096),
)
UNET = ModelShape("unet", 0, 0, 0, 0, 0, family="unet", widths=(16, 32, 48), fold=2)
"""The built-in network for masks (`medgrpo.segmentation.unet`), which has no language model."""
SHAPES = {
    shape.name: shape
    for shape in [*(shape for family in FAMILIES.values() for shape in family.known_shapes()), *TEXT_SHAPES]
}
"""Models that are known by name: those of every family, and text models."""
OTHER_NAMES = {
    "lingshu-7b": "Qwen2.5-VL-7B",
    "lingshu-32b": "Qwen2.5-VL-32B",
    "lingshu-i-8b": "InternVL3-8B",
    "huatuogpt-vision-7b": "Qwen2-VL-7B",
    "huatuogpt-vision-34b": "Qwen2.5-VL-32B",
    "medvlthinker-3b": "Qwen2.5-VL-3B",
    "medvlthinker-7b": "Qwen2.5-VL-7B",
    "medvlthinker-32b": "Qwen2.5-VL-32B",
    "medgemma-27b-text-it": "MedGemma-27B-text",
    "sa2va-1b": "InternVL3-1B",
    "sa2va-4b": "Qwen2.5-VL-3B",
    "sa2va-8b": "InternVL3-8B",
    "sa2va-26b": "InternVL3-38B",
}
"""Models built on a known one, or as large as one; `find_shape` keeps their own name."""
DEFAULT = "Qwen2.5-VL-3B"


def find_shape(model: str) -> ModelShape:
    """The shape of a named model (`Qwen/Qwen2.5-VL-3B-Instruct` or shorter), or of a local folder's config.json.

    A model whose name holds a known one's (`acme/chest-qwen2.5-vl-7b-v2`) has that one's shape.

    Raises:
        UsageError: the name is not in the table and no folder; or the folder holds no readable config.json.
    """
    if model == UNET.name:
        return UNET
    folder = Path(model)
    if folder.is_dir():
        return _from_config(folder)
    name = model.rsplit("/", 1)[-1].lower().replace("_", ".").replace("sa2va.", "sa2va-")
    names = {**{known.lower(): known for known in SHAPES}, **OTHER_NAMES}
    fitting = [known for known in names if name == known or name.startswith(f"{known}-")]
    fitting = fitting or [known for known in names if re.search(rf"(^|[-.]){re.escape(known)}([-.]|$)", name)]
    if fitting:
        known = max(fitting, key=len)
        shape = SHAPES[names[known]]
        return replace(shape, name=model.rsplit("/", 1)[-1]) if known in OTHER_NAMES else shape
    error = choice_error("model shape", model, SHAPES)
    raise UsageError(
        error.problem,
        expected=f"{error.expected}, or a folder with a config.json",
        hint="; or ".join(filter(None, (error.hint, "--params 7B for a model of that size"))),
    )


def shape_of_size(size: str) -> ModelShape:
    """A vision-language model of so many weights (`7B`, `650M`), built as the Qwen2.5-VL nearest in size.

    Raises:
        UsageError: no number of weights.
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([BbMm]?)\s*", size)
    weights = float(parts[1]) * (1e6 if parts[2].lower() == "m" else 1e9) if parts else 0.0
    if not 1e7 <= weights <= 2e12:
        raise UsageError(f"--params {size} is no number of weights", expected="such as 7B or 650M")
    name = f"{size.strip()}{'' if parts and parts[2] else 'B'} weights"
    known = [shape for shape in SHAPES.values() if shape.family == "qwen2.5-vl"]
    nearest = min(known, key=lambda shape: abs(math.log(shape.parameters / weights)))
    low, high = 0.05, 20.0
    for _ in range(60):  # width by bisection: depth and tower stay
        middle = (low + high) / 2
        scaled = _scaled(nearest, middle, name)
        low, high = (middle, high) if scaled.parameters < weights else (low, middle)
    return _scaled(nearest, high, name)


def _scaled(shape: ModelShape, factor: float, name: str) -> ModelShape:
    """A shape as much wider; the tower too where the model is smaller."""
    tower = min(1.0, factor)
    return replace(
        shape,
        name=name,
        hidden=max(64, round(shape.hidden * factor / 16) * 16),
        mlp=max(64, round(shape.mlp * factor / 16) * 16),
        kv_width=max(32, round(shape.kv_width * factor / 16) * 16),
        vocab=round(shape.vocab * min(1.0, factor)),
        vision_hidden=max(64, round(shape.vision_hidden * tower / 16) * 16),
        vision_mlp=max(64, round(shape.vision_mlp * tower / 16) * 16),
    )


@reads("folder", "a model folder, its config.json an object with the sizes of the model")
def _from_config(folder: Path) -> ModelShape:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = foreign_json(path)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no config.json, so it is no model folder") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} holds no JSON object", expected="the configuration of a model")
    if config.get("model_type") == "medgrpo_unet":
        return replace(UNET, widths=tuple(config["widths"]), fold=int(config["fold"]))
    text = config.get("text_config") or config
    vision = config.get("vision_config") or {}
    try:
        experts = int(text.get("num_experts") or text.get("num_local_experts") or 0)
        head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
        shape = ModelShape(
            name=folder.name,
            layers=text["num_hidden_layers"],
            hidden=text["hidden_size"],
            kv_width=head * text.get("num_key_value_heads", text["num_attention_heads"]),
            mlp=text["moe_intermediate_size"] if experts else text["intermediate_size"],
            vocab=text["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            query_width=head * text["num_attention_heads"],
            experts=experts,
            experts_used=int(text.get("num_experts_per_tok") or 0) if experts else 0,
        )
        if not vision:
            return shape
        # Qwen2-VL calls the tower's width embed_dim and its hidden_size is the language model's.
        width = vision.get("embed_dim") or vision["hidden_size"]
        model_type = str(config.get("model_type", "text"))
        known = family_named(model_type)
        return replace(
            shape,
            family=known.name if known else model_type,
            merge=image_family(model_type).merge,
            vision_layers=vision.get("depth") or vision["num_hidden_layers"],
            vision_hidden=width,
            vision_mlp=vision.get("intermediate_size") or int(width * vision.get("mlp_ratio", 4) * 2 / 3),
        )
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}, so the model's size is unknown") from error
