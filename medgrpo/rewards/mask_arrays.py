"""Masks as they come in, made ready for the compiled core without a copy wherever that is possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo.rewards.plain_arrays import plain_array

Masks: TypeAlias = "NDArray[np.generic] | Sequence[ArrayLike]"
"""A batch (batch, height, width), or a list of (height, width) masks of any sizes.

bool; integers, where everything but 0 is foreground; or floats, where everything above 0.5 is. With a
`threshold`, integers and floats above it are foreground, and bool stays what it is. float32 and bfloat16 are compared in
float32, as numpy compares float32, other types exactly.
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
    if threshold is not None and not isinstance(threshold, (int, float, np.number)):
        raise TypeError(f"threshold is {threshold!r}: expected a number ≥ 0")
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
    if array.dtype.kind == "b":
        return _of_bool(array, threshold)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        return _of_whole_numbers(array, threshold)
    if array.dtype == np.float16:
        return array.view(np.uint16)  # the core compares half floats by their bits
    if array.dtype in (np.uint8, np.float32, np.float64):
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    raise TypeError(f"{what} is of type {array.dtype}: expected bool, an integer or a float type")


def _of_bool(array: NDArray[Any], threshold: float | None) -> NDArray[Any]:
    """What lies above any threshold where the array is True."""
    bits: NDArray[Any] = array.view(np.uint8)
    if threshold is None or not threshold >= 1:
        return bits
    return bits * np.uint8(255) if threshold < 255 else np.where(array, np.inf, 0.0)


def _of_whole_numbers(array: NDArray[Any], threshold: float | None) -> NDArray[Any]:
    if threshold is None:
        set_bytes: NDArray[np.uint8] = np.not_equal(array, 0).view(np.uint8)
        return set_bytes
    if array.dtype.itemsize < 8 or not 0 <= threshold < math.inf:
        return array.astype(np.float64)
    # Labels beyond 2⁵³ are no float64: whole numbers are above 2.5 where they are above 2.
    whole = math.floor(threshold)
    above = array > whole if whole <= np.iinfo(array.dtype).max else np.zeros(array.shape, bool)
    return np.where(above, np.inf, 0.0)
