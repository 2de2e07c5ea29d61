"""Attention over a stream, by torch's kernels for segments of unequal length.

Registered with Transformers under names of our own, so that no model file is changed. Whatever is called without a
stream goes to SDPA as before, with SDPA's masks.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medgrpo.engine.stream import KeyIndex

if TYPE_CHECKING:
    import torch

STREAM = "medgrpo_stream"
"""Attention of a language model: over a stream where one is given."""
WINDOWS = "medgrpo_flash_windows"
"""Attention of a vision tower. Transformers hands over the borders of pictures and windows to what has "flash" in
its name, and loops over them for all others: a hundred small calls a layer."""


def register() -> None:
    """Make both known to Transformers, with SDPA's masks; again is harmless."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(STREAM, stream_attention)
    AttentionInterface.register(WINDOWS, window_attention)
    for name in (STREAM, WINDOWS):
        AttentionMaskInterface.register(name, sdpa_mask)


def has_kernel() -> bool:
    """Whether this torch has attention over segments. What it knows of key heads is tried here, on a CUDA device:
    inside a layer that is recomputed the trial would be recorded with it."""
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401
    except ImportError:
        return False
    if "enable_gqa" not in _arguments():
        _takes_fewer_heads()
    return True


def stream_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    stream_keys: KeyIndex | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' signature: query (1, heads, tokens, size), key and value with as many heads or fewer.

    Args:
        stream_keys: which keys each segment sees; None: SDPA.
    """
    if stream_keys is None and query.shape[2] == 1 and attention_mask is not None and not dropout:
        return _one_token(query, key, value, attention_mask, scaling), None
    if stream_keys is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
        return found
    keys = key[0].transpose(0, 1).index_select(0, stream_keys.keys)
    values = value[0].transpose(0, 1).index_select(0, stream_keys.keys)
    output = _segments(
        query[0].transpose(0, 1),
        keys,
        values,
        stream_keys.starts_q,
        stream_keys.starts_k,
        stream_keys.longest_q,
        stream_keys.longest_k,
        scaling,
        # One place back is itself: a window of W places reaches W - 1 back.
        (-1 if sliding_window is None else sliding_window - 1, 0),
    )
    return output.unsqueeze(0), None


def _one_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention of one new token a row, (rows, 1, heads, size), by plain products.

    SDPA with a mask repeats the keys for every head that shares them: as many bytes again as the model has weights.
    """
    rows, heads, _, size = query.shape
    shared = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    scores = (shared @ key.transpose(2, 3)).float() * (size**-0.5 if scaling is None else scaling)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).to(value.dtype)
    return (weights @ value).reshape(rows, 1, heads, size)


def window_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    cu_seq_lens_k: torch.Tensor | None = None,
    max_length_q: int | torch.Tensor | None = None,
    max_length_k: int | torch.Tensor | None = None,
    is_causal: bool | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' signature: patches of all pictures in one row, which see those between the same borders."""
    rest.pop("stream_keys", None)
    if cu_seq_lens_q is None or cu_seq_lens_k is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **rest
        )  # fmt: skip
        return found
    output = _segments(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seq_lens_q.to(dtype=_int32(), device=query.device),
        cu_seq_lens_k.to(dtype=_int32(), device=query.device),
        int(max_length_q if max_length_q is not None else 0) or _longest(cu_seq_lens_q),
        int(max_length_k if max_length_k is not None else 0) or _longest(cu_seq_lens_k),
        scaling,
        (-1, -1),
    )
    return output.unsqueeze(0), None


def _segments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts_q: torch.Tensor,
    starts_k: torch.Tensor,
    longest_q: int,
    longest_k: int,
    scaling: float | None,
    window: tuple[int, int],
) -> torch.Tensor:
    """varlen_attn, whose arguments differ between versions of torch: (tokens, heads, size) in and out."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    known = _arguments()
    if query.dtype == torch.float32:  # the kernel is none of those that autocast knows
        half = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(half), key.to(half), value.to(half)
    options: dict[str, Any] = {}
    if scaling is not None:
        if "scale" in known:
            options["scale"] = scaling
        elif abs(scaling - query.shape[-1] ** -0.5) > 1e-9:
            query = query * (scaling * query.shape[-1] ** 0.5)
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        elif not _takes_fewer_heads():
            times = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    if "window_size" in known:
        options["window_size"] = window
    elif window[0] == -1:
        options["is_causal"] = window[1] == 0
    else:
        raise ValueError("this torch has no sliding window in varlen_attn")
    kernel: Any = varlen_attn
    found: torch.Tensor = kernel(query, key, value, starts_q, starts_k, longest_q, longest_k, **options)
    return found


@lru_cache(maxsize=1)
def _arguments() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


@lru_cache(maxsize=1)
def _takes_fewer_heads() -> bool:
    """Whether a varlen_attn without `enable_gqa` shares key heads all the same: seen on a few numbers, both ways."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    kernel: Any = varlen_attn
    generator = torch.Generator("cuda").manual_seed(0)
    found = []
    for times in (1, 2):
        generator.manual_seed(0)
        draws = [
            torch.randn(8, heads, 64, generator=generator, device="cuda", dtype=torch.bfloat16)
            for heads in (4, 2, 2)
        ]
        query, key, value = (draw.requires_grad_() for draw in draws)
        starts = torch.tensor([0, 3, 8], dtype=torch.int32, device="cuda")
        wide: list[Any] = [
            part.repeat_interleave(times, dim=1) if times > 1 else part for part in (key, value)
        ]
        try:
            output = kernel(query, *wide, starts, starts, 5, 5, window_size=(-1, 0))
            gradients = torch.autograd.grad(output.float().square().sum(), (query, key, value))
        except (RuntimeError, ValueError):
            return False
        found.append([output, *gradients])
    return all(
        torch.allclose(a.float(), b.float(), atol=3e-2, rtol=3e-2) for a, b in zip(*found, strict=True)
    )


def _longest(starts: torch.Tensor) -> int:
    return int((starts[1:] - starts[:-1]).max())


def _int32() -> torch.dtype:
    import torch

    return torch.int32
