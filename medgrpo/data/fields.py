"""The fields of a record, with an account of what became of each: read, harmless, not read, or not understood.

A reader asks for what it knows; what it never asked for is looked at here. A field that is known to change what a
row means makes the row a bad one; any other is counted and shown. So no field is lost without a word, whatever
format it comes in, and no reader has to think of it.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from medgrpo.records import BadRow

HARMLESS = frozenset(
    (
        *("id", "_id", "_key", "qid", "uid", "uuid", "guid", "idx", "index", "no", "pid", "question_id"),
        *(
            "sample_id",
            "example_id",
            "row_id",
            "doc_id",
            "unique_id",
            "record_id",
            "hash",
            "source",
            "source_id",
        ),
        *("data_source", "dataset", "dataset_name", "origin", "url", "link", "license", "licence", "author"),
        *("date", "created", "created_at", "updated_at", "version", "timestamp", "channel", "task_id"),
        *(
            "width",
            "height",
            "image_width",
            "image_height",
            "image_size",
            "num_tokens",
            "token_count",
            "ability",
        ),
    )
)
"""Fields that say where a row is from or how large its parts are, never what it asks or answers."""

CHANGING: tuple[tuple[str, str], ...] = (
    (
        r"reject|dispreferred|non_preferred|negative_(response|answer|output)|worse",
        "the worse side of a pair",
    ),
    (r"^(chosen|preferred)", "the better side of a pair"),
    (r"^kto_tag$|^desirab|^is_(good|bad|desirable|preferred)$", "whether the answer is wanted"),
    (r"^objects?$|bbox|^boxes$|polygon|keypoint|^segmentation|^points?$|grounding", "places in the picture"),
    (r"^distractor|^(in_?correct|wrong)_(answer|option|choice)", "options to choose from"),
    (r"^(seg_)?masks?(_path|_file)?$", "a mask of the picture"),
    (r"^videos?(_path)?$|^audios?(_path)?$|^speech$", "a video or sound"),
    (r"^tools?$|^functions?$|^tool_calls?$|^function_call$", "tools that the model may call"),
    (r"^(option|choice|candidate)s?([ _]?[a-h0-9])?$|^op[a-h]$", "options to choose from"),
    (r"^cop$|^correct_(option|choice|index)$", "which option is right"),
    (r"^(history|input|context|passage|hint)$", "a part of the question"),
    (r"^(messages|conversations?|dialogue)$", "a conversation"),
)
"""Name (a pattern over its lower-case form) -> what such a field adds to a row."""

_PICTURE = re.compile(r"\.(jpe?g|png|gif|tiff?|bmp|webp|dcm|nii|nii\.gz)$", re.IGNORECASE)
_REGION = re.compile(r"(region|roi|crop|rect|rectangle)(_?(box|coords?|coordinates))?s?")
_SLICE = re.compile(r"(slice|frame)(_?(id|idx|index|no|num|number))?")
_VOLUME = re.compile(r"\.(dcm|nii|nii\.gz|nrrd|mha)$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Fields(Mapping[str, Any]):
    """A record that notes which of its fields are asked for; names are compared in lower case and trimmed.

    Args:
        record: as in the file. Of two names that become equal the first is found; the other counts as not read.
        index_base: the number of the first option, 0 or 1, where answers are numbers of options; None: not known.
    """

    def __init__(self, record: Mapping[str, Any], index_base: int | None = None) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._doubles: dict[str, Any] = {}
        for key, value in record.items():
            name = _folded(str(key))
            if name in self._names:
                self._doubles[str(key)] = value
            else:
                self._names[name], self._values[name] = str(key), value
        self._read: set[str] = set()
        self.index_base = index_base
        self.unread_parts: Counter[str] = Counter()
        """What lies deeper inside of a field that was read, and was not read itself (`messages.name`)."""
        self.notes: list[str] = []
        """What to tell of this record."""

    def __getitem__(self, name: str) -> Any:
        value = self._values[_folded(name)]
        self._read.add(_folded(name))
        return value

    def __contains__(self, name: object) -> bool:
        return _folded(str(name)) in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, name: str) -> Any:
        """The value of a field that is only looked at, to tell a format; None where there is none."""
        return self._values.get(_folded(name))

    def written(self, name: str) -> str:
        """The name as the file writes it."""
        return self._names.get(_folded(name), name)

    def unread(self) -> dict[str, Any]:
        """The fields that were not asked for and have a value, by their names in the file."""
        left = {self._names[name]: value for name, value in self._values.items() if name not in self._read}
        return {name: value for name, value in (left | self._doubles).items() if not _is_empty(value)}


class Account:
    """What became of the fields of all records of a source."""

    def __init__(self) -> None:
        self.harmless: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()

    def settle(self, fields: Fields, harmless: frozenset[str], format_name: str) -> None:
        """Counts the fields of a record that its reader did not read.

        Raises:
            BadRow: one of them is known to change what the row means.
        """
        read_values = {
            str(value).rsplit("/", 1)[-1]
            for value in map(fields.peek, fields._read)
            if isinstance(value, str)
        }
        for name, value in fields.unread().items():
            folded = _folded(name)
            if folded in HARMLESS or folded in harmless:
                self.harmless[name] += 1
                continue
            adds = _adds(folded, value)
            if adds is None and _SLICE.fullmatch(folded) and any(map(_VOLUME.search, read_values)):
                adds = "which slice of the volume is meant"
            if adds is None or (adds == PICTURE and str(value).rsplit("/", 1)[-1] in read_values):
                self.unread[name] += 1
                continue
            if adds == PICTURE and not any(_PICTURE.search(read) for read in read_values):
                raise BadRow(
                    "the field of the picture is not known",
                    name,
                    f"{name} names a picture, and the format {format_name} has no such field: the row would be without it",
                    "the field of the picture, by a name that is known (image, 图像), or named with --columns",
                    hint=f"--columns {shlex.quote(f'image={name}')}",
                )
            raise BadRow(
                "a field that changes the meaning is not read",
                name,
                f"{name} holds {adds}, and the format {format_name} does not read it: the row would mean something else",
                "a format that reads it (docs/data.md lists them), or the field removed where it is not meant",
            )
        self.unread.update(fields.unread_parts)


PICTURE = "a further picture"


def _adds(name: str, value: Any) -> str | None:
    """What a field adds to a row, by its name or because it holds pictures; None for others."""
    found = next((what for pattern, what in CHANGING if re.search(pattern, name)), None)
    if found is None and _REGION.fullmatch(name) and _has_numbers(value):
        return "places in the picture"
    if found is None and any(_is_picture(item) for item in (value if isinstance(value, list) else [value])):
        return PICTURE
    return found


def _has_numbers(value: Any) -> bool:
    """Whether a value is made of numbers, not a word such as "chest"."""
    if isinstance(value, str):
        return len(re.findall(r"\d+", value)) >= 4
    return isinstance(value, list | dict)


def _is_picture(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "cell" in value or _is_picture(value.get("path"))
    is_path = (
        isinstance(value, str) and len(value) < 500 and "://" not in value
    )  # an address only tells the origin
    return is_path and bool(_PICTURE.search(value.strip()))


def _is_empty(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


@lru_cache(maxsize=4096)  # the same names for every row
def _folded(name: str) -> str:
    """The name in lower case, trimmed, words joined by `_`: `rejectedResponse` and `Rejected Response` are one."""
    text = _CAMEL.sub("_", name.strip()) if not name.isupper() else name.strip()
    return re.sub(r"[\s-]+", "_", text).lower()
