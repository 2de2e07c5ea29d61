"""Where each token of a stream stands, for the rotary embedding: as if its completion stood alone after its prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medgrpo.engine.stream import Layout

if TYPE_CHECKING:
    import torch


def prompt_positions(inner: Any, prompt_ids: torch.Tensor, fields: dict[str, torch.Tensor]) -> torch.Tensor:
    """int64, (axes, tokens): positions of a prompt; three axes where the family counts time, height and width.

    Args:
        inner: the model without its head (Transformers' `…Model`).
        prompt_ids: (tokens,), on the CPU, image tokens expanded.
        fields: what the processor made beside them, as the model names it.
    """
    import torch

    count = len(prompt_ids)
    rope_index = getattr(inner, "get_rope_index", None)
    if rope_index is None or "image_grid_thw" not in fields:
        axes = 1 if rope_index is None else 3
        return torch.arange(count).expand(axes, count)
    known = inspect.signature(rope_index).parameters
    options = {
        name: fields[name].cpu() for name in ("image_grid_thw", "mm_token_type_ids") if name in fields and name in known
    }  # fmt: skip
    if "mm_token_type_ids" in options:
        options["mm_token_type_ids"] = options["mm_token_type_ids"].reshape(1, -1)
    found, _ = rope_index(input_ids=prompt_ids.reshape(1, -1), **options)
    positions: torch.Tensor = found[:, 0].cpu()
    return positions


def stream_positions(layout: Layout, prompts: Sequence[torch.Tensor]) -> torch.Tensor:
    """int64, (axes, tokens): a prompt's own positions; a completion goes on after the largest of them.

    Args:
        prompts: positions of each group's whole prompt, in the order of the groups.
    """
    import torch

    parts = []
    for segment in layout.segments:
        own = prompts[segment.group]
        if segment.is_prompt:
            parts.append(own[:, : segment.length])
            continue
        following = own.max() + 1 + torch.arange(segment.length - 1)
        parts.append(torch.cat([own[:, -1:], following.expand(own.shape[0], -1)], dim=1))
    return torch.cat(parts, dim=1)
