"""Readers of source formats. `FORMATS` and `FOLDERS` list them, the more particular ones first.

A new format is one class: see docs/data.md, "Adding a format".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medgrpo.data.readers.base import BadRow, FolderReader, Item, Policy, Problems, Reader, RecordReader
from medgrpo.data.readers.captions import CaptionReader
from medgrpo.data.readers.choices import InlineChoiceReader
from medgrpo.data.readers.detection import CocoReader, YoloReader
from medgrpo.data.readers.generic import QuestionAnswerReader
from medgrpo.data.readers.mask_folders import MaskFolderReader
from medgrpo.data.readers.records import first_record, read_records
from medgrpo.data.readers.slake import SlakeReader
from medgrpo.data.readers.texts import ChatReader, InstructionReader, PreferenceReader, PubMedReader
from medgrpo.data.readers.volumes import DicomReader, NiftiReader
from medgrpo.data.readers.vqa_med import VqaMedReader
from medgrpo.data.readers.vqa_rad import VqaRadReader
from medgrpo.data.schema import Task
from medgrpo.data.source import Source
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards.columns import is_leaked_field

__all__ = ["FOLDERS", "FORMATS", "Item", "Policy", "Problems", "Reader", "Source", "read_source"]

FORMATS: tuple[RecordReader, ...] = (
    VqaRadReader(),
    SlakeReader(),
    VqaMedReader(),
    PubMedReader(),
    PreferenceReader(),
    ChatReader(),
    InstructionReader(),
    InlineChoiceReader(),
    CaptionReader(),
    QuestionAnswerReader(),
)
"""Record formats; a file belongs to the first that accepts its first record."""
FOLDERS: tuple[FolderReader, ...] = (
    CocoReader(),
    YoloReader(),
    DicomReader(),
    NiftiReader(),
    MaskFolderReader(),
)
"""Folder formats; asked before the record formats."""


def read_source(source: Source, problems: Problems, task: Task | None = None) -> tuple[list[Item], list[str]]:
    """All rows of a source, and the names of the formats that they were in.

    Raises:
        UsageError: nothing in the source is in a known format.
        MedgrpoError: a file cannot be read, or a row is bad and the policy is `stop`.
    """
    for folder in FOLDERS:
        if task in (None, folder.task) and folder.matches(source):
            return list(folder.read(source, problems)), [folder.name]
    items: list[Item] = []
    formats: list[str] = []
    unknown: list[str] = []
    for reader, files in _by_format(source, unknown).items():
        found = [item for file in files for item in _read_file(reader, file, source, problems)]
        reader.finish(found)
        items += found
        formats.append(reader.name)
    if not formats:
        raise _nothing_known(source, unknown)
    for name in unknown:
        problems.notes[f"{name} was left out: its format is not known"] += 1
    return items, formats


def _by_format(source: Source, unknown: list[str]) -> dict[RecordReader, list[Path]]:
    """Format -> its files; what has no format goes to `unknown` with the fields it has."""
    found: dict[RecordReader, list[Path]] = {}
    faults: list[MedgrpoError] = []
    for file in source.record_files:
        try:
            record = first_record(file)
        except MedgrpoError as error:
            if file.suffix.lower() == ".txt":
                continue  # a README
            faults.append(error)
            continue
        reader = next((r for r in FORMATS if record is not None and r.accepts(record)), None)
        if reader is None:
            fields = "no rows" if record is None else f"fields {', '.join(map(str, list(record)[:8]))}"
            unknown.append(f"{source.relative(file)} ({fields})")
        else:
            found.setdefault(reader, []).append(file)
    if faults:
        raise faults[0]
    return found


def _read_file(reader: RecordReader, file: Path, source: Source, problems: Problems) -> Iterator[Item]:
    name = source.relative(file)
    for number, record in read_records(file):
        try:
            if isinstance(record, BadRow):
                raise record
            leaked = [str(field) for field in record if is_leaked_field(str(field))]
            problems.dropped_fields.update(leaked)
            kept = {key: value for key, value in record.items() if str(key) not in leaked}
            item = reader.convert(kept, source, file)
        except BadRow as fault:
            problems.bad(name, number, fault)
            continue
        item.row["source_file"] = name
        item.row["source_row"] = number
        yield item


def _nothing_known(source: Source, unknown: list[str]) -> UsageError:
    if not unknown:
        found = f"{source.base} has no data file"
    else:
        found = f"no known format in {source.base}: " + "; ".join(unknown[:3])
    formats = ", ".join(reader.name for reader in (*FOLDERS, *FORMATS))
    return UsageError(
        found,
        expected="rows with a question and an answer in JSON, JSONL, CSV or parquet, or a folder of "
        f"masks, boxes, DICOM or NIfTI (formats: {formats})",
        hint="docs/data.md lists the formats with their fields",
    )
