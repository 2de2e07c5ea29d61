"""Why a run of several processes ended: what each wrote down, and which of it was the cause.

When one process fails the others fail too, because they wait for it. One of them is to be heard: the first that failed
for a reason of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medgrpo.errors import MedgrpoError
from medgrpo.files import foreign_json
from medgrpo.training.before.stopping import SIGNALS, Stopped

FOLDER = "MEDGRPO_FAILURES"
"""Names the folder in which processes of a run write down why they fail."""
COMMAND = "MEDGRPO_LAUNCHED"
"""Set in the processes of a run: the number of the command that started them, which speaks for them."""
RESULT = "result.json"
OF_OTHERS = re.compile(
    r"did not meet the others|connection (was )?(closed|reset|refused)|broken pipe|socket (is closed|closed|timeout)|timed out waiting|"
    r"wait timeout|gloo|nccl|process ?group|distbackend|diststore|distnetwork|tcpstore|all_?reduce|all_?gather",
    re.IGNORECASE,
)
"""How torch says that another process is gone, or did not come."""
TIMEOUT = re.compile(r"timed out|timeout", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """Why one process ended."""

    process: int
    problem: str
    expected: str | None
    hint: str | None
    code: int
    at: float
    """Seconds since the epoch."""
    is_of_others: bool
    """Whether it only found another process gone or late."""


def write_down(
    error: MedgrpoError, folder: Path, process: int, *, cause: BaseException | None = None
) -> None:
    """Leave an error for the one who started the processes."""
    words = f"{type(cause).__name__}: {cause}" if cause is not None else error.problem
    is_own = isinstance(cause, MedgrpoError) and not isinstance(cause.__cause__, RuntimeError)
    failure = Failure(
        process,
        error.problem,
        error.expected,
        error.hint,
        error.exit_code,
        time.time(),
        is_of_others=not is_own and OF_OTHERS.search(words) is not None,
    )
    partial = folder / f".{process}.partial"
    partial.write_text(json.dumps(asdict(failure)), encoding="utf-8")
    os.replace(partial, folder / f"{process}.json")


def place_to_leave() -> str | None:
    """The folder in which this process leaves what it has to say; None where nobody would say it: it is none of several,
    or the command that started it was killed."""
    folder, said = os.environ.get(FOLDER), os.environ.get(COMMAND, "")
    if folder is None or not os.path.isdir(folder):
        return None
    if said.isdecimal() and int(said) > 1:
        try:
            os.kill(int(said), 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
    return folder


def leave(error: BaseException, worded: MedgrpoError, folder: str) -> None:
    """Write an error down as the process that this is; its trace goes into its log."""
    import traceback

    process = int(os.environ.get("RANK", "0"))
    if process:
        traceback.print_exception(error)
    write_down(worded, Path(folder), process, cause=error)


def leave_result(words: str, folder: str) -> None:
    """Leave the command's JSON document for the one who started the processes, and knows how they ended."""
    (Path(folder) / RESULT).write_text(words, encoding="utf-8")


def left_result(folder: Path) -> str | None:
    """What `leave_result` left; None where no document was asked for, or the first process did not come so far."""
    file = folder / RESULT
    return file.read_text("utf-8") if file.is_file() else None


def written_down(folder: Path) -> list[Failure]:
    """What the processes left, the first that failed first."""
    found = [Failure(**foreign_json(path)) for path in folder.glob("[0-9]*.json")]
    return sorted(found, key=lambda one: one.at)


def cause_of(
    failures: Sequence[Failure],
    codes: Mapping[int, int],
    *,
    processes: int,
    timeout_s: int,
    places: Mapping[int, str] | None = None,
) -> MedgrpoError:
    """The one error that says why the run ended.

    Args:
        failures: see `written_down`.
        codes: exit codes of the processes that ended by themselves, the first to end first; below 0: the signal.
        processes: of the whole run.
        timeout_s: how long they wait for each other.
        places: where those stood that waited for nobody, in words.
    """
    own = next((one for one in failures if not one.is_of_others), None)
    if own is not None:
        same = sum(one.problem == own.problem for one in failures)
        where = "" if processes == 1 or same > 1 else f"process {own.process}: "
        return _error(where + own.problem, own.expected, own.hint, own.code)
    for process, code in codes.items():
        if (ended := _by_signal(process, code)) is not None:
            return ended
    late = [one for one in failures if TIMEOUT.search(one.problem)]
    aborted = [process for process, code in codes.items() if code == -signal.SIGABRT]
    if late or aborted:
        waiting = sorted({one.process for one in late} | set(aborted))
        return _stood_still(waiting, processes, timeout_s, places or {})
    silent = next(((process, code) for process, code in codes.items() if code), None)
    if silent is not None and not any(one.process == silent[0] for one in failures):
        return _error(f"process {silent[0]} ended with code {silent[1]}", None, "its log says more", 1)
    if failures:
        return _of_first(failures[0])
    return _error("the run ended", None, None, 1)


def _stood_still(
    waiting: Sequence[int], processes: int, timeout_s: int, places: Mapping[int, str]
) -> MedgrpoError:
    still = [number for number in range(processes) if number not in waiting]
    known = [number for number in still if number in places] or still  # others waited too, a little less long
    who = f"process {', '.join(map(str, known))}" if known else "the processes"
    where = f" in {places[known[0]]}" if known and known[0] in places else ""
    hint = "its stack is beside the logs (stack-N.txt)" if where else "its log says what it did last"
    return _error(
        f"{who} stood still{where}: process {', '.join(map(str, waiting))} waited {timeout_s} s",
        "all processes at the same place of a step",
        f"{hint}; a longer wait: --set launch.timeout_s=N",
        1,
    )


def _of_first(first: Failure) -> MedgrpoError:
    """Where nothing tells which process was the cause."""
    if not first.is_of_others:
        return _error(f"process {first.process}: {first.problem}", first.expected, first.hint, first.code)
    return _error(
        f"process {first.process} lost the others ({first.problem.split(' This is ')[0][:200]})",
        "all processes there until the end",
        "the logs of the others say why they ended; where a machine is gone it says nothing",
        1,
    )


def _by_signal(process: int, code: int) -> MedgrpoError | None:
    """The error of a process that a signal ended, or that ended as after one; None of any other, and of torch's abort."""
    number = -code if code < 0 else code - 128
    if number in SIGNALS:
        return Stopped(
            f"process {process} was ended ({signal.Signals(number).name}) before training began",
            number,
            hint="by somebody, or by a scheduler",
        )
    if code >= 0 or number == signal.SIGABRT:
        return None
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        hint = "where nobody did, the machine ran out of memory (dmesg -T | grep -i kill): fewer processes, or a smaller model"
        return _error(f"process {process} was killed ({name})", None, hint, 1)
    return _error(f"process {process} crashed ({name})", None, "its log says what it did last", 1)


def _error(problem: str, expected: str | None, hint: str | None, code: int) -> MedgrpoError:
    error = MedgrpoError(problem, expected=expected, hint=hint)
    error.exit_code = code if code > 0 else 1
    return error
