"""Commands of several processes that import nothing anew, so that each costs seconds instead of most of a minute.

`python -m tests.training.warm` imports what training needs and waits for orders. What it forks is the command line; where that
starts processes they are forked too, with the environment, the session and the streams that they would have had. All else is real: the
watcher, the processes over gloo, who is whose parent, signals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Forked(subprocess.Popen):
    """`subprocess.Popen` of medgrpo's own modules, by a fork."""

    def __init__(self, command: Any, **options: Any) -> None:
        if list(command)[1:2] != ["-m"] or not str(command[2]).startswith("medgrpo."):
            super().__init__(command, **options)
            return
        self.args, self.returncode, self._child_created = command, None, False
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _run(lambda: _become(command[2], list(command[3:]), options))

    def __del__(self, *_: Any) -> None:
        if hasattr(self, "_waitpid_lock"):
            super().__del__()

    def poll(self) -> int | None:
        if hasattr(self, "_waitpid_lock"):
            return super().poll()
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if hasattr(self, "_waitpid_lock"):
            return super().wait(timeout)
        while self.poll() is None:
            time.sleep(0.02)
        return self.returncode


def _become(module: str, words: list[str], options: dict[str, Any]) -> None:
    if options.get("start_new_session"):
        os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        if (stream := options.get(name)) is not None:
            os.dup2(stream.fileno(), number)
    os.closerange(3, 256)
    sys.stdout = os.fdopen(1, "w", closefd=False, errors="backslashreplace")
    sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(options["env"])
    if (first := options.get("preexec_fn")) is not None:
        first()
    sys.argv = [module, *words]
    if module == "medgrpo.cli.main":
        from medgrpo.cli.main import main
        from tests.training.faults import plant

        plant()
    else:
        from medgrpo.training.before.processes import main
    main()


def _run(what: Any) -> None:
    code = 99
    try:
        what()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  (it would go on as the one that it was forked from)
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _obey(order: dict[str, Any]) -> Any:
    if "poll" in order:
        pid, status = os.waitpid(order["poll"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    with open(order["stdout"], "wb") as out, open(order["stderr"], "wb") as err:
        pid = os.fork()
        if not pid:
            os.chdir(order["folder"])
            options = {"stdout": out, "stderr": err, "env": order["environment"], "start_new_session": True}
            _run(lambda: _become("medgrpo.cli.main", order["words"], options))
    return pid


def plain_environment() -> dict[str, str]:
    """Without what earlier runs in the process of the tests left: Transformers speaks of WANDB_MODE on stdout."""
    kept = {key: value for key, value in os.environ.items() if key not in ("WANDB_MODE", "PYTHONPATH")}
    return {**kept, "OMP_NUM_THREADS": "1"}


class Warm:
    """The process that forks commands, as tests speak to it.

    Args:
        inside: a command that runs it, as `unshare` does.
    """

    def __init__(self, inside: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.training.warm"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**plain_environment(), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        self._commands: list[Command] = []
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def root(self) -> Path:
        """The file system as that process sees it."""
        return Path(f"/proc/{self._process.pid}/root")

    def asked(self, order: dict[str, Any]) -> Any:
        """The answer to an order."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, words: list[str], *, name: str = "command", **environment: str) -> Command:
        """`medgrpo WORDS` in that folder."""
        made = Command(self, folder, words, name, {**plain_environment(), **environment})
        self._commands.append(made)
        return made

    def end(self) -> None:
        """Give no more orders; what a test that failed left behind ends too."""
        for command in self._commands:
            if command.poll() is None:
                os.kill(command.pid, signal.SIGKILL)  # the others end with it
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Command:
    """A command under way."""

    def __init__(
        self, warm: Warm, folder: Path, words: list[str], name: str, environment: dict[str, str]
    ) -> None:
        self._warm, self.code = warm, None
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        self.began = time.monotonic()
        self.pid = warm.asked({"folder": str(folder), "words": words, "environment": environment, "stdout": str(self._out), "stderr": str(self._err)})  # fmt: skip

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.code is None:
            self.code = self._warm.asked({"poll": self.pid})
        return self.code

    def wait(self, within_s: float) -> int:
        """Its exit code; fails where it goes on."""
        until = time.monotonic() + within_s
        while self.poll() is None:
            assert time.monotonic() < until, f"it goes on: {self.said}"
            time.sleep(0.05)
        return self.code

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self._err.read_text("utf-8", "replace")

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What it wrote to stdout, a JSON document a line."""
        return [json.loads(line) for line in self._out.read_text("utf-8").splitlines()]

    def watcher(self) -> int:
        """The process that watches the others."""
        return children(self.pid)[0]

    def processes(self) -> list[int]:
        """Those that train, the first first."""
        return children(self.watcher())


def children(pid: int) -> list[int]:
    """The processes that a process started, the first first."""
    return sorted(int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def until(holds: Any, command: Command, within_s: float = 120) -> None:
    """Wait; fails where the command ends before."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert command.poll() is None, command.said
        assert time.monotonic() < deadline, command.said
        time.sleep(0.05)


def main() -> None:
    """Import, then obey."""
    from tests.training.killing import import_everything

    import_everything()
    import medgrpo.training.run.train
    import medgrpo.training.trainers.dpo
    import medgrpo.training.trainers.grpo
    import medgrpo.training.trainers.sft  # noqa: F401

    subprocess.Popen = Forked  # type: ignore[misc]
    words = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=words, flush=True)
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line))), file=words, flush=True)


if __name__ == "__main__":
    main()
