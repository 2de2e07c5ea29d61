"""Hashes that say whether two datasets are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medgrpo.data.embedded import EMBEDDED
from medgrpo.data.schema import ROW_SCHEMA, STORED_COLUMNS
from medgrpo.rows import Row, columns

HASH_VERSION = 1
"""Rises with `HASHED`; every hash changes then, and no run resumes on data that were prepared before."""

HASHED = (
    *("id", "question", "answer", "answers", "image_id", "patient_id", "language", "answer_type"),
    *("question_type", "organ", "plane", "modality", "label_source", "options", "caption", "image_title"),
    *("context", "chosen", "rejected", "source_file", "source_row"),
)
"""The columns that every row's hash covers, in this order: written out, so that a new column changes no hash."""

HASHED_WHERE_SET = ("difficulty",)
"""Columns that came later: hashed in the rows that have a value, so that all others keep the hash they had."""

NOT_HASHED = (*STORED_COLUMNS, "source")
"""What does not belong to the content: how pictures are stored, what the dataset is called."""


def undecided_columns() -> set[str]:
    """Columns of the schema of which no list says whether they are hashed; a test wants it empty."""
    return set(ROW_SCHEMA) ^ {*HASHED, *HASHED_WHERE_SET, *NOT_HASHED}


def row_hash(row: Row, image_hashes: Iterable[str], boxes: str | None) -> str:
    """Hash of what a row says and of the source files of its pictures; how they are stored does not enter.

    Args:
        row: with all columns.
        image_hashes: of the source pictures, mask and field of view.
        boxes: the boxes in pixels of the source, as JSON.
    """
    content: list[Any] = [[columns(row)[name] for name in HASHED], list(image_hashes), boxes]
    later = {name: columns(row)[name] for name in HASHED_WHERE_SET if row.get(name) is not None}
    content += [value if name == "difficulty" else [name, value] for name, value in later.items()]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def combined_hash(parts: Iterable[str]) -> str:
    """Hash of texts in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def fingerprint(root: Path, files: Iterable[Path]) -> str:
    """Hash of names, sizes and times of files: tells at once that nothing was touched."""
    parts = []
    for path in files:
        status = path.stat()
        parts.append(f"{path.relative_to(root).as_posix()} {status.st_size} {status.st_mtime_ns}")
    return combined_hash(parts)


def file_hash(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def settings_hash(settings: dict[str, Any]) -> str:
    """Hash of options, whatever their order."""
    return combined_hash([json.dumps(settings, sort_keys=True, default=str)])


def source_hash(content: bytes, part: str) -> str:
    """Hash of a source picture: the bytes of its file, and which part of it is meant. Where a text holds it as base64
    does not enter, as rows in front of it would move it."""
    digest = hashlib.blake2b(content, digest_size=16)
    if not part.startswith(EMBEDDED):
        digest.update(part.encode())
    return digest.hexdigest()
