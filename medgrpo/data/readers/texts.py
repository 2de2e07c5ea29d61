"""Text-only rows: instructions, PubMedQA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from medgrpo.data.readers.answers import answer_part, full_reply
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.chats import history_of, note_system
from medgrpo.data.readers.generic import answer_type_of, find_images, refuse_unwanted, split_of
from medgrpo.data.readers.values import folded, optional, required, text_of
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source


class InstructionReader(RecordReader):
    """Alpaca: `instruction`, `input` (often empty), `output`, and what LLaMA-Factory adds (`history`, `system`)."""

    name: ClassVar[str] = "instruction"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = (
        "Alpaca: instruction, input, output, history; Dolly: instruction, context, response"
    )

    def accepts(self, record: Record) -> bool:
        """An instruction and an output, or Dolly's response."""
        return "instruction" in record and ("output" in record or "response" in record)

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; a non-empty input follows the instruction on a line of its own."""
        fields = folded(record)
        refuse_unwanted(fields)
        question, context = instruction_of(record)
        reply = (
            required(fields, "output", "response") if "output" not in fields else required(fields, "output")
        )
        answer = answer_part(reply, "output")
        row = new_row(
            question=question,
            context=context,
            answer=answer,
            chosen=full_reply(reply, answer),
            language=guess_language(question),
        )
        row["answer_type"] = answer_type_of({}, answer)
        return Item(row, find_images(fields, source, file), split=split_of(file))


def instruction_of(record: Record) -> tuple[str, str | None]:
    """Instruction and input as one question, and what was said before it (LLaMA-Factory's `history`)."""
    fields = folded(record)
    parts = [optional(fields, "instruction"), optional(fields, "input"), optional(fields, "context")]
    question = "\n".join(part for part in parts if part) or required(fields, "instruction")
    note_system(fields)
    return question, history_of(fields)


class PubMedReader(RecordReader):
    """PubMedQA: an object keyed by PMID; yes, no or maybe from an abstract."""

    name: ClassVar[str] = "pubmedqa"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = "PubMedQA: QUESTION, CONTEXTS, final_decision"
    harmless: ClassVar[frozenset[str]] = frozenset(
        ("labels", "meshes", "year", "reasoning_required_pred", "reasoning_free_pred", "long_answer")
    )

    def accepts(self, record: Record) -> bool:
        """PubMedQA's field names, which are in capitals."""
        return {"QUESTION", "CONTEXTS", "final_decision"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; LONG_ANSWER, the abstract's conclusion, tells the answer and is left out."""
        contexts = record["CONTEXTS"]
        if not isinstance(contexts, Sequence) or isinstance(contexts, str):
            raise BadRow("no context", "CONTEXTS", f"{contexts!r} is no list", "the parts of the abstract")
        question = required(record, "QUESTION")
        row = new_row(
            question=question,
            answer=required(record, "final_decision"),
            context="\n".join(text for part in contexts if (text := text_of(part))),
            language=guess_language(question),
            answer_type="closed",
            question_type="YES/NO/MAYBE",
        )
        return Item(row, split=split_of(file))
