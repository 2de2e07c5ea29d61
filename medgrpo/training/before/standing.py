"""Where a process of a run is: that it has met the others, and the stack on which it stands when it is asked.

A process that waits in a call into C hears no Python; Python's fault handler writes its stack down all the same.
"""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import signal
import sysconfig
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medgrpo.training.before.failures import FOLDER

ASK = getattr(signal, "SIGUSR2", None)
"""vLLM takes SIGUSR1 for itself."""
FRAME = re.compile(r'\s*File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)')
ANSWER_S = 1.0
"""Longest wait for the answer."""
THREAD = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
WAITS = ("torch/distributed/", "torch/multiprocessing/")
"""Of a process that waits for others, one of these is at the top of the stack."""
_LIBRARIES = ("site-packages", "dist-packages", f"{sysconfig.get_path('stdlib')}{os.sep}", "<frozen")
_OURS = f"{Path(__file__).parents[2]}{os.sep}"


@dataclass(frozen=True)
class Standing:
    """Where the main thread of a process was."""

    place: str
    """The innermost function that is no library's, in words."""
    waits: bool
    """Whether it waited for other processes."""


def answer(environment: Mapping[str, str]) -> None:
    """In a process that a launcher of ours started: write the stack down when asked. Nothing elsewhere."""
    folder = environment.get(FOLDER)
    if folder is None or ASK is None or not hasattr(faulthandler, "register"):
        return
    if not (said := environment.get("RANK", "0")).isdecimal():
        return
    target = stack_of(Path(folder), int(said))
    partial = target.with_suffix(".partial")
    with suppress(OSError):  # of no folder
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        signal.signal(ASK, signal.SIG_IGN)  # what Python puts back at its end: one that is ending is no crash
        faulthandler.register(ASK, file=file, all_threads=True)
        os.replace(partial, target)  # before it is there the signal would end the process


def has_met(environment: Mapping[str, str]) -> None:
    """Tell the launcher that all processes are there."""
    if folder := environment.get(FOLDER):
        with suppress(OSError):
            _mark(Path(folder), int(environment.get("RANK", "0"))).touch()


def have_met(folder: Path, processes: range) -> bool:
    """Whether these processes have met all others."""
    return all(_mark(folder, number).exists() for number in processes)


def stack_of(folder: Path, process: int) -> Path:
    """The file of a process's stack; empty until it was asked."""
    return folder / f"stack-{process}.txt"


def ask(folder: Path, processes: Mapping[int, int]) -> None:
    """Ask processes for their stacks.

    Args:
        processes: number of each → its id in the system.
    """
    for number, pid in processes.items():
        if ASK is not None and stack_of(folder, number).exists():
            with suppress(ProcessLookupError):
                os.kill(pid, ASK)


def places(folder: Path, processes: Mapping[int, int]) -> dict[int, Standing]:
    """Ask processes, and where those are that answer within a moment, by number.

    Args:
        processes: see `ask`.
    """
    before = {number: _length(stack_of(folder, number)) for number in processes}
    ask(folder, processes)
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until and any(
        before[number] is not None and _length(stack_of(folder, number)) == before[number]
        for number in processes
    ):
        time.sleep(0.02)
    time.sleep(0.02)  # for the rest of it
    return {number: one for number, one in answers(folder).items() if number in processes}


def answers(folder: Path) -> dict[int, Standing]:
    """Where those stood that were asked, by number."""
    files = sorted(folder.glob("stack-*.txt"))
    found = {
        int(file.stem.removeprefix("stack-")): standing(file.read_text("utf-8", "replace")) for file in files
    }
    return {number: one for number, one in found.items() if one is not None}


def keep(folder: Path, target: Path) -> None:
    """Copy the stacks of those that were asked to where they outlive the launcher; a full disk is no reason to fail."""
    with suppress(OSError):
        for file in folder.glob("stack-*.txt"):
            if file.stat().st_size:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / file.name)


def _length(file: Path) -> int | None:
    return file.stat().st_size if file.exists() else None


def standing(stack: str) -> Standing | None:
    """Read what the fault handler wrote; None where there is no stack in it."""
    frames = next(filter(_is_main_thread, map(_frames, reversed(THREAD.split(stack)))), None)
    if frames is None:
        return None
    own = next((frame for frame in frames if _is_own(frame["file"])), frames[0])
    inside = [frame["file"] for frame in frames[: frames.index(own)]]
    loads = ", loading libraries" if any("<frozen importlib" in file for file in inside) else ""
    file = Path(own["file"])
    place = f"{own['name']} ({'/'.join(file.parts[-2:])}, line {own['line']}){loads}"
    top = [frame["file"].replace(os.sep, "/") for frame in frames[:8]]
    return Standing(place, waits=any(one in file for file in top for one in WAITS))


def _frames(thread: str) -> list[dict[str, str]]:
    return [found.groupdict() for line in thread.splitlines() if (found := FRAME.match(line))]


def _is_main_thread(frames: list[dict[str, str]]) -> bool:
    """Python's own threads begin in `_bootstrap`; one that C runs has no frames."""
    return bool(frames) and not frames[-1]["name"].startswith("_bootstrap")


def _is_own(file: str) -> bool:
    return file.startswith(_OURS) or not any(one in file for one in _LIBRARIES)


def _mark(folder: Path, process: int) -> Path:
    return folder / f"met-{process}"
