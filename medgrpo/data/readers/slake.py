"""SLAKE: bilingual questions with a modality column; the plane is an answer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medgrpo.data.labels import canonical, gather_labels
from medgrpo.data.readers.base import Item, Record, RecordReader
from medgrpo.data.readers.generic import answer_type_of, find_image, language_of, split_of
from medgrpo.data.readers.values import optional, required
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import Source


class SlakeReader(RecordReader):
    """SLAKE 1.0: `img_name`, `q_lang`, `content_type`, `modality`; English and Chinese."""

    name: ClassVar[str] = "slake"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "SLAKE: img_id, img_name, question, answer, q_lang, modality, content_type"

    def accepts(self, record: Record) -> bool:
        """The fields that only SLAKE has."""
        return {"img_name", "question", "answer", "q_lang", "content_type"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; the picture's folder names it (`xmlab1/source.jpg`)."""
        question = required(record, "question")
        answer = required(record, "answer")
        name = required(record, "img_name")
        modality = optional(record, "modality")
        row = new_row(
            question=question,
            answer=answer,
            image_id=optional(record, "img_id") or Path(name).parent.name,
            language=language_of(record, question),
            answer_type=answer_type_of(record, answer),
            question_type=(optional(record, "content_type") or "").upper() or None,
            organ=optional(record, "location"),
            modality=canonical("modality", modality) or modality,
            label_source="column" if modality else None,
        )
        return Item(row, [find_image(name, source, file)], split=split_of(file))

    def finish(self, items: list[Item]) -> None:
        """The plane of each picture, from the questions that ask for it."""
        gather_labels([item.row for item in items])
