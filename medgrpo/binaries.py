"""The words in files that are not text: names in archives and arrays, what pictures, PDFs, weights and volumes carry beside their data.

Nothing is run, unpickled or decoded to pixels; what unfolds is followed up to `metadata.LIMIT` bytes and `DEPTH` containers.
"""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import lzma
import pickletools
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from medgrpo.metadata import (
    CHUNK,
    HEAD,
    LIMIT,
    Budget,
    Piece,
    is_text,
    of_jpeg,
    of_pdf,
    of_png,
    of_tiff,
    of_webp,
    strings_in,
)

DEPTH = 4
"""Containers in containers."""
_BROKEN = (
    *(ValueError, EOFError, KeyError, IndexError, RecursionError, RuntimeError, SyntaxError, MemoryError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
)
"""What readers raise for a file that is not what it begins as."""
_ARRAY_OF_TORCH = re.compile(r"(?:^|/)data/\d+$")


def words_of(path: Path) -> Iterator[Piece]:
    """Everything readable in a regular file, whatever its name says that it is.

    A file that is broken, locked or larger than `LIMIT` gives what can be read, and a piece that says so.
    """
    budget = Budget(LIMIT)
    try:
        with path.open("rb") as file:
            budget.left += path.stat().st_size
            yield from _look(file, path.name, budget, DEPTH)
    except OSError as error:
        yield Piece(str(error.strerror or error), "file that cannot be read")
    if budget.is_spent:
        yield Piece(f"beyond {LIMIT >> 20} MiB", "not looked at to its end")


def _look(stream: IO[bytes], name: str, budget: Budget, depth: int) -> Iterator[Piece]:
    head = stream.read(HEAD)
    stream.seek(0)
    try:
        yield from _of_kind(stream, head, name, budget, depth)
    except (*_BROKEN, OSError) as error:
        yield Piece(f"{name}: {str(error)[:80]}", "file that cannot be read to its end")


def _of_kind(stream: IO[bytes], head: bytes, name: str, budget: Budget, depth: int) -> Iterator[Piece]:
    if head[128:132] == b"DICM":
        yield Piece(name, "DICOM file with its header")
    containers: dict[Callable[..., Iterator[Piece]], bool] = {
        _packed: head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")),
        _zip: head.startswith((b"PK\x03\x04", b"PK\x05\x06")),
        _tar: head[257:262] == b"ustar",
    }
    streamed: dict[Callable[[IO[bytes], Budget], Iterator[Piece]], bool] = {
        _table: head.startswith(b"PAR1"),
        of_png: head.startswith(b"\x89PNG\r\n\x1a\n"),
        of_jpeg: head.startswith(b"\xff\xd8\xff"),
        _array: head.startswith(b"\x93NUMPY"),
        _volume: head[344:347] in (b"n+1", b"ni1"),
        _weights: len(head) > 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= 100 * CHUNK,
    }
    whole: dict[Callable[[bytes, Budget], Iterator[Piece]], bool] = {
        of_tiff: head.startswith((b"II*\0", b"MM\0*")),
        of_webp: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        of_pdf: b"%PDF-" in head[:1024],
        _pickle: head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"),
    }
    if of := next((one for one, is_it in containers.items() if is_it), None):
        yield from of(stream, head, name, budget, depth)
    elif of := next((one for one, is_it in streamed.items() if is_it), None):
        yield from of(stream, budget)
    elif of := next((one for one, is_it in whole.items() if is_it), None):
        yield from of(budget.whole(stream), budget)
    else:
        yield from _plain(stream, head, budget)


def _weights(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    """The header of safetensors: names and notes."""
    size = struct.unpack("<Q", budget.read(stream, 8))[0]
    yield Piece(budget.read(stream, size).decode("utf-8", "replace"))


def _volume(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    """The header of NIfTI: fields of text, then extensions."""
    head = budget.read(stream, 352)
    start = struct.unpack("<f", head[108:112])[0]
    more = budget.read(stream, int(start) - 352) if 352 < start <= CHUNK else b""
    yield from strings_in(head + more)


def _plain(stream: IO[bytes], head: bytes, budget: Budget) -> Iterator[Piece]:
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    is_binary = encoding == "utf-8" and (b"\0" in head or not is_text(head))
    kept = b""
    while chunk := budget.read(stream):
        whole = kept + chunk
        if is_binary:
            yield from strings_in(whole)
            kept = whole[-512:] if len(chunk) == CHUNK else b""
        else:
            end = whole.rfind(b"\n") + 1 if encoding == "utf-8" and len(chunk) == CHUNK else len(whole)
            end = end if end and len(whole) - end < CHUNK else len(whole)
            yield Piece(whole[:end].decode(encoding, "replace"))
            kept = whole[end:]
    if kept and not is_binary:
        yield Piece(kept.decode(encoding, "replace"))


def _packed(stream: IO[bytes], head: bytes, name: str, budget: Budget, depth: int) -> Iterator[Piece]:
    if not depth:
        yield Piece(name, "not looked at to its end")
        return
    unfolds: Callable[..., Any] = (
        gzip.open if head[:2] == b"\x1f\x8b" else bz2.open if head[:2] == b"BZ" else lzma.open
    )
    if head[:2] == b"\x1f\x8b" and head[3] & 8:  # the name that the file had
        yield Piece(head[10:].split(b"\0")[0].decode("latin-1"))
    with unfolds(stream) as inside:
        yield from _look(inside, Path(name).stem, budget, depth - 1)


def _zip(stream: IO[bytes], _head: bytes, _name: str, budget: Budget, depth: int) -> Iterator[Piece]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        is_torch = any(one.filename.endswith("data.pkl") for one in members)
        yield Piece(archive.comment.decode("utf-8", "replace"))
        for one in members:
            yield Piece(one.filename)
            if one.is_dir() or (is_torch and _ARRAY_OF_TORCH.search(one.filename)):
                continue
            if not depth or one.flag_bits & 1:
                yield Piece(one.filename, "locked or nested too deep: not looked at")
                continue
            with archive.open(one) as inside:
                yield from _look(inside, one.filename, budget, depth - 1)


def _tar(stream: IO[bytes], _head: bytes, _name: str, budget: Budget, depth: int) -> Iterator[Piece]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for one in archive:
            yield Piece(f"{one.name}\n{one.linkname}")
            if one.uname and one.uname != "root":
                yield Piece(one.uname, "name of a user, as owner in an archive")
            if one.isfile() and (inside := archive.extractfile(one)):
                if not depth:
                    yield Piece(one.name, "not looked at to its end")
                    continue
                yield from _look(inside, one.name, budget, depth - 1)


def _table(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    try:
        from pyarrow import parquet
    except ImportError:
        yield from strings_in(budget.whole(stream))
        return
    with parquet.ParquetFile(stream) as file:
        notes = file.schema_arrow.metadata or {}
        yield Piece("\n".join(value.decode("utf-8", "replace") for value in notes.values()))
        for batch in file.iter_batches(batch_size=1024):
            if (budget_left := budget.left - batch.nbytes) <= 0:
                budget.is_spent = True
                return
            budget.left = budget_left
            yield Piece("\n".join(batch.schema.names) + "\n" + "\n".join(_words(batch.to_pylist())))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):  # a picture in a cell
        yield from (piece.text for piece in _look(io.BytesIO(value), "cell", Budget(LIMIT), 1))
    elif isinstance(value, dict):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)


def _array(stream: IO[bytes], budget: Budget) -> Iterator[Piece]:
    start = budget.read(stream, 12)
    size = struct.unpack("<H", start[8:10])[0] if start[6] == 1 else struct.unpack("<I", start[8:12])[0]
    stream.seek(10 if start[6] == 1 else 12)
    header = budget.read(stream, min(size, CHUNK)).decode("latin-1")
    yield Piece(header)
    kind = ast.literal_eval(header)["descr"]
    if not isinstance(kind, str):  # a record: fields of any kind side by side
        yield from strings_in(budget.whole(stream))
    elif "U" in kind:
        wide = "utf-32-be" if kind.startswith(">") else "utf-32-le"
        yield Piece(budget.whole(stream).decode(wide, "replace").replace("\0", "\n"))
    elif kind[-1:] == "O" or "O" in kind:
        yield from _pickle(budget.whole(stream), budget)
    elif "S" in kind or "V" in kind:
        yield from strings_in(budget.whole(stream))


def _pickle(data: bytes, _budget: Budget) -> Iterator[Piece]:
    """The texts in a pickle, which is read, not run."""
    found: list[str] = []
    try:
        for _, value, _ in pickletools.genops(data):
            if isinstance(value, str):
                found.append(value)
            elif isinstance(value, bytes):
                found.append(value.decode("utf-8", "replace"))
    finally:
        yield Piece("\n".join(found))
