"""FSDP2's sharded weights, whole while a model generates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
