"""`{question, answer, image?}` under the names that people use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.source import ImageRef, MissingImage, Source
from medgrpo.data.readers.values import one_of_fields, optional, required, text_of, texts_of
from medgrpo.data.schema import Task, guess_language, new_row

QUESTION = ("question", "query", "problem", "prompt", "open-ended verifiable question", "ask", "input_text")
ANSWER = (
    "answer",
    "answers",
    "solution",
    "ground-true answer",
    "ground_truth",
    "gt",
    "label",
    "output",
    "response",
)
IMAGE = (
    "image",
    "images",
    "image_path",
    "image_name",
    "img_name",
    "img_path",
    "image_file",
    "file_name",
    "figure_path",
    "image_id",
)
PATIENT = ("patient_id", "patientid", "patient", "subject_id", "case_id", "study_id")
OPTIONS = ("options", "choices", "candidates")


class QuestionAnswerReader(RecordReader):
    """Rows with a question, an answer and perhaps a picture, options, labels or a title."""

    name: ClassVar[str] = "question-answer"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "question and answer, with image, options, plane, modality where present"

    def accepts(self, record: Record) -> bool:
        """A question field and an answer field."""
        return one_of_fields(record, QUESTION) is not None and one_of_fields(record, ANSWER) is not None

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row of a record."""
        fields = {str(key).strip().lower(): value for key, value in record.items()}
        question = required(fields, *(name for name in QUESTION if name in fields))
        options = options_of(next((fields[name] for name in OPTIONS if name in fields), None))
        answers = answers_of(fields, options)
        pictures = [fields[name] for name in IMAGE if fields.get(name) not in (None, "", [])]
        images = [find_image(name, source, file) for name in texts_of(pictures[0])] if pictures else []
        row = new_row(
            question=question,
            answer=answers[0],
            answers=answers,
            image_id=optional(fields, "image_id") if images else None,
            patient_id=optional(fields, *PATIENT),
            language=language_of(fields, question),
            answer_type="choice" if options else answer_type_of(fields, answers[0]),
            question_type=optional(fields, "question_type", "content_type", "category"),
            organ=optional(fields, "organ", "image_organ", "location", "body_part"),
            plane=optional(fields, "plane"),
            modality=optional(fields, "modality"),
            options=json.dumps(options, ensure_ascii=False) if options else None,
            caption=optional(fields, "caption"),
            image_title=optional(fields, "image_title", "case_title"),
            context=optional(fields, "context"),
        )
        if row["plane"] or row["modality"]:
            row["label_source"] = "column"
        return Item(row, images, split=optional(fields, "split"))


def find_image(name: str, source: Source, file: Path) -> ImageRef:
    """The picture that a row calls `name`.

    Raises:
        BadRow: it is not there, or not inside the source.
    """
    try:
        return source.image(name, file)
    except MissingImage as error:
        raise BadRow(error.reason, "image", str(error), "the path of a picture inside the source") from error


def answers_of(fields: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """The accepted answers, the main one first; an option's letter becomes its text.

    Raises:
        BadRow: there is no answer, or the letter is none of the options.
    """
    name = next((name for name in ANSWER if name in fields), ANSWER[0])
    answers = texts_of(fields.get(name))
    if not answers:
        required(fields, name)  # raises, and says what is there instead
    if not options:
        return answers
    letter = text_of(fields.get("answer_idx")) or answers[0].strip("().")
    if len(letter) == 1 and letter.upper() in options and answers[0] not in options.values():
        return [options[letter.upper()]]
    if answers[0] in options.values():
        return answers
    folded = {text.casefold(): text for text in options.values()}
    if answers[0].casefold() in folded:
        return [folded[answers[0].casefold()]]
    raise BadRow(
        "answer not among the options",
        name,
        f"{answers[0]!r} is none of the options {json.dumps(dict(options), ensure_ascii=False)[:80]}",
        "the letter or the text of an option",
    )


def options_of(value: Any) -> dict[str, str]:
    """Letter -> text from an object, a list, or a JSON text of either; empty if there are none."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if isinstance(value, Mapping):
        return {str(key).strip(): text for key, item in value.items() if (text := text_of(item)) is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        texts = [re.sub(r"^\(?[A-Z][).:]\s*", "", text) for text in texts_of(list(value))]
        return {chr(ord("A") + index): text for index, text in enumerate(texts)}
    return {}


def language_of(fields: Mapping[str, Any], question: str) -> str:
    """The language that the record names, else the one that the question is written in."""
    named = (optional(fields, "language", "q_lang", "lang") or "").lower()[:2]
    return named if named in ("en", "zh") else guess_language(question)


def answer_type_of(fields: Mapping[str, Any], answer: str) -> str:
    """`closed` or `open`, as the record says, else by whether the answer is yes or no."""
    named = (optional(fields, "answer_type", "asnwer_type") or "").strip().lower()
    if named in ("closed", "open", "choice"):
        return named
    return "closed" if answer.strip(" .。").lower() in ("yes", "no", "是", "否", "有", "没有") else "open"
