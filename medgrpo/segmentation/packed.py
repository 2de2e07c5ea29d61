"""Masks as text: run lengths, packed; and COCO's lists of counts.

`{"size": [height, width], "packed": "…"}` holds the run lengths of the mask row by row, background first, as base64 of deflated
32-bit numbers: a drawn mask of a retina takes a few kilobytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
LARGEST = 1 << 28
"""Pixels of the largest mask that is unpacked."""


def pack(mask: Mask) -> str:
    """The mask (bool, (height, width)) as JSON."""
    flat = np.ascontiguousarray(mask, dtype=bool).ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    borders = np.concatenate([[0], edges, [flat.size]]) if flat.size else np.zeros(1)
    runs = np.diff(borders).astype("<u4")
    packed = base64.b64encode(zlib.compress(runs.tobytes(), 6)).decode("ascii")
    return json.dumps({"size": list(mask.shape), "packed": packed})


def unpack(value: Mapping[str, Any]) -> Mask | None:
    """The mask of such a JSON object, packed or with COCO's `counts` as a list; None where it is none."""
    size = value.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        return None
    height, width = size
    if not (height > 0 and width > 0 and height * width <= LARGEST):
        return None
    if isinstance(value.get("packed"), str):
        runs = _runs(value["packed"], height * width)
        return None if runs is None else _laid_out(runs, (height, width))
    counts = value.get("counts")
    if isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts):
        laid = _laid_out(np.asarray(counts, dtype=np.int64), (width, height))
        return None if laid is None else np.ascontiguousarray(laid.T)  # COCO counts column by column
    return None


def _runs(packed: str, pixels: int) -> NDArray[np.int64] | None:
    try:
        opened = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), 4 * (pixels + 3))
        return np.frombuffer(opened, dtype="<u4").astype(np.int64)
    except (zlib.error, binascii.Error, ValueError):
        return None


def _laid_out(runs: NDArray[np.int64], shape: tuple[int, int]) -> Mask | None:
    if int(runs.sum()) != shape[0] * shape[1]:
        return None
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(shape)
