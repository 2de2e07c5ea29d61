"""verl's parquet: a prompt of turns, and the reference inside `reward_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.readers.answers import answer_part
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.chats import question_of, read_chat
from medgrpo.data.readers.generic import answer_type_of, difficulty_of, find_images, split_of
from medgrpo.data.readers.values import folded, text_of, texts_of
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source
from medgrpo.records import json_cell

EXTRA_HARMLESS = ("index", "split", "question", "answer", "problem", "id", "data_source")


class VerlReader(RecordReader):
    """verl: `prompt` (turns), `reward_model.ground_truth`, `images`, `extra_info`."""

    name: ClassVar[str] = "verl"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "verl: prompt (turns), reward_model.ground_truth, images, extra_info.split"

    def accepts(self, record: Record) -> bool:
        """A prompt, and a reward model with the truth."""
        return "prompt" in record and _object(record.get("reward_model")) is not None

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row: the last question, and the ground truth as its answer."""
        fields = folded(record)
        model = _object(fields["reward_model"]) or {}
        extra = _object(fields.get("extra_info")) or {}
        truth = model.get("ground_truth")
        answers = [answer_part(text, "reward_model") for text in texts_of(truth)]
        if not answers:
            raise BadRow(
                "no answer",
                "reward_model",
                f"ground_truth is {truth!r:.60}",
                "a text, a number or a list of texts",
            )
        prompt = fields["prompt"]
        chat = read_chat(
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt, "prompt", fields
        )
        question, context = question_of(chat.turns, fields)
        for key, value in extra.items():
            is_read = key == "difficulty" and difficulty_of(text_of(value)) is not None
            if not is_read and key not in EXTRA_HARMLESS and value not in (None, "", [], {}):
                fields.unread_parts[f"extra_info.{key}"] += 1
        row = new_row(
            question=question,
            context=context,
            answer=answers[0],
            answers=answers,
            language=guess_language(question),
            answer_type=answer_type_of({}, answers[0]),
            difficulty=difficulty_of(text_of(extra.get("difficulty"))),
        )
        images = find_images(fields, source, file, chat.pictures)
        return Item(row, images, split=text_of(extra.get("split")) or split_of(file))


def _object(value: Any) -> dict[str, Any] | None:
    """An object, also where it is written as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json_cell(value, "extra_info")
        except ValueError:
            return None
    return value if isinstance(value, dict) else None
