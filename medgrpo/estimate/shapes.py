"""Shapes of models: what the cost and memory models need to know, from a table or a config.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.models.families import FAMILIES, image_family
from medgrpo.models.shape import ModelShape

TEXT_SHAPES = (
    ModelShape("Qwen3-0.6B", 28, 1024, 1024, 3072, 151_936, tied=True),
    ModelShape("Qwen3-1.7B", 28, 2048, 1024, 6144, 151_936, tied=True),
    ModelShape("Qwen3-4B", 36, 2560, 1024, 9728, 151_936, tied=True),
    ModelShape("Qwen3-8B", 36, 4096, 1024, 12_288, 151_936),
    ModelShape("Qwen3-30B-A3B", 48, 2048, 512, 768, 151_936, query_width=4096, experts=128, experts_used=8),
)
SHAPES = {
    shape.name: shape
    for shape in [*(shape for family in FAMILIES.values() for shape in family.known_shapes()), *TEXT_SHAPES]
}
"""Models that are known by name: those of every family, and text models."""
DEFAULT = "Qwen2.5-VL-3B"


def find_shape(model: str) -> ModelShape:
    """The shape of a named model (`Qwen/Qwen2.5-VL-3B-Instruct` or shorter), or of a local folder's config.json.

    Raises:
        UsageError: the name is not in the table and no folder; or the folder holds no readable config.json.
    """
    folder = Path(model)
    if folder.is_dir():
        return _from_config(folder)
    name = model.rsplit("/", 1)[-1].lower()
    for known, shape in SHAPES.items():
        if name == known.lower() or name.startswith(f"{known.lower()}-"):
            return shape
    error = choice_error("model shape", model, SHAPES)
    raise UsageError(
        error.problem, expected=f"{error.expected}, or a folder with a config.json", hint=error.hint
    )


def _from_config(folder: Path) -> ModelShape:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no config.json, so it is no model folder") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error
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
        return replace(
            shape,
            family=model_type,
            merge=image_family(model_type).merge,
            vision_layers=vision.get("depth") or vision["num_hidden_layers"],
            vision_hidden=width,
            vision_mlp=vision.get("intermediate_size") or int(width * vision.get("mlp_ratio", 4) * 2 / 3),
        )
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}, so the model's size is unknown") from error
