"""A picture whose header was read, and why one cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SOURCE_PIXELS = 200_000_000
"""Larger pictures are refused before they are decoded: a small file can claim a size that fills the memory."""


class Unusable(Exception):
    """The picture cannot be used; `reason` is shared by pictures with the same fault."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass
class Opened:
    """A picture whose header was read; pixels are decoded when asked for.

    Attributes:
        size: (width, height) of the upright picture.
        full: decodes all of it.
        reduced: decodes at least the wanted size, where the format can decode less than all.
        outline: decodes what tells whether two pictures are alike, independent of the size that is wanted.
    """

    size: tuple[int, int]
    full: Callable[[], Image]
    reduced: Callable[[tuple[int, int]], Image]
    outline: Callable[[], Image]
    is_jpeg: bool = False
    is_plain_jpeg: bool = False
    is_turned: bool = False
    """By its EXIF orientation."""
    notes: list[str] = field(default_factory=list)
    plane: str | None = None
    modality: str | None = None
