"""How much of a mask is thin: what a curriculum by vessels' width sorts by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THIN_PX = 3
"""Side of the square that does not fit into what is thin."""


def thin_share(mask: NDArray[np.bool_]) -> float:
    """Share of the foreground that an opening with a square of 3 px takes away, in [0, 1]: vessels of one and two pixels.

    Args:
        mask: bool, (height, width).
    Returns:
        NaN for an empty mask.
    """
    from PIL import Image, ImageFilter

    if not mask.any():
        return float("nan")
    # A frame of background: PIL's filters repeat the border.
    framed = Image.fromarray(np.pad(mask, THIN_PX).astype(np.uint8) * 255)
    opened = framed.filter(ImageFilter.MinFilter(THIN_PX)).filter(ImageFilter.MaxFilter(THIN_PX))
    return 1 - float((np.asarray(opened) > 0).sum() / mask.sum())
