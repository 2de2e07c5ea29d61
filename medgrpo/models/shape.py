"""Sizes of a model, as far as they cost time and memory."""

from __future__ import annotations

from collections.abc import Sequence
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
        query_width: query heads × head size; 0 where it is `hidden`.
        widths, fold: channels of a U-Net's levels, and the side of the squares of pixels that it takes together; it has nothing else.
        experts, experts_used: of a mixture of experts, in each layer and for each token; `mlp` is one expert's. 0: dense.
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
    query_width: int = 0
    experts: int = 0
    experts_used: int = 0
    widths: tuple[int, ...] = ()
    fold: int = 1

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
        return self.vision_layers * layer + self.aligner_parameters

    @property
    def aligner_parameters(self) -> int:
        """Of the merger to the language width alone."""
        merged = 4 * self.vision_hidden if self.vision_layers else 0
        return merged * merged + merged * self.hidden

    @property
    def patches_per_token(self) -> int:
        """Patches of an image that become one token of the language model; 0 without images."""
        return self.merge**2

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language_parameters + self.vision_parameters

    def lora_parameters(self, rank: int, towers: Sequence[str] = ("language",)) -> int:
        """Weights of a LoRA on the linear layers of these towers (`language`, `vision`, `aligner`): q, k, v, o, gate, up and
        down of the language model, of a mixture of experts the attention alone, since its experts are one tensor and no
        linear layers; qkv in one, its output and the MLP of the vision tower; both of the aligner."""
        seen, merged = self.vision_hidden, 4 * self.vision_hidden
        each = {
            "language": self._language_lora(),
            "vision": self.vision_layers * (4 * seen + 2 * seen + 3 * (seen + self.vision_mlp)),
            "aligner": 2 * merged + merged + self.hidden if self.vision_layers else 0,
        }
        return rank * sum(each[tower] for tower in towers)

    def _language_lora(self) -> int:
        hidden, kv, mlp = self.hidden, self.kv_width, self.mlp
        queries = self.query_width or hidden
        pairs = [(hidden, queries), (hidden, kv), (hidden, kv), (queries, hidden)]
        if not self.experts:
            pairs += [(hidden, mlp), (hidden, mlp), (mlp, hidden)]
        return self.layers * sum(a + b for a, b in pairs)
