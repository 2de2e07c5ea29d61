"""What a reader is: a class that turns one source format into rows.

A format whose rows are records (JSON, CSV, parquet) subclasses `RecordReader`; one that is a folder
with a shape of its own (masks beside images, DICOM series) subclasses `FolderReader`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from medgrpo.data.fields import Account
from medgrpo.data.schema import Task
from medgrpo.data.source import ImageRef, Source
from medgrpo.errors import MedgrpoError
from medgrpo.records import BadRow
from medgrpo.rows import Row

__all__ = ["BadRow", "FolderReader", "Item", "Policy", "Problems", "Reader", "Record", "RecordReader"]

Policy = Literal["skip", "stop"]
Record = Mapping[str, Any]


@dataclass
class Item:
    """One row as read, with the pictures it points to still in the source."""

    row: Row
    images: list[ImageRef] = field(default_factory=list)
    mask: ImageRef | None = None
    mask2: ImageRef | None = None
    fov: ImageRef | None = None
    split: str | None = None
    """Split of the source that the row is from, as `train`, if the source has splits."""

    @property
    def masks(self) -> dict[str, ImageRef]:
        """Column -> mask, those that there are."""
        found = {"mask": self.mask, "mask2": self.mask2, "fov": self.fov}
        return {column: ref for column, ref in found.items() if ref is not None}


class Problems:
    """What happens to bad rows: the first one stops the run, or all are skipped, counted and sampled."""

    EXAMPLES = 20

    def __init__(self, policy: Policy = "stop") -> None:
        self.policy = policy
        self.skipped: Counter[str] = Counter()
        self.examples: list[dict[str, Any]] = []
        self.dropped_fields: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.account = Account()

    def bad(self, file: str, row: int, fault: BadRow) -> None:
        """Counts a bad row, or stops at it.

        Raises:
            MedgrpoError: the policy is `stop`.
        """
        if self.policy == "stop":
            raise MedgrpoError(
                f"{file}, row {row}, field {fault.field!r}: {fault.problem}",
                expected=fault.expected,
                hint=fault.hint
                or "correct the row, or pass --on-bad-row skip to leave such rows out and count them",
            )
        self.skipped[fault.reason] += 1
        if len(self.examples) < self.EXAMPLES:
            self.examples.append({"file": file, "row": row, "field": fault.field, "problem": fault.problem})


class Reader(ABC):
    """A source format."""

    name: ClassVar[str]
    """How reports call the format."""
    task: ClassVar[Task]
    """The task that its rows are for."""
    harmless: ClassVar[frozenset[str]] = frozenset()
    """Fields that the format has, in lower case, and that change nothing; see `fields.HARMLESS` for those of all."""
    describe: ClassVar[str]
    """One line for lists of formats: the fields or the folder shape that it is known by."""


class RecordReader(Reader):
    """A format of records: `accepts` knows it by its first record, `convert` makes the row.

    Another format is one such class in `medgrpo.data.readers.FORMATS`.
    """

    @abstractmethod
    def accepts(self, record: Record) -> bool:
        """True if a file whose first record is this one has the format."""

    @abstractmethod
    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row of a record, a `Fields`; `id`, `source`, `source_file` and `source_row` are filled in afterwards.

        Raises:
            BadRow: the record cannot be used.
        """

    def finish(self, items: list[Item]) -> None:
        """Called once with all items of the format, to fill in what other rows tell (labels)."""


class FolderReader(Reader):
    """A format that is a folder of files."""

    needs_no_records: ClassVar[bool] = False
    """True where a file of rows in a known format means that the folder is only their pictures."""

    @abstractmethod
    def matches(self, source: Source) -> bool:
        """True if the source has this shape."""

    def annotation_files(self, source: Source) -> list[Path]:
        """The data files that the format reads; other data files of the folder are told as left out."""
        return []

    @abstractmethod
    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """All rows of the folder, with `source_file` and `source_row`."""
