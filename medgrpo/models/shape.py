"""Sizes of a model, as far as they cost time and memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """Sizes of one model.

    Attributes:
        layers, hidden, kv_width, mlp, vocab: of the language model; kv_width = key/value heads × head size.
        vision_layers, vision_hidden, vision_mlp: of the vision tower; 0 where there is none.
        tied: whether the output layer shares the embeddings' weights.
        family: name of its family in `medgrpo.models.families`; `text` without images.
        merge: patches of an image along each side that become one token; 0 without images.
    """

    name: str
    layers: int
    hidden: int
    kv_width: int
    mlp: int
    vocab: int
    vision_layers: int = 0
    vision_hidden: int = 0
    vision_mlp: int = 0
    tied: bool = False
    family: str = "text"
    merge: int = 0

    @property
    def language_parameters(self) -> int:
        """Attention (q, k, v, o), gated MLP and embeddings."""
        layer = 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + 3 * self.hidden * self.mlp
        return self.layers * layer + (1 if self.tied else 2) * self.vocab * self.hidden

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
        return self.merge**2

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language_parameters + self.vision_parameters

    def lora_parameters(self, rank: int) -> int:
        """Weights of a LoRA on the language model's q, k, v, o, gate, up and down projections."""
        hidden, kv, mlp = self.hidden, self.kv_width, self.mlp
        pairs = [
            (hidden, hidden),
            (hidden, kv),
            (hidden, kv),
            (hidden, hidden),
            (hidden, mlp),
            (hidden, mlp),
            (mlp, hidden),
        ]
        return self.layers * rank * sum(a + b for a, b in pairs)
