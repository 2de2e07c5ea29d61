"""The errors that medgrpo raises on purpose, worded for the person who reads them."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from medgrpo.install import how_to_install


class MedgrpoError(Exception):
    """Something failed; says what, what was expected, and what to type next.

    Args:
        problem: what is wrong with which value (file, row, field).
        expected: what would have been right.
        hint: what to type or change next.
    """

    exit_code = 1

    def __init__(self, problem: str, *, expected: str | None = None, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.problem]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(MedgrpoError):
    """The call itself is wrong: an unknown name, an impossible value, a missing file."""

    exit_code = 2


def typed_path(path: object) -> str:
    """The path as it is typed in a shell: quoted where it holds blanks or other characters that a shell reads."""
    return shlex.quote(str(path))


def file_error(error: OSError) -> MedgrpoError:
    """What a failed read or write of a file means for the person: a full disk, a folder that may not be written, …"""
    place = error.filename or "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MedgrpoError(
            f"the disk is full: {place}",
            expected="room for what is written",
            hint="make room and run the same command again: what was complete is kept",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return _refused(error, error.errno)
    return MedgrpoError(f"{place}: {error.strerror}", hint="MEDGRPO_DEBUG=1 shows the trace")


def _refused(error: OSError, number: int) -> MedgrpoError:
    """The error for a place that may not be read or written, by the name that the person knows it by."""
    named = error.filename or _quoted(error.strerror)
    place = _without_partial(Path(os.fsdecode(named))) if named else None
    if place is not None and number != errno.EROFS:
        there = nearest_there(place)
        if there == place and place.is_file() and not os.access(place, os.R_OK):
            return MedgrpoError(
                f"{place} may not be read by this user",
                expected="a file that this user may read",
                hint=f"have its owner type: chmod a+r {typed_path(place)}",
            )
        if there != place and os.access(there, os.X_OK) and not os.access(there, os.W_OK):
            return MedgrpoError(
                f"{place} cannot be written: this user may not write into {there.absolute()}",
                expected="a folder that this user may write into",
                hint="choose another folder, as with --output",
            )
    only_read = "lies on a read-only file system" if number == errno.EROFS else "may not be read or written"
    return MedgrpoError(
        f"{place or 'the output'} {only_read}: {os.strerror(number)}",
        expected="a place that this user may read, and write where something is written",
        hint="choose another folder, as with --output",
    )


def _quoted(said: str | None) -> str | None:
    """The path in what a library says in place of the system, as pyarrow does."""
    found = re.search(r"'([^']+)'", said or "")
    return found[1] if found else None


def _without_partial(path: Path) -> Path:
    """The path with each name as it will be: files are written as `.NAME.PROCESS.partial` first."""
    names = []
    for part in path.parts:
        name = part
        while found := re.fullmatch(r"\.(.+?)(\.\d+(-[0-9a-f]+)?)?\.partial", name):
            name = found[1]
        names.append(name)
    return Path(*names)


def nearest_there(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def choice_error(kind: str, value: str, choices: Iterable[str]) -> UsageError:
    """The error for a name that is none of `choices`, with the nearest one as the hint."""
    names = sorted(choices)
    nearest = get_close_matches(value, names, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else None
    return UsageError(f"no {kind} called {value!r}", expected=f"one of {', '.join(names)}", hint=hint)


def missing_extra(package: str, extra: str, what: str) -> MedgrpoError:
    """The error for a package that an extra would have brought."""
    return MedgrpoError(
        f"{what} needs the package {package!r}, which is not installed",
        hint=how_to_install(extra),
    )
