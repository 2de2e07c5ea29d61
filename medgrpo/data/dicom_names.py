"""Names of DICOM files stay behind: they are often the patient's name or number, and a prepared dataset travels.

What is written (ids, stored pictures, reports, the journal) names such a file by a hash of its path. The hash tells
files apart and is the same on every machine; it hides a name from a reader, not from someone who guesses the name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from medgrpo.data.readers.base import Item, Problems
from medgrpo.data.source import ImageRef, Source

SUFFIXES = (".dcm", ".dicom")
_MAGIC = b"DICM"


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its name, or without a suffix by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # 1.2.840.113619 is a name without a suffix
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == _MAGIC
    except OSError:
        return False


def aliases(source: Source) -> dict[str, str]:
    """Path → alias of every DICOM file of a source: `dicom-`, its number in the order of paths, and a hash of its path."""
    paths = [source.relative(path) for path in source.files if is_dicom_file(path)]
    return {path: f"dicom-{number:04d}-{_digest(path)}" for number, path in enumerate(paths, start=1)}


def _digest(path: str) -> str:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def with_aliases(items: Sequence[Item], names: dict[str, str]) -> list[Item]:
    """The rows whose DICOM pictures and masks are stored, and journalled, by alias.

    Args:
        items: as they were read.
        names: path → alias.
    """
    if not names:
        return list(items)
    return [
        replace(
            item,
            images=[_hidden(ref, names) for ref in item.images],
            mask=item.mask and _hidden(item.mask, names),
            mask2=item.mask2 and _hidden(item.mask2, names),
            fov=item.fov and _hidden(item.fov, names),
        )
        for item in items
    ]


def hide_names(items: Sequence[Item], problems: Problems, names: dict[str, str]) -> None:
    """Call DICOM files by alias in `image_id` and `source_file`, and in what is kept of bad rows.

    The last step before rows are written: what stops a run before it names the file as it is called.
    """
    short = _short_names(names)
    for item in items if names else ():
        row = item.row
        row["source_file"] = names.get(str(row["source_file"]), row["source_file"])
        if row["image_id"]:
            path, hash_sign, part = str(row["image_id"]).partition("#")
            row["image_id"] = short.get(path, path) + hash_sign + part
    problems.examples[:] = [
        {key: _without(value, names) for key, value in example.items()} for example in problems.examples
    ]


def _hidden(ref: ImageRef, names: dict[str, str]) -> ImageRef:
    return replace(ref, alias=names[ref.path]) if ref.path in names else ref


def _short_names(names: dict[str, str]) -> dict[str, str]:
    """Every way that a table calls one of the files: its path, its file name, with and without suffix."""
    short: dict[str, str] = {}
    for path, hidden in names.items():
        for name in (path, PurePosixPath(path).name, PurePosixPath(path).stem):
            short.setdefault(name, hidden)
    return short


def _without(value: Any, names: dict[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    for path, hidden in _longest_first(names.items()):
        for name in (path, PurePosixPath(path).name):
            value = value.replace(name, hidden)
    return value


def _longest_first(names: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(names, key=lambda pair: -len(pair[0]))
