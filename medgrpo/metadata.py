"""What pictures and PDFs carry beside what they show: EXIF, XMP, comments, authors, texts."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

LIMIT = 256 * 2**20
"""Bytes that are read of one file, unfolded."""
CHUNK = 2**20
HEAD = 4096
_RUN = re.compile(rb"[\x20-\x7e\x80-\xff]{5,}")
_WIDE = re.compile(rb"(?:[\x20-\x7e]\x00){5,}")
_LITERAL = re.compile(rb"\((?:[^()\\]|\\.)*\)", re.DOTALL)
_HEXADECIMAL = re.compile(rb"<((?:[0-9A-Fa-f]{2}\s*){4,})>")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
_INFORMATION = re.compile(
    rb"/(Author|Creator|Title|Subject|Keywords)\s*(\((?:[^()\\]|\\.)*\)|<[0-9A-Fa-f\s]+>)", re.DOTALL
)
_JPEG_TEXTS = {0xE1: "EXIF or XMP", 0xED: "IPTC", 0xFE: "comment"}
_TIFF_TEXTS = {269: "DocumentName", 270: "ImageDescription", 271: "Make", 315: "Artist", 316: "HostComputer", 700: "XMP", 33432: "Copyright", 33723: "IPTC", 34665: "EXIF"}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Words of a file, or, with a kind, something that is a finding by itself."""

    text: str
    kind: str = ""
    is_binary: bool = False
    """Cut out of bytes: chance makes words there, so that only what is longer counts."""


class Budget:
    """Bytes that may still be read."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.is_spent = False

    def read(self, stream: IO[bytes], size: int = CHUNK) -> bytes:
        """At most so many of the next bytes, as far as the budget goes."""
        got = stream.read(max(0, min(size, self.left)))
        self.left -= len(got)
        if self.left <= 0 and stream.read(1):
            self.is_spent = True
        return got

    def whole(self, stream: IO[bytes]) -> bytes:
        """All of it, up to `LIMIT`."""
        got = self.read(stream, LIMIT)
        self.is_spent |= len(got) == LIMIT and bool(stream.read(1))
        return got


def is_text(head: bytes) -> bool:
    """Whether the beginning of a file looks like UTF-8 or something near it."""
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1b\x08" for byte in head)
    if odd * 50 > len(head):
        return False
    return head.decode("utf-8", "replace").count("�") * 5 <= len(head)


def strings_in(data: bytes) -> Iterator[Piece]:
    """Runs of five and more printable characters, also two bytes wide."""
    found = [run.decode("utf-8", "replace") for run in _RUN.findall(data)]
    found += [run.decode("utf-16-le") for run in _WIDE.findall(data)]
    if found:
        yield Piece("\n".join(found), is_binary=True)


def of_png(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    """Text and EXIF chunks wherever they lie, and what is behind the picture."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            stream.seek(size + 4, io.SEEK_CUR)
            if kind == b"IEND":
                break
            continue
        data = budget.read(stream, size)
        stream.seek(4, io.SEEK_CUR)
        if kind == b"eXIf":
            yield Piece(_readable(data), "picture with EXIF data")
            yield from of_tiff(data, budget)
        else:
            text = _png_text(kind, data, budget)
            yield Piece(text[:120], "picture with text data")
            yield Piece(text)
    yield from strings_in(budget.whole(stream))  # behind the picture


def _png_text(kind: bytes, data: bytes, budget: Budget) -> str:
    name, _, rest = data.partition(b"\0")
    is_packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if kind == b"iTXt":
        rest = rest[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        rest = rest[1:]
    text = _inflated(rest, budget) if is_packed else rest
    return f"{name.decode('latin-1')}: {text.decode('utf-8' if kind == b'iTXt' else 'latin-1', 'replace')}"


def _inflated(data: bytes, budget: Budget) -> bytes:
    unpacker = zlib.decompressobj()
    found = b""
    with suppress(zlib.error):
        found = unpacker.decompress(data, max(1, min(budget.left, 16 * CHUNK)))
    budget.left -= len(found)
    budget.is_spent |= bool(unpacker.unconsumed_tail)
    return found


def of_jpeg(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    """EXIF, XMP, IPTC and comments before the pixels."""
    stream.seek(2)
    while len(head := stream.read(4)) == 4 and head[0] == 0xFF:
        mark, size = head[1], struct.unpack(">H", head[2:])[0]
        data = stream.read(max(0, size - 2))
        if mark == 0xDA:  # the pixels begin
            return
        if name := _JPEG_TEXTS.get(mark):
            kind = (
                "picture with EXIF data" if data.startswith(b"Exif") else f"picture with text data ({name})"
            )
            yield Piece(_readable(data), kind)
            yield from strings_in(data)
            budget.left -= len(data)


def of_tiff(data: bytes, _budget: Budget) -> Iterator[Piece]:
    """Texts in the tags of every page; EXIF is a TIFF too."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return
    place = struct.unpack(order + "I", data[4:8])[0]
    for _ in range(64):  # pages
        if not 8 <= place <= len(data) - 2:
            return
        count = struct.unpack(order + "H", data[place : place + 2])[0]
        for number in range(count):
            entry = data[place + 2 + 12 * number : place + 14 + 12 * number]
            if len(entry) < 12:
                return
            tag, kind, length = struct.unpack(order + "HHI", entry[:8])
            start = struct.unpack(order + "I", entry[8:])[0] if length > 4 else 0
            text = data[start : start + length] if length > 4 else entry[8 : 8 + length]
            if kind in (1, 2, 7) and (name := _TIFF_TEXTS.get(tag)) and text.strip(b"\0 "):
                yield Piece(f"{name}: {_readable(text)}", "picture with text data")
            if kind in (1, 2, 7):
                yield from strings_in(text)
        following = place + 2 + 12 * count
        if len(data) < following + 4:
            return
        place = struct.unpack(order + "I", data[following : following + 4])[0]


def of_webp(data: bytes, _budget: Budget) -> Iterator[Piece]:
    """EXIF and XMP chunks."""
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        if kind in (b"EXIF", b"XMP "):
            yield Piece(_readable(body), f"picture with {kind.decode().strip()} data")
            yield from strings_in(body)
        place += 8 + size + size % 2


def _readable(data: bytes) -> str:
    runs = [run.decode("latin-1") for run in _RUN.findall(data)]
    return " ".join(runs)[:120] or "EXIF"


def of_pdf(data: bytes, budget: Budget) -> Iterator[Piece]:
    """Who wrote it, and its texts as far as the letters are letters: fonts with numbers of their own cannot be read."""
    for name, value in _INFORMATION.findall(data):
        if text := _pdf_text(value).strip():
            yield Piece(f"{name.decode()}: {text}", "PDF with document information")
    if b"/Encrypt" in data:
        yield Piece("encrypted PDF", "locked or nested too deep: not looked at")
    outside = _STREAM.sub(b" ", data)
    for part in (outside, *(_unfolded(one, budget) for one in _STREAM.findall(data))):
        if part.startswith(b"\xff\xd8\xff"):  # a picture
            yield from of_jpeg(io.BytesIO(part), budget)
            continue
        texts = [_pdf_text(one) for one in _LITERAL.findall(part)]
        texts += [_pdf_text(b"<" + one + b">") for one in _HEXADECIMAL.findall(part)]
        lines = [  # [(D) 20 (OE)] TJ spaces letters
            "".join(_pdf_text(one) for one in _LITERAL.findall(line))
            for line in re.findall(rb"\[((?:[^\]\\]|\\.)*)\]\s*TJ", part)
        ]
        yield Piece("\n".join([*texts, *lines]), is_binary=not is_text(part[:HEAD]))
        if is_text(part[:HEAD]):
            yield Piece(part.decode("utf-8", "replace"))


def _unfolded(part: bytes, budget: Budget) -> bytes:
    return _inflated(part, budget) if part[:1] in b"\x78\x48\x58\x68\x08" and part else part


def _pdf_text(value: bytes) -> str:
    if value.startswith(b"<"):
        digits = re.sub(rb"\s", b"", value[1:-1])
        raw = bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode("ascii"))
    else:
        raw = re.sub(rb"\\([()\\])", rb"\1", value[1:-1])
    return raw.decode("utf-16", "replace") if raw[:2] in (b"\xfe\xff", b"\xff\xfe") else raw.decode("latin-1")
