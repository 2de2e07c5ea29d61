"""Features of pictures that a frozen tower has seen, kept from step to step in the host's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Features = dict[str, Any]
"""As `features.py` makes them: tensors in lists, and what says how they are joined."""


class KeptFeatures:
    """The features that were asked for last, up to so many bytes. Belongs to one tower, one processor and one type of arithmetic.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = self.hits = self.misses = 0
        self._held: OrderedDict[bytes, Features] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: bytes, device: torch.device) -> Features | None:
        """The features of these pictures on the device; None where they are not held."""
        found = self._held.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return _moved(found, device)

    def put(self, key: bytes, features: Features) -> None:
        """Hold them; those that were asked for longest ago go. What is larger than the limit alone is not held."""
        import torch

        size = _size(features)
        if key in self._held or size > self.limit:
            return
        while self.bytes + size > self.limit:
            _, gone = self._held.popitem(last=False)
            self.bytes -= _size(gone)
        self._held[key] = _moved(features, torch.device("cpu"))
        self.bytes += size

    def drop(self, key: bytes) -> None:
        """Hold them no longer."""
        gone = self._held.pop(key, None)
        if gone is not None:
            self.bytes -= _size(gone)


def _tensors(features: Features) -> Iterator[torch.Tensor]:
    yield from features["pooled"]
    for layer in features["deep"]:
        yield from layer


def _size(features: Features) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(features))


def _moved(features: Features, device: torch.device) -> Features:
    """The same on a device. A view is copied: it would hold on to what it was cut from."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        is_view = tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
        return tensor.to(device, copy=is_view)

    return {
        **features,
        "pooled": [moved(tensor) for tensor in features["pooled"]],
        "deep": [[moved(tensor) for tensor in layer] for layer in features["deep"]],
    }
