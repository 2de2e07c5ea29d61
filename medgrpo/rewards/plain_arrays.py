"""Arrays of any library as numpy arrays: moved once from wherever they lie, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def plain_array(value: Any, what: str) -> NDArray[Any]:
    """The value as a numpy array, a view of the original where it can be.

    Tensors of torch are detached (no gradient flows through a measure) and moved to the CPU once; bfloat16
    becomes float32. Arrays on other devices are moved by their own `get` (cupy). What holds no array, such as a
    generator, is refused.

    Args:
        value: an array, a tensor, or nested lists of numbers.
        what: its name, for the message: `prediction`, `reference 3`, …
    Raises:
        TypeError: no array can be made of it.
        ValueError: nested lists of unequal lengths.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(
            f"{what} is a masked array: say what stands under its mask, for example with `.filled(0)`"
        )
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Iterator):
        raise TypeError(
            f"{what} is a {type(value).__name__}, which can be read only once: pass a list or an array"
        )
    if isinstance(value, (dict, set, frozenset, str, bytes)) or value is None:
        raise TypeError(f"{what} is a {type(value).__name__}: expected an array or a list of arrays")
    try:
        return _converted(value)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{what} is a {_kind(value)} that does not become a numpy array ({error}): "
            "pass an array, a dense tensor or a list of arrays"
        ) from error
    except ValueError as error:
        raise ValueError(f"{what} does not become an array ({error}): expected rows of one length") from error


def plain_numbers(value: Any, what: str, columns: int | None = None) -> NDArray[np.float64]:
    """A matrix as float64, C-contiguous: (n, `columns`), or of any shape (n, m).

    Raises:
        TypeError: no array, or one of anything but real numbers.
        ValueError: not two-dimensional, or of other columns.
    """
    array = plain_array(value, what)
    if array.size == 0 and columns is not None:
        return np.zeros((0, columns))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} is of type {array.dtype}: expected real numbers")
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"{what} has shape {array.shape}: expected the shape (n, {columns or 'm'})")
    return np.ascontiguousarray(array, dtype=np.float64)


def _converted(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach") and hasattr(value, "element_size"):  # a tensor of torch, without importing it
        return _from_tensor(value)
    if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):  # cupy
        return np.asarray(value.get())
    if isinstance(value, (list, tuple)) and any(hasattr(part, "element_size") for part in value):
        return np.stack([_from_tensor(part) if hasattr(part, "element_size") else part for part in value])
    array = np.asarray(value)
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:  # bfloat16 of ml_dtypes (jax)
        return array.astype(np.float32)
    return array


def _from_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if str(tensor.dtype) == "torch.bfloat16" or "float8" in str(tensor.dtype):
        tensor = tensor.float()
    return np.asarray(tensor.cpu().resolve_conj().resolve_neg().numpy())


def _kind(value: Any) -> str:
    device = getattr(value, "device", None)
    return type(value).__name__ + (f" on {device}" if device is not None else "")
