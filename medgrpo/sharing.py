"""What in a folder would identify a person or a machine, before the folder is given to others."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError
from medgrpo.masking import secret_values

TEXTS = frozenset(
    {
        ".json",
        ".jsonl",
        ".toml",
        ".md",
        ".html",
        ".csv",
        ".tsv",
        ".txt",
        ".log",
        ".yaml",
        ".yml",
        ".jinja",
        ".xml",
        "",
    }
)
CHUNK = 2**20
HEAD = 65_536

_PATTERNS: dict[str, re.Pattern[str]] = {
    "absolute path": re.compile(
        r"(?<![\w.:/-])(?:/(?:home|Users|root|mnt|media|data|scratch|work|workspace|tmp|var|opt|srv|private|lustre|gpfs|nfs"
        r"|storage|export|net|projects?)/[^\s\"'<>,;)\]}|\\]+|[A-Za-z]:\\{1,2}[^\s\"'<>,;)\]}|]+)"
    ),
    "name of a DICOM file": re.compile(r"[^\s\"'<>,;:/\\]+\.(?:dcm|dicom)\b", re.IGNORECASE),
    "person name as DICOM writes it": re.compile(r"\b[A-Za-z][\w'-]+\^[A-Za-z][\w'^-]+"),
    "e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[a-zA-Z]{2,}\b"),
}
_METADATA = {
    b"Exif\0\0": "picture with EXIF data",
    b"tEXt": "picture with text data",
    b"iTXt": "picture with text data",
}
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Finding:
    """One kind of thing in one file."""

    file: str
    kind: str
    count: int
    example: str


def identifying(folder: Path) -> list[Finding]:
    """Everything in a folder that would identify a person or a machine, by file.

    Looked for: absolute paths, this machine's name and this user's, names of DICOM files and persons, e-mail addresses,
    keys of the environment; DICOM files themselves, metadata of pictures. Texts, tables (parquet) and file names are read.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder at {folder}", expected="a model, adapter, dataset, run or report folder")
    found = []
    patterns = {**_PATTERNS, **_own_names()}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        counts: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for text in _texts(path, name):
            _look(text, patterns, counts, examples)
        for kind, example in _inside(path):
            counts[kind] += 1
            examples.setdefault(kind, example)
        found += [Finding(name, kind, count, examples[kind]) for kind, count in sorted(counts.items())]
    return found


def _own_names() -> dict[str, re.Pattern[str]]:
    names = {"name of this machine": socket.gethostname(), "name of this user": _user()}
    own = {kind: name for kind, name in names.items() if len(name) >= 3 and name not in ("root", "localhost")}
    patterns = {kind: re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for kind, name in own.items()}
    if secrets := secret_values():
        patterns["secret"] = re.compile("|".join(map(re.escape, secrets)))
    return patterns


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _look(
    text: str, patterns: dict[str, re.Pattern[str]], counts: Counter[str], examples: dict[str, str]
) -> None:
    for kind, pattern in patterns.items():
        for match in pattern.finditer(text):
            counts[kind] += 1
            examples.setdefault(kind, "***" if kind == "secret" else match[0][:120])


def _texts(path: Path, name: str) -> Iterator[str]:
    """The file's name, and what it holds as far as that is text."""
    yield Path(name).name
    if path.is_symlink():
        yield os.readlink(path)
    if not path.is_file():
        return
    if path.suffix.lower() == ".parquet":
        yield from _cells(path)
    elif path.suffix.lower() in TEXTS or "tfevents" in path.name:
        with path.open(encoding="utf-8", errors="replace") as file:
            while chunk := file.read(CHUNK):
                yield chunk + file.readline(CHUNK)  # what lies across the border


def _cells(path: Path) -> Iterator[str]:
    try:
        from pyarrow import parquet
    except ImportError:
        yield path.read_bytes().decode("utf-8", "replace")
        return
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield "\n".join(_words(batch.to_pylist()))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)


def _inside(path: Path) -> Iterator[tuple[str, str]]:
    """What a file is, or carries beside its pixels."""
    if not path.is_file() or path.is_symlink():
        return
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[128:132] == b"DICM":
        yield "DICOM file with its header", path.name
    if path.suffix.lower() in _PICTURES:
        for mark, kind in _METADATA.items():
            if mark in head:
                yield kind, mark.decode("ascii").strip("\0")
