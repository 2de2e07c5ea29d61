"""One process at a time writes a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from medgrpo.errors import UsageError

NAME = ".lock"


def is_held(run: Path) -> bool:
    """Whether another process writes the run folder; False where that cannot be told (a file system without locks)."""
    import fcntl

    try:
        file = os.open(run / NAME, os.O_RDWR)
    except OSError:  # never begun, or not ours to write
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


class RunLock:
    """Holds a run folder until `release`, or until the process ends in whatever way.

    The lock belongs to the process and not to its children, so that what it leaves running holds nothing.

    Raises:
        UsageError: another process writes the folder.
    """

    def __init__(self, run: Path) -> None:
        import fcntl

        self._file = os.open(run / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(self._file, 100).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise UsageError(
                f"the run {run} is going on in another process ({holder})",
                hint="wait for it, stop it with CTRL-C or kill, or choose another --output",
            ) from error
        except OSError:
            return  # a file system without locks
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {os.uname().nodename}".encode())

    def release(self) -> None:
        """Let others in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
