"""Starts the processes of a run on this machine and ends them together: `python -m medgrpo.training.before.processes SPEC`.

Where one fails, torch's launcher waits half a minute, prints the traces of all and a table; with several machines those of the
others wait until a timeout. Here the others get a few seconds to write down what they found, are ended, and the cause is
left in one file for the one who asked. Accelerate still says what each kind of run needs in its environment.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import foreign_json
from medgrpo.training.before import standing
from medgrpo.training.before.failures import FOLDER, cause_of, left_result, written_down
from medgrpo.training.before.machines import Machines
from medgrpo.training.before.stopping import SIGNALS, STOP_FILE, Stopped, ask_to_stop, asked_by

LOOK_EVERY_S = 0.1
GRACE_S = 5.0
"""For the others to end by themselves when one has failed."""
END_S = 300.0
"""For the last to end when another is done: all have done their work then; a tracker may still send what it has."""
SAY_EVERY_S = 30.0
"""Between two lines about who is waited for at the start."""
CAUSE = "cause.json"
SPEC = "spec.json"
STOP = "stop"
"""The file that asks the processes to stop."""


@dataclass(frozen=True)
class Spec:
    """What is to be started here."""

    command: list[str]
    """Of each process."""
    local: int
    """Processes on this machine."""
    nodes: int
    node: int
    """Number of this machine."""
    address: str
    """Of the first machine."""
    port: int
    config: str | None
    """What `accelerate launch --config_file` would be given; None: nothing."""
    timeout_s: int
    start_timeout_s: int
    """For all processes to meet."""
    folder: str
    """Where the processes leave why they failed."""
    facts: dict[str, str] = field(default_factory=dict)
    """What all machines must have in common."""
    as_json: bool = False
    """Whether the command was to print a JSON document."""

    @classmethod
    def read(cls, path: Path) -> Spec:
        """From the file that `write` made."""
        return cls(**foreign_json(path))

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def main() -> None:
    """Start, watch, end; exits with the code of the process that failed first."""
    watch = Processes(Spec.read(Path(sys.argv[1])))
    code = watch.run()
    watch.speak_for_the_dead()
    sys.exit(code)


class Processes:
    """The processes of this machine."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._going: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._end_at: float | None = None
        self._stop = Path(spec.folder) / STOP
        self._error: MedgrpoError | None = None
        self._parent = os.getppid()
        self._own_problem: str | None = None
        self._began = self._said_at = time.monotonic()
        self._folder = Path(spec.folder)
        self._own = range(spec.node * spec.local, (spec.node + 1) * spec.local)
        self._own_hint: str | None = None
        self._stopped_by: int | None = None
        self._has_met = self._is_ending = self._is_told = False

    def run(self) -> int:
        """Until all have ended; the exit code."""
        spec = self._spec
        for number in SIGNALS:
            signal.signal(number, self._ask)
        environment = kind_of_run(spec.config, spec.command) if spec.config else dict(os.environ)
        with Machines(spec.node, spec.nodes, spec.address, spec.port + 1, spec.facts) as others:
            problem = others.failed()
            for local in range(0 if problem else spec.local):
                self._start(local, environment)
            while self._going:
                time.sleep(LOOK_EVERY_S)
                self._look()
                problem = problem or others.failed()
                self._see_to_the_end(problem, others)
                if self._end_at is not None and time.monotonic() > self._end_at:
                    self._kill()
            if os.getpgrp() == os.getpid():
                end_group(os.getpid(), within_s=2)  # what the processes started and left behind
            if self._own_problem is not None:
                others.tell(self._own_problem, self._stopped_by)
                return self._leave(_of_a_stop(self._own_problem, self._stopped_by, self._own_hint))
            if problem or any(self._codes.values()):
                return self._say(problem or self._said_by(others), others)
            others.done()
        return 0

    def _see_to_the_end(self, problem: str | None, others: Machines) -> None:
        """Whatever happens, set when the processes are ended: nothing is waited for without a limit."""
        if problem or any(self._codes.values()):
            if not self._is_ending:
                self._is_ending = True
                self._end_in(GRACE_S)
                standing.ask(self._folder, self._pids())
                others.ask_places()
        elif self._end_at is None and not self._has_met:
            self._meet(others)
        if others.is_asked and not self._is_told:
            self._is_told = True
            found = standing.places(self._folder, self._pids())
            others.tell_places({number: one.place for number, one in found.items() if not one.waits})
        if self._codes and self._end_at is None:
            self._end_in(END_S)

    def _meet(self, others: Machines) -> None:
        """Until all processes are there, say now and then who is missing."""
        now = time.monotonic()
        self._has_met = standing.have_met(self._folder, self._own)
        if self._has_met:
            others.stop_calling()
        elif (name := asked_by(self._stop)) is not None:
            self._stopped_by = signal.Signals[name]
            self._own_problem, self._end_at = f"asked to stop ({name}) before all processes had met", 0.0
        elif now - self._began > self._spec.start_timeout_s:
            self._own_problem = f"{self._missing(others)} did not come within {self._spec.start_timeout_s} s"
            self._own_hint = "a longer wait: --set launch.start_timeout_s=N"
            self._end_at = 0.0
        elif now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            print(
                f"waiting for {self._missing(others)}: {now - self._began:.0f} s, at most "
                f"{self._spec.start_timeout_s} s (launch.start_timeout_s)",
                file=sys.stderr,
                flush=True,
            )

    def _missing(self, others: Machines) -> str:
        """Who is not there yet, and where it is, as far as this machine knows."""
        found = standing.places(self._folder, self._pids())
        at = [f"process {number}, in {one.place}" for number, one in found.items() if not one.waits]
        at += [f"process {number}, which is starting" for number in self._pids() if number not in found]
        return "; ".join([*at[:3], *others.missing()]) or "the processes of the other machines"

    def _pids(self) -> dict[int, int]:
        return {number: process.pid for number, process in self._going.items()}

    def _end_in(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._end_at = until if self._end_at is None else min(self._end_at, until)

    def _start(self, local: int, environment: Mapping[str, str]) -> None:
        spec = self._spec
        rank = spec.node * spec.local + local
        own = {
            **environment,
            "RANK": str(rank),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(spec.local * spec.nodes),
            "LOCAL_WORLD_SIZE": str(spec.local),
            "GROUP_RANK": str(spec.node),
            "NODE_RANK": str(spec.node),
            "MASTER_ADDR": spec.address,
            "MASTER_PORT": str(spec.port),
            FOLDER: spec.folder,
            STOP_FILE: str(self._stop),
        }
        own.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // spec.local)))
        # Until it knows the run folder, where its own log lies, another process speaks here.
        with (Path(spec.folder) / f"rank-{rank}.txt").open("wb") if rank else nullcontext() as words:
            self._going[rank] = subprocess.Popen(
                spec.command,
                env=own,
                stdout=words,
                stderr=words,
                preexec_fn=end_with_parent(),  # noqa: PLW1509  (one system call, its library loaded before)
            )

    def _look(self) -> None:
        for rank, process in list(self._going.items()):
            code = process.poll()
            if code is not None:
                del self._going[rank]
                if not (self._end_at is not None and code in (-signal.SIGTERM, -signal.SIGKILL)):
                    self._codes[rank] = code

    def _said_by(self, others: Machines) -> str | None:
        """What another machine failed of, where the processes here only lost those of it: its launcher says so a moment later."""
        until = time.monotonic() + 2 * GRACE_S
        while self._spec.nodes > 1 and not self._failed_here() and time.monotonic() < until:
            if (problem := others.failed()) is not None:
                return problem
            time.sleep(LOOK_EVERY_S)
        return None

    def _failed_here(self) -> bool:
        """Whether a process of this machine failed for a reason of its own: it says so, or could not say anything."""
        failures = written_down(self._folder)
        silent = self._codes.keys() - {one.process for one in failures}
        return any(not one.is_of_others for one in failures) or any(
            self._codes[number] not in (0, -signal.SIGABRT) for number in silent
        )

    def _kill(self) -> None:
        """End those that are left; a process in a collective of torch hears no SIGTERM."""
        if self._own_problem is None and not self._is_ending:
            self._say_who_does_not_end()
        for process in self._going.values():
            process.kill()
        for process in self._going.values():
            process.wait()
        self._going.clear()

    def _say_who_does_not_end(self) -> None:
        """The others are done, and the run with them."""
        still = ", ".join(map(str, sorted(self._going)))
        found = standing.places(self._folder, self._pids())
        where = "".join(f"; it was in {one.place}" for one in list(found.values())[:1])
        said = f"process {still} had not ended {END_S:g} s after the others were done{where}"
        if 0 in self._going:  # it has the last word
            self._own_problem = said
        else:
            print(f"warning: {said}: it was killed", file=sys.stderr, flush=True)

    def _ask(self, number: int, _: Any) -> None:
        """Pass a signal on; the processes save and end. Where it says that the command was killed they end at once."""
        if os.getppid() != self._parent:
            self._own_problem, self._end_at = "the command that started the processes was killed", 0.0
        else:
            ask_to_stop(self._stop, number)  # a scheduler sends it to all; each saves at the end of its step

    def _say(self, problem: str | None, others: Machines) -> int:
        spec = self._spec
        folder = Path(spec.folder)
        if problem is not None and not any(not one.is_of_others for one in written_down(folder)):
            error = _of_a_stop(problem, others.stopped_by, others.hint)
        else:
            error = cause_of(
                written_down(folder),
                self._codes,
                processes=spec.local * spec.nodes,
                timeout_s=spec.timeout_s,
                places=self._places(others),
            )
            others.tell(error.problem, error.number if isinstance(error, Stopped) else None)
        return self._leave(error)

    def _places(self, others: Machines) -> dict[int, str]:
        """Where the processes stood that did not wait for others, those of other machines too."""
        found = standing.answers(self._folder)
        failures = written_down(self._folder)
        until = time.monotonic() + (3 if all(one.is_of_others for one in failures) else 0)
        while self._spec.nodes > 1 and not others.places and time.monotonic() < until:
            others.failed()
            time.sleep(LOOK_EVERY_S)
        return {number: one.place for number, one in found.items() if not one.waits} | others.places

    def _leave(self, error: MedgrpoError) -> int:
        """The error to the one who asked; its exit code."""
        self._error = error
        said = {"problem": error.problem, "expected": error.expected, "hint": error.hint}
        number = error.number if isinstance(error, Stopped) else None
        (Path(self._spec.folder) / CAUSE).write_text(
            json.dumps({**said, "code": error.exit_code, "stopped_by": number}), encoding="utf-8"
        )
        return error.exit_code

    def speak_for_the_dead(self) -> None:
        """Where the command was killed: say what it would have said, and take its folder away."""
        if os.getppid() == self._parent:
            return
        document = left_result(self._folder)
        with suppress(OSError):
            if (error := self._error) is not None:
                print(f"error: {error}", file=sys.stderr, flush=True)
                said = {"problem": error.problem, "expected": error.expected, "hint": error.hint}
                document = json.dumps({"error": said}) if self._spec.as_json else None
            if document is not None:
                print(document, flush=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _of_a_stop(problem: str, number: int | None, hint: str | None) -> MedgrpoError:
    return MedgrpoError(problem, hint=hint) if number is None else Stopped(problem, number)


def end_group(group: int, within_s: float = 0.0) -> None:
    """End what is left of a group of processes, but not the first, by which it is called.

    Args:
        within_s: for them to end by themselves.
    """
    until = time.monotonic() + within_s
    while (left := _members(group)) and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    for pid in left:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _members(group: int) -> list[int]:
    """Processes of a group that are going on; none where the system does not list them (it is not Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            state, _, its_group = entry.read_text().rsplit(")", 1)[1].split()[:3]
            if int(its_group) == group and state != "Z" and entry.parent.name != str(group):
                found.append(int(entry.parent.name))
    return found


def kind_of_run(config: str, command: list[str]) -> dict[str, str]:
    """The environment that accelerate's launcher gives to the processes of a run."""
    import warnings

    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    parsed = launch_command_parser().parse_args(
        ["--config_file", config, "--deepspeed_multinode_launcher", "standard", "-m", *command[2:]]
    )
    arguments, defaults, is_mixed = _validate_launch_command(parsed)
    arguments.main_process_port = 0  # the port is chosen already, and not looked for again
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if arguments.use_deepspeed:
            fields = [
                *(defaults.deepspeed_config if defaults else []),
                *(["mixed_precision"] if is_mixed else []),
            ]
            arguments.deepspeed_fields_from_accelerate_config = ",".join(fields)
            found = dict(prepare_deepspeed_cmd_env(arguments)[1])
        else:
            found = dict(prepare_multi_gpu_env(arguments))
    # For DeepSpeed it adds the working folder, where a file may be called as a library is.
    places = os.environ.get("PYTHONPATH")
    return {name: value for name, value in found.items() if name != "PYTHONPATH"} | (
        {"PYTHONPATH": places} if places else {}
    )


def end_with_parent() -> Callable[[], None] | None:
    """What a process does first: on Linux it asks for SIGTERM when the one who started it is killed. It would train on
    alone."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    return ask


if __name__ == "__main__":
    main()
