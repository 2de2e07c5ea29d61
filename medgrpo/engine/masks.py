"""Which places of a stream see which, as a dense mask: the way for the CPU, and for pictures that see forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PADDING = -1
"""Segment of places that are no token."""
WINDOW_IN_ALL_LAYERS = ("mistral", "phi3", "starcoder2")
"""Families without `layer_types` whose `sliding_window` holds for every layer."""


def by_layer(text: Any, mask: Callable[[int | None], torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask of a language model, or one for each kind of its layers.

    Args:
        text: its configuration.
        mask: gives the mask with a window of so many places; None: without.
    """
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if kinds and "sliding_attention" in kinds:
        return {"full_attention": mask(None), "sliding_attention": mask(window)}
    return mask(None if kinds or text.model_type not in WINDOW_IN_ALL_LAYERS else window)


def dense_mask(
    segments: torch.Tensor,
    order: torch.Tensor,
    *,
    blocks: torch.Tensor | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """bool, (groups, 1, length, length): whether a place (third axis) sees another (last axis).

    A place sees its own prompt and its own completion, up to itself. Padding sees itself, so that no row is empty.

    Args:
        segments: (groups, length): 0 in the prompt, then the completion's number; `PADDING` where there is no token.
        order: (groups, length): place in the completion's own sequence.
        blocks: (groups, length): number of the picture that a place belongs to, -1 for text: within a picture all
            see each other (Gemma-3); None: causal.
        window: how many places back a sliding window reaches, itself included; None: to the first.
    """
    import torch

    here, there = segments.unsqueeze(2), segments.unsqueeze(1)
    back = order.unsqueeze(2) - order.unsqueeze(1)
    seen = back >= 0
    if blocks is not None:
        seen |= (blocks.unsqueeze(2) == blocks.unsqueeze(1)) & (blocks.unsqueeze(2) >= 0)
    seen &= (there == 0) | (there == here)
    if window is not None:
        seen &= back < window
    seen &= (here != PADDING) & (there != PADDING)
    seen |= torch.eye(segments.shape[1], dtype=torch.bool, device=segments.device)
    return seen.unsqueeze(1)


def picture_blocks(token_types: torch.Tensor) -> torch.Tensor:
    """Number of the picture that each token belongs to, -1 for text, as Transformers' Gemma-3 numbers them.

    Args:
        token_types: (tokens,): 1 at a picture's tokens.
    """
    import torch

    is_picture = token_types == 1
    before = torch.nn.functional.pad(is_picture, (1, 0))[:-1]
    number = torch.cumsum((is_picture & ~before).int(), dim=0) - 1
    return torch.where(is_picture, number, -1)
