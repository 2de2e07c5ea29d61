"""A dataset that medgrpo prepared, as the source of another: other picture sizes, other splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.readers.base import Item, Record, RecordReader
from medgrpo.data.readers.generic import find_image, split_of
from medgrpo.data.schema import FILE_COLUMNS, ROW_SCHEMA, STORED_COLUMNS, Task, new_row
from medgrpo.data.source import Source

OURS = frozenset(("label_source", "source_file", "source_row", "image_tokens", "answers"))
"""Columns that together only a prepared dataset has."""


class PreparedReader(RecordReader):
    """The parquet files of a prepared dataset, its splits kept as official ones."""

    name: ClassVar[str] = "prepared dataset"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = (
        "the folder that preprocess wrote: train.parquet, validation.parquet, test.parquet"
    )
    harmless: ClassVar[frozenset[str]] = frozenset(
        ("image_tokens", "mask_area", "source", "source_file", "source_row")
    )

    def accepts(self, record: Record) -> bool:
        """The columns that only our rows have."""
        return record.keys() >= OURS

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row as it is; what depends on how its pictures are stored is made anew."""
        kept: dict[str, Any] = {
            name: record[name]
            for name in ROW_SCHEMA
            if name in record and name not in {*STORED_COLUMNS, "id", "source", "source_file", "source_row"}
        }
        kept["boxes"] = record.get("boxes")
        row = new_row(**{name: value for name, value in kept.items() if value is not None})
        images = [find_image(name, source, file) for name in record["images"] or ()]
        masks = {
            column: find_image(record[column], source, file) for column in FILE_COLUMNS if record.get(column)
        }
        return Item(row, images, **masks, split=split_of(file))
