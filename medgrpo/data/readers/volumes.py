"""Folders of DICOM or NIfTI files without questions: plane and modality are asked, the header answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from medgrpo.data.dicom import read_dicom_header
from medgrpo.data.nifti import is_nifti, read_nifti_header
from medgrpo.data.opened import Unusable
from medgrpo.data.planes import AXES
from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import ImageRef, Source, split_of_name

QUESTIONS = {
    "plane": "In what plane is this image taken?",
    "modality": "What imaging modality was used to take this image?",
}
SLICES = 8
"""Slices taken of a volume in each plane, evenly over its inner four fifths."""
LABEL_NAME = re.compile(
    r"(^|[._-])(seg|segm|segmentation|dseg|masks?|labels?|gt|ground_?truth|truth|annotations?|lesions?_?mask|tumou?r_?mask"
    r"|aparc|aseg|parc)([._-]?\d*)?$",
    re.IGNORECASE,
)
"""Names of volumes that are maps of labels."""
LABEL_FOLDER = re.compile(
    r"labels?(tr|ts)?|masks?|seg(mentation)?s?|annotations?|gts?|ground_?truths?", re.IGNORECASE
)
SERIES = re.compile(
    r"([._-](t1|t1w|t1ce|t1c|t1gd|t1n|t2|t2w|t2f|flair|adc|dwi|swi|pd|ce|ct|cta|mr|mri|pet|suv|bold|\d{4}"
    r"|ses-?\w+|run-?\d+|acq-?\w+|frame\d+|4d|ed|es))+$",
    re.IGNORECASE,
)
"""Ends of names that tell the series, channel or time of a case, not the case."""
SHARED_FOLDER = re.compile(
    r"images?(tr|ts)?|labels?(tr|ts)?|imgs?|volumes?|scans?|masks?|anat|func|dwi|perf|fmap|ses-\w+|nifti|nii|data|raw"
    r"|derivatives|t1w?|t2w?|flair|ct|mri?|pet",
    re.IGNORECASE,
)
"""Folders that do not name a case: kinds of files, series and sessions."""
VISIT = re.compile(r"(?<=\d)[-_](\d{3}|(visit|tp|timepoint|week|month)[-_]?\d+)$", re.IGNORECASE)
"""The end of a case's name that numbers its visits."""
LARGEST_CASE = 24
"""Volumes that one case may have."""


class DicomReader(FolderReader):
    """DICOM files; multi-frame files give a picture a frame."""

    name: ClassVar[str] = "dicom"
    task: ClassVar[Task] = "vqa"
    needs_no_records: ClassVar[bool] = True
    describe: ClassVar[str] = "DICOM files without questions: plane and modality are asked"

    def matches(self, source: Source) -> bool:
        """DICOM files, and no data file that has questions about them."""
        return bool(_dicom_files(source))

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
            if header.left_out:
                problems.notes[f"DICOM file left out: {header.left_out}"] += 1
                continue
            known = header.patient or f"folder of {path.parent}"
            patient = patients.setdefault(known, f"patient-{len(patients) + 1:04d}")
            if not header.modality and not any(header.planes):
                fault = "the header names neither orientation nor a known modality"
                problems.bad(name, 1, BadRow("header tells no label", "header", fault, "one of them"))
                continue
            for frame in _spread(header.frames):
                labels = {"plane": header.planes[frame], "modality": header.modality}
                yield from _asked(
                    ImageRef(name, f"frame:{frame + 1}"), labels, patient, "DICOM header", frame + 1
                )


class NiftiReader(FolderReader):
    """NIfTI volumes: some slices in each plane."""

    name: ClassVar[str] = "nifti"
    task: ClassVar[Task] = "vqa"
    needs_no_records: ClassVar[bool] = True
    describe: ClassVar[str] = "NIfTI volumes without questions: slices in each plane, the plane is asked"

    def matches(self, source: Source) -> bool:
        """NIfTI files, and no data file that has questions about them."""
        return any(is_nifti(path.name) for path in source.files)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row about the plane of each slice; maps of labels are not asked about, and all volumes of a case are one
        patient."""
        volumes = [path for path in source.files if is_nifti(path.name)]
        cases = _cases(source, volumes)
        patients: dict[str, str] = {}
        for path in volumes:
            name = source.relative(path)
            try:
                volume = read_nifti_header(path)
            except Unusable as error:
                problems.bad(name, 1, BadRow(error.reason, "image", str(error), "a NIfTI volume"))
                continue
            if volume.is_label or _is_label_map(source, path):
                problems.notes["NIfTI file left out: a map of labels"] += 1
                continue
            problems.notes.update(volume.notes)
            patient = patients.setdefault(cases[path], f"volume-{len(patients) + 1:04d}")
            row = 0
            for axis, plane in enumerate(AXES):
                for index in _spread(volume.shape[axis]) if volume.planes[axis] else ():
                    row += 1
                    labels = {"plane": plane, "modality": None}
                    ref = ImageRef(name, f"slice:{plane}/{index}")
                    yield from _asked(ref, labels, patient, "NIfTI orientation", row)


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _is_label_map(source: Source, path: Path) -> bool:
    folders = Path(source.relative(path)).parts[:-1]
    return bool(LABEL_NAME.search(_stem(path))) or any(LABEL_FOLDER.fullmatch(folder) for folder in folders)


def _cases(source: Source, volumes: Sequence[Path]) -> dict[Path, str]:
    """Volume -> case: its folder, where each case has one (BraTS, BIDS, KiTS); else its name without the words that
    tell series and channel."""
    folder_of = {path: _case_folder(source, path) for path in volumes}
    sizes = Counter(folder for folder in folder_of.values() if folder)
    found = {}
    for path, folder in folder_of.items():
        own = VISIT.sub("", SERIES.sub("", _stem(path)) or _stem(path))
        # one folder with many volumes of other names is that of a whole set, not of a case
        is_case = folder is not None and len(sizes) > 1 and sizes[folder] <= LARGEST_CASE
        found[path] = f"folder {folder}" if is_case else f"{folder or ''} {own.lower()}"
    return found


def _case_folder(source: Source, path: Path) -> str | None:
    """The folder of the case; several visits of a patient (`BraTS-GLI-00008-000`, `-001`) are one."""
    parts = Path(source.relative(path)).parts[:-1]
    for index in range(len(parts) - 1, -1, -1):
        if not SHARED_FOLDER.fullmatch(parts[index]) and not split_of_name(parts[index]):
            return "/".join((*parts[:index], VISIT.sub("", parts[index])))
    return None


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
