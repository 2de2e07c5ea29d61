"""Large pictures in pieces: logits of overlapping squares, stitched with weights that fall towards their borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

OVERLAP = 0.25
"""Share of a patch that the next one covers again."""


def places(length: int, side: int, overlap: float = OVERLAP) -> list[int]:
    """Where patches begin along one side so that they cover it, the last one flush with its end."""
    if length <= side:
        return [0]
    step = max(1, round(side * (1 - overlap)))
    starts = list(range(0, length - side, step))
    return [*starts, length - side]


def windows(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Top and left of every patch of a picture."""
    for top in places(height, side):
        for left in places(width, side):
            yield top, left


def stitched(
    picture: NDArray[np.uint8], side: int, logits_of: Callable[[NDArray[np.uint8]], Tensor]
) -> Tensor:
    """Logits of a whole picture from those of its patches, (height, width), float32.

    Args:
        picture: (height, width, 3).
        side: of a patch, in pixels.
        logits_of: a patch's logits, of its own height and width.
    """
    import torch

    height, width = picture.shape[:2]
    total = torch.zeros(height, width)
    weight = torch.zeros(height, width)
    for top, left in windows(height, width, side):
        patch = picture[top : top + side, left : left + side]
        logits = logits_of(patch).float().cpu()
        share = _share(logits.shape[0])[:, None] * _share(logits.shape[1])[None, :]
        total[top : top + side, left : left + side] += share * logits
        weight[top : top + side, left : left + side] += share
    return total / weight


def _share(length: int) -> Tensor:
    """Weights along one side: a triangle, nowhere 0."""
    import torch

    middle = (length - 1) / 2
    return 1 - (torch.arange(length) - middle).abs() / (middle + 1)
