"""`{question, answer, image?}` under the names that people use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.cells import CELL
from medgrpo.data.embedded import EMBEDDED
from medgrpo.data.fields import Fields
from medgrpo.data.readers.answers import ANSWER, answer_field, answers_of, full_reply, named_options
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.chats import history_of, note_system
from medgrpo.data.readers.values import folded, optional, peeked, required, text_of, texts_of
from medgrpo.data.schema import Task, guess_language, is_yes_or_no, new_row
from medgrpo.data.source import ImageRef, MissingImage, Source, split_of_name
from medgrpo.records import json_cell
from medgrpo.rows import Row

QUESTION = (
    *("question", "query", "problem", "prompt", "ask", "open-ended verifiable question", "text_input"),
    *("问题", "input_text", "qtext", "提问", "问句", "题目", "问题文本", "问题内容"),
)
IMAGE = (
    *("image", "images", "image_path", "image_name", "img_name", "img_path", "image_file"),
    *("file_name", "figure_path", "image_paths", "img", "imgs", "picture", "path", "file_path", "filepath"),
    *("filename", "图片", "图像", "影像"),
    *(
        f"{what}{part}"
        for what in ("图片", "图像", "影像")
        for part in ("名", "名称", "文件", "文件名", "路径")
    ),
    *("文件名", "文件路径"),
    *(
        "image_base64",
        "image_b64",
        "base64_image",
        "img_base64",
        "image_data",
        "image_bytes",
        "base64",
        "image_id",
    ),
)
PATIENT = (
    "patient_id",
    "patientid",
    "patient",
    "subject_id",
    "case_id",
    "study_id",
    "患者",
    "患者编号",
    "患者id",
    "病人id",
    "病例号",
    "病历号",
)
WANTED = ("is_correct", "correct", "is_valid", "valid", "keep", "accepted", "is_preferred", "is_desirable")
UNWANTED = (
    "deleted",
    "is_deleted",
    "exclude",
    "excluded",
    "invalid",
    "is_rejected",
    "is_wrong",
    "discard",
    "ignore",
)
"""Flags of a row: whether it is one to learn from, or not."""
CONTEXT = ("context", "passage", "hint", "input")
DIFFICULTY = ("difficulty", "difficulty_level", "hardness", "难度")
LEVELS = (("easy", "简单", "容易"), ("medium", "moderate", "中等"), ("hard", "difficult", "困难", "难"))
"""Words for a difficulty of 1, 2 and 3."""


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
        refuse_unwanted(fields)
        named = [name for name in QUESTION if name in fields] or QUESTION[:1]
        question = required(fields, *named)
        options = named_options(fields)
        answers = answers_of(fields, options)
        images = find_images(fields, source, file)
        written = text_of(fields.get(answer_field(fields)))
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
            context=_context(fields),
            chosen=None if options else full_reply(written, answers[0]),
            difficulty=difficulty_of(optional(fields, *DIFFICULTY)),
        )
        label_from_columns(row, fields)
        mask = next((name for name in ("mask", "mask_path", "mask_file") if name in fields), None)
        has_mask = images and mask and fields[mask] not in (None, "")
        found = _found(fields[mask], source, file) if has_mask and mask else None
        return Item(row, images, found, split=optional(fields, "split") or split_of(file))


def _flag(value: Any) -> bool | None:
    """True or false, also as a word; None for anything else, numbers included."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _context(fields: Mapping[str, Any]) -> str | None:
    """What a row says beside its question: paragraphs, and the turns before it (ms-swift's `query`, `history`)."""
    if isinstance(fields, Fields):
        note_system(fields)
    parts = [text for name in CONTEXT if name in fields for text in _paragraphs(fields, name)]
    told = peeked(fields, "history")
    before = (
        optional(fields, "history") if isinstance(told, str) else history_of(fields)
    )  # a text: the patient's
    return "\n".join((*parts, *([before] if before else ()))) or None


def _paragraphs(fields: Mapping[str, Any], name: str) -> list[str]:
    """A text, or the texts of a list of them."""
    value = peeked(fields, name)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return texts_of(fields[name])
    text = optional(fields, name)
    return [] if text is None else [text]


def refuse_unwanted(fields: Mapping[str, Any]) -> None:
    """Rows whose answer is marked as not wanted (TRL's unpaired preferences, KTO) are no examples.

    Raises:
        BadRow: `label`, `kto_tag` or a flag such as `is_correct` is false, or one such as `deleted` is true.
    """
    for names, meant in ((WANTED, True), (UNWANTED, False)):
        for name in names:
            said = _flag(peeked(fields, name))
            if said is None:
                continue
            fields.get(name)  # now it is read
            if said != meant:
                raise BadRow(
                    "answer that is not wanted",
                    name,
                    f"{name} is {str(said).lower()}: the row is not one to learn from",
                    "rows to learn from; --on-bad-row skip leaves the others out",
                )
    replies = ("completion", "response", "output", "answer", "messages", "conversations")
    has_reply = any(name in fields for name in replies)
    for name in ("label", "kto_tag", "desirable"):
        value = fields[name] if name in fields and has_reply else None
        beside = isinstance(value, bool) or (value == 0 and "completion" in fields and "prompt" in fields)
        if beside and not value:
            raise BadRow(
                "answer that is not wanted",
                name,
                f"{name} is false: the row says how not to answer",
                "rows to learn from; --on-bad-row skip leaves the others out",
            )


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


def find_images(
    fields: Mapping[str, Any], source: Source, file: Path, named: Sequence[Any] = ()
) -> list[ImageRef]:
    """The pictures that a record names, in one field or in `image_1`, `image_2`, …

    Args:
        named: those that the parts of a conversation name; they are taken where no field names any.
    Raises:
        BadRow: one is not there, or not inside the source; or field and conversation name other numbers of them.
    """
    name = next((name for name in IMAGE if name in fields and fields[name] not in (None, "", [])), None)
    values = [] if name is None else _listed(fields[name])
    numbered = (f"image{joint}{number}" for number in range(1, 10) for joint in ("_", ""))
    values += [value for key in numbered if key in fields and (value := fields[key]) not in (None, "", [])]
    if values and named and len(values) != len(named):
        fault = f"{len(values)} pictures in {name}, {len(named)} in the conversation"
        raise BadRow("image marks and pictures differ", name or "image", fault, "the same pictures in both")
    return [_found(value, source, file) for value in values or named]


def _listed(value: Any) -> list[Any]:
    """A field of one picture or several as a list; lists are also met as JSON texts."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        with suppress(ValueError):
            value = json_cell(value, "image")
    return list(value) if isinstance(value, list) else [value]


def _found(value: Any, source: Source, file: Path) -> ImageRef:
    """A picture inside the parquet file, or one that is named by its path."""
    if isinstance(value, Mapping):
        if "cell" in value:
            return _in_file(str(value["cell"]), source, file)
        keys = ("bytes", "data", "path", "image", "image_url", "url", "file_name", "file")
        value = next((value[key] for key in keys if value.get(key)), None)
        if isinstance(value, Mapping):
            return _found(value, source, file)
    name = text_of(value)
    if name is None:
        raise BadRow("no image", "image", "neither bytes nor a path", "a picture")
    name = name.removeprefix("file://")
    is_base64 = len(name) > 300 and not re.search(r"[\s.]", name)
    if re.match(r"data:|https?://", name) or is_base64:
        what = "a web address" if name.startswith("http") else "inside of the text, in no form that is read"
        raise BadRow(
            "picture is no file",
            "image",
            f"{name[:40]}… is {what}",
            "the path of a picture inside the source",
        )
    return find_image(name, source, file)


def _in_file(cell: str, source: Source, file: Path) -> ImageRef:
    """A picture inside of the data file itself."""
    if not cell.startswith(EMBEDDED):
        return ImageRef(source.relative(file), f"{CELL}{cell}")
    source.notes["picture read out of the data file, where it stands as base64 or within a text"] += 1
    return ImageRef(source.relative(file), cell)


def find_image(name: str, source: Source, file: Path) -> ImageRef:
    """The picture that a row calls `name`.

    Raises:
        BadRow: it is not there, or not inside the source.
    """
    try:
        return source.image(name, file)
    except MissingImage as error:
        expected = "the path of a picture inside the source"
        raise BadRow(error.reason, "image", str(error), expected, error.hint) from error


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
    return split_of_name(file.stem)
