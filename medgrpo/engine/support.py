"""Which models a stream is right for, and by which attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medgrpo.engine.attention import STREAM, WINDOWS, has_kernel, register
from medgrpo.engine.inner import base_of, inner_of, text_config_of

if TYPE_CHECKING:
    import torch

PICTURE_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "gemma3")
"""By `model_type`: those with pictures whose positions and features are known here."""
FORWARD_LOOKING = ("gemma3", "gemma3_text")
"""Families whose pictures see all of themselves, so that their attention needs a mask."""
FLASH_HEAD_SIZE = 256
"""Largest head of the kernel."""


def why_not(model: Any) -> str | None:
    """Why a model's completions cannot be computed as a stream; None where they can."""
    base, text = base_of(model), text_config_of(model)
    kind = base.config.model_type
    if text is not base.config and kind not in PICTURE_FAMILIES:
        return f"the family {kind} is not known to it"
    if text._attn_implementation not in ("sdpa", STREAM):
        return f"the model's attention is {text._attn_implementation}, not sdpa"
    if getattr(text, "attention_dropout", 0.0):
        return "the model drops attention weights at random"
    if getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None):
        return "a mixture of experts balances its load by rows"
    if getattr(text, "alibi", False) or getattr(text, "position_embedding_type", "rope") == "absolute":
        return "the model has no rotary positions"
    return None


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
