"""Processes that medgrpo starts import nothing from the working folder; those that a person's own code starts do as they would.

Workers, pip and vLLM's processes begin with `python -c` or `-m`, which imports from the working folder first: a data folder
with a module called `signal` would run it. A reward that starts a script of its own needs the script's folder, which the same
variable takes away.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock  # not threading, which would be looked for in the working folder too
from collections.abc import Iterator
from contextlib import contextmanager, suppress

VARIABLE, OURS = "PYTHONSAFEPATH", "medgrpo"
"""Any text sets it; this one says, in processes further down too, that nobody asked for it."""

_lock = allocate_lock()
_inside = 0


def leave_the_working_folder() -> None:
    """`python -m medgrpo…` looks into the working folder first: a file called `statistics.py` there would be imported.

    Of no effect for what else Python runs, and where medgrpo itself lies in the working folder (its checkout).
    """
    if sys.argv[:1] != ["-m"] or not sys.path:  # while Python still looks for the module
        return
    with suppress(OSError):
        here = os.path.realpath(os.getcwd())
        if os.path.realpath(sys.path[0]) == here and not os.path.realpath(__file__).startswith(here + os.sep):
            del sys.path[0]


def set_for_children() -> None:
    """For all processes that are started from now on, unless the person has said something."""
    os.environ.setdefault(VARIABLE, OURS)


@contextmanager
def as_the_person_has_it() -> Iterator[None]:
    """Around a person's own code: what it starts finds the variable as it was before medgrpo. Threads may overlap in it."""
    global _inside  # noqa: PLW0603 - the environment is one for all threads
    with _lock:
        is_ours = os.environ.get(VARIABLE) == OURS or _inside > 0
        if is_ours:
            _inside += 1
            os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if is_ours:
            with _lock:
                _inside -= 1
                if not _inside:
                    set_for_children()
