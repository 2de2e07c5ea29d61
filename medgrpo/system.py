"""What the system refuses, in words: full and read-only disks, missing rights, too little memory, too many open files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from medgrpo.errors import MedgrpoError, file_error

_FULL = re.compile(
    r"no space left on device|disk quota exceeded|err(or|no) 28\b|file write failed|unexpected pos \d+ vs",
    re.I,
)
"""torch and safetensors raise errors of their own; torch.save also finds its position not where it should be."""
_NO_MEMORY = re.compile(
    r"can'?t allocate memory|cannot allocate memory|unable to allocate|std::bad_alloc|out of memory|failed to map segment",
    re.I,
)
_OF_A_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What `errors.file_error` words."""
_WORDS: dict[int, tuple[str, str]] = {
    errno.EFBIG: ("the file would be larger than the disk or `ulimit -f` allows: {}", "write to another disk"),
    errno.EBADF: ("what is to be written cannot be: {}", "is stdout open for writing? > FILE writes what is printed to a file"),
    errno.EMFILE: ("too many files are open at once: {}", "ulimit -n 4096, or fewer --workers"),
    errno.ENFILE: ("the system has too many open files: {}", "end other programs"),
    errno.ENAMETOOLONG: ("the name is too long for this disk: {}", "choose a shorter name"),
    errno.EISDIR: ("{} is a folder, not a file", "name the file in it"),
    errno.ENOTDIR: ("{} goes through a file as if it were a folder", "see the path"),
    errno.ENOTEMPTY: ("{} is not empty", "choose another folder"),
    errno.EEXIST: ("{} exists already", "choose another name"),
    errno.EIO: ("the disk fails: {}", "see the system's log (dmesg), copy what is there to another disk"),
    errno.ESTALE: ("the network disk has lost {}", "mount it again"),
    errno.ELOOP: ("{} is a link that leads back to itself", "remove the link"),
    errno.EBUSY: ("{} is in use", "wait, or end the program that uses it"),
    errno.ENOMEM: ("too little memory: {}", "fewer rows, a smaller batch, fewer --workers, or a machine with more"),
}  # fmt: skip


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, once each."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_full_disk(error: BaseException) -> bool:
    """Whether writing failed for want of room, whichever library says so in whatever words."""
    return any(
        (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT))
        or _FULL.search(str(one)) is not None
        for one in chain_of(error)
    )


def refusal_of_system(error: BaseException) -> MedgrpoError | None:
    """The error in words, where the system refused something; None elsewhere."""
    halves = (one for one in chain_of(error) if isinstance(one, UnicodeEncodeError))
    return (
        next(map(_half_a_character, halves), None) or _refused(error) or _no_name(error) or _no_folder(error)
    )


def _refused(error: BaseException) -> MedgrpoError | None:
    for one in chain_of(error):
        if isinstance(one, MemoryError):
            return _worded(errno.ENOMEM, str(one).splitlines()[0] if str(one) else "no room for it")
        if isinstance(one, OSError) and one.errno in _OF_A_FILE:
            return file_error(one)
        if isinstance(one, OSError) and one.errno in _WORDS:
            return _worded(int(one.errno), str(one.filename or one.filename2 or one.strerror))
    if is_full_disk(error):
        return file_error(OSError(errno.ENOSPC, str(error).splitlines()[0][:200]))
    if isinstance(error, RuntimeError | ImportError) and _NO_MEMORY.search(str(error)):
        return _worded(errno.ENOMEM, str(error).splitlines()[0][:200])
    return next(
        (file_error(one) for one in chain_of(error) if isinstance(one, OSError) and one.filename), None
    )


def _no_folder(error: BaseException) -> MedgrpoError | None:
    """The working folder is gone: every place that is named from there is nowhere."""
    if not any(isinstance(one, FileNotFoundError) and one.filename is None for one in chain_of(error)):
        return None
    try:
        os.getcwd()
    except OSError:
        return MedgrpoError("the folder that this was called in is gone", hint="cd to one that is there")
    return None


def _no_name(error: BaseException) -> MedgrpoError | None:
    """A name that no file can have: with a zero in it, or in the home of nobody."""
    said = " ".join(str(one) for one in chain_of(error) if isinstance(one, ValueError | RuntimeError))
    if "embedded null" in said:
        return MedgrpoError(
            "a name holds the character zero, which no file name can", expected="the name of a file or folder"
        )
    if "Could not determine home directory" in said:
        return MedgrpoError(
            "a name begins with ~, and there is no such home",
            expected="~/… for your own home",
            hint="write the whole path",
        )
    return None


def _half_a_character(error: UnicodeEncodeError) -> MedgrpoError | None:
    """A name cut in the middle of a character, or in another encoding than the system's."""
    if "surrogates" not in error.reason:
        return None
    shown = error.object[:60].encode("ascii", "backslashreplace").decode("ascii")
    return MedgrpoError(
        f"'{shown}' is no text that can be written or name a file: it holds half a character",
        expected="whole characters, in UTF-8",
        hint="type the name anew, or rename the file",
    )


def _worded(number: int, what: str) -> MedgrpoError:
    problem, hint = _WORDS[number]
    return MedgrpoError(problem.format(what), hint=hint)
