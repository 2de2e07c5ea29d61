"""The run folder's one writer: configuration, logs, the copy of the log, the closing record.

Files are written under a temporary name, synced and renamed; logs are appended and flushed line by
line, so that `kill -9` loses at most the step that was being computed.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from medgrpo import locks as lock
from medgrpo.errors import UsageError, nearest_there, typed_path
from medgrpo.files import (
    PARTIAL,
    append_lines,
    partial_name,
    read_toml,
    sync,
    write_json,
    write_text,
)
from medgrpo.json_in import json_value
from medgrpo.records import json_objects, lines
from medgrpo.run_files import copy_of_log, is_copy_of, training_info
from medgrpo.runs.known import RUNS, is_stillborn, latest_run, name_latest

SCHEMA_VERSION = 1
COPY_EVERY_S = 30.0


@dataclass(frozen=True)
class StageFolder:
    """Where one stage writes. The main stage writes into the run folder itself."""

    number: int
    name: str
    method: str
    path: Path

    @property
    def log(self) -> Path:
        """The stage's log, one JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the stage's checkpoints."""
        return self.path / "checkpoints"


class RunWriter:
    """Writes one run folder.

    Args:
        path: the run folder.
        name: of the run.
        logs: folder of the log copies; None writes no copy.
    """

    def __init__(self, path: Path, name: str, *, logs: Path | None = Path("logs")) -> None:
        self.path = path
        self.name = name
        self._logs = logs
        self._copy: Path | None = None
        self._copied_at = 0.0
        self._lock = threading.Lock()
        self._held: lock.RunLock | None = None
        self._info: dict[str, Any] = training_info(path)

    @classmethod
    def create(
        cls,
        path: Path,
        name: str,
        config_toml: str,
        environment: dict[str, Any],
        *,
        preset: str | None = None,
        logs: Path | None = Path("logs"),
    ) -> RunWriter:
        """A new run folder with its configuration and environment.

        Raises:
            UsageError: the folder exists and is not empty, or another process writes it.
        """
        refuse_used_folder(path)
        path.mkdir(parents=True, exist_ok=True)
        held = lock.RunLock(path)
        write_json(path / "environment.json", environment)
        write_text(path / "config.toml", config_toml)  # from here on it can be resumed
        writer = cls(path, name, logs=logs)
        writer._held = held
        writer.update_info(
            schema_version=SCHEMA_VERSION,
            name=name,
            preset=preset,
            finished=False,
            started=_now(),
            status="running",
        )
        writer.copy_log(force=True)
        _name_latest(path)
        return writer

    @classmethod
    def reopen(cls, path: Path, *, logs: Path | None = Path("logs")) -> RunWriter:
        """The writer of a run folder that exists, to continue it.

        Raises:
            UsageError: another process writes it.
        """
        held = lock.RunLock(path)
        for partial in path.rglob(f".*{PARTIAL}"):
            if partial.is_file():  # what a kill cut off
                partial.unlink()
        info = training_info(path)
        writer = cls(path, str(info.get("name") or path.resolve().name), logs=logs)
        writer._held = held
        # The copy is claimed anew where the run was moved.
        copy = copy_of_log(path)
        if logs is not None and is_copy_of(
            copy, path
        ):  # a run of others may name any file here, to be written over
            writer._copy = copy
        writer.update_info(finished=False, status="running", resumed=[*info.get("resumed", []), _now()])
        _name_latest(path)
        return writer

    # ------------------------------------------------------------------------------------ stages

    def stage(self, number: int, name: str, method: str, *, is_main: bool) -> StageFolder:
        """The folder of a stage, made when absent."""
        path = self.path if is_main else self.path / "stages" / f"{number}-{method}"
        path.mkdir(parents=True, exist_ok=True)
        return StageFolder(number, name, method, path)

    def append(self, stage: StageFolder, entry: dict[str, Any]) -> None:
        """One line in the stage's log, flushed; NaN and infinity become null."""
        with self._lock:
            append_lines(stage.log, [{"stage": stage.name, **entry}])
        self.copy_log()

    def cut(self, stage: StageFolder, last_step: int) -> int:
        """Move the lines after `last_step` to `log.abandoned.jsonl`; how many there were.

        A last line that was only half written counts as one of them. The shortened log replaces the old
        one at once, so that a kill in between leaves one of the two whole.
        """
        if not stage.log.is_file():
            return 0
        kept: list[str] = []
        moved: list[str] = []
        for line in lines(stage.log.read_text("utf-8", errors="replace")):
            (kept if _step_of(line) <= last_step else moved).append(line)
        if not moved:
            return 0
        abandoned = stage.path / "log.abandoned.jsonl"
        with abandoned.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in moved))
        sync(abandoned)
        write_text(stage.log, "".join(f"{line}\n" for line in kept))
        return len(moved)

    # ------------------------------------------------------------------------------- the log copy

    @property
    def log_copy(self) -> Path | None:
        """Path of the copy in `./logs/`; its name is made unique when it is first written."""
        if self._logs is None:
            return None
        if self._copy is None:
            self._copy = self._claim_copy(self._logs).absolute()
            self.update_info(log_copy=str(self._copy))
        return self._copy

    def _claim_copy(self, logs: Path) -> Path:
        """The first free name. It names the run from its first moment, so that a resumed run knows it again."""
        logs.mkdir(parents=True, exist_ok=True)
        claim = partial_name(logs / self.name)
        write_json(claim, {"name": self.name, "run": str(self.path.absolute()), "history": []})
        try:
            for number in count(1):
                candidate = logs / (f"{self.name}.json" if number == 1 else f"{self.name}-{number}.json")
                with suppress(FileExistsError):
                    _link(claim, candidate)
                    break
                if is_copy_of(candidate, self.path):
                    break
        finally:
            claim.unlink()
        return candidate

    def copy_log(self, *, force: bool = False) -> None:
        """Refresh the copy if it is older than 30 s."""
        now = time.monotonic()
        if not force and now - self._copied_at < COPY_EVERY_S:
            return
        self._copied_at = now
        target = self.log_copy
        if target is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        stages = [
            {
                "name": log.parent.name,
                "method": log.parent.name.split("-", 1)[-1],
                "history": json_objects(log),
            }
            for log in sorted(self.path.glob("stages/*/log.jsonl"))
        ]
        write_json(
            target,
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "run": str(self.path.absolute()),
                "status": self._info.get("status"),
                "finished": bool(self._info.get("finished")),
                "error": self._info.get("error"),
                "config": read_toml(self.path / "config.toml"),
                "validation": self._info.get("validation", {}),
                "history": json_objects(self.path / "log.jsonl"),
                "stages": stages,
            },
            durable=False,
        )

    # --------------------------------------------------------------------------------- the record

    @property
    def info(self) -> dict[str, Any]:
        """What `training_info.json` holds."""
        return dict(self._info)

    def update_info(self, **values: Any) -> None:
        """Add to `training_info.json`."""
        self._info.update(values)
        write_json(self.path / "training_info.json", self._info)

    def finish(self, status: str, **values: Any) -> None:
        """Close the record: status is finished, stopped or failed."""
        self._info.update(status=status, finished=status == "finished", ended=_now(), **values)
        self.copy_log(force=True)
        self.update_info()  # last: what says finished is not taken up again
        if is_stillborn(self.path):
            _name_latest(latest_run(self.path.parent, self.path.parent / "logs"))
        self.release()

    def release(self) -> None:
        """Let another process write the folder."""
        if self._held is not None:
            self._held.release()


def _name_latest(run: Path) -> None:
    """Make `runs/latest` a link to the run; elsewhere people's own folders get no link."""
    if run.absolute().parent.name == RUNS.name:
        name_latest(run)


def _link(file: Path, name: Path) -> None:
    """A second name for a file, FileExistsError where that is taken."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with name.open("x") as copy:
            copy.write(file.read_text("utf-8"))


def refuse_used_folder(path: Path) -> None:
    """Raise UsageError when the folder holds anything already, or cannot be written."""
    if path.is_file():
        raise UsageError(f"the run folder {path} is a file", hint="choose another --output")
    above = nearest_there(path)
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "may not be written" if above.is_dir() else "is a file"
        raise UsageError(
            f"the run folder {path} cannot be made: {above} {what}", hint="choose another --output"
        )
    if path.is_dir() and any(
        not inside.name.endswith(PARTIAL) and inside.name != lock.NAME for inside in path.iterdir()
    ):
        stillborn = training_info(path).get("status") == "failed" and is_stillborn(path)
        raise UsageError(
            f"the run folder {path} exists and is not empty",
            hint=f"it failed before its first step: rm -r {typed_path(path)}, or choose another --output"
            if stillborn
            else f"--resume {typed_path(path)} continues it; otherwise choose another --output",
        )


def new_run_name(prefix: str, parent: Path) -> str:
    """`<prefix>-<date>-<n>`, the first n that is free in the parent folder."""
    date = time.strftime("%Y%m%d")
    number = 1
    while (parent / f"{prefix}-{date}-{number}").exists():
        number += 1
    return f"{prefix}-{date}-{number}"


@contextmanager
def free_folder(path: Path) -> Iterator[Path]:
    """The folder, made; where another run has taken that number meanwhile, the next that is free.

    A folder that is still empty when an error leaves it is removed.

    Args:
        path: `…/<prefix>-<n>`, of `new_run_name`.
    """
    prefix, _, number = path.name.rpartition("-")
    for n in count(int(number)):
        mine = path.with_name(f"{prefix}-{n}")
        with suppress(FileExistsError):
            mine.mkdir(parents=True)
            break
    try:
        yield mine
    except BaseException:
        with suppress(OSError):
            mine.rmdir()
        raise


def _step_of(line: str) -> float:
    try:
        entry = json_value(line)
        return float(entry["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
