"""Files that are whole or absent: written under another name, put on the disk, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medgrpo.masking import masked

PARTIAL = ".partial"
"""How the names end under which files are written."""


@contextmanager
def written_aside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """The name to write `path` under; it gets its own name when the block ends without an error.

    Args:
        durable: wait until the data is on the disk, so that a power cut leaves the old file or the new one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write the file as a whole."""
    with written_aside(path, durable=durable) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write the file as a whole, in UTF-8, without secrets; halves of surrogate pairs become question marks."""
    write_bytes(path, masked(text).encode("utf-8", errors="replace"), durable=durable)


def cache_folder() -> Path:
    """What is kept between runs: `$MEDGRPO_CACHE`, or `~/.cache/medgrpo`."""
    return Path(os.environ.get("MEDGRPO_CACHE") or Path.home() / ".cache" / "medgrpo").expanduser()


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """The file under a second name: a hard link where the disk allows, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
