"""Decoding: whatever a file holds becomes an 8-bit grey or RGB picture, upright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from medgrpo.data.cells import CELL
from medgrpo.data.eight_bit import eight_bit
from medgrpo.data.embedded import EMBEDDED
from medgrpo.data.opened import MAX_SOURCE_PIXELS, Opened, Unusable
from medgrpo.data.outline import block_px, outline
from medgrpo.data.source import ImageRef
from medgrpo.pictures import image_of

if TYPE_CHECKING:
    from PIL.Image import Image

DRAFT_GAP = 1.25
"""A JPEG is decoded at the smallest of 1/2, 1/4, 1/8 that leaves this multiple of the wanted size. BENCHMARKS.md says how
much the result differs from a full decode."""
EXIF_ORIENTATION = 0x0112
PLAIN_JPEG_INFO = frozenset(
    (
        "jfif",
        "jfif_version",
        "jfif_unit",
        "jfif_density",
        "dpi",
        "progressive",
        "progression",
        "adobe",
        "adobe_transform",
    )
)
"""What a JPEG may carry to be copied as it is; comments and EXIF can name a patient."""
JPEG_END = b"\xff\xd9"
"""What follows it is no part of the picture, and is not copied."""
PLAIN_JPEG_SEGMENTS = frozenset(("APP0", "APP14"))


def open_picture(content: bytes, ref: ImageRef) -> Opened:
    """The picture in a file's bytes.

    Raises:
        Unusable: it is no picture, is damaged, or is larger than `MAX_SOURCE_PIXELS`.
    """
    if ref.part.startswith((CELL, EMBEDDED)):
        ref = ImageRef(f"{ref.path} {ref.part.partition('@')[0]}")
    if ref.part.startswith(("frame:", "slice:")) or content[128:132] == b"DICM":
        from medgrpo.data.volumes import open_volume_slice

        return open_volume_slice(content, ref)
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = (
        None  # Pillow warns at 89 megapixels and refuses at 179; the limit here is ours, below
    )
    with _foreign("image unreadable", f"{ref.path} is no picture, or damaged"):
        picture = image_of(BytesIO(content))
    width, height = picture.size
    if width * height > MAX_SOURCE_PIXELS:
        raise Unusable(
            "image too large",
            f"{ref.path} is {width} × {height} px, over the limit of {MAX_SOURCE_PIXELS // 10**6} megapixels",
        )
    with _foreign("image damaged", f"{ref.path} is damaged"):
        return _opened(picture, ref, content)


@contextmanager
def _foreign(reason: str, what: str) -> Iterator[None]:
    """Decoders of a hundred formats raise whatever they stumble over; within it, that is the picture's fault."""
    try:
        yield
    except Unusable:
        raise
    except Exception as error:
        said = str(error).splitlines()
        is_told = said and "BytesIO" not in said[0]
        raise Unusable(reason, f"{what}: {said[0][:200]}" if is_told else what) from error


def _opened(picture: Any, ref: ImageRef, content: bytes) -> Opened:
    from PIL import ImageOps

    is_jpeg = picture.format in ("JPEG", "MPO")
    turned = _orientation(picture)
    notes = []
    if turned != 1:
        notes.append("turned upright by its EXIF orientation")
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        notes.append("first frame of several")
    if picture.mode not in ("RGB", "L"):
        notes.append(f"converted from mode {picture.mode}")

    def decode(wanted: tuple[int, int] | None) -> Image:
        if wanted is not None and is_jpeg and picture.mode in ("RGB", "L", "YCbCr"):
            asked = wanted if turned < 5 else (wanted[1], wanted[0])
            # decoding at exactly half the size is as good as resizing to it: 44-54 dB
            gap = 1.0 if picture.size == (2 * asked[0], 2 * asked[1]) else DRAFT_GAP
            picture.draft(picture.mode, (int(gap * asked[0]), int(gap * asked[1])))
        with _foreign("image damaged", f"{ref.path} is damaged"):
            picture.load()
            upright = ImageOps.exif_transpose(picture) if turned != 1 else picture
            return _cut(eight_bit(upright), ref.part)

    def own_outline() -> Image:
        """Decoded again: once a JPEG has been read at one scale, Pillow cannot read it at another."""
        if not is_jpeg or ref.part or picture.mode not in ("RGB", "L"):
            return whole_outline(decode(None))

        again: Any = image_of(BytesIO(content))
        block = block_px(again.size)
        again.draft(again.mode, (again.width // block, again.height // block))
        with _foreign("image damaged", f"{ref.path} is damaged"):
            again.load()
        return whole_outline(ImageOps.exif_transpose(again) if turned != 1 else again)

    def whole_outline(shown: Image) -> Image:
        found = outline(shown, (width, height))
        assert found is not None  # decoded at the scale of its blocks, or in full
        return found

    width, height = picture.size if turned < 5 else picture.size[::-1]
    if ref.part:
        width, height = _cut_size((width, height), ref.part)
    plain = is_jpeg and picture.mode in ("RGB", "L") and turned == 1 and not ref.part
    return Opened(
        (width, height),
        lambda: decode(None),
        decode if not ref.part else lambda _: decode(None),
        own_outline,
        is_jpeg,
        plain and picture.format == "JPEG" and content.endswith(JPEG_END) and _carries_nothing(picture),
        turned != 1,
        notes,
    )


def _carries_nothing(picture: Any) -> bool:
    segments = {name for name, _ in getattr(picture, "applist", [])}
    return set(picture.info) <= PLAIN_JPEG_INFO and segments <= PLAIN_JPEG_SEGMENTS


def _orientation(picture: Any) -> int:
    try:
        value = picture.getexif().get(EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, TypeError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _cut_size(size: tuple[int, int], part: str) -> tuple[int, int]:
    left, top, right, bottom = _panel(size, part)
    return right - left, bottom - top


def _cut(picture: Image, part: str) -> Image:
    return picture.crop(_panel(picture.size, part)) if part else picture


def _panel(size: tuple[int, int], part: str) -> tuple[int, int, int, int]:
    """Edges of a panel of a stack, `panel:2/3` being the middle one of three below each other."""
    kind, _, value = part.partition(":")
    number, _, count = value.partition("/")
    if kind != "panel" or not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise Unusable("image part unknown", f"no part {part!r} in a picture")
    height = size[1] // int(count)
    return 0, (int(number) - 1) * height, size[0], int(number) * height
