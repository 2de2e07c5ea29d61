"""DICOM and NIfTI: slices as 8-bit pictures, and the plane and modality that their headers tell.

Of a DICOM header only what is listed here is read: how pixels are stored and shown, orientation,
modality. Names, dates and numbers of patients are never copied; patients are numbered in order of
appearance so that splits can keep them together.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.eight_bit import windowed
from medgrpo.data.opened import MAX_SOURCE_PIXELS, Opened, Unusable
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
MAX_VOXELS = 2**29
"""Larger volumes are refused by their header; 1024 × 1024 × 512 is one."""
HEADER_BYTES = 65_536
"""So much of a file is read for its header."""
LARGEST_HEADER = 544
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
        if int(data.get("Rows", 0)) * int(data.get("Columns", 0)) > MAX_SOURCE_PIXELS:
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
    try:
        with path.open("rb") as file:
            header = _nifti_header(file.read(HEADER_BYTES), path.name)
        turned = _nibabel().io_orientation(header.get_best_affine())
        shape = {int(axis): size for (axis, _), size in zip(turned, header.get_data_shape()[:3], strict=True)}
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("image unreadable", f"{path.name} is no NIfTI file, or damaged") from error
    return shape[0], shape[1], shape[2]


def _nifti_header(start: bytes, name: str) -> Any:
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
        raise Unusable("image unreadable", f"{name} has the dimensions {shape}, not 3")
    voxels = math.prod(int(size) for size in shape[:3])
    if voxels > MAX_VOXELS or header.get_data_offset() > 2**24:
        raise Unusable(
            "image too large",
            f"{name} claims {' × '.join(map(str, shape))} voxels, over the limit of {MAX_VOXELS // 10**6} million",
        )
    return header


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
    import numpy as np

    nibabel = _nibabel()
    header = _nifti_header(content[:HEADER_BYTES], "it")
    shape, kind = header.get_data_shape()[:3], header.get_data_dtype()
    offset = int(header.get_data_offset())
    needed = offset + math.prod(shape) * kind.itemsize  # of several volumes the first
    data = _unpacked(content, needed)
    if len(data) < needed:
        raise ValueError(f"cut off: {len(data)} bytes of {needed}")
    slope, inter = header.get_slope_inter()
    scale = (1.0 if slope is None else slope, 0.0 if inter is None else inter)
    stored = nibabel.arrayproxy.ArrayProxy(BytesIO(data), (shape, kind, offset, *scale))
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(stored, header.get_best_affine()))
    volume = np.asarray(image.dataobj, dtype=np.float32)
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
