"""Rows as a mask model sees them: picture, reference and field of view at one size, varied alike, cut into patches."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.pictures import opened_picture, stored_file
from medgrpo.segmentation.credit import Truth

if TYPE_CHECKING:
    from PIL.Image import Image

    from medgrpo.data.augment import Augmentation

Row = Mapping[str, Any]
Mask = NDArray[np.bool_]
CACHED = 64
"""Decoded pictures kept with their masks: small sets are read once."""
TRIES = 8
"""Places that a patch with something to find in it is looked for."""


@dataclass(frozen=True)
class Example:
    """One picture to segment."""

    id: str
    picture: NDArray[np.uint8]
    """(height, width, 3), RGB."""
    truth: Truth | None
    """None where the row has no mask."""
    row: Row = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.picture.shape[0], self.picture.shape[1]


@dataclass
class Examples:
    """The rows of a split as examples, by number.

    What an epoch shows of a row is a function of seed, epoch and number, so that nothing of it is saved with a checkpoint.

    Args:
        rows: prepared rows.
        folder: that their paths start from.
        longest: pictures are brought to this longest side, in pixels; None: as stored.
        patch: side of the square that is cut out of a picture, in pixels; None: whole pictures.
        variation: brightness, contrast and turns; None: as they are.
        seed: of variation and patches.
    """

    rows: Sequence[Row]
    folder: Path
    longest: int | None = None
    patch: int | None = None
    variation: Augmentation | None = None
    seed: int = 0
    epoch: int = 0
    """Set by the trainer."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Example:
        """The example as this epoch shows it."""
        example = self.whole(number)
        draw = random.Random(f"{self.seed} {self.epoch} {number}")
        if self.patch is not None:
            example = _patch(example, self.patch, draw)
        if self.variation is not None:
            example = _varied(example, self.variation, draw)
        return example

    def whole(self, number: int) -> Example:
        """The example uncut and not varied."""
        row = self.rows[number]
        names = [str(stored_file(self.folder, row["images"][0]))]
        names += [str(stored_file(self.folder, row[key])) if row.get(key) else "" for key in ("mask", "fov")]
        picture, truth = _read(names[0], names[1], names[2], self.longest)
        return Example(str(row.get("id", number)), picture, truth, row)


@lru_cache(maxsize=CACHED)
def _read(picture: str, mask: str, fov: str, longest: int | None) -> tuple[NDArray[np.uint8], Truth | None]:
    from PIL import Image

    from medgrpo.data.binary_masks import binary, resize_mask

    with opened_picture(picture) as opened:
        image = opened.convert("RGB")
    size = _fitted(image.size, longest)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)

    def inside_of(name: str) -> Mask | None:
        if not name:
            return None
        with opened_picture(name) as stored:
            found = binary(stored)
        if found.size != size:
            found = resize_mask(found, size)
        inside: Mask = np.asarray(found) != 0
        return inside

    reference = inside_of(mask)
    truth = None if reference is None else Truth.of(reference, inside_of(fov))
    return np.asarray(image), truth


def _fitted(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    if longest is None or max(size) == longest:
        return size
    ratio = longest / max(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _patch(example: Example, side: int, draw: random.Random) -> Example:
    """A square of the picture, where there is something to find in it if a few tries find such a place."""
    height, width = example.size
    if height <= side and width <= side:
        return example
    top = left = 0
    for _ in range(TRIES):
        top, left = draw.randint(0, max(0, height - side)), draw.randint(0, max(0, width - side))
        if example.truth is None or example.truth.mask[top : top + side, left : left + side].any():
            break
    return cut(example, top, left, side)


def cut(example: Example, top: int, left: int, side: int) -> Example:
    """The square at a place, smaller where the picture ends."""
    window = np.s_[top : top + side, left : left + side]
    truth = example.truth
    if truth is not None:
        truth = Truth.of(truth.mask[window], None if truth.fov is None else truth.fov[window])
    return replace(example, picture=example.picture[window], truth=truth)


def _varied(example: Example, settings: Augmentation, draw: random.Random) -> Example:
    """Another light, and unless `flip` is never one of the eight turns of a square; the masks go along."""
    from PIL import Image, ImageEnhance

    brightness = 1 + draw.uniform(-settings.brightness, settings.brightness)
    contrast = 1 + draw.uniform(-settings.contrast, settings.contrast)
    image: Image.Image = Image.fromarray(example.picture)
    image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(contrast)
    turns, is_mirrored = draw.randrange(4), draw.random() < 0.5
    if settings.flip == "never":
        turns, is_mirrored = 0, False

    def turned(field_of: NDArray[Any]) -> NDArray[Any]:
        field_of = np.rot90(field_of, turns)
        return np.ascontiguousarray(field_of[:, ::-1] if is_mirrored else field_of)

    truth = example.truth
    if truth is not None and (turns or is_mirrored):
        # A skeleton is thinned from certain sides first: it is made anew.
        truth = Truth.of(turned(truth.mask), None if truth.fov is None else turned(truth.fov))
    return replace(example, picture=turned(np.asarray(image)), truth=truth)
