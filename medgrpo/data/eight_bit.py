"""Any picture as 8-bit grey or RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW_PERCENTILES = (0.5, 99.5)
"""16-bit and float pictures are mapped to 8 bits so that these percentiles become 0 and 255."""


def eight_bit(picture: Image) -> Image:
    """The picture in mode L or RGB; transparency over black, deep pictures windowed by percentiles."""
    from PIL import Image as PillowImage

    mode = picture.mode
    if mode in ("L", "RGB"):
        return picture
    if mode == "1":
        return picture.convert("L")
    if mode.startswith(("I", "F")):
        return windowed(picture)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        ground = PillowImage.new("RGBA", opaque.size, (0, 0, 0, 255))
        return PillowImage.alpha_composite(ground, opaque).convert("L" if mode == "LA" else "RGB")
    if mode == "P":
        colours = picture.convert("RGB")
        return _grey_if_grey(colours)
    return picture.convert("RGB")


def _grey_if_grey(picture: Image) -> Image:
    red, green, blue = picture.split()
    same = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if same else picture


def windowed(picture: Any) -> Image:
    """A 16-bit, 32-bit or float picture (or array) as 8-bit grey.

    The percentiles of `WINDOW_PERCENTILES` of the finite values become 0 and 255. A constant picture
    becomes black.
    """
    import numpy as np
    from PIL import Image as PillowImage

    values = np.asarray(picture, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return PillowImage.fromarray(np.zeros(values.shape[:2], np.uint8))
    low, high = np.percentile(finite, WINDOW_PERCENTILES)
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return PillowImage.fromarray((np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8))
