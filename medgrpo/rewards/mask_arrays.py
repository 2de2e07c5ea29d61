"""Masks as they come in, made ready for the compiled core without a copy wherever that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.rewards.plain_arrays import plain_array

Masks: TypeAlias = "NDArray[np.generic] | Sequence[ArrayLike]"
"""A batch (batch, height, width), or a list of (height, width) masks of any sizes.

bool; integers, where everything but 0 is foreground; or floats, where everything above 0.5 is. With a
`threshold`, integers and floats above it are foreground, and bool stays what it is.
"""

CoreBatch: TypeAlias = "NDArray[np.generic] | list[NDArray[np.generic]]"


def core_batch(masks: Masks, what: str, threshold: float | None = None) -> CoreBatch:
    """The masks as uint8, float32 or float64 arrays, or half floats as uint16; views of the originals where they can be.

    Tensors are moved to the CPU once, see `plain_array`.

    Args:
        masks: see `Masks`.
        what: what the masks are, for messages.
        threshold: the level that the core will compare integers and floats with.
    Raises:
        ValueError: not (batch, height, width) and not a list of (height, width).
        TypeError: neither bool nor numbers, or no array at all.
    """
    if isinstance(masks, (list, tuple)):
        return [_core_array(mask, f"{what} {row}", 2, threshold) for row, mask in enumerate(masks)]
    return _core_array(masks, what, 3, threshold)


def _core_array(
    mask: ArrayLike | Sequence[ArrayLike], what: str, dimensions: int, threshold: float | None
) -> NDArray[np.generic]:
    array: NDArray[np.generic] = plain_array(mask, what)
    if array.ndim != dimensions:
        wanted = "(height, width)" if dimensions == 2 else "(batch, height, width)"
        raise ValueError(f"{what} has shape {array.shape}: expected {wanted}")
    if not array.flags.aligned or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    kind = array.dtype.kind
    if kind == "b":
        bits = array.view(np.uint8)
        return bits * np.uint8(255) if threshold is not None and threshold >= 1 else bits
    if array.dtype in (np.uint8, np.float32, np.float64):
        return array
    if kind in "iu":
        return (array != 0).view(np.uint8) if threshold is None else array.astype(np.float64)
    if array.dtype == np.float16:
        return array.view(np.uint16)  # the core compares half floats by their bits
    if kind == "f":
        return array.astype(np.float64)
    raise TypeError(f"{what} is of type {array.dtype}: expected bool, an integer or a float type")
