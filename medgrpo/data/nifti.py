"""NIfTI: slices of volumes as 8-bit pictures, and the planes that the header tells."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.opened import Unusable
from medgrpo.data.planes import AXES, plane_of_normal
from medgrpo.data.source import ImageRef
from medgrpo.errors import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_VOXELS = 2**29
"""Larger volumes are refused by their header; 1024 × 1024 × 512 is one."""
HEADER_BYTES = 65_536
"""So much of a file is read for its header."""
LARGEST_HEADER = 544
LABEL_INTENT = 1002
"""NIfTI's code for a volume of labels."""


@dataclass(frozen=True)
class Volume:
    """What the header of a NIfTI volume tells.

    Attributes:
        shape: (left-right, back-front, foot-head) size, turned to the nearest of those axes.
        planes: the plane across each of the three axes; None where the volume lies oblique.
        is_label: the header says that its values are labels.
    """

    shape: tuple[int, int, int]
    planes: tuple[str | None, str | None, str | None]
    is_label: bool
    notes: tuple[str, ...] = ()


def is_nifti(path: str) -> bool:
    """True for names of NIfTI files."""
    return path.lower().endswith((".nii", ".nii.gz"))


def read_nifti_header(path: Path) -> Volume:
    """The header of a NIfTI file, without its values.

    Raises:
        Unusable: it is no NIfTI volume, or does not say how it lies in the patient.
    """
    nibabel = _nibabel()
    try:
        with path.open("rb") as file:
            image = _of_header(_header(file.read(HEADER_BYTES), path.name))
        codes = [int(image.header[name]) for name in ("sform_code", "qform_code")]
        shape = nibabel.as_closest_canonical(image).shape
        affine = nibabel.as_closest_canonical(image).affine
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("image unreadable", f"{path.name} is no NIfTI file, or damaged") from error
    if not any(codes):
        raise Unusable(
            "orientation not known", f"{path.name} has neither sform nor qform: its planes are not known"
        )
    planes = [plane_of_normal(affine[:3, axis]) for axis in range(3)]
    if any(plane not in (None, AXES[axis]) for axis, plane in enumerate(planes)):
        planes = [None, None, None]
    notes = []
    if all(codes) and _disagree(image):
        notes.append("sform and qform of a NIfTI file disagree: sform is followed")
    if any(plane is None for plane in planes):
        notes.append("oblique NIfTI volume: planes that are none are not asked about")
    if len(shape) > 3 and shape[3] > 1:
        notes.append("NIfTI file of several volumes: the first is shown")
    left, back, foot = (int(size) for size in shape[:3])
    is_label = int(image.header["intent_code"]) == LABEL_INTENT
    return Volume((left, back, foot), (planes[0], planes[1], planes[2]), is_label, tuple(notes))


def _disagree(image: Any) -> bool:
    """Whether sform and qform turn the volume to other axes."""
    from nibabel.orientations import aff2axcodes

    return bool(aff2axcodes(image.get_sform()) != aff2axcodes(image.get_qform()))


def nifti_slice(content: bytes, ref: ImageRef) -> Image:
    """`slice:axial/12`, counted from 0: radiological view, patient's right on the left of the picture.

    Raises:
        Unusable: the file is damaged, or has no such slice.
    """
    import numpy as np
    from PIL import Image as PillowImage

    plane, _, number = ref.part.partition(":")[2].partition("/")
    try:
        volume, low, high = _volume(content)
        values = np.take(volume, int(number), axis=AXES.index(plane))
    except Unusable as error:
        raise Unusable(error.reason, f"{ref.key}: {error}") from error
    except Exception as error:
        raise Unusable("image damaged", f"{ref.key}: {type(error).__name__}: {error}") from error
    shown = np.rot90(values)  # second axis upwards
    if plane != "sagittal":
        shown = shown[:, ::-1]
    if shown.ndim == 3:  # colour
        return PillowImage.fromarray(np.ascontiguousarray(shown))
    scaled = (np.nan_to_num(shown, nan=low) - low) / max(high - low, 1e-9)
    return PillowImage.fromarray(np.ascontiguousarray((np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)))


@lru_cache(maxsize=1)
def _volume(content: bytes) -> tuple[Any, float, float]:
    """The first volume of a NIfTI file turned to the axes of the patient, and its window; kept until another file is
    read, since its slices follow each other. Colour volumes are (x, y, z, 3) of bytes."""
    import numpy as np

    nibabel = _nibabel()
    header = _header(content[:HEADER_BYTES], "it")
    shape, kind = header.get_data_shape()[:3], header.get_data_dtype()
    offset = int(header.get_data_offset())
    needed = offset + math.prod(shape) * kind.itemsize  # of several volumes the first
    data = _unpacked(content, needed)
    if len(data) < needed:
        raise ValueError(f"cut off: {len(data)} bytes of {needed}")
    slope, inter = header.get_slope_inter()
    scale = (1.0 if slope is None else slope, 0.0 if inter is None else inter)
    stored = nibabel.arrayproxy.ArrayProxy(BytesIO(data), (shape, kind, offset, *scale))
    image = nibabel.as_closest_canonical(_of_header(header, stored))
    values = np.asarray(image.dataobj)
    if values.dtype.names:  # RGB24, RGBA32
        colours = np.stack([values[name] for name in ("R", "G", "B")], axis=-1)
        return colours.reshape(*colours.shape[:3], -1, 3)[..., 0, :], 0.0, 255.0
    volume = np.asarray(values, dtype=np.float32)
    volume = volume.reshape(*volume.shape[:3], -1)[..., 0]
    low, high = np.percentile(volume[np.isfinite(volume)], (0.5, 99.5))
    return volume, float(low), float(high)


def _header(start: bytes, name: str) -> Any:
    """The header of a NIfTI file, from its first bytes, packed or not.

    Raises:
        Unusable: it claims no volume, or one over the limit: refused before anything is unpacked.
    """
    nibabel = _nibabel()
    data = _unpacked(start, LARGEST_HEADER)
    is_second = data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    kind = nibabel.Nifti2Header if is_second else nibabel.Nifti1Header
    header = kind(data[: kind.sizeof_hdr], check=False)
    shape = header.get_data_shape()
    if len(shape) < 3 or min(shape) < 1:
        raise Unusable("image unreadable", f"{name} has {len(shape)} dimensions, not 3")
    if math.prod(int(size) for size in shape[:3]) > MAX_VOXELS or header.get_data_offset() > 2**24:
        raise Unusable(
            "image too large",
            f"{name} claims {' × '.join(map(str, shape))} voxels, over the limit of {MAX_VOXELS // 10**6} million",
        )
    return header


def _of_header(header: Any, values: Any = None) -> Any:
    """An image of the first volume; without values one of zeros that takes no memory, to be turned to the axes."""
    import numpy as np

    nibabel = _nibabel()
    own = header.copy()
    if values is None:
        values = np.broadcast_to(np.uint8(0), header.get_data_shape())
    else:
        own.set_data_shape(values.shape)
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    return kind(values, header.get_best_affine(), own)


def _unpacked(content: bytes, size: int) -> bytes:
    """The first bytes of what a gzip file holds, or of the content itself; no more than `size` are ever made."""
    if content[:2] != b"\x1f\x8b":
        return content[:size]
    out = b""
    while content and len(out) < size:  # a file may have several members
        member = zlib.decompressobj(wbits=31)
        out += member.decompress(content, size - len(out))
        if not member.eof:
            break
        content = member.unused_data
    return out


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "medical", "reading NIfTI") from error
    return nibabel
