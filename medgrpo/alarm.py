"""Code that may take only so long: a user's reward, a pattern of a stranger's adapter, a stranger's chat template."""

from __future__ import annotations

import os
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

RING_AGAIN_S = 0.5
"""Code that catches the alarm hears it again."""


class _TimeIsUp(BaseException):
    """No Exception, so that `except Exception` does not swallow it."""


@contextmanager
def limited(seconds: float | None, error: Callable[[], Exception]) -> Iterator[None]:
    """Interrupts what takes longer: Python, waiting, and `re`; a call into a library that does not return is not.

    By an alarm of the system, so only in the main thread, and where there are alarms; elsewhere there is no limit.

    Args:
        seconds: longest time; None: no limit.
        error: makes what is raised then.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, RING_AGAIN_S)
    try:
        yield
    except _TimeIsUp as up:
        raise error() from up
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


LATE, LARGE = -1, -2
PATIENCE = 12
"""Seconds of the clock for each second of the processor: machines are shared."""


def measured_apart(run: Callable[[], int], *, seconds: float, memory: int) -> int | None:
    """What `run` gives, tried in a process of its own first, which the system ends where it goes too far.

    Nothing inside of that process can go on: not one call into C that never returns, and not one that asks for all
    memory, which an alarm in this process can do nothing about.

    Args:
        run: gives a number of 0 or more; it must use neither a GPU nor threads.
        seconds: of the processor.
        memory: bytes beyond those in use.

    Returns:
        The number; `LATE`; `LARGE`: it wanted more memory; None: it raised, or there are no such processes here.
    """
    if not hasattr(os, "fork"):
        return None
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does not use
        child = os.fork()
    if not child:
        _alone(run, there, seconds, memory)
    os.close(there)
    try:
        is_told = select.select([here], [], [], PATIENCE * seconds + 1)[0]
        said = os.read(here, 32) if is_told else b""
    finally:
        os.close(here)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if said:
        return None if said == b"raised" else int(said)
    ended = os.waitstatus_to_exitcode(status)
    return LARGE if ended == -signal.SIGKILL and is_told else LATE


def _alone(run: Callable[[], int], there: int, seconds: float, memory: int) -> None:
    """In the child; never comes back. The timer's signal is the system's to deliver, so it ends also what C does not leave."""
    try:
        import resource

        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        said = str(run())
    except MemoryError:
        said = str(LARGE)
    except BaseException:  # noqa: BLE001 - whatever it raises, the caller will meet again
        said = "raised"
    with suppress(OSError):
        os.write(there, said.encode())
    os._exit(0)
