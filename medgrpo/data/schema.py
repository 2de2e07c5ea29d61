"""The columns of a prepared dataset: one row per question, whatever it was made from."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from medgrpo.errors import MedgrpoError
from medgrpo.rows import Row, as_row

SCHEMA_VERSION = 1
"""Rises when a column changes its meaning; `PreparedDataset.open` refuses a newer one."""

SPLITS = ("train", "validation", "test")

Task = Literal["vqa", "text", "vessels", "detection"]
TASKS: tuple[Task, ...] = ("vqa", "text", "vessels", "detection")

ColumnType = Literal["str", "int", "float", "list[str]"]

ROW_SCHEMA: dict[str, ColumnType] = {
    "id": "str",
    "question": "str",
    "answer": "str",
    "answers": "list[str]",
    "images": "list[str]",
    "image_id": "str",
    "patient_id": "str",
    "language": "str",
    "answer_type": "str",
    "question_type": "str",
    "organ": "str",
    "plane": "str",
    "modality": "str",
    "label_source": "str",
    "options": "str",
    "caption": "str",
    "image_title": "str",
    "context": "str",
    "boxes": "str",
    "mask": "str",
    "mask2": "str",
    "fov": "str",
    "mask_area": "float",
    "difficulty": "float",
    "chosen": "str",
    "rejected": "str",
    "width": "int",
    "height": "int",
    "image_tokens": "int",
    "source": "str",
    "source_file": "str",
    "source_row": "int",
}
"""Column -> type. ARCHITECTURE.md, "Rows", says what each one means."""

REQUIRED = (
    "id",
    "question",
    "answer",
    "answers",
    "images",
    "language",
    "source",
    "source_file",
    "source_row",
)
"""Columns that are never null; `images` may be an empty list."""

FILE_COLUMNS = ("mask", "mask2", "fov")
"""Columns that name one file each; `images` names a list of them."""

STORED_COLUMNS = ("images", "width", "height", "image_tokens", "boxes", "mask", "mask2", "fov", "mask_area")
"""Columns that depend on how the images are stored; they stay out of the content hash."""


def new_row(**fields: Any) -> Row:
    """A row with the given columns, all others None, `images` empty and `answers` = [answer].

    Raises:
        KeyError: a name is no column.
    """
    unknown = fields.keys() - ROW_SCHEMA.keys()
    if unknown:
        raise KeyError(f"not a column of a prepared dataset: {', '.join(sorted(unknown))}")
    row = as_row({name: fields.get(name) for name in ROW_SCHEMA})
    row["images"] = list(row["images"] or [])
    row["language"] = row["language"] or "en"
    if not row["answers"]:
        row["answers"] = [row["answer"]] if row["answer"] is not None else []
    return row


@cache
def arrow_schema() -> Any:
    """The columns as a `pyarrow.Schema`; required columns are not nullable."""
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "list[str]": pa.list_(pa.string())}
    return pa.schema(
        [pa.field(name, types[kind], nullable=name not in REQUIRED) for name, kind in ROW_SCHEMA.items()]
    )


def refuse_other_columns(schema: Any, file: object) -> None:
    """Refuse a table whose columns are not those of a prepared dataset; more columns than those, and fewer, are fine.

    Args:
        schema: a `pyarrow.Schema`.
        file: its place, for the message.
    Raises:
        MedgrpoError: a column has values of another type, or one that every row needs is not there.
    """
    for name, kind in ROW_SCHEMA.items():
        found = schema.get_all_field_indices(name)
        if len(found) > 1 or (not found and name in REQUIRED):
            raise MedgrpoError(
                f"{file} has {len(found)} columns called {name!r}",
                expected="one, as `medgrpo preprocess` writes it",
                hint=AGAIN,
            )
        if found and not _fits(schema.field(found[0]).type, kind):
            raise MedgrpoError(
                f"{file}: the column {name!r} holds {schema.field(found[0]).type!s:.80}",
                expected=f"{SAID[kind]}, as `medgrpo preprocess` writes it",
                hint=AGAIN,
            )


AGAIN = "the dataset was changed after it was prepared: prepare it again, into a new folder"
SAID: dict[ColumnType, str] = {
    "str": "texts",
    "int": "whole numbers",
    "float": "numbers",
    "list[str]": "lists of texts",
}


def _fits(stored: Any, kind: ColumnType) -> bool:
    """Whether a column's type gives such values; what other tools write counts too: large strings, whole numbers as floats."""
    from pyarrow import types

    if types.is_dictionary(stored):
        stored = stored.value_type
    if types.is_null(stored):
        return True
    if kind == "str":
        return bool(types.is_string(stored) or types.is_large_string(stored) or types.is_string_view(stored))
    if kind == "list[str]":
        is_list = types.is_list(stored) or types.is_large_list(stored) or types.is_fixed_size_list(stored)
        return is_list and _fits(stored.value_type, "str")
    return bool(types.is_integer(stored) or types.is_floating(stored))


YES = frozenset(("yes", "是", "有", "是的"))
NO = frozenset(("no", "否", "没有", "无", "不是"))


def is_yes_or_no(answer: str) -> bool:
    """Whether an answer is yes or no and nothing else: what makes a question closed where nothing says so."""
    return answer.strip(" .。").lower() in YES | NO


def guess_language(text: str) -> str:
    """`zh` where at least a fifth of the letters are Chinese characters, else `en`."""
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return "en"
    chinese = sum("\u3400" <= character <= "\u9fff" for character in letters)
    return "zh" if chinese >= 0.2 * len(letters) else "en"
