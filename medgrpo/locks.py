"""One process at a time writes a folder: a run, an evaluation, a merged model, a dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import PARTIAL, rename_folder
from medgrpo.system import is_full_disk

NAME = ".lock"


def is_held(run: Path) -> bool:
    """Whether a process writes the run folder; False where that cannot be told (a file system without locks)."""
    return bool(is_written(run))


def is_written(run: Path) -> bool | None:
    """Whether a process, this one too, writes the run folder; None where that cannot be told.

    Asking the lock itself would give it up where this process holds it: closing any handle of a file ends all
    locks that the process has on it.
    """
    if run.resolve() in _OURS:
        return True
    import fcntl

    try:
        file = os.open(run / NAME, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # not ours to write
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(file)
    return False


_OURS: set[Path] = set()
"""Folders that this process holds."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within it no other process writes this folder of results, which is made where it is absent.

    Raises:
        UsageError: another process writes it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder, what="evaluation into")
    try:
        yield
    finally:
        (folder / NAME).unlink(missing_ok=True)
        lock.release()
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # nothing came of it


@contextmanager
def new_folder(output: Path, what: str) -> Iterator[Path]:
    """The folder to write into; it becomes `output`, whole, when the block ends without an error.

    What a killed call left there goes first.

    Args:
        output: must not exist, or be empty.
        what: is written, for messages: "merge into".
    Raises:
        UsageError: the output is in use, or another process is writing it.
        MedgrpoError: the disk became full within the block.
    """
    refuse_used(output)
    partial = output.with_name(f".{output.name}{PARTIAL}")
    partial.mkdir(parents=True, exist_ok=True)
    lock = RunLock(partial, what=what, shown=output)
    try:
        refuse_used(output)  # another process may have finished meanwhile
        for left_over in partial.iterdir():
            if left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over)
            elif left_over.name != NAME:
                left_over.unlink()
        yield partial
        (partial / NAME).unlink(missing_ok=True)
        rename_folder(partial, output)
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise MedgrpoError(
            f"the disk of {output.parent} is full; nothing was kept",
            hint="make room, or name a folder on another disk",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def refuse_used(output: Path) -> None:
    """Raise UsageError where the folder for something new is in use, or is no folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        what = "exists and is not empty" if output.is_dir() else "is a file"
        raise UsageError(f"{output} {what}", hint="give a new folder with --output")


class RunLock:
    """Holds a run folder until `release`, or until the process ends in whatever way.

    The lock belongs to the process and not to its children, so that what it leaves running holds nothing.

    Raises:
        UsageError: another process writes the folder.
    """

    def __init__(self, run: Path, *, what: str = "run", shown: Path | None = None) -> None:
        import fcntl

        self._run = run.resolve()
        self._file = os.open(run / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(self._file, 100).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise UsageError(
                f"the {what} {shown or run} is going on in another process ({holder})",
                hint="wait for it, stop it with CTRL-C or kill, or choose another --output",
            ) from error
        except OSError:
            _OURS.add(self._run)
            return  # a file system without locks
        if not _is_named(self._file, run / NAME):  # its last holder took it away meanwhile
            os.close(self._file)
            self.__init__(run, what=what, shown=shown)  # type: ignore[misc]
            return
        _OURS.add(self._run)
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {os.uname().nodename}".encode())

    def release(self) -> None:
        """Let others in."""
        _OURS.discard(self._run)
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)  # the name of the machine does not travel with the folder
            os.close(self._file)
            self._file = -1


def _is_named(file: int, path: Path) -> bool:
    """Whether the open file is the one of this name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(file)
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
