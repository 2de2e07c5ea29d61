"""Python code that may take only so long: a user's reward, a pattern of a stranger's adapter."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
