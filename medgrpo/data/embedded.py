"""Pictures that stand inside of data files as base64: found where they lie, read when they are wanted.

A record keeps `{"cell": "base64:<hash>@<place>"}` in their stead, so that records stay small. The place is the first byte and
the length in a text file, or row and field in a table. Nothing is written beside the source, and nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medgrpo.pictures import image_of
from medgrpo.records import BadRow

EMBEDDED = "base64:"
"""Part of an `ImageRef`: a picture inside the text of its file, by the hash of its bytes and where it lies."""
LARGEST = 64 * 2**20
"""Bytes of a picture; larger ones are refused before they are decoded."""
SHORTEST = 60
"""Characters of base64 without a `data:` in front; shorter ones may be words."""
OPENINGS = ("iVBORw0KGgo", "/9j/", "R0lGODdh", "R0lGODlh", "UklGR", "SUkqA", "TU0AK")
"""How PNG, JPEG, GIF, WebP and TIFF begin in base64."""
MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""How the files of pictures begin."""

_DATA_URL = re.compile(r"\s*data:(?P<kind>[^;,]{0,80})(?:;[^;,]{0,80})*?;base64,", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")
_ESCAPES = re.compile(rb"\\[nrt]|\\|\s+")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PLACE = re.compile(r"(\d+)\+(\d+)")


def may_hold_pictures(text: str) -> bool:
    """Whether to look for pictures in a file at all."""
    return ";base64," in text or any(opening in text for opening in OPENINGS)


def picture_text(value: str) -> str | None:
    """The base64 of a picture that a text is, without `data:…;base64,`; None for any other text."""
    if url := _DATA_URL.match(value):
        kind = url["kind"].strip().lower()
        return value[url.end() :] if kind.startswith("image/") or _opens(value[url.end() :]) else None
    is_bare = len(value) >= SHORTEST and _opens(value) and _BARE.fullmatch(value)
    return value if is_bare else None


def _opens(text: str) -> bool:
    return text.lstrip().startswith(OPENINGS)


def unpacked(encoded: bytes) -> bytes:
    """The bytes that base64 spells, as it stands in a file: with escapes and line breaks, URL-safe, unpadded.

    Raises:
        ValueError: it is no base64.
    """
    plain = _ESCAPES.sub(b"", encoded).translate(_URL_SAFE).rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def digest_of(text: str, field: str) -> str:
    """The hash of the picture that base64 spells.

    Raises:
        BadRow: it is too large, no base64, or no picture of a kind that is read.
    """
    if len(text) * 3 // 4 > LARGEST:
        size = f"{len(text) * 3 // 4 // 2**20:,} MiB of base64"
        raise BadRow("picture too large", field, size, f"pictures of at most {LARGEST // 2**20} MiB")
    try:
        content = unpacked(text.encode())
    except ValueError as error:
        fault = f"{text[:24]!r}… of {len(text):,} characters: {error}"
        raise BadRow("picture that is no base64", field, fault, "a whole picture in base64") from error
    if not content.startswith(MAGIC) and content[128:132] != b"DICM":
        fault = f"{text[:24]!r}… holds {len(content):,} bytes of no known kind of picture"
        raise BadRow("picture of an unknown kind", field, fault, "PNG, JPEG, GIF, WebP, BMP, TIFF or DICOM")
    if content[128:132] != b"DICM":
        _check_header(content, f"{text[:24]!r}…", field)
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _check_header(content: bytes, shown: str, field: str) -> None:
    """Reads the header of a picture; pixels are read when it is stored."""

    try:
        with image_of(io.BytesIO(content)):
            return
    except Exception as error:  # decoders raise whatever they stumble over
        fault = f"{shown} begins like a picture and is none"
        raise BadRow("image damaged", field, fault, "a whole picture in base64") from error


class TextPictures:
    """The pictures of one text file, in the order in which its records are read.

    Args:
        content: the bytes of the file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0
        self._known: dict[str, str] = {}

    def taken_out(self, record: Mapping[str, Any]) -> dict[str, Any] | BadRow:
        """The record with `{"cell": …}` in place of its pictures; a `BadRow` where one cannot be used."""
        try:
            return {str(name): self._without(value, str(name)) for name, value in record.items()}
        except BadRow as fault:
            return fault

    def cell(self, text: str, field: str) -> dict[str, str]:
        """What stands for a picture: the same for the same picture, wherever it is repeated.

        Raises:
            BadRow: it cannot be used.
        """
        digest = digest_of(text, field)
        if digest not in self._known:
            start, length = self._place(text, field)
            self._known[digest] = f"{EMBEDDED}{digest}@{start}+{length}"
        return {"cell": self._known[digest]}

    def _without(self, value: Any, field: str) -> Any:
        if isinstance(value, str):
            text = picture_text(value)
            return value if text is None else self.cell(text, field)
        if isinstance(value, list):
            return [self._without(item, f"{field}[{place}]") for place, item in enumerate(value)]
        if isinstance(value, dict):
            return {name: self._without(item, f"{field}.{name}") for name, item in value.items()}
        return value

    def _place(self, text: str, field: str) -> tuple[int, int]:
        for written in _spellings(text):
            start = self._content.find(written, self._position)
            start = self._content.find(written) if start < 0 else start
            if start >= 0:
                self._position = start + len(written)
                return start, len(written)
        raise BadRow(
            "picture not found in its file",
            field,
            "the base64 is written with escapes, or the file is no UTF-8",
            "plain base64 in a file of UTF-8",
        )


def _spellings(text: str) -> Iterator[bytes]:
    """How a JSON file may write a base64 text."""
    yield text.encode()
    yield text.replace("/", "\\/").encode()
    escaped = text.replace("\r", "\\r").replace("\n", "\\n")
    yield escaped.encode()
    yield escaped.replace("/", "\\/").encode()


def read_embedded(file: Path, part: str) -> bytes:
    """The bytes of a picture that lies in a file of text.

    Raises:
        OSError: the file cannot be read, or holds no such picture any more.
    """
    place = _PLACE.fullmatch(part.partition("@")[2])
    if place is None:
        raise OSError(f"no place in a file: {part}")
    with file.open("rb") as opened:
        opened.seek(int(place[1]))
        encoded = opened.read(int(place[2]))
    try:
        return unpacked(encoded)
    except ValueError as error:
        raise OSError(None, "the file was changed since it was read") from error
