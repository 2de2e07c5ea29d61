"""Readers of source formats. `FORMATS` and `FOLDERS` list them, the more particular ones first.

A new format is one class: see docs/data.md, "Adding a format".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medgrpo.data.fields import Fields
from medgrpo.data.marks import settle_marks
from medgrpo.data.readers.answers import index_base, may_number_options
from medgrpo.data.readers.base import BadRow, FolderReader, Item, Policy, Problems, Reader, RecordReader
from medgrpo.data.readers.captions import CaptionReader
from medgrpo.data.readers.choices import InlineChoiceReader
from medgrpo.data.readers.coco import CocoReader
from medgrpo.data.readers.conversations import ChatReader, PreferenceReader
from medgrpo.data.readers.cvat import CvatReader
from medgrpo.data.readers.dataset_info import NAME, Layout, entries_of, layouts
from medgrpo.data.readers.generic import QuestionAnswerReader
from medgrpo.data.readers.mask_folders import MaskFolderReader
from medgrpo.data.readers.named_columns import guessed_roles, with_roles
from medgrpo.data.readers.prepared_rows import PreparedReader
from medgrpo.data.readers.records import first_record, notes_of, read_records
from medgrpo.data.readers.slake import SlakeReader
from medgrpo.data.readers.texts import InstructionReader, PubMedReader
from medgrpo.data.readers.verl import VerlReader
from medgrpo.data.readers.voc import LabelMeReader, VocReader
from medgrpo.data.readers.volumes import DicomReader, NiftiReader
from medgrpo.data.readers.vqa_med import VqaMedReader
from medgrpo.data.readers.vqa_rad import VqaRadReader
from medgrpo.data.readers.yolo import YoloReader
from medgrpo.data.schema import Task
from medgrpo.data.source import Source, split_word
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards.columns import is_leaked_field

__all__ = ["FOLDERS", "FORMATS", "Item", "Policy", "Problems", "Reader", "Source", "read_source"]

Unknown = dict[str, Any] | str
"""Of a file in no known format: its first record, or what is wrong with its first row where all are bad."""
FORMATS: tuple[RecordReader, ...] = (
    PreparedReader(),
    VqaRadReader(),
    SlakeReader(),
    VqaMedReader(),
    PubMedReader(),
    VerlReader(),
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
    CvatReader(),
    VocReader(),
    LabelMeReader(),
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
    found = _read_source(source, problems, task)
    for suffix, count in source.other_kinds.items():
        problems.notes[f"file of a kind that is not read ({suffix})"] += count
    for kind, count in source.no_files.items():
        problems.skipped[f"{kind}, not a file"] += count
    return found


def _read_source(source: Source, problems: Problems, task: Task | None) -> tuple[list[Item], list[str]]:
    for folder in FOLDERS:
        if task in (None, folder.task) and folder.matches(source):
            if folder.needs_no_records and _has_records(source):
                continue
            found = list(folder.read(source, problems))
            problems.notes.update(source.notes)
            used = set(folder.annotation_files(source))
            for file in source.record_files:
                if file not in used and file.suffix.lower() != ".txt":
                    left = f"{source.relative(file)} was left out: the folder was read as {folder.name}"
                    problems.notes[left] += 1
            return found, [folder.name]
    items: list[Item] = []
    formats: list[str] = []
    unknown: dict[str, Unknown] = {}
    known = layouts(source, problems)
    for reader, files in _by_format(source, known, unknown).items():
        found = [
            item for file in files for item in _read_file(reader, file, known.get(file), source, problems)
        ]
        reader.finish(found)
        items += found
        formats.append(reader.name)
    if not formats:
        raise _nothing_known(source, unknown)
    problems.notes.update(source.notes)
    for name in unknown:
        problems.notes[f"{name} was left out: its format is not known"] += 1
    return items, formats


def _has_records(source: Source) -> bool:
    """Whether a file of the source holds rows that a record format knows; a description (nnU-Net's dataset.json, a
    table of patients) does not."""
    for file in source.record_files:
        try:
            record = first_record(file)
        except MedgrpoError:
            continue
        if record is not None and file.suffix.lower() != ".txt" and any(r.accepts(record) for r in FORMATS):
            return True
    return False


def _by_format(
    source: Source, known: Mapping[Path, Layout], unknown: dict[str, Unknown]
) -> dict[RecordReader, list[Path]]:
    """Format -> its files; what has no format goes to `unknown`."""
    found: dict[RecordReader, list[Path]] = {}
    faults: list[MedgrpoError] = []
    for file in source.record_files:
        if file.name == NAME and entries_of(file):
            continue
        try:
            record, broken = _first(_records(file, known.get(file), source))
        except MedgrpoError as error:
            if file.suffix.lower() == ".txt":
                continue  # a README
            faults.append(error)
            continue
        reader = next((r for r in FORMATS if record is not None and r.accepts(record)), None)
        if reader is None:
            unknown[source.relative(file)] = broken if record is None else record
        else:
            found.setdefault(reader, []).append(file)
    if faults:
        raise faults[0]
    if any(isinstance(reader, PreparedReader) for reader in found):
        unknown.pop("dataset.json", None)  # what preprocess wrote of the dataset, no rows
    return found


def _first(records: Iterator[tuple[int, dict[str, Any] | BadRow]]) -> tuple[dict[str, Any] | None, str]:
    """The first record that is not broken, and what is wrong with the first of those that are."""
    fault = ""
    for number, record in records:
        if not isinstance(record, BadRow):
            return record, fault
        fault = fault or f"row {number}, field {record.field!r}: {record.problem}"
    return None, fault


def _records(
    file: Path, layout: Layout | None, source: Source
) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The records of a file, with the names that the person or `dataset_info.json` says for it."""
    for number, record in read_records(file):
        try:
            if isinstance(record, BadRow):
                yield number, record
            elif source.columns:
                yield number, with_roles(record, source.columns, file)
            else:
                yield number, record if layout is None else layout.apply(record)
        except BadRow as fault:
            yield number, fault


def _read_file(
    reader: RecordReader, file: Path, layout: Layout | None, source: Source, problems: Problems
) -> Iterator[Item]:
    name = source.relative(file)
    for note, count in notes_of(file).items():
        problems.notes[f"{name}: {note}"] += count
    base = _index_base(file, source)
    if base is not None:
        problems.notes[f"numbers of options count from {base}, as the whole file shows"] += 1
    for number, record in _records(file, layout, source):
        try:
            if isinstance(record, BadRow):
                raise record
            leaked = [str(field) for field in record if is_leaked_field(str(field))]
            problems.dropped_fields.update(leaked)
            fields = Fields({key: value for key, value in record.items() if str(key) not in leaked}, base)
            item = reader.convert(fields, source, file)
            problems.account.settle(fields, reader.harmless, reader.name)
            notes = settle_marks(item.row, len(item.images))
        except BadRow as fault:
            problems.bad(name, number, fault)
            continue
        problems.notes.update((*fields.notes, *notes))
        item.split = _known_split(item.split, problems) or source.split_of(file)
        item.row["source_file"] = name
        item.row["source_row"] = number
        yield item


def _known_split(name: str | None, problems: Problems) -> str | None:
    split = split_word(name)
    if name and split is None:
        problems.notes[f"split {name!r} is none of train, validation and test: not used"] += 1
    return split


def _index_base(file: Path, source: Source) -> int | None:
    """Where the numbers of options count from in a file, where it may have any: that takes a look at all of it."""
    whole = (record for _, record in _records(file, None, source) if not isinstance(record, BadRow))
    first = next(whole, None)
    if first is None or not may_number_options(Fields(first)):
        return None
    return index_base(record for _, record in _records(file, None, source) if not isinstance(record, BadRow))


def _nothing_known(source: Source, unknown: Mapping[str, Unknown]) -> UsageError:
    formats = ", ".join(reader.name for reader in (*FOLDERS, *FORMATS))
    hint = "docs/data.md lists the formats with their fields"
    if unknown:
        shown = [
            f"{name} ({found or 'no rows' if isinstance(found, str) else 'fields ' + ', '.join(map(str, [*found][:8]))})"
            for name, found in list(unknown.items())[:3]
        ]
        found = f"no known format in {source.base}: " + "; ".join(shown)
        record = next((found for found in unknown.values() if found and not isinstance(found, str)), None)
        if record:
            hint = f"say which field is which, as in --columns {guessed_roles(record, source.columns)}"
    elif source.pictures:
        kinds = ", ".join(sorted({path.suffix.lower() for path in source.pictures}))
        found = (
            f"{source.base} has {len(source.pictures):,} pictures ({kinds}), and no file with their questions and "
            "answers, masks or boxes"
        )
        example = source.pictures[0].name
        hint = (
            f"put a file rows.csv beside them with the columns image,question,answer (image: {example}), or their "
            "masks in a folder masks/"
        )
    else:
        found = f"{source.base} has no data file"
    return UsageError(
        found,
        expected="rows with a question and an answer in JSON, JSONL, CSV or parquet, or a folder of "
        f"masks, boxes, DICOM or NIfTI (formats: {formats})",
        hint=hint,
    )
