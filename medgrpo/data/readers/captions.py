"""Pictures with captions: ROCO and ROCOv2, with UMLS concepts that name the modality."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

from medgrpo.data.readers.base import Item, Record, RecordReader
from medgrpo.data.readers.generic import find_image, split_of
from medgrpo.data.readers.values import folded, optional, required
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source
from medgrpo.records import BadRow, csv_rows, read_text

QUESTIONS = {"en": "Describe this image.", "zh": "请描述这张图像。"}
MODALITIES = {
    "C0040405": "CT",
    "C0024485": "MRI",
    "C1306645": "X-ray",
    "C0041618": "ultrasound",
    "C0002978": "angiography",
    "C0032743": "PET",
    "C1699633": "PET CT",
    "C0220934": "OCT",
}
"""UMLS concept -> class of the reward core: the modality concepts of ROCOv2."""
PLANES = {
    "C1999039": "AP",
    "C1996865": "PA",
    "C0205129": "sagittal",
    "C0205123": "coronal",
    "C0205131": "axial",
}
"""UMLS concept -> plane, those that ROCOv2's manually curated concepts use."""


class CaptionReader(RecordReader):
    """`ID, Caption` (ROCOv2) or `image, caption`; concepts from `concepts_manual.csv` beside it."""

    name: ClassVar[str] = "captions"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "ROCO: ID (or image) and caption, concepts_manual.csv beside it"

    def accepts(self, record: Record) -> bool:
        """A caption and the name of a picture, no question."""
        fields = folded(record)
        return (
            "caption" in fields and "question" not in fields and bool({"id", "image", "name"} & fields.keys())
        )

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row: the caption is the answer to "Describe this image."."""
        fields = folded(record)
        caption = required(fields, "caption")
        name = required(fields, "image", "id", "name")
        concepts = _concepts(file.parent / "concepts_manual.csv").get(name, ())
        language = guess_language(caption)
        row = new_row(
            question=QUESTIONS[language],
            answer=caption,
            caption=caption,
            image_id=name,
            language=language,
            answer_type="open",
            question_type="CAPTION",
            modality=next((MODALITIES[concept] for concept in concepts if concept in MODALITIES), None),
            plane=next((PLANES[concept] for concept in concepts if concept in PLANES), None),
        )
        if row["modality"] or row["plane"]:
            row["label_source"] = "UMLS concepts"
        return Item(row, [find_image(name, source, file)], split=optional(fields, "split") or split_of(file))


@cache
def _concepts(file: Path) -> dict[str, tuple[str, ...]]:
    if not file.is_file():
        return {}
    rows = [row for _, row in csv_rows(read_text(file).text, str(file)) if not isinstance(row, BadRow)]
    return {row["ID"]: tuple(row["CUIs"].split(";")) for row in rows if row.get("ID") and row.get("CUIs")}
