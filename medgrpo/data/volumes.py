"""DICOM and NIfTI: slices as 8-bit pictures, and the plane and modality that their headers tell.

Of a DICOM header only what is listed here is read: how pixels are stored and shown, orientation,
modality. Names, dates and numbers of patients are never copied; patients are numbered in order of
appearance so that splits can keep them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.eight_bit import windowed
from medgrpo.data.opened import Opened, Unusable
from medgrpo.data.outline import outline
from medgrpo.data.source import ImageRef
from medgrpo.errors import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

MODALITIES = {
    **dict.fromkeys(("CR", "DX", "DR", "RG", "XR", "RF"), "X-ray"),
    "CT": "CT",
    "MR": "MRI",
    "US": "ultrasound",
    "MG": "mammography",
    "PT": "PET",
    "NM": "nuclear medicine",
    "XA": "angiography",
    "OP": "fundus photography",
    "OPT": "OCT",
    "ES": "endoscopy",
    "SM": "histology",
}
"""DICOM's defined terms of (0008,0060) -> class of the reward core."""
VIEWS = {
    "AP": "AP",
    "PA": "PA",
    "LL": "lateral",
    "RL": "lateral",
    "LATERAL": "lateral",
    "MLO": "MLO",
    "CC": "CC",
}
"""DICOM's view position (0018,5101) -> plane."""
AXES = ("sagittal", "coronal", "axial")
"""Plane across the x (left-right), y (front-back) and z (head-foot) axis."""
OBLIQUE_LIMIT = 0.8
"""A slice whose normal has a smaller share of its main axis is called oblique, and gets no plane."""


@dataclass(frozen=True)
class Header:
    """What is used of a DICOM header."""

    frames: int
    plane: str | None
    modality: str | None
    patient: str
    """Groups the pictures of a patient; never written anywhere."""
    study: str


def read_dicom_header(path: Path) -> Header:
    """The header of a DICOM file, without its pixels.

    Raises:
        Unusable: it is no DICOM file.
    """
    pydicom = _pydicom()
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise Unusable("image unreadable", f"{path.name} is no DICOM file, or damaged") from error
    return _header(data)


def _header(data: Any) -> Header:
    written = str(data.get("Modality", "")).upper()
    return Header(
        frames=int(data.get("NumberOfFrames", 1) or 1),
        plane=_dicom_plane(data),
        modality=MODALITIES.get(written),
        patient=str(
            data.get("PatientID", "") or data.get("PatientName", "") or data.get("StudyInstanceUID", "")
        ),
        study=str(data.get("SeriesInstanceUID", "")),
    )


def _dicom_plane(data: Any) -> str | None:
    """From the orientation of rows and columns (CT, MR), else from the view position (X-ray)."""
    orientation = data.get("ImageOrientationPatient")
    if orientation is None:
        shared = data.get("SharedFunctionalGroupsSequence")
        if shared and "PlaneOrientationSequence" in shared[0]:
            orientation = shared[0].PlaneOrientationSequence[0].get("ImageOrientationPatient")
    if orientation is not None and len(orientation) == 6:
        import numpy as np

        row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
        return plane_of_normal(np.cross(row, column))
    return VIEWS.get(str(data.get("ViewPosition", "")).upper())


def plane_of_normal(normal: Any) -> str | None:
    """The plane of a slice from the direction across it (x to the left, y to the back, z to the head)."""
    import numpy as np

    length = float(np.linalg.norm(normal))
    if length == 0:
        return None
    shares = np.abs(np.asarray(normal, float)) / length
    axis = int(shares.argmax())
    return AXES[axis] if shares[axis] >= OBLIQUE_LIMIT else None


def open_volume_slice(content: bytes, ref: ImageRef) -> Opened:
    """A slice of a DICOM or NIfTI file as a picture.

    Raises:
        Unusable: the file is damaged, or has no such slice.
    """
    plane: str | None
    modality: str | None
    if is_nifti(ref.path):
        picture = _nifti_slice(content, ref)
        plane, modality = ref.part.partition(":")[2].partition("/")[0], None
    else:
        picture, plane, modality = _dicom_frame(content, ref)
    return Opened(
        picture.size,
        lambda: picture,
        lambda _size: picture,
        lambda: outline(picture, picture.size) or picture,
        notes=["DICOM or NIfTI slice as 8-bit"],
        plane=plane,
        modality=modality,
    )


def is_nifti(path: str) -> bool:
    """True for names of NIfTI files."""
    return path.lower().endswith((".nii", ".nii.gz"))


def is_dicom(content: bytes) -> bool:
    """True if the bytes are a DICOM file with its preamble."""
    return content[128:132] == b"DICM"


def _dicom_frame(content: bytes, ref: ImageRef) -> tuple[Image, str | None, str | None]:
    pydicom = _pydicom()
    frame = int(ref.part.partition(":")[2] or 1)
    try:
        data = pydicom.dcmread(BytesIO(content))
        if int(data.get("Rows", 0)) * int(data.get("Columns", 0)) > 2**28:
            raise Unusable("image too large", f"{ref.path} claims {data.Rows} × {data.Columns} px")
        pixels = pydicom.pixels.pixel_array(data, index=frame - 1)
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("image damaged", f"{ref.path}: {type(error).__name__}: {error}") from error
    header = _header(data)
    return shown_pixels(pixels, data), header.plane, header.modality


def shown_pixels(pixels: Any, data: Any) -> Image:
    """Stored values as a viewer shows them: rescaled, windowed, MONOCHROME1 inverted.

    The window is the header's first; without one, the percentiles of `WINDOW_PERCENTILES`.
    """
    import numpy as np
    from PIL import Image as PillowImage
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    if pixels.ndim == 3:  # colour, already as the photometric interpretation says
        values = (
            pixels if pixels.dtype == np.uint8 else (pixels >> (int(data.BitsStored) - 8)).astype(np.uint8)
        )
        return PillowImage.fromarray(np.ascontiguousarray(values[..., :3]))
    values = np.asarray(apply_modality_lut(pixels, data), dtype=np.float64)
    if "WindowCenter" in data and "WindowWidth" in data:
        centre, width = (_first(data.WindowCenter), _first(data.WindowWidth))
        scaled = (values - (centre - width / 2)) / max(width, 1e-9)
        picture = PillowImage.fromarray((np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8))
    elif "VOILUTSequence" in data:
        picture = windowed(apply_voi_lut(values.astype(pixels.dtype), data))
    else:
        picture = windowed(values)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        picture = PillowImage.fromarray(255 - np.asarray(picture))
    return picture


def _first(value: Any) -> float:
    from pydicom.multival import MultiValue

    return float(value[0] if isinstance(value, MultiValue) else value)


def nifti_shape(path: Path) -> tuple[int, int, int]:
    """(left-right, back-front, foot-head) size of a NIfTI volume turned to the nearest of those axes.

    Raises:
        Unusable: it is no NIfTI volume.
    """
    nibabel = _nibabel()
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
    except Exception as error:
        raise Unusable("image unreadable", f"{path.name} is no NIfTI file, or damaged") from error
    if len(image.shape) < 3:
        raise Unusable("image unreadable", f"{path.name} has {len(image.shape)} dimensions, not 3")
    left, back, foot = (int(size) for size in image.shape[:3])
    return left, back, foot


def _nifti_slice(content: bytes, ref: ImageRef) -> Image:
    """`slice:axial/12`, counted from 0: radiological view, patient's right on the left of the picture."""
    import numpy as np
    from PIL import Image as PillowImage

    plane, _, number = ref.part.partition(":")[2].partition("/")
    try:
        volume, low, high = _nifti_volume(content)
        values = np.take(volume, int(number), axis=AXES.index(plane))
    except Exception as error:
        raise Unusable("image damaged", f"{ref.key}: {type(error).__name__}: {error}") from error
    shown = np.rot90(values)  # second axis upwards
    if plane != "sagittal":
        shown = shown[:, ::-1]
    scaled = (np.nan_to_num(shown, nan=low) - low) / max(high - low, 1e-9)
    return PillowImage.fromarray(np.ascontiguousarray((np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)))


@lru_cache(maxsize=1)
def _nifti_volume(content: bytes) -> tuple[Any, float, float]:
    """The first volume of a NIfTI file turned to the axes of the patient, and its window; kept until another file is
    read, since its slices follow each other."""
    import gzip

    import numpy as np

    nibabel = _nibabel()
    data = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    kind = (
        nibabel.Nifti2Image if data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nibabel.Nifti1Image
    )
    image = nibabel.as_closest_canonical(kind.from_bytes(data))
    volume = np.asarray(image.dataobj, dtype=np.float32)
    volume = volume.reshape(*volume.shape[:3], -1)[..., 0]
    low, high = np.percentile(volume[np.isfinite(volume)], (0.5, 99.5))
    return volume, float(low), float(high)


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise missing_extra("pydicom", "medical", "reading DICOM") from error
    return pydicom


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "medical", "reading NIfTI") from error
    return nibabel
