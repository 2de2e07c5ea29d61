"""The errors that medgrpo raises on purpose, worded for the person who reads them."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterable
from difflib import get_close_matches

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
        only_read = (
            "lies on a read-only file system" if error.errno == errno.EROFS else "may not be read or written"
        )
        return MedgrpoError(
            f"{place} {only_read}: {error.strerror}",
            expected="a place that this user may read, and write where something is written",
            hint="choose another folder, as with --output",
        )
    return MedgrpoError(f"{place}: {error.strerror}", hint="MEDGRPO_DEBUG=1 shows the trace")


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
