"""Shapes of models: what the cost and memory models need to know, from a table or a config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.models.image_tokens import image_family


@dataclass(frozen=True)
class ModelShape:
    """Sizes of one model.

    Attributes:
        family: image-token rule: a name or `model_type` that `medgrpo.models.image_tokens` knows; `text` without images.
        layers, hidden, kv_width, mlp, vocab: of the language model; kv_width = key/value heads × head size.
        vision_layers, vision_hidden, vision_mlp: of the vision tower; 0 where there is none.
        query_width: query heads × head size; 0 where it is `hidden`.
        experts, experts_used: of a mixture of experts, in each layer and for each token; `mlp` is one expert's. 0: dense.
        language_parameters, vision_parameters: counts.
    """

    name: str
    family: str
    layers: int
    hidden: int
    kv_width: int
    mlp: int
    vocab: int
    vision_layers: int
    vision_hidden: int
    vision_mlp: int
    tied: bool
    query_width: int = 0
    experts: int = 0
    experts_used: int = 0

    @property
    def language_parameters(self) -> int:
        """Attention (q, k, v, o), gated MLP or all experts with their router, and embeddings."""
        return self._language_parameters(self.experts)

    @property
    def active_parameters(self) -> int:
        """Those of the language model that one token is multiplied with: only the experts that it uses."""
        return self._language_parameters(self.experts_used)

    @property
    def mlp_used(self) -> int:
        """Width of the MLP that one token goes through."""
        return self.mlp * max(self.experts_used, 1)

    def read_parameters(self, tokens: float) -> float:
        """Weights of the language model that are read for so many tokens at once: each chooses its own experts."""
        if not self.experts:
            return self.language_parameters
        touched = self.experts * (1 - (1 - self.experts_used / self.experts) ** max(tokens, 1))
        return self._language_parameters(touched)

    def _language_parameters(self, experts: float) -> int:
        queries = self.query_width or self.hidden
        mlp = 3 * self.hidden * self.mlp * (experts or 1) + self.hidden * self.experts
        layer = 2 * self.hidden * queries + 2 * self.hidden * self.kv_width + mlp
        return round(self.layers * layer + (1 if self.tied else 2) * self.vocab * self.hidden)

    @property
    def vision_parameters(self) -> int:
        """Attention and MLP of the tower, and the merger to the language width."""
        if not self.vision_layers:
            return 0
        layer = 4 * self.vision_hidden**2 + 3 * self.vision_hidden * self.vision_mlp
        merged = 4 * self.vision_hidden
        return self.vision_layers * layer + merged * merged + merged * self.hidden

    @property
    def patches_per_token(self) -> int:
        """Patches of an image that become one token of the language model; 0 without images."""
        return image_family(self.family).merge ** 2 if self.vision_layers else 0

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language_parameters + self.vision_parameters

    def lora_parameters(self, rank: int) -> int:
        """Weights of a LoRA on the language model's q, k, v, o, gate, up and down projections; of a mixture of experts
        on the attention alone, since its experts are one tensor and no linear layers."""
        hidden, kv, mlp = self.hidden, self.kv_width, self.mlp
        queries = self.query_width or hidden
        pairs = [(hidden, queries), (hidden, kv), (hidden, kv), (queries, hidden)]
        if not self.experts:
            pairs += [(hidden, mlp), (hidden, mlp), (mlp, hidden)]
        return self.layers * rank * sum(a + b for a, b in pairs)


SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape("Qwen2-VL-2B", "qwen2-vl", 28, 1536, 256, 8960, 151_936, 32, 1280, 3413, tied=True),
        ModelShape("Qwen2-VL-7B", "qwen2-vl", 28, 3584, 512, 18_944, 152_064, 32, 1280, 3413, tied=False),
        ModelShape("Qwen2.5-VL-3B", "qwen2.5-vl", 36, 2048, 256, 11_008, 151_936, 32, 1280, 3420, tied=True),
        ModelShape("Qwen2.5-VL-7B", "qwen2.5-vl", 28, 3584, 512, 18_944, 152_064, 32, 1280, 3420, tied=False),
        ModelShape(
            "Qwen2.5-VL-32B", "qwen2.5-vl", 64, 5120, 1024, 27_648, 152_064, 32, 1280, 3456, tied=False
        ),
        ModelShape("Qwen3-VL-2B", "qwen3-vl", 28, 2048, 1024, 6144, 151_936, 24, 1024, 2731, tied=True),
        ModelShape("Qwen3-VL-4B", "qwen3-vl", 36, 2560, 1024, 9728, 151_936, 24, 1024, 2731, tied=True),
        ModelShape("Qwen3-VL-8B", "qwen3-vl", 36, 4096, 1024, 12_288, 151_936, 27, 1152, 2869, tied=False),
        ModelShape(
            *("Qwen3-VL-30B-A3B", "qwen3-vl", 48, 2048, 512, 768, 151_936, 27, 1152, 2869),
            tied=False,
            query_width=4096,
            experts=128,
            experts_used=8,
        ),
        ModelShape(
            *("Qwen3-VL-235B-A22B", "qwen3-vl", 94, 4096, 512, 1536, 151_936, 27, 1152, 2869),
            tied=False,
            query_width=8192,
            experts=128,
            experts_used=8,
        ),
        ModelShape("InternVL3-2B", "internvl", 28, 1536, 256, 8960, 151_674, 24, 1024, 2731, tied=False),
        ModelShape("InternVL3-8B", "internvl", 28, 3584, 512, 18_944, 151_674, 24, 1024, 2731, tied=False),
        # 4.41 billion by the formula, 4.30 in truth: Gemma-3's queries are narrower than its width.
        ModelShape("Gemma-3-4B", "gemma-3", 34, 2560, 1024, 10_240, 262_208, 27, 1152, 2869, tied=True),
        ModelShape("MedGemma-4B", "gemma-3", 34, 2560, 1024, 10_240, 262_208, 27, 1152, 2869, tied=True),
        ModelShape("MedGemma-1.5-4B", "gemma-3", 34, 2560, 1024, 10_240, 262_208, 27, 1152, 2869, tied=True),
        ModelShape("Qwen3-0.6B", "text", 28, 1024, 1024, 3072, 151_936, 0, 0, 0, tied=True),
        ModelShape("Qwen3-1.7B", "text", 28, 2048, 1024, 6144, 151_936, 0, 0, 0, tied=True),
        ModelShape("Qwen3-4B", "text", 36, 2560, 1024, 9728, 151_936, 0, 0, 0, tied=True),
        ModelShape("Qwen3-8B", "text", 36, 4096, 1024, 12_288, 151_936, 0, 0, 0, tied=False),
        ModelShape(
            *("Qwen3-30B-A3B", "text", 48, 2048, 512, 768, 151_936, 0, 0, 0),
            tied=False,
            query_width=4096,
            experts=128,
            experts_used=8,
        ),
    )
}
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
            family=str(config.get("model_type", "text")) if vision else "text",
            layers=text["num_hidden_layers"],
            hidden=text["hidden_size"],
            kv_width=head * text.get("num_key_value_heads", text["num_attention_heads"]),
            mlp=text["moe_intermediate_size"] if experts else text["intermediate_size"],
            vocab=text["vocab_size"],
            vision_layers=0,
            vision_hidden=0,
            vision_mlp=0,
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            query_width=head * text["num_attention_heads"],
            experts=experts,
            experts_used=int(text.get("num_experts_per_tok") or 0) if experts else 0,
        )
        if not vision:
            return shape
        # Qwen2-VL calls the tower's width embed_dim and its hidden_size is the language model's.
        width = vision.get("embed_dim") or vision["hidden_size"]
        return replace(
            shape,
            vision_layers=vision.get("depth") or vision["num_hidden_layers"],
            vision_hidden=width,
            vision_mlp=vision.get("intermediate_size") or int(width * vision.get("mlp_ratio", 4) * 2 / 3),
        )
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}, so the model's size is unknown") from error
