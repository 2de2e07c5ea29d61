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

from medgrpo.binaries import words_of
from medgrpo.errors import UsageError
from medgrpo.files import kind_of
from medgrpo.masking import masked, secret_values
from medgrpo.metadata import Piece

_UNIX = (
    r"(?<![\w.:/-])(?:file://)?/(?:home|[Uu]sers|Volumes|root|mnt|media|data|datasets?|scratch|work|workspace|tmp|var|opt|srv"
    r"|private|lustre|gpfs|beegfs|nfs|nas|afs|storage|shared?|export|net|projects?|cluster|hpc|nobackup|dbfs|content|kaggle)"
    r"/[^\s\"'<>,;)\]}|\\]+"
)
_DICOM_NAME = re.compile(r"[^\s\"'<>,;:/\\]+\.(?:dcm|dicom)\b", re.IGNORECASE)
_NAMED = r"""["']?\s*[:=]\s*["']?(?P<value>[A-Za-z][\w.-]{2,})"""
_PATTERNS: dict[str, re.Pattern[str]] = {
    "absolute path": re.compile(rf"{_UNIX}|(?<!\w)[A-Za-z]:\\{{1,2}}[^\s\"'<>,;)\]}}|]+"),
    "name of a DICOM file": _DICOM_NAME,
    "person name as DICOM writes it": re.compile(r"\b[A-Za-z][\w'-]+\^[A-Za-z][\w'^-]+"),
    "e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[a-zA-Z]{2,}\b"),
    "name of a machine": re.compile(
        rf"""(?<=["'\s{{,(])(?:host|host_?name|node_?name|computer_?name){_NAMED}"""
        r"|\b[a-z][\w-]*(?:\.[\w-]+)*\.(?:internal|intranet|lan|corp|home\.arpa)\b"
        r"|(?<![\w.])(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}(?![\w.])",
        re.IGNORECASE,
    ),
    "name of a user": re.compile(rf"""(?<=["'\s{{,(])(?:user_?name|logname){_NAMED}""", re.IGNORECASE),
    "name of a patient": re.compile(
        r"""patient'?s?[_ ]?name["']?\s*[:=]\s*["']?(?P<value>[^\W\d_][^"'\n,;{}\[\]]{2,60})""", re.IGNORECASE
    ),
}
_IN_BYTES: dict[str, re.Pattern[str]] = {
    **_PATTERNS,
    "absolute path": re.compile(rf"{_UNIX}|(?<!\w)[A-Z]:\\(?:[\w .-]+\\)+[\w.-]{{3,}}"),
    "person name as DICOM writes it": re.compile(
        r"\b(?=[^^]{3,}\^)(?=.{8})(?:[A-Z'-]+\^[A-Z'^-]{2,}|[A-Z][a-z'-]+\^[A-Z][a-z]+)\b"
    ),
    "e-mail address": re.compile(r"\b(?=.{9})[\w.+-]+@[\w-]+\.[a-z]{2,6}\b"),
}
"""The same among bytes, where chance writes what is short."""
_ORDINARY = frozenset(
    {"localhost", "local", "none", "null", "true", "false", "str", "root", "user", "example"}
)
"""What stands where a name would, and is none."""


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
    keys of the environment; DICOM files themselves, metadata of pictures. File names, texts, tables and the words in binary
    files (`binaries`) are read. Links are named, not followed.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder at {folder}", expected="a model, adapter, dataset, run or report folder")
    found = []
    own = _own_names()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        counts: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for piece in _pieces(path):
            if piece.kind:
                counts[piece.kind] += 1
                examples.setdefault(piece.kind, masked(piece.text[:120]))
            else:
                _look(piece.text, {**(_IN_BYTES if piece.is_binary else _PATTERNS), **own}, counts, examples)
        found += [Finding(name, kind, count, examples[kind]) for kind, count in sorted(counts.items())]
    return found


def _pieces(path: Path) -> Iterator[Piece]:
    """The file's name, where it leads, and what it holds."""
    yield Piece(path.name)
    if path.is_symlink():
        yield Piece(os.readlink(path))
    elif (kind := kind_of(path)) is not None:
        yield Piece(f"a {kind}", "file that cannot be read")
    elif path.is_file():
        yield from words_of(path)


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
            if (match.groupdict().get("value") or "").lower() in _ORDINARY:
                continue
            counts[kind] += 1
            examples.setdefault(kind, "***" if kind == "secret" else masked(match[0][:120]))
