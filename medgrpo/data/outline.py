"""The outline of a picture, the means of blocks of its pixels, and the hash of that: nearly the same at any scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

HASHED_PX = 64
"""The hash looks at a picture of this many pixels across and down."""


def block_px(size: tuple[int, int]) -> int:
    """Side of the blocks of an outline in source pixels: 8, the blocks of a JPEG, or less for small pictures."""
    return next((block for block in (8, 4, 2) if min(size) // block >= HASHED_PX), 1)


def outline(decoded: Image, size: tuple[int, int]) -> Image | None:
    """The means of blocks of `block_px` source pixels.

    Args:
        decoded: the picture, decoded in full or at 1/2, 1/4 or 1/8.
        size: (width, height) of the source picture.

    Returns:
        The outline, without blocks that the right and lower edge cut; None if `decoded` is too small for it.
    """
    block = block_px(size)
    reduction = round(size[0] / decoded.width)
    if reduction > block:
        return None
    step = block // reduction
    whole = decoded.crop((0, 0, size[0] // block * step, size[1] // block * step))
    return whole.reduce(step) if step > 1 else whole


def perceptual_hash(picture: Image) -> str:
    """256-bit DCT hash (64 hex digits).

    On VQA-RAD a picture and its smaller, recompressed copy differ in at
    most 6 bits, two pictures in at least 74."""
    import imagehash
    from PIL.Image import Resampling

    grey = picture.convert("L").resize((HASHED_PX, HASHED_PX), Resampling.LANCZOS)
    return str(imagehash.phash(grey, hash_size=16))  # finds 64 × 64 pixels and leaves them as they are
