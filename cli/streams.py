"""The three streams of the process, whatever whoever called it left of them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def open_streams() -> None:
    """Make all three usable.

    A stream that was closed (`2>&-`, a daemon) leads nowhere, so that no file opened later gets its number, and what
    libraries print does not land in that file. A character that the encoding lacks (`LC_ALL=C`) is written as its number.
    """
    is_lost = sys.stdout is None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = open(number, "w" if number else "r", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, nowhere)
            setattr(sys, f"__{name}__", nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if is_lost:
        print("warning: stdout is closed: what the command prints is lost", file=sys.stderr)


@contextmanager
def as_far_as_possible() -> Iterator[None]:
    """Say something last, also where the stream for it is full or gone; nothing is left waiting to be written at the end."""
    with suppress(OSError, ValueError):
        yield
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # what is in its buffer would fail once more when the interpreter ends
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
