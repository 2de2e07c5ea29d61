"""NIfTI: slices of volumes as 8-bit pictures, and the planes that the header tells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.opened import Unusable
from medgrpo.data.planes import AXES, plane_of_normal
from medgrpo.data.source import ImageRef
from medgrpo.errors import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

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
        image = nibabel.load(path)
        codes = [int(image.header[name]) for name in ("sform_code", "qform_code")]
        shape = nibabel.as_closest_canonical(image).shape
        affine = nibabel.as_closest_canonical(image).affine
    except Exception as error:
        raise Unusable("image unreadable", f"{path.name} is no NIfTI file, or damaged") from error
    if len(shape) < 3:
        raise Unusable("image unreadable", f"{path.name} has {len(shape)} dimensions, not 3")
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
    import gzip

    import numpy as np

    nibabel = _nibabel()
    data = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    is_second = data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    kind = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    image = nibabel.as_closest_canonical(kind.from_bytes(data))
    values = np.asarray(image.dataobj)
    if values.dtype.names:  # RGB24, RGBA32
        colours = np.stack([values[name] for name in ("R", "G", "B")], axis=-1)
        return colours.reshape(*colours.shape[:3], -1, 3)[..., 0, :], 0.0, 255.0
    volume = np.asarray(values, dtype=np.float32)
    volume = volume.reshape(*volume.shape[:3], -1)[..., 0]
    low, high = np.percentile(volume[np.isfinite(volume)], (0.5, 99.5))
    return volume, float(low), float(high)


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "medical", "reading NIfTI") from error
    return nibabel
