"""VQA-RAD, and VQA-Med 2019 where it was rewritten into the same fields."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medgrpo.data.labels import gather_labels
from medgrpo.data.readers.base import Item, Record, RecordReader
from medgrpo.data.readers.generic import answer_type_of, find_image, split_of
from medgrpo.data.readers.values import optional, required
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source

TYPOS = {"PRSE": "PRES", "ATRIB": "ATTRIB"}
"""Question types as they are misspelt in the published files."""


class VqaRadReader(RecordReader):
    """VQA-RAD: `image_name`, `question_type`, `phrase_type`; plane and modality only as answers."""

    name: ClassVar[str] = "vqa-rad"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "VQA-RAD: qid, image_name, question, answer, question_type, phrase_type"

    def accepts(self, record: Record) -> bool:
        """The fields that only VQA-RAD and what was modelled on it have."""
        return {"image_name", "question", "answer", "question_type", "phrase_type"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; integer answers become text, joined question types are put in one order."""
        question = required(record, "question")
        answer = required(record, "answer")
        name = required(record, "image_name")
        row = new_row(
            question=question,
            answer=answer,
            image_id=Path(name).stem,
            language=guess_language(question),
            answer_type=answer_type_of(record, answer),
            question_type=question_types(optional(record, "question_type")),
            organ=optional(record, "image_organ"),
        )
        return Item(row, [find_image(name, source, file)], split=split_of(file))

    def finish(self, items: list[Item]) -> None:
        """Plane and modality of each picture, from the questions that ask for them."""
        gather_labels([item.row for item in items])


def question_types(value: str | None) -> str | None:
    """Joined question types in upper case, sorted, typing errors of the published files corrected.

    >>> question_types("PRES, ATRIB")
    'ATTRIB,PRES'
    """
    if value is None:
        return None
    types = {part.strip().upper() for part in value.split(",") if part.strip()}
    return ",".join(sorted(TYPOS.get(part, part) for part in types)) or None
