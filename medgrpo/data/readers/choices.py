"""Multiple choice with the options inside the question: OmniMedVQA as Med-R1 writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

from medgrpo.data.readers.answers import answers_of
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.generic import find_images, label_from_columns, language_of, split_of
from medgrpo.data.readers.values import folded, optional, required
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import Source

_OPTION = re.compile(r"(?:^|[\s,;，])\(?([A-H])\s*[)）]\s*")


class InlineChoiceReader(RecordReader):
    """`problem` with `A)…, B)…` inside, `solution` = `<answer> A </answer>`."""

    name: ClassVar[str] = "inline-choice"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "OmniMedVQA: image, problem with A)…, B)… inside, solution <answer> X </answer>"

    def accepts(self, record: Record) -> bool:
        """A problem that holds at least two options."""
        problem = record.get("problem")
        return isinstance(problem, str) and "solution" in record and len(split_options(problem)[1]) >= 2

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row: the question without its options, the options, and the text of the right one."""
        fields = folded(record)
        question, options = split_options(required(fields, "problem"))
        if len(options) < 2:
            raise BadRow(
                "no options", "problem", "no options A)…, B)… in it", "a question followed by A)…, B)…"
            )
        row = new_row(
            question=question,
            answer=answers_of(fields, options)[0],
            language=language_of(fields, question),
            answer_type="choice",
            question_type=optional(fields, "question_type"),
            options=json.dumps(options, ensure_ascii=False),
        )
        label_from_columns(row, fields)
        return Item(row, find_images(fields, source, file), split=split_of(file))


def split_options(problem: str) -> tuple[str, dict[str, str]]:
    """The question and its options, letter -> text; the letters must run A, B, C in order.

    >>> split_options("Which organ? A)Lung., B)Heart")
    ('Which organ?', {'A': 'Lung', 'B': 'Heart'})
    """
    marks: list[re.Match[str]] = []
    for mark in _OPTION.finditer(problem):
        if mark.group(1) == chr(ord("A") + len(marks)):
            marks.append(mark)
    if not marks:
        return problem.strip(), {}
    ends = [mark.start() for mark in marks[1:]] + [len(problem)]
    options = {
        mark.group(1): problem[mark.end() : end].strip().rstrip(",.;，。 ").strip()
        for mark, end in zip(marks, ends, strict=True)
    }
    return problem[: marks[0].start()].strip(), options
