"""Slices of DICOM and NIfTI files as pictures.

Names, dates and numbers of patients are never copied; patients are numbered in order of appearance so that splits
can keep them together.
"""

from __future__ import annotations

from medgrpo.data.dicom import dicom_frame
from medgrpo.data.nifti import is_nifti, nifti_slice
from medgrpo.data.opened import Opened
from medgrpo.data.outline import outline
from medgrpo.data.planes import plane_of_normal
from medgrpo.data.source import ImageRef

__all__ = ["is_dicom", "is_nifti", "open_volume_slice", "plane_of_normal"]


def open_volume_slice(content: bytes, ref: ImageRef) -> Opened:
    """A slice of a DICOM or NIfTI file as a picture.

    Raises:
        Unusable: the file is damaged, or has no such slice.
    """
    notes = ["DICOM or NIfTI slice as 8-bit"]
    plane: str | None
    modality: str | None
    if is_nifti(ref.path):
        picture = nifti_slice(content, ref)
        plane, modality = ref.part.partition(":")[2].partition("/")[0], None
    else:
        picture, plane, modality, more = dicom_frame(content, ref.path, ref.part)
        notes += more
    return Opened(
        picture.size,
        lambda: picture,
        lambda _size: picture,
        lambda: outline(picture, picture.size) or picture,
        notes=notes,
        plane=plane,
        modality=modality,
    )


def is_dicom(content: bytes) -> bool:
    """True if the bytes are a DICOM file with its preamble."""
    return content[128:132] == b"DICM"
