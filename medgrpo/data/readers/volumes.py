"""Folders of DICOM or NIfTI files without questions: plane and modality are asked, the header answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from medgrpo.data.opened import Unusable
from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import ImageRef, Source
from medgrpo.data.volumes import AXES, is_nifti, nifti_shape, read_dicom_header

QUESTIONS = {
    "plane": "In what plane is this image taken?",
    "modality": "What imaging modality was used to take this image?",
}
SLICES = 8
"""Slices taken of a volume in each plane, evenly over its inner four fifths."""


class DicomReader(FolderReader):
    """DICOM files; multi-frame files give a picture a frame."""

    name: ClassVar[str] = "dicom"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "DICOM files without questions: plane and modality are asked"

    def matches(self, source: Source) -> bool:
        """DICOM files, and no data file that has questions about them."""
        return bool(_dicom_files(source)) and not _has_records(source)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """Rows about plane and modality of each frame, those that the header tells."""
        patients: dict[str, str] = {}
        for path in _dicom_files(source):
            name = source.relative(path)
            try:
                header = read_dicom_header(path)
            except Unusable as error:
                problems.bad(name, 1, BadRow(error.reason, "image", str(error), "a DICOM file"))
                continue
            patient = patients.setdefault(header.patient, f"patient-{len(patients) + 1:04d}")
            labels = {"plane": header.plane, "modality": header.modality}
            if not any(labels.values()):
                fault = "the header names neither orientation nor a known modality"
                problems.bad(name, 1, BadRow("header tells no label", "header", fault, "one of them"))
                continue
            for frame in _spread(header.frames):
                yield from _asked(
                    ImageRef(name, f"frame:{frame + 1}"), labels, patient, "DICOM header", frame + 1
                )


class NiftiReader(FolderReader):
    """NIfTI volumes: some slices in each plane."""

    name: ClassVar[str] = "nifti"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "NIfTI volumes without questions: slices in each plane, the plane is asked"

    def matches(self, source: Source) -> bool:
        """NIfTI files, and no data file that has questions about them."""
        return any(is_nifti(path.name) for path in source.files) and not _has_records(source)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row about the plane of each slice; a volume is one patient."""
        volumes = [path for path in source.files if is_nifti(path.name)]
        for number, path in enumerate(volumes, start=1):
            name = source.relative(path)
            try:
                shape = nifti_shape(path)
            except Unusable as error:
                problems.bad(name, 1, BadRow(error.reason, "image", str(error), "a NIfTI volume"))
                continue
            patient = f"volume-{number:04d}"
            row = 0
            for axis, plane in enumerate(AXES):
                for index in _spread(shape[axis]):
                    row += 1
                    ref = ImageRef(name, f"slice:{plane}/{index}")
                    yield from _asked(
                        ref, {"plane": plane, "modality": None}, patient, "NIfTI orientation", row
                    )


def _spread(count: int) -> list[int]:
    """Up to `SLICES` indices, evenly over the inner four fifths; all where there are few."""
    if count <= SLICES:
        return list(range(count))
    first, last = count * 0.1, count * 0.9
    return sorted({round(first + (last - first) * step / (SLICES - 1)) for step in range(SLICES)})


def _asked(
    ref: ImageRef, labels: dict[str, str | None], patient: str, origin: str, number: int
) -> Iterator[Item]:
    for kind, question in QUESTIONS.items():
        answer = labels[kind]
        if answer is not None:
            row = new_row(
                question=question,
                answer=answer,
                image_id=ref.key,
                patient_id=patient,
                language="en",
                answer_type="open",
                question_type=kind.upper(),
                plane=labels["plane"],
                modality=labels["modality"],
                label_source=origin,
                source_file=ref.path,
                source_row=number,
            )
            yield Item(row, [ref])


def _dicom_files(source: Source) -> list[Path]:
    if source.only_file:
        return []
    return [
        path
        for path in source.files
        if path.suffix.lower() in (".dcm", ".dicom") or (not path.suffix and _starts_like_dicom(path))
    ]


def _starts_like_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _has_records(source: Source) -> bool:
    return any(path.suffix.lower() != ".txt" for path in source.record_files)
