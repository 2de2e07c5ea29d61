"""Masks: made binary whatever the file says, and resized with their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

THRESHOLD = 127
"""Values above this are foreground in masks with compression noise or soft edges."""
LABEL_VALUES = 16
"""A lossless mask with at most this many values is a map of labels: all but the darkest is foreground."""
DARK = 64
"""Background is at most this bright; palettes of old GIFs write black as (4, 2, 4)."""


def binary(picture: Image, *, is_lossy: bool = False) -> Image:
    """A mask as 0 and 255, mode L.

    Files hold masks as 0/255, as 0/1 (which `> 127` would turn into an empty mask), as colours or small
    numbers for classes, as palettes whose black is not quite black, and as JPEGs with ringing around 0
    and 255. With few values everything but the darkest is foreground; with many, or after lossy
    compression, the pixels where any channel exceeds 127.
    """
    import numpy as np
    from PIL import Image as PillowImage

    values, used = _values(picture)
    threshold = THRESHOLD
    if not is_lossy and _has_ignored(used):
        return PillowImage.fromarray(np.where((values > 0) & (values < 255), np.uint8(255), np.uint8(0)))
    if not is_lossy and len(used) <= LABEL_VALUES:
        darkest = int(used[0])
        is_class_map = int(used[-1]) <= LABEL_VALUES
        threshold = 0 if is_class_map else darkest if darkest <= DARK and len(used) > 1 else THRESHOLD
    return PillowImage.fromarray(np.where(values > threshold, np.uint8(255), np.uint8(0)))


def _values(picture: Image) -> tuple[Any, Any]:
    """The mask's values, the largest of its channels, and which of them occur."""
    import numpy as np
    from PIL import Image as PillowImage

    values = np.asarray(picture)
    if values.ndim == 3:
        values = values[..., :3].max(axis=2)
    if values.dtype == np.uint8:  # numpy would widen each byte to eight first
        return values, np.flatnonzero(PillowImage.fromarray(values).histogram())
    return values, np.flatnonzero(np.bincount(values.ravel(), minlength=256))


def _has_ignored(used: Any) -> bool:
    """Whether the values are numbers of classes and 255, which segmentation tools give to pixels to be ignored."""
    classes = used[used < 255]
    return len(classes) < len(used) and len(classes) >= 2 and 0 < classes[-1] <= LABEL_VALUES


def label_notes(picture: Image, *, is_lossy: bool = False) -> list[str]:
    """What to say of a mask whose values say more than foreground and background."""
    _, used = _values(picture)
    if is_lossy or len(used) > LABEL_VALUES + 1:
        return []
    if _has_ignored(used):
        return ["mask of classes with 255 for pixels to be ignored: those are background"]
    return ["mask of several classes: all but the background is one mask"] if len(used) > 2 else []


def resize_mask(mask: Image, size: tuple[int, int]) -> Image:
    """A binary mask at another size: foreground where at least half of a pixel's area is."""
    from PIL.Image import Resampling

    if mask.size == size:
        return mask
    shrinks = size[0] < mask.size[0] or size[1] < mask.size[1]
    scaled = mask.resize(size, Resampling.BOX if shrinks else Resampling.NEAREST)
    return scaled.point([0] * 128 + [255] * 128)
