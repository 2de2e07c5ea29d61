"""What of a person or a machine is left in the files of a folder: searched in their bytes and in the cells of tables."""

import gzip
import json
from pathlib import Path

from pyarrow import parquet


def readable(file: Path) -> bytes:
    """What a program sees that opens the file."""
    if file.suffix == ".parquet":
        with parquet.ParquetFile(file) as opened:
            return json.dumps(opened.read().to_pylist(), default=str, ensure_ascii=False).encode()
    content = file.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def leaks(folder: Path, *words: str) -> list[str]:
    """File names and places that hold one of the words."""
    found = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        content = readable(file) if file.is_file() and not file.is_symlink() else b""
        for word in words:
            if word in name or (word.encode() in content):
                place = content.find(word.encode())
                found.append(f"{name}: {word}: {content[max(0, place - 60) : place + 80]!r}")
    return found
