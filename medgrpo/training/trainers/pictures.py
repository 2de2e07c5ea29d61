"""Batches in which some prompts, or all, have no picture."""

from __future__ import annotations

from typing import Any

import torch

PICTURE_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "image_position_ids",
    "image_sizes",
    "pixel_attention_mask",
    "spatial_shapes",
)
"""What TRL 1.16 hands to a model for its pictures."""
BLANK_SIDE = 56
"""Side of the blank picture, in pixels: the smallest that every family's processor takes as it is."""


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


def look_at_blank_pictures(model: Any, processor: Any) -> None:
    """Let a model look at a blank picture in a pass without pictures, and give what it sees a weight of 0.

    With several processes one may have a pass with pictures beside another's without. ZeRO-3 and FSDP gather a
    layer's weights from all processes when one of them reaches it, so all must reach the same layers in the
    same order, or they wait for each other for good; DDP waits for gradients of every trained weight. The
    blank picture is looked at where the model looks at pictures, between the token embeddings and the language model,
    so that the order is the same backwards too.
    """
    from PIL import Image

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    made = processor.image_processor(images=[Image.new("RGB", (BLANK_SIDE, BLANK_SIDE))], return_tensors="pt")
    blank = {name: made[name] for name in PICTURE_INPUTS if name in made}
    state = {"is_blind": False}

    def notice(_: Any, __: Any, named: dict[str, Any]) -> None:
        state["is_blind"] = named.get("pixel_values") is None

    def look(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if not state["is_blind"]:
            return positional, named
        state["is_blind"] = False
        embedded = named["inputs_embeds"]
        there = {
            name: value.to(embedded.device, inner.dtype if value.is_floating_point() else None)
            for name, value in blank.items()
        }
        seen = inner.get_image_features(**there)
        # Only what the language model takes (Qwen3-VL: of deeper layers too): DeepSpeed counts how often an
        # output is reached backwards.
        taken = _tensors([seen.pooler_output, getattr(seen, "deepstack_features", None)])
        nothing = 0 * torch.stack([part.float().mean() for part in taken]).sum().to(embedded.dtype)
        return positional, {**named, "inputs_embeds": embedded + nothing}

    model.register_forward_pre_hook(notice, with_kwargs=True)
    inner.get_decoder().register_forward_pre_hook(look, with_kwargs=True)


def _tensors(value: Any) -> list[torch.Tensor]:
    """The tensors in nested lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value or () for tensor in _tensors(part)]
