"""DICOM: frames as 8-bit pictures, and the plane and modality that the header tells.

Of a header only what is listed here is read: how pixels are stored and shown, orientation, modality. Names, dates
and numbers of patients are never copied. A tag that is there and empty says nothing, as if it were not there. What
belongs to a frame is looked for in its own functional group, then in the shared one, then in the dataset.
"""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.eight_bit import windowed
from medgrpo.data.opened import MAX_SOURCE_PIXELS, Unusable
from medgrpo.data.planes import plane_of_normal
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
NO_PICTURE = ("SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTRECORD", "REG", "FID", "DOC", "PLAN", "ECG", "HD")
"""Modalities of objects that hold no picture."""
DERIVED = {"SEG": "a map of labels", "RTDOSE": "a map of doses"}
"""Modalities whose pixels are no picture of a patient."""
SHOWN = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
}
"""Functional group -> what of it decides how a frame is shown."""
STEPS = (
    "ModalityLUTSequence",
    "PresentationLUTSequence",
    "PresentationLUTShape",
    "PhotometricInterpretation",
)
LONGEST_SIDE = 2**16
MOST_FRAMES = 200_000
MOST_UNPACKED = 2**28
"""Bytes of a deflated file, unpacked; the syntax is for reports and small pictures."""
CHUNK = 2**20
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Header:
    """What is used of a DICOM header."""

    planes: tuple[str | None, ...]
    """Of each frame."""
    modality: str | None
    patient: str
    """Groups the pictures of a patient; empty where the header names none; never written anywhere."""
    left_out: str | None
    """Why there is no picture to ask about; None where there is."""
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.planes)


def read_dicom_header(path: Path) -> Header:
    """The header of a DICOM file, without its pixels.

    Raises:
        Unusable: it is no DICOM file.
    """
    pydicom = _pydicom()
    try:
        _check_packed(path, path.name)
        return _header(pydicom.dcmread(path, stop_before_pixels=True))
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("image unreadable", f"{path.name} is no DICOM file, or damaged") from error


def _check_packed(source: Path | BytesIO, name: str) -> None:
    """Refuse a deflated file that unfolds to more than `MOST_UNPACKED`: pydicom unpacks all of it to read a tag.

    Raises:
        Unusable: it does.
    """
    from pydicom.filereader import _read_file_meta_info as read_meta
    from pydicom.filereader import read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        read_preamble(file, force=False)
        if read_meta(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while size <= MOST_UNPACKED and not unpacker.eof:  # a byte of padding may follow the end
            if not (packed := unpacker.unconsumed_tail or file.read(CHUNK)):
                break
            size += len(unpacker.decompress(packed, CHUNK))
    if size > MOST_UNPACKED:
        raise Unusable("image too large", f"{name} unpacks to more than {MOST_UNPACKED // 2**20} MiB")


def _header(data: Any) -> Header:
    written = _text(data, "Modality").upper()
    frames = max(1, int(_number(data, "NumberOfFrames") or 1))
    if frames > MOST_FRAMES:
        raise ValueError(f"it claims {frames:,} frames")
    left_out = "an object without a picture" if written in NO_PICTURE else None
    if left_out is None and not _number(data, "Rows"):
        raise ValueError("no rows of pixels")
    patient = next(
        filter(None, (_text(data, n) for n in ("PatientID", "PatientName", "StudyInstanceUID"))), ""
    )
    return Header(
        planes=tuple(_plane(data, frame) for frame in range(frames)),
        modality=MODALITIES.get(written),
        patient=patient,
        left_out=left_out or DERIVED.get(written),
        notes=tuple(_warnings(data)),
    )


def _warnings(data: Any) -> list[str]:
    """What may stand in the pixels beside the patient."""
    if _text(data, "BurnedInAnnotation").upper() == "YES":
        return [
            "text is burned into the picture (BurnedInAnnotation): it may name a patient or tell the answer"
        ]
    if _text(data, "SOPClassUID").startswith(SECONDARY_CAPTURE) and not _text(data, "BurnedInAnnotation"):
        return ["secondary capture: a screenshot, which may have text burned in"]
    return []


def _plane(data: Any, frame: int) -> str | None:
    """From the orientation of rows and columns (CT, MR), else from the view position (X-ray)."""
    group = _group(data, "PlaneOrientationSequence", frame)
    values = _floats(group, "ImageOrientationPatient") or _floats(data, "ImageOrientationPatient")
    if len(values) == 6:
        import numpy as np

        return plane_of_normal(np.cross(values[:3], values[3:]))
    return VIEWS.get(_text(data, "ViewPosition").upper())


def _group(data: Any, name: str, frame: int) -> Any:
    """The functional group of a frame (from 0): its own, or else the shared one; None where there is neither."""
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = data.get("SharedFunctionalGroupsSequence") or []
    for groups, index in ((own, frame), (shared, 0)):
        if index < len(groups) and groups[index].get(name):
            return groups[index][name].value[0]
    return None


def _value(data: Any, name: str) -> Any:
    value = None if data is None else data.get(name)
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def _text(data: Any, name: str) -> str:
    value = _value(data, name)
    return "" if value is None else str(value).strip()


def _floats(data: Any, name: str) -> list[float]:
    value = _value(data, name)
    if value is None:
        return []
    values = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        return [float(item) for item in values]
    except (TypeError, ValueError):
        return []


def _number(data: Any, name: str) -> float | None:
    return next(iter(_floats(data, name)), None)


def dicom_frame(content: bytes, name: str, part: str) -> tuple[Image, str | None, str | None, list[str]]:
    """A frame as a picture, its plane and modality, and what to tell of it.

    Args:
        part: `frame:3`, counted from 1; empty: the first.
    Raises:
        Unusable: the file is damaged, has no such frame, or is compressed in a way that needs another decoder.
    """
    pydicom = _pydicom()
    frame = int(part.partition(":")[2] or 1) - 1
    try:
        _check_packed(BytesIO(content), name)
        data = pydicom.dcmread(BytesIO(content))
        sides = [int(_number(data, side) or 0) for side in ("Rows", "Columns")]
        if sides[0] * sides[1] > MAX_SOURCE_PIXELS:
            raise Unusable("image too large", f"{name} claims {sides[0]} × {sides[1]} px")
        _refuse_unreadable(data, name)
        pixels = pydicom.pixels.pixel_array(_without_empty(data), index=frame)
        picture, notes = shown_pixels(pixels, data, frame)
        header = _header(data)  # a field is decoded where it is first asked for, and may be damaged by itself
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("image damaged", f"{name}: {type(error).__name__}: {error}") from error
    if frame < header.frames:
        return picture, header.planes[frame], header.modality, [*notes, *header.notes]
    raise Unusable("image damaged", f"{name} has {header.frames} frames, not {frame + 1}")


def _refuse_unreadable(data: Any, name: str) -> None:
    """A transfer syntax that no installed decoder knows."""
    from pydicom.pixels import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise Unusable(
            "compressed DICOM without its decoder",
            f"{name} is compressed as {syntax.name}; to read it: {missing_extra('pylibjpeg', 'dicom', '').hint}",
        )


def _without_empty(data: Any) -> Any:
    """The dataset without the tags that are there and say nothing, which decoders take for values."""
    for name in ("NumberOfFrames", "PlanarConfiguration", "PixelRepresentation", "HighBit", "BitsStored"):
        if name in data and _value(data, name) is None:
            delattr(data, name)
    if "BitsStored" not in data and "BitsAllocated" in data:
        data.BitsStored = data.BitsAllocated
    if "PixelRepresentation" not in data:
        data.PixelRepresentation = 0
    return data


def shown_pixels(pixels: Any, data: Any, frame: int = 0) -> tuple[Image, list[str]]:
    """Stored values as a viewer shows them, and what to tell: modality LUT, window or VOI LUT, presentation LUT.

    The window is the frame's own, or the header's first; without one, the percentiles of `WINDOW_PERCENTILES`.
    """
    import numpy as np
    from PIL import Image as PillowImage
    from pydicom.pixels import apply_color_lut

    photometric = _text(data, "PhotometricInterpretation").upper()
    if photometric == "PALETTE COLOR":
        return PillowImage.fromarray(_to_bytes(apply_color_lut(pixels, data))), ["palette of colours"]
    if pixels.ndim == 3:  # colour, already as the photometric interpretation says
        bits = int(_number(data, "BitsStored") or 8)
        values = pixels if pixels.dtype == np.uint8 else (pixels >> max(bits - 8, 0)).astype(np.uint8)
        return PillowImage.fromarray(np.ascontiguousarray(values[..., :3])), []
    if int(_number(data, "BitsAllocated") or 8) == 1:
        shown = np.where(pixels > 0, np.uint8(255), np.uint8(0))
        return _inverted(shown, photometric, data), []
    shown, notes = _grey(pixels, _rules(data, frame))
    return _inverted(shown, photometric, data), notes


def _to_bytes(values: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8))


def _inverted(shown: Any, photometric: str, data: Any) -> Image:
    """MONOCHROME1 counts from white; a presentation shape INVERSE says the same."""
    from PIL import Image as PillowImage

    is_inverse = photometric == "MONOCHROME1" or _text(data, "PresentationLUTShape").upper() == "INVERSE"
    return PillowImage.fromarray(255 - shown if is_inverse else shown)


def _rules(data: Any, frame: int) -> Any:
    """A dataset with what decides how the frame is shown and nothing that is empty."""
    import pydicom

    rules = pydicom.Dataset()
    for name in ("BitsStored", "BitsAllocated", "PixelRepresentation"):
        if _number(data, name) is not None:
            setattr(rules, name, int(_number(data, name) or 0))
    for place, names in SHOWN.items():
        group = _group(data, place, frame)
        for name in names:
            for origin in (group, data):
                if _value(origin, name) is not None:
                    rules[name] = origin[name]
                    break
    for name in STEPS:
        if _value(data, name) is not None:
            rules[name] = data[name]
    rules.PhotometricInterpretation = "MONOCHROME2"
    return rules


def _grey(pixels: Any, rules: Any) -> tuple[Any, list[str]]:
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_presentation_lut, apply_voi_lut

    notes: list[str] = []
    slope = _number(rules, "RescaleSlope")
    if slope == 0 or (slope is None) != (_number(rules, "RescaleIntercept") is None):
        notes.append("rescale without slope or intercept: stored values are shown")
        for name in ("RescaleSlope", "RescaleIntercept"):
            if name in rules:
                delattr(rules, name)
    values = np.asarray(apply_modality_lut(pixels, rules))
    widths = _floats(rules, "WindowWidth")
    has_window = bool(widths) and bool(_floats(rules, "WindowCenter")) and widths[0] > 0
    if widths and not has_window:
        notes.append("window without a centre or a width: not used")
    if has_window:
        ends = apply_voi_lut(np.array([-1e12, 1e12]), rules, prefer_lut=False)
        shown = _scaled(apply_voi_lut(values.astype(np.float64), rules, prefer_lut=False), *ends)
    elif "VOILUTSequence" in rules:
        bits = int(rules.VOILUTSequence[0].LUTDescriptor[2])
        shown = _scaled(apply_voi_lut(values.astype(np.int64), rules), 0, 2**bits - 1)
    else:
        shown = np.asarray(windowed(values))
    if "PresentationLUTSequence" in rules:
        bits = int(rules.PresentationLUTSequence[0].LUTDescriptor[2])
        shown = _scaled(apply_presentation_lut(shown, rules), 0, 2**bits - 1)
    return shown, notes


def _scaled(values: Any, low: float, high: float) -> Any:
    import numpy as np

    shares = (np.asarray(values, np.float64) - low) / max(float(high - low), 1e-9)
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise missing_extra("pydicom", "medical", "reading DICOM") from error
    return pydicom
