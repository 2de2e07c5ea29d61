"""Which models a stream is right for, and by which attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medgrpo.engine.attention import STREAM, WINDOWS, has_kernel, register
from medgrpo.engine.inner import base_of, inner_of, text_config_of
from medgrpo.engine.masks import WINDOW_IN_ALL_LAYERS

if TYPE_CHECKING:
    import torch

PICTURE_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "gemma3")
"""By `model_type`: those with pictures whose positions and features are known here."""
FORWARD_LOOKING = ("gemma3", "gemma3_text")
"""Families whose pictures see all of themselves, so that their attention needs a mask."""
ATTENTION = ("full_attention", "sliding_attention")
"""Kinds of layers that see other tokens through a mask alone, as Transformers' `layer_types` names them."""
FLASH_HEAD_SIZE = 256
"""Largest head of the kernel."""


def why_not(model: Any) -> str | None:
    """Why a model's completions cannot be computed as a stream; None where they can."""
    return next(_reasons(base_of(model), text_config_of(model)), None)


def _reasons(base: Any, text: Any) -> Iterator[str]:
    kind = base.config.model_type
    if text is not base.config and kind not in PICTURE_FAMILIES:
        yield f"the family {kind} is not known to it"
    if layers := _layers_of_other_kinds(base, text):
        yield f"{layers} carry something from token to token besides what attention sees"
    if text._attn_implementation not in ("sdpa", STREAM):
        yield f"the model's attention is {text._attn_implementation}, not sdpa"
    if getattr(text, "attention_dropout", 0.0) or getattr(text, "attn_pdrop", 0.0):
        yield "the model drops attention weights at random"
    has_kinds = getattr(text, "layer_types", None) or text.model_type in WINDOW_IN_ALL_LAYERS
    if getattr(text, "sliding_window", None) and not has_kinds:
        yield f"which layers of {text.model_type} have its sliding window is not known to it"
    if getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None):
        yield "a mixture of experts balances its load by rows"
    if getattr(text, "alibi", False) or getattr(text, "position_embedding_type", "rope") == "absolute":
        yield "the model has no rotary positions"


def _layers_of_other_kinds(base: Any, text: Any) -> str | None:
    """Layers that are no attention (a state space, a convolution, a recurrence): over a stream they would read on from
    the completion before. Few tokens show it, so that comparing means with TRL's way may not."""
    others = sorted(set(getattr(text, "layer_types", None) or ()) - set(ATTENTION))
    if others:
        return f"layers of the kind {', '.join(others)}"
    is_stateful = any(getattr(part, "_is_stateful", False) for part in (base, inner_of(base)))
    return f"layers of the family {text.model_type}" if is_stateful else None


def use_kernel(model: Any, device: torch.device, *, is_half: bool = False) -> bool:
    """Let a model attend by torch's kernel over segments; whether it does.

    Otherwise the stream goes through SDPA with a dense mask.

    Args:
        device: where it will compute. Its weights may still lie elsewhere: DeepSpeed and FSDP fetch them later.
        is_half: whether it is called under autocast.
    """
    import torch

    base, text = base_of(model), text_config_of(model)
    weight = next(base.parameters())
    is_half |= weight.dtype in (torch.bfloat16, torch.float16)
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if device.type != "cuda" or not is_half or not has_kernel():
        return False
    register()
    vision = getattr(base.config, "vision_config", None)
    if vision is not None and hasattr(inner_of(base), "visual") and vision._attn_implementation == "sdpa":
        vision._attn_implementation = WINDOWS
    if base.config.model_type in FORWARD_LOOKING or size > FLASH_HEAD_SIZE or size % 8:
        return False
    text._attn_implementation = STREAM
    return True


def attends_by_kernel(model: Any) -> bool:
    """Whether `use_kernel` has set a model so: policy and reference may be two."""
    return bool(text_config_of(model)._attn_implementation == STREAM)
