"""`{question, answer, image?}` under the names that people use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.cells import CELL
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.values import folded, optional, required, text_of, texts_of
from medgrpo.data.schema import Row, Task, guess_language, is_yes_or_no, new_row
from medgrpo.data.source import ImageRef, MissingImage, Source
from medgrpo.records import lines

QUESTION = (
    *("question", "query", "problem", "prompt", "ask", "open-ended verifiable question", "text_input"),
    *("问题", "input_text"),
)
ANSWER = (
    *("answer", "answers", "gt_answer", "solution", "ground-true answer", "ground_truth", "gt", "label"),
    *("output", "response", "答案", "回答"),
)
IMAGE = (
    *("image", "images", "image_path", "image_name", "img_name", "img_path", "image_file"),
    *("file_name", "figure_path", "image_id"),
)
PATIENT = ("patient_id", "patientid", "patient", "subject_id", "case_id", "study_id")
OPTIONS = ("options", "choices", "candidates")
DIFFICULTY = ("difficulty", "difficulty_level", "hardness", "难度")
LEVELS = (("easy", "简单", "容易"), ("medium", "moderate", "中等"), ("hard", "difficult", "困难", "难"))
"""Words for a difficulty of 1, 2 and 3."""
LETTERED = ("choice {}", "option_{}", "option {}", "{}")
"""Columns of options, one for each letter, as in PMC-VQA, OmniMedVQA and C-Eval."""

_TAGGED = re.compile(r"^\s*<answer>(.*?)</answer>\s*$", re.DOTALL | re.IGNORECASE)
_OPTION_LINE = re.compile(r"\s*\(?([A-H])[\s).:：、.]+(\S.*?)\s*$")
_MARKED = re.compile(r"^\s*\(?([A-Z])\s*[).:：、]\s*")


class QuestionAnswerReader(RecordReader):
    """Rows with a question, an answer and perhaps a picture, options, labels or a title."""

    name: ClassVar[str] = "question-answer"
    task: ClassVar[Task] = "vqa"
    describe: ClassVar[str] = "question and answer, with image, options, plane, modality where present"

    def accepts(self, record: Record) -> bool:
        """A question field and an answer field."""
        names = folded(record)
        return any(name in names for name in QUESTION) and any(name in names for name in ANSWER)

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row of a record."""
        fields = folded(record)
        question = required(fields, *(name for name in QUESTION if name in fields))
        options = named_options(fields)
        answers = answers_of(fields, options)
        images = find_images(fields, source, file)
        row = new_row(
            question=question,
            answer=answers[0],
            answers=answers,
            image_id=optional(fields, "image_id") if images else None,
            patient_id=optional(fields, *PATIENT),
            language=language_of(fields, question),
            answer_type="choice" if options else answer_type_of(fields, answers[0]),
            question_type=optional(fields, "question_type", "content_type", "category", "department"),
            organ=optional(fields, "organ", "image_organ", "location", "body_part"),
            options=json.dumps(options, ensure_ascii=False) if options else None,
            caption=optional(fields, "caption"),
            image_title=optional(fields, "image_title", "case_title"),
            context=optional(fields, "context"),
            difficulty=difficulty_of(optional(fields, *DIFFICULTY)),
        )
        label_from_columns(row, fields)
        return Item(row, images, split=optional(fields, "split") or split_of(file))


def difficulty_of(text: str | None) -> float | None:
    """How hard a row is, as its source says: a number, or a word of `LEVELS`; None for other words.

    >>> difficulty_of("2.5"), difficulty_of("Hard"), difficulty_of("cardiology")
    (2.5, 3.0, None)
    """
    if text is None:
        return None
    for level, words in enumerate(LEVELS, start=1):
        if text.casefold() in words:
            return float(level)
    try:
        return float(text)
    except ValueError:
        return None


def label_from_columns(row: Row, fields: Mapping[str, Any]) -> None:
    """Plane and modality as the record's own columns name them, in the classes of the reward core."""
    from medgrpo.data.labels import KINDS, canonical

    for kind in KINDS:
        written = optional(fields, kind, f"{kind}_type")
        if written is not None:
            row[kind] = canonical(kind, written) or written
            row["label_source"] = "column"


def find_images(fields: Mapping[str, Any], source: Source, file: Path) -> list[ImageRef]:
    """The pictures that a record names in the first of its picture fields that has a value.

    Raises:
        BadRow: one is not there, or not inside the source.
    """
    name = next((name for name in IMAGE if fields.get(name) not in (None, "", [])), None)
    if name is None:
        return []
    values = fields[name] if isinstance(fields[name], list) else [fields[name]]
    if all(isinstance(value, Mapping) for value in values):  # as Hugging Face writes them
        return [_from_mapping(value, source, file) for value in values]
    return [find_image(text, source, file) for text in texts_of(fields[name])]


def _from_mapping(value: Mapping[str, Any], source: Source, file: Path) -> ImageRef:
    """A picture inside the parquet file, or one that it names by its path."""
    if "cell" in value:
        return ImageRef(source.relative(file), f"{CELL}{value['cell']}")
    named = text_of(value.get("path"))
    if named is None:
        raise BadRow("no image", "image", "neither bytes nor a path", "a picture")
    return find_image(named, source, file)


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
    """The accepted answers, the main one first; an option's letter becomes its text, `<answer>` is peeled off.

    Raises:
        BadRow: there is no answer, or the letter is none of the options.
    """
    name = next((name for name in ANSWER if name in fields), ANSWER[0])
    answers = [peeled for text in texts_of(fields.get(name)) if (peeled := _peeled(text))]
    if not answers:
        required({**fields, name: fields.get(name) and None}, name)  # raises, and says what is there
    if not options:
        return answers
    return [option_text(answers[0], options, name, letter=text_of(fields.get("answer_idx")))]


def _peeled(text: str) -> str:
    tagged = _TAGGED.match(text)
    return tagged.group(1).strip() if tagged else text


def option_text(answer: str, options: Mapping[str, str], field: str, letter: str | None = None) -> str:
    """The text of the option that an answer means, by its text or its letter.

    Raises:
        BadRow: it is none of the options.
    """
    texts = {text.casefold(): text for text in options.values()}
    if answer.casefold() in texts:
        return texts[answer.casefold()]
    marked = _MARKED.match(answer)
    for candidate in (letter, answer.strip("(). "), marked.group(1) if marked else None):
        if candidate and candidate.strip().upper() in options:
            return options[candidate.strip().upper()]
    raise BadRow(
        "answer not among the options",
        field,
        f"{answer!r} is none of the options {json.dumps(dict(options), ensure_ascii=False)[:80]}",
        "the letter or the text of an option",
    )


def named_options(fields: Mapping[str, Any]) -> dict[str, str]:
    """The options of a record, in one field or in one column each."""
    value = next((fields[name] for name in OPTIONS if name in fields), None)
    for column in LETTERED if value is None else ():
        names = [column.format(letter) for letter in "abcdefgh"]
        if names[0] in fields and names[1] in fields:
            value = [text for name in names if (text := text_of(fields.get(name)))]
            break
    return options_of(value)


def options_of(value: Any) -> dict[str, str]:
    """Letter -> text from an object, a list, a JSON text of either, or a text with one marked option a line (CMExam);
    empty if there are none."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if isinstance(value, str):
        return {match[1]: match[2] for line in lines(value) if (match := _OPTION_LINE.match(line))}
    if isinstance(value, Mapping):
        return {str(key).strip(): text for key, item in value.items() if (text := text_of(item)) is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        texts = [_MARKED.sub("", text) for text in texts_of(list(value))]
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
    return "closed" if is_yes_or_no(answer) else "open"


def split_of(file: Path) -> str | None:
    """The split that a file's name tells: `train`, `validation` or `test`."""
    words = re.split(r"[^a-z0-9]+", file.stem.lower())
    for split, starts in (("test", ("test",)), ("validation", ("val", "dev")), ("train", ("train",))):
        if any(word.startswith(starts) for word in words) or file.stem.lower().endswith(f"{starts[0]}set"):
            return split
    return None
