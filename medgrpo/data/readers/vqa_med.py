"""VQA-Med's pipe format: `image|category|question|answer#answer` (2019), `image|answer|answer` (2021)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medgrpo.data.labels import gather_labels
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.generic import answer_type_of, find_image, split_of
from medgrpo.data.readers.records import PIPE_FIELDS
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import Source

TYPES = {"modality": "MODALITY", "plane": "PLANE", "organ": "ORGAN", "abnormality": "ABN"}
ABNORMALITY_QUESTION = "What is the primary abnormality in this image?"
"""2021 has no questions of its own: every picture is asked this."""


class VqaMedReader(RecordReader):
    """VQA-Med: lines with fields between pipes; further accepted answers after `#` or `|`."""

    name: ClassVar[str] = "vqa-med"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "VQA-Med: image|category|question|answer#answer, or image|answer|answer"

    def accepts(self, record: Record) -> bool:
        """Lines of a .txt file with pipes."""
        return PIPE_FIELDS in record

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row of a line."""
        fields: list[str] = [field.strip() for field in record[PIPE_FIELDS]]
        if len(fields) == 4 and fields[1].lower() in TYPES:
            name, category, question, answer = fields
            answers = [text.strip() for text in answer.split("#") if text.strip()]
            kind = TYPES[category.lower()]
        else:
            name, *answers = fields
            answers = [text for text in answers if text]
            question, kind = ABNORMALITY_QUESTION, "ABN"
        if not answers:
            raise BadRow(
                "no answer", "answer", f"the line for {name!r} has no answer", "text after the last |"
            )
        row = new_row(
            question=question,
            answer=answers[0],
            answers=answers,
            image_id=name,
            language="en",
            answer_type=answer_type_of({}, answers[0]),
            question_type=kind,
        )
        return Item(row, [find_image(name, source, file)], split=split_of(file))

    def finish(self, items: list[Item]) -> None:
        """Plane and modality of each picture, from the lines that ask for them."""
        gather_labels([item.row for item in items])
