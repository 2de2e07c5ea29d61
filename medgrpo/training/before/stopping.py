"""Being asked to stop: by CTRL-C, by SIGTERM, or by the signals with which Slurm warns before a job's time is over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from medgrpo.errors import MedgrpoError

STOP_FILE = "MEDGRPO_STOP_FILE"
"""Names the file whose presence asks the processes to save and end."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


class Stopped(MedgrpoError):
    """The run was stopped before it could save anything of its own; the exit code is what shells give after the signal.

    Args:
        number: of the signal.
    """

    def __init__(
        self, problem: str, number: int, *, expected: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(problem, expected=expected, hint=hint)
        self.number = number
        self.exit_code = 128 + number


class Terminated(BaseException):
    """A signal came before training hears signals itself; no `except Exception` on the way keeps it."""

    def __init__(self, number: int, code: int | None) -> None:
        super().__init__(number)
        self.worded = Stopped(f"stopped ({signal.Signals(number).name}) before training began", number)
        if code is not None:
            self.worded.exit_code = code


@contextmanager
def worded_signals(code: int | None) -> Iterator[None]:
    """Raise `Terminated` at a signal that would end the process without a word; CTRL-C raises an error anyway.

    Args:
        code: exit code of a run that is stopped; None: as shells have it.
    """

    def end(number: int, _: FrameType | None) -> None:
        raise Terminated(number, code)

    is_main = threading.current_thread() is threading.main_thread()
    plain = [number for number in SIGNALS if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in plain:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in plain:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


def ask_to_stop(file: Path, number: int) -> None:
    """Leave the word for all processes of a machine; the first signal counts."""
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(signal.Signals(number).name, encoding="utf-8")
        os.replace(partial, file)


def asked_by(file: str | os.PathLike[str] | None) -> str | None:
    """The name of the signal that the file tells of; None where nobody asked."""
    with suppress(OSError, ValueError):
        name = Path(file).read_text("utf-8") if file else None
        return None if name is None else (name if name in signal.Signals.__members__ else "SIGTERM")
    return None
