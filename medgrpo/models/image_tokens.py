"""How many language-model tokens an image becomes. Plain arithmetic, no torch; which family does what: `families/`.

Qwen models cut the image into patches and merge 2x2 of them into one token, so the count follows the
size; InternVL and Gemma 3 resize to a square and spend a fixed number on it (InternVL on each tile).
The arithmetic equals that of transformers' own image processors, which a test compares it with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medgrpo.errors import UsageError

Layout = Literal["patches", "tiles", "fixed"]


@dataclass(frozen=True)
class ImageFamily:
    """How a model family turns pixels into tokens."""

    name: str
    layout: Layout
    patch_px: int
    """Side of a vision patch, in pixels."""
    merge: int
    """Patches per token along each side."""
    min_pixels: int = 1
    """Smaller images are scaled up to this area (`patches` only)."""
    max_pixels: int | None = None
    """Larger images are scaled down to this area, unless a run sets another (`patches` only)."""
    tile_px: int = 0
    """Side of the square that images or tiles are resized to (`tiles`, `fixed`)."""
    tile_tokens: int = 0
    """Tokens for each such square."""
    max_tiles: int = 1
    """Most tiles for one image, before the thumbnail (`tiles` only)."""
    box_format: Literal["pixel", "thousand"] = "thousand"
    """Boxes are written on a scale of 0 to 1000 of the sides, or in pixels of the resized image. Sources: docs/detection.md."""

    @property
    def factor(self) -> int:
        """Width and height become multiples of this many pixels."""
        return self.patch_px * self.merge


def smart_resize(
    width: int, height: int, *, factor: int, min_pixels: int = 1, max_pixels: int | None = None
) -> tuple[int, int]:
    """The (width, height) that a Qwen processor resizes an image to.

    Both become multiples of `factor`, the area lies between `min_pixels` and `max_pixels` where the
    shape allows it, and the aspect ratio is kept as nearly as that permits.

    Raises:
        UsageError: one side is more than 200 times the other.

    Source: transformers `smart_resize`, which has the arguments in the order height, width.
    """
    if max(width, height) > 200 * min(width, height):
        raise UsageError(
            f"an image of {width} × {height} px is too narrow", expected="sides of a ratio below 200"
        )
    columns = round(width / factor) * factor
    lines = round(height / factor) * factor
    if max_pixels is not None and columns * lines > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
        lines = max(factor, math.floor(height / shrink / factor) * factor)
    elif columns * lines < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        columns = math.ceil(width * grow / factor) * factor
        lines = math.ceil(height * grow / factor) * factor
    return columns, lines


@dataclass(frozen=True)
class PictureGrid:
    """What a processor that scales by area makes of a picture's size (the Qwen-VL family)."""

    factor: int
    """Width and height become multiples of this many pixels."""
    min_pixels: int
    max_pixels: int

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the picture that the model sees."""
        return smart_resize(
            width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )


def model_size(
    width: int,
    height: int,
    family: ImageFamily,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> tuple[int, int]:
    """The (width, height) at which the model sees an image.

    Args:
        max_pixels: largest area, as the run's `model.max_pixels`; None: the processor's own.
        min_pixels: smallest area, as the run's `model.min_pixels`; None: the processor's own.
    """
    if family.layout == "patches":
        largest = family.max_pixels if max_pixels is None else max_pixels
        smallest = family.min_pixels if min_pixels is None else min_pixels
        if largest is not None:
            smallest = min(smallest, largest)
        return smart_resize(width, height, factor=family.factor, min_pixels=smallest, max_pixels=largest)
    if family.layout == "tiles":
        columns, lines = tile_grid(width, height, family, max_pixels)
        return columns * family.tile_px, lines * family.tile_px
    return family.tile_px, family.tile_px


def image_tokens(
    width: int,
    height: int,
    family: ImageFamily,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> int:
    """Language-model tokens of one image, without the markers around it; arguments as in `model_size`.

    >>> qwen = ImageFamily("qwen2.5-vl", "patches", 14, 2, 56 * 56)
    >>> image_tokens(1024, 1024, qwen)
    1369
    >>> image_tokens(1024, 1024, qwen, max_pixels=602112)
    729
    """
    columns, lines = model_size(width, height, family, max_pixels, min_pixels)
    if family.layout == "patches":
        return (columns // family.factor) * (lines // family.factor)
    if family.layout == "fixed":
        return family.tile_tokens
    tiles = (columns // family.tile_px) * (lines // family.tile_px)
    return family.tile_tokens * (tiles + 1 if tiles > 1 else 1)


def tile_limit(tile_px: int, max_tiles: int, max_pixels: int | None) -> int:
    """Most tiles of one image whose area together is at most `max_pixels`; at least one."""
    return max_tiles if max_pixels is None else max(1, min(max_tiles, max_pixels // tile_px**2))


def tile_grid(width: int, height: int, family: ImageFamily, max_pixels: int | None = None) -> tuple[int, int]:
    """(columns, rows) of tiles that InternVL lays over an image: the grid of the nearest shape, and of
    equal ones the larger, as long as the image fills more than half of it.

    Source: transformers `get_optimal_tiled_canvas` (GOT-OCR2's image processor, which InternVL uses).
    """
    most = tile_limit(family.tile_px, family.max_tiles, max_pixels)
    grids = sorted(
        (
            (columns, lines)
            for columns in range(1, most + 1)
            for lines in range(1, most + 1)
            if columns * lines <= most
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    best, nearest = (1, 1), math.inf
    for columns, lines in grids:
        distance = abs(width / height - columns / lines)
        fills = width * height > 0.5 * family.tile_px**2 * columns * lines
        if distance < nearest or (distance == nearest and fills):
            best, nearest = (columns, lines), distance
    return best
