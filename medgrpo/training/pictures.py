"""Batches in which some prompts, or all, have no picture."""

from __future__ import annotations

from typing import Any

PICTURE_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "image_position_ids",
    "image_sizes",
    "pixel_attention_mask",
    "spatial_shapes",
)
"""What TRL 1.16 hands to a model for its pictures."""


def accept_empty_pictures(model: Any) -> None:
    """Let a model take a batch whose pictures are an empty tensor: it is called without pictures then.

    TRL 1.16 cuts the generated batch into those of one forward pass; where none of a pass's prompts has a
    picture it hands over `pixel_values` of no rows, at which vision towers fail.
    """
    model.register_forward_pre_hook(_without_empty, with_kwargs=True)


def _without_empty(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    pixels = named.get("pixel_values")
    if pixels is None or len(pixels):
        return positional, named
    return positional, {name: value for name, value in named.items() if name not in PICTURE_INPUTS}
