"""Boxes against the picture they lie in: its real size, and which way up it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medgrpo.data.readers.base import BadRow
from medgrpo.data.source import ImageRef, Source
from medgrpo.pictures import image_of

Edges = Sequence[float]
Turn = Callable[[float, float], tuple[float, float]]

CUT = "box cut at the border of its picture"
SAME_SHAPE = 0.02
"""Two sizes are the same picture at two scales where their width and height differ by one factor, to this share."""


@dataclass(frozen=True)
class Frame:
    """Size and position of a picture as its file stores it.

    Args:
        width, height: of the stored pixels, before they are turned.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of the picture that is prepared."""
        size = self.width, self.height
        return size if self.orientation < 5 else size[::-1]

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """A point of the stored pixels in the upright picture."""
        width, height = self.width, self.height
        turns: dict[int, Turn] = {
            2: lambda x, y: (width - x, y),
            3: lambda x, y: (width - x, height - y),
            4: lambda x, y: (x, height - y),
            5: lambda x, y: (y, x),
            6: lambda x, y: (height - y, x),
            7: lambda x, y: (height - y, width - x),
            8: lambda x, y: (y, width - x),
        }
        return turns[self.orientation](x, y) if self.orientation in turns else (x, y)


def frame_of(source: Source, ref: ImageRef) -> Frame:
    """The frame of a picture, from its header.

    Raises:
        BadRow: it cannot be opened.
    """
    from medgrpo.data.cells import read_bytes

    path = source.root / ref.path
    try:
        with image_of(io.BytesIO(read_bytes(source.root, ref)) if ref.part else path) as opened:
            orientation = opened.getexif().get(0x0112, 1)
            known = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
            return Frame(*opened.size, known)
    except Exception as error:  # decoders raise whatever they stumble over
        fault = f"{ref.key} is no picture, or damaged"
        raise BadRow("image unreadable", "image", fault, "a picture") from error


def stored_size(source: Source, ref: ImageRef) -> tuple[int, int]:
    """Width and height of a picture as it is prepared: turned as its EXIF says."""
    return frame_of(source, ref).upright


class Placing:
    """Moves boxes from the size that an annotation states into the picture as it is.

    Args:
        stated: (width, height) that the annotation says the picture has; None: it says none.
        frame: the picture's.
        field: the field of the size, for messages.
    Raises:
        BadRow: the sizes are not those of one picture, or the boxes may be meant before or after turning.
    """

    def __init__(self, stated: tuple[float, float] | None, frame: Frame, field: str) -> None:
        self.frame = frame
        self.note: str | None = None
        self.cut = 0
        """Boxes that reached over the border by more than a pixel."""
        self._turns = False
        self._scale = 1.0, 1.0
        upright, raw = frame.upright, (frame.width, frame.height)
        is_turned = frame.orientation != 1
        if stated is None or min(stated) <= 0:
            stated = None if is_turned else upright
        fits = [] if stated is None else [size for size in {upright, raw} if _same_shape(stated, size)]
        if is_turned and (stated is None or upright == raw or len(fits) > 1):
            raise BadRow(
                "boxes of a turned picture",
                field,
                f"the picture is turned by its EXIF orientation {frame.orientation}, and nothing tells whether "
                "its boxes are meant before or after that",
                "width and height of the picture as the boxes see it, or pictures without EXIF orientation",
            )
        if stated is None or not fits:
            raise BadRow(
                "size of the picture differs",
                field,
                f"{stated} is said, the picture is {upright[0]} × {upright[1]} px",
                "boxes made for this picture",
            )
        seen = fits[0]
        self._turns = is_turned and seen == raw
        if (round(stated[0]), round(stated[1])) != seen:
            self._scale = seen[0] / stated[0], seen[1] / stated[1]
            self.note = "boxes scaled from the size that the annotation states to that of the picture"
        if self._turns:
            self.note = "boxes turned with their picture, as its EXIF orientation says"

    def box(self, edges: Edges, field: str) -> list[float]:
        """Left, top, right, bottom in the upright picture, cut at its border.

        Raises:
            BadRow: they are not four numbers in order, or no part lies in the picture.
        """
        left, top, right, bottom = in_order(edges, field)
        across, down = self._scale
        corners = [(left * across, top * down), (right * across, bottom * down)]
        if self._turns:
            corners = [self.frame.turned(x, y) for x, y in corners]
        (x1, y1), (x2, y2) = corners
        moved = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        found = checked_box(moved, *self.frame.upright, field)
        self.cut += reaches_over(moved, found)
        return found


def _same_shape(one: tuple[float, float], other: tuple[int, int]) -> bool:
    across, down = other[0] / one[0], other[1] / one[1]
    return abs(across / down - 1) <= SAME_SHAPE


def in_order(edges: Edges, field: str) -> list[float]:
    """The edges as four finite numbers, left below right and top below bottom.

    Raises:
        BadRow: they are not.
    """
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except (TypeError, ValueError) as error:
        raise BadRow("box not four numbers", field, f"{edges!r}", "four numbers") from error
    if not (left < right and top < bottom):
        shown = [round(edge, 2) for edge in (left, top, right, bottom)]
        raise BadRow("box empty", field, f"{shown} has no area", "left < right and top < bottom")
    return [left, top, right, bottom]


def checked_box(edges: Edges, width: float | None, height: float | None, field: str) -> list[float]:
    """The box, cut at the picture's border.

    Raises:
        BadRow: the edges are not four finite numbers in order, or the box lies outside the picture.
    """
    left, top, right, bottom = in_order(edges, field)
    if width and height:
        left, right = max(0.0, left), min(float(width), right)
        top, bottom = max(0.0, top), min(float(height), bottom)
    if not (left < right and top < bottom):
        shown = [round(edge, 2) for edge in (left, top, right, bottom)]
        raise BadRow(
            "box empty", field, f"{shown} has no area inside the picture", "left < right and top < bottom"
        )
    return [left, top, right, bottom]


def reaches_over(edges: Edges, cut: Edges) -> bool:
    """Whether cutting at the border moved an edge by more than a pixel, which is more than rounding does."""
    return any(abs(before - after) > 1 for before, after in zip(edges, cut, strict=True))


def enclosing(points: Sequence[float], field: str) -> list[float]:
    """The box around a polygon of x, y, x, y, …

    Raises:
        BadRow: there are fewer than three points.
    """
    if len(points) < 6 or len(points) % 2:
        raise BadRow(
            "polygon not understood", field, f"{len(points)} numbers", "x y of at least three points"
        )
    across, down = [float(x) for x in points[::2]], [float(y) for y in points[1::2]]
    return [min(across), min(down), max(across), max(down)]
