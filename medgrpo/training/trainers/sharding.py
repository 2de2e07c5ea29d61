"""Sharded weights: who has them whole, FSDP2's precision, and whole while a model generates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def is_whole(trainer: Any) -> bool:
    """Whether each process has all weights: not under FSDP or ZeRO-3. ZeRO-1 and ZeRO-2 share out only what is made of them."""
    if trainer.is_fsdp_enabled:
        return False
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    return plugin is None or int(plugin.zero_stage) < 3


def whole_weight(weight: torch.Tensor) -> torch.Tensor:
    """A weight gathered from the processes that FSDP2 shares it out to; any other as it is.

    All processes have to ask for the same weights in the same order.
    """
    from torch.distributed.tensor import DTensor

    whole: torch.Tensor = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return whole


@contextmanager
def whole_weights(model: Any) -> Iterator[None]:
    """Gather all weights of an FSDP2 model on every process for the length of the block; any other model is left alone.

    A model that generates reads its weights once a token, so that layer by layer every token would move the whole
    model between the GPUs. And the processes may reach the layers in another order (Transformers looks at
    pictures before it embeds the prompt, and some processes have none), where they would wait for each other for
    good. TRL does the same for ZeRO-3.
    """
    from torch.distributed.fsdp import FSDPModule

    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            # As accelerate sets it: the outermost part keeps its few weights until they are needed backwards.
            part.set_reshard_after_forward(part is not model, recurse=False)
            part.reshard()


def sum_in_float32(accelerator: Any) -> None:
    """Let FSDP2 sum gradients in float32 and leave a model's outputs as they are.

    accelerate 1.15 takes the type of the arithmetic for both: losses of 12.3590, 12.2162 and 12.2860 on one GPU were
    logged as 12.375, 12.25 and 12.3125, and gradients lost as much.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.mixed_precision_policy is not None:
        arithmetic = plugin.mixed_precision_policy.param_dtype
        plugin.mixed_precision_policy = MixedPrecisionPolicy(arithmetic, reduce_dtype=torch.float32)
