"""One picture: decoded, made 8-bit and upright, resized, stored. Runs in worker processes.

JPEGs that are made smaller are decoded at a fraction of their size (libjpeg's scaled decoding), which saves
most of the time; what is left is done by an antialiasing filter.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from medgrpo.data.cells import read_bytes
from medgrpo.data.hashing import source_hash
from medgrpo.data.opened import Unusable
from medgrpo.data.outline import block_px, outline, perceptual_hash
from medgrpo.data.source import UNION, ImageRef, union_of
from medgrpo.files import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

    from medgrpo.data.opened import Opened

StoredFormat = Literal["auto", "jpeg", "png", "webp"]

SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


@dataclass(frozen=True)
class ImageSettings:
    """How pictures are stored. Pictures are never enlarged."""

    size_px: int | None = None
    """Longest side; None keeps the size."""
    max_pixels: int | None = None
    """Largest area in pixels."""
    multiple_px: int = 1
    """Width and height become multiples of this (the model's patch × merge), by scaling, not by padding."""
    format: StoredFormat = "auto"
    """`auto`: JPEG for what was JPEG, PNG (lossless) for everything else. Masks are always PNG."""
    quality: int = 95
    """Of JPEG and WebP, 1–100."""


@dataclass(frozen=True)
class ImageJob:
    """A picture to be stored."""

    root: Path
    ref: ImageRef
    folder: Path
    kind: Literal["image", "mask"]
    settings: ImageSettings
    size: tuple[int, int] | None = None
    """Stored size of the picture that a mask belongs to."""

    @property
    def name(self) -> str:
        """Stem of the stored file: that of the source or its alias, and a short hash of where it was found."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", self.ref.alias or PurePosixPath(self.ref.path).stem)[:60]
        digest = hashlib.blake2b(self.ref.key.encode(), digest_size=4).hexdigest()
        return f"{stem}-{digest}"


@dataclass
class StoredImage:
    """What became of a picture; `problem` says why there is none."""

    key: str
    path: str = ""
    """Relative to the dataset's folder."""
    width: int = 0
    height: int = 0
    source_width: int = 0
    """Width of the upright source, in pixels."""
    source_height: int = 0
    size_bytes: int = 0
    """Of the stored file."""
    source_hash: str = ""
    pixels_hash: str = ""
    perceptual_hash: str = ""
    hash_is_exact: bool = True
    """False where the perceptual hash was taken from a picture decoded at a scale that the stored size decided."""
    foreground: float | None = None
    """Masks only: share of the source's pixels that are foreground, 0 to 1."""
    plane: str | None = None
    """Plane and modality, where the file's own header tells them."""
    modality: str | None = None
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    problem: str = ""


def target_size(width: int, height: int, settings: ImageSettings) -> tuple[int, int]:
    """The (width, height) at which a picture of this size is stored; the aspect ratio is kept."""
    scale = 1.0
    if settings.size_px is not None:
        scale = min(scale, settings.size_px / max(width, height))
    if settings.max_pixels is not None:
        scale = min(scale, math.sqrt(settings.max_pixels / (width * height)))
    unit = settings.multiple_px
    if unit == 1:
        return max(1, round(width * scale)), max(1, round(height * scale))
    columns, lines = (max(unit, round(side * scale / unit) * unit) for side in (width, height))
    if settings.size_px is not None:
        limit = max(unit, settings.size_px // unit * unit)
        columns, lines = min(columns, limit), min(lines, limit)
    while (
        settings.max_pixels is not None
        and columns * lines > settings.max_pixels
        and columns * lines > unit**2
    ):
        if columns >= lines:
            columns -= unit
        else:
            lines -= unit
    return columns, lines


def store(job: ImageJob) -> StoredImage:
    """Stores one picture; a picture that cannot be used comes back with `problem`, not as an exception."""
    try:
        return _store(job)
    except Unusable as error:
        return StoredImage(job.ref.key, reason=error.reason, problem=str(error))


def _store(job: ImageJob) -> StoredImage:
    try:
        content = read_bytes(job.root, job.ref)
    except OSError as error:
        raise Unusable("image unreadable", f"{job.ref.path} cannot be read: {error.strerror}") from error
    if not content:
        raise Unusable("image empty", f"{job.ref.path} is an empty file")
    stored = StoredImage(job.ref.key, source_hash=source_hash(content, job.ref.part))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of odd metadata and large sizes; both are judged here
        data = _encode(job, content, stored)
    stored.size_bytes = len(data)
    write_bytes(job.folder / stored.path, data, durable=False)  # all are synced when the dataset is complete
    return stored


def _encode(job: ImageJob, content: bytes, stored: StoredImage) -> bytes:
    """The bytes of the file to be stored; fills in `stored`."""
    from medgrpo.data.decode import open_picture

    if job.ref.part.startswith(UNION):
        return _mask(job, _union(job, stored), False, stored)
    opened = open_picture(content, job.ref)
    stored.notes += opened.notes
    stored.plane, stored.modality = opened.plane, opened.modality
    stored.source_width, stored.source_height = opened.size
    if job.kind == "mask":
        return _mask(job, opened.full(), opened.is_jpeg, stored)
    stored.width, stored.height = target_size(*opened.size, job.settings)
    wanted = (stored.width, stored.height)
    form = job.settings.format
    if form == "auto":
        form = "jpeg" if opened.is_jpeg else "png"
    stored.path = f"images/{job.name}{SUFFIXES[form]}"
    if form == "jpeg" and opened.is_plain_jpeg and wanted == opened.size:
        _look(opened.full(), opened, stored)  # decoded to be sure that it is whole
        stored.pixels_hash = hashlib.blake2b(content, digest_size=16).hexdigest()
        return content
    decoded = opened.reduced(wanted)
    _look(decoded, opened, stored)
    picture = resized(decoded, wanted)
    stored.pixels_hash = pixels_hash(picture, f"{form}{job.settings.quality if form != 'png' else ''}")
    return encoded(picture, form, job.settings.quality)


def _look(decoded: Image, opened: Opened, stored: StoredImage) -> None:
    """Fills in the perceptual hash from what was decoded anyway, where that is large enough."""
    seen = None if opened.is_turned else outline(decoded, opened.size)
    stored.perceptual_hash = perceptual_hash(seen or opened.outline())
    scale = round(opened.size[0] / decoded.width)
    stored.hash_is_exact = seen is None or not opened.is_jpeg or scale == block_px(opened.size)


def _union(job: ImageJob, stored: StoredImage) -> Image:
    """The masks of several files as one: foreground where any of them has it."""
    from PIL import ImageChops

    from medgrpo.data.binary_masks import binary
    from medgrpo.data.decode import open_picture

    whole: Image | None = None
    for path in union_of(job.ref):
        opened = open_picture(read_bytes(job.root, ImageRef(path)), ImageRef(path))
        mask = binary(opened.full(), is_lossy=opened.is_jpeg)
        if whole is not None and whole.size != mask.size:
            raise Unusable(
                "masks of one picture differ in size", f"{path} is {mask.size}, {job.ref.path} {whole.size}"
            )
        whole = mask if whole is None else ImageChops.lighter(whole, mask)
    assert whole is not None
    stored.source_width, stored.source_height = whole.size
    stored.notes.append("several masks of one picture are one mask")
    return whole


def _mask(job: ImageJob, picture: Image, is_lossy: bool, stored: StoredImage) -> bytes:
    from medgrpo.data.binary_masks import binary, label_notes, resize_mask

    mask = binary(picture, is_lossy=is_lossy)
    stored.notes += label_notes(picture, is_lossy=is_lossy)
    stored.foreground = round(mask.histogram()[255] / (mask.width * mask.height), 6)
    size = job.size or target_size(*mask.size, job.settings)
    mask = resize_mask(mask, size)
    stored.width, stored.height = size
    stored.path = f"masks/{job.name}.png"
    stored.pixels_hash = pixels_hash(mask, "mask")
    return encoded(mask, "png", 0)


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """The picture at exactly this size; smaller with an antialiasing filter."""
    from PIL.Image import Resampling

    if picture.size == size:
        return picture
    return picture.resize(size, Resampling.BICUBIC, reducing_gap=1.5)


def encoded(picture: Image, form: str, quality: int) -> bytes:
    """The picture as a file in memory, without any metadata."""
    from io import BytesIO

    buffer = BytesIO()
    picture.info = {}  # Pillow writes comments and profiles of the source from here
    if form == "jpeg":
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    elif form == "webp":
        picture.save(buffer, "WEBP", quality=quality, method=4)
    else:
        picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def pixels_hash(picture: Image, note: str) -> str:
    """Hash of mode, size, pixels and how they are stored; the encoder's version does not enter."""
    digest = hashlib.blake2b(f"{picture.mode} {picture.size} {note}".encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.hexdigest()
