"""Starts the processes of a run on this machine and ends them together: `python -m medgrpo.training.before.processes SPEC`.

Where one fails, torch's launcher waits half a minute, prints the traces of all and a table; with several machines those of the
others wait until a timeout. Here the others get a few seconds to write down what they found, are ended, and the cause is
left in one file for the one who asked. Accelerate still says what each kind of run needs in its environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.training.before.failures import FOLDER, cause_of, written_down
from medgrpo.training.before.machines import Machines

LOOK_EVERY_S = 0.1
GRACE_S = 5.0
"""For the others to end by themselves when one has failed."""
SAVE_S = 30.0
"""For all to save when someone asks the run to end."""
CAUSE = "cause.json"


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
    folder: str
    """Where the processes leave why they failed."""
    facts: dict[str, str] = field(default_factory=dict)
    """What all machines must have in common."""

    @classmethod
    def read(cls, path: Path) -> Spec:
        """From the file that `write` made."""
        return cls(**json.loads(path.read_text("utf-8")))

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def main() -> None:
    """Start, watch, end; exits with the code of the process that failed first."""
    spec = Spec.read(Path(sys.argv[1]))
    sys.exit(Processes(spec).run())


class Processes:
    """The processes of this machine."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._going: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._end_at: float | None = None
        self._is_asked = False
        self._parent = os.getppid()
        self._own_problem: str | None = None

    def run(self) -> int:
        """Until all have ended; the exit code."""
        spec = self._spec
        environment = kind_of_run(spec.config, spec.command) if spec.config else dict(os.environ)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        with Machines(spec.node, spec.nodes, spec.address, spec.port + 1, spec.facts) as others:
            problem = others.failed()
            for local in range(0 if problem else spec.local):
                self._start(local, environment)
            while self._going:
                time.sleep(LOOK_EVERY_S)
                self._look()
                problem = problem or others.failed()
                if (problem or any(self._codes.values())) and self._end_at is None:
                    self._end_at = time.monotonic() + GRACE_S
                if self._end_at is not None and time.monotonic() > self._end_at:
                    self._kill()
            failed = [code for code in self._codes.values() if code]
            if self._own_problem is not None:
                others.tell(self._own_problem)
                return self._leave(MedgrpoError(self._own_problem))
            if failed or problem:
                return self._say(problem or self._said_by(others), others)
            others.done()
        return 0

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
        is_of_here = any(not one.is_of_others for one in written_down(Path(self._spec.folder)))
        while self._spec.nodes > 1 and not is_of_here and time.monotonic() < until:
            if (problem := others.failed()) is not None:
                return problem
            time.sleep(LOOK_EVERY_S)
        return None

    def _kill(self) -> None:
        """End those that are left; a process in a collective of torch hears no SIGTERM."""
        if self._is_asked and self._own_problem is None:
            still = ", ".join(map(str, sorted(self._going)))
            self._own_problem = f"process {still} had not ended {SAVE_S:g} s after it was asked to"
        for process in self._going.values():
            process.kill()
        for process in self._going.values():
            process.wait()
        self._going.clear()

    def _ask(self, number: int, _: Any) -> None:
        """Pass a signal on, once; the processes save and end. Where it says that the command was killed they end at once."""
        if os.getppid() != self._parent:
            self._own_problem, self._end_at = "the command that started the processes was killed", 0.0
        elif not self._is_asked:
            self._is_asked, self._end_at = True, time.monotonic() + SAVE_S
            for process in self._going.values():
                process.send_signal(number)

    def _say(self, problem: str | None, others: Machines) -> int:
        spec = self._spec
        folder = Path(spec.folder)
        if problem is not None and not any(not one.is_of_others for one in written_down(folder)):
            error = MedgrpoError(problem, hint=others.hint)
        else:
            error = cause_of(
                written_down(folder),
                self._codes,
                processes=spec.local * spec.nodes,
                timeout_s=spec.timeout_s,
            )
            others.tell(error.problem)
        return self._leave(error)

    def _leave(self, error: MedgrpoError) -> int:
        """The error to the one who asked; its exit code."""
        said = {"problem": error.problem, "expected": error.expected, "hint": error.hint}
        (Path(self._spec.folder) / CAUSE).write_text(
            json.dumps({**said, "code": error.exit_code}), encoding="utf-8"
        )
        return error.exit_code


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
