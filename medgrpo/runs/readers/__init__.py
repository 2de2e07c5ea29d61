"""Readers of training logs: one small module per family, a table that finds the right one.

A reader turns what is on disk into `Parsed`; `medgrpo.runs.record` settles repeated steps.
"""

from __future__ import annotations

from pathlib import Path

from medgrpo.errors import UsageError
from medgrpo.runs.readers.files import READABLE, read_file
from medgrpo.runs.readers.folders import read_folder
from medgrpo.runs.readers.parsed import Parsed

__all__ = ["Parsed", "read"]


def read(path: Path) -> Parsed:
    """The log at the path, whatever its format.

    Raises:
        UsageError: there is nothing at the path.
        MedgrpoError: what is there is no log.
    """
    if not path.exists():
        raise UsageError(
            f"no log at {str(path)!r}", expected=READABLE, hint="medgrpo runs lists the runs that are here"
        )
    if path.is_dir():
        return read_folder(path)
    return read_file(path)
