"""All that is planted here, tried: `python -m tests.unforeseen --jobs 2`; `--only WORD` takes those with the word in their name.

What counts as a fault: "a bug" or a trace, another exit code, more than a minute of CPU, failing without a word, a terminal's
orders let through, a marker of code that ran.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.planted import Artefacts, made
from tests.unforeseen import doors, files, models, pages, servers, settings, surroundings
from tests.unforeseen.plants import Call, Make, put

ROOT = Path(__file__).parents[2]
CPU_S = 60
WALL_S = 300
MEMORY_GIB = 3.0
"""Peak of one try, this program's own third of a gigabyte included."""
MACHINE_GIB = 8
"""What one may take at all, for the sake of whoever else is on the machine."""
SCRIPT = "from medgrpo.cli.main import main\n\nif __name__ == '__main__':\n    main()\n"
ORDERS = re.compile(r"\x1b\]|\x1b\[2J|\x07")
SECRETS = ("sk-planted-secret-of-tests", "secret-word")


@dataclass
class Tried:
    """How one call ended."""

    name: str
    words: tuple[str, ...]
    fault: str | None
    said: str

    @property
    def is_general(self) -> bool:
        """Whether the words are those of the border alone, which name the file but not what is wrong in it."""
        return "shows where reading it failed" in self.said


def all_plants(url: str, kind: str = "", without: Sequence[str] = ()) -> list[tuple[str, Make]]:
    """All of them, or those of a kind: settings, sources, …; without those of some modules."""
    kinds = (
        settings.settings,
        files.sources,
        files.datasets,
        files.pictures,
        files.logs,
        models.models,
        models.adapters,
        models.checkpoints,
        *surroundings.ALL,
        *doors.ALL,
        *pages.ALL,
    )
    modules = [plants.__module__.rpartition(".")[2] for plants in kinds]
    named = [
        plants
        for plants, module in zip(kinds, modules, strict=True)
        if kind in ("", plants.__name__, module) and module not in without
    ]
    found = [one for plants in named for one in plants()]
    return found + (list(servers.servers(url)) if kind in ("", "servers") else [])


def _run(call: Call, place: Path) -> None:
    """In the process of the try: what surrounds the call, then the call; never comes back."""
    import resource

    code = 99
    try:
        os.setpgid(0, 0)
        os.chdir(place)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(
                os.open(place.parent / f"{place.name}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666),
                stream,
            )
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CPU, (2 * CPU_S, 2 * CPU_S))
        resource.setrlimit(resource.RLIMIT_DATA, (MACHINE_GIB * 2**30, MACHINE_GIB * 2**30))
        for name, value in call.environment.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        words = [*call.words, *(() if call.words[0] in ("presets", "--help", "doctor") else ("--quiet",))]
        if call.is_new:
            script = Path(
                put(place.parent / "bin" / "medgrpo", SCRIPT)
            )  # as installed: its folder comes first
            command = [sys.executable, str(script), *words]
            if call.is_module:
                command[1:2] = ["-m", "medgrpo.cli.main"]
            if call.before is not None:
                call.before()
            os.execv(sys.executable, command)
        if call.before is not None:
            call.before()
        from medgrpo.cli.main import main

        main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - what comes out of a command at all is a fault
        import traceback

        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


@dataclass
class Running:
    """A try under way."""

    name: str
    call: Call
    place: Path
    process: int
    began: float

    def ended(self) -> Tried | None:
        number, status, used = os.wait4(self.process, os.WNOHANG)
        late = ""
        if not number:
            if time.monotonic() - self.began < WALL_S:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process, signal.SIGKILL)
            _, status, used = os.wait4(self.process, 0)
            late = f"later than {WALL_S} s"
        said, out = (_read(self.place.parent / f"{self.place.name}.{name}") for name in ("stderr", "stdout"))
        fault = late or self._fault(
            os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, said, out
        )
        if fault is None and used.ru_maxrss > MEMORY_GIB * 2**20:
            fault = f"{used.ru_maxrss / 2**20:.1f} GiB of memory"
        if fault is None and self.call.check is not None:
            fault = self.call.check()
        return Tried(self.name, self.call.words, fault, said)

    def _fault(self, code: int, seconds: float, said: str, out: str) -> str | None:
        both = said + out
        is_mute = (
            code not in (0, 130, surroundings.CLOSED)
            and not self.call.is_silent
            and not re.search(r"error|错误", said)
        )
        faults = {
            f"exit {code}": code not in self.call.ends,
            "not worded": "looks like a bug" in both
            or "Traceback (most" in said
            or "Exception ignored" in said,
            f"{seconds:.0f} s of CPU": seconds > CPU_S,
            f"exit {code} without a word": is_mute,
            "a terminal's orders let through": ORDERS.search(both),
            "a secret let through": any(secret in both for secret in SECRETS),
            "code ran": (self.place / "marker").exists(),
        }
        return next((what for what, is_so in faults.items() if is_so), None)


def _read(file: Path) -> str:
    return file.read_text("utf-8", "replace") if file.is_file() else ""


def tried(
    chosen: list[tuple[str, Make]], whole: Path, folder: Path, jobs: int, seconds: float
) -> Iterator[Tried]:
    """Each of them, so many at once."""
    waiting, running, end = list(enumerate(chosen)), [], time.monotonic() + seconds
    while waiting or running:
        if time.monotonic() > end:
            waiting = []
        while waiting and len(running) < jobs:
            number, (name, make) = waiting.pop(0)
            place = folder / f"{number}"
            shutil.copytree(whole, place)
            os.chmod(place, 0o777)
            try:
                call = make(Artefacts(place))
            except Exception as error:  # noqa: BLE001 - a plant that cannot be planted here is no reason to end
                yield Tried(name, (), "could not be planted", f"{type(error).__name__}: {error}")
                continue
            call = call if isinstance(call, Call) else Call(call)
            process = os.fork()
            if not process:
                _run(call, place)
            running.append(Running(name, call, place, process, time.monotonic()))
        time.sleep(0.02)
        for one in list(running):
            if (result := one.ended()) is not None:
                running.remove(one)
                shutil.rmtree(one.place, ignore_errors=True)
                yield result


def import_everything() -> None:
    """What the commands import, so that the tries, which are forked from here, need not."""
    import pandas  # noqa: F401
    import peft  # noqa: F401
    import torch
    from transformers import (  # noqa: F401
        AutoModelForImageTextToText,
        AutoProcessor,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
    )
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401

    import medgrpo.training.run.train
    import medgrpo.training.trainers.grpo
    import medgrpo.training.trainers.sft  # noqa: F401

    torch.set_num_threads(1)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", default="", help="settings, sources, datasets, pictures, logs, models, …")
    parser.add_argument("--without", action="append", default=[], help="a module of tests.unforeseen")
    parser.add_argument("--seed", type=int, help="in an order by chance")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--said", action="store_true", help="print what each said")
    options = parser.parse_args()
    os.environ.update(
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
        PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
    )
    os.environ.pop("MEDGRPO_DATA", None)
    import_everything()
    count, faults, general = 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o777)
        os.environ["MEDGRPO_CACHE"] = str(folder / "cache")
        whole = made(folder / "whole")
        server = servers.Server()
        try:
            plants = all_plants(server.url, options.kind, options.without)
            if options.seed is not None:
                random.Random(options.seed).shuffle(plants)
            chosen = [one for one in plants if options.only in one[0]][options.first :: options.every]
            for one in tried(chosen, whole.folder, folder, options.jobs, options.seconds):
                count, faults, general = count + 1, faults + (one.fault is not None), general + one.is_general
                if one.fault:
                    print(f"FAULT {one.name}: {one.fault}: {one.said.strip()[-600:]}", flush=True)
                elif options.said:
                    print(f"ok {one.name}: {one.said.strip()[-300:]}", flush=True)
        finally:
            server.stop()
            os.chdir("/")
    print(f"{general} in general words")
    print(f"{count} planted, {faults} not worded ({faults / max(1, count):.2%})")
    return int(faults * 100 >= max(1, count))


if __name__ == "__main__":
    sys.exit(main())
