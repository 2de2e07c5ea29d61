"""What a run came to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.run_files import log_entries, training_info

if TYPE_CHECKING:
    from medgrpo.training.run.state import Run


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run: Path
    log: Path
    steps: int
    reward_first: float | None
    reward_last: float | None
    best: dict[str, Any] | None
    validation: dict[str, Any]
    wall_s: float
    health: dict[str, Any]
    status: str
    """finished, or stopped when someone asked for it."""
    stopped_by: str | None = None
    """The signal that asked for it, in whichever process: SIGINT, SIGTERM, SIGUSR1 or SIGUSR2; None: it came to its end."""

    def as_dict(self) -> dict[str, Any]:
        """The document of `medgrpo train --json`."""
        return {**self.__dict__, "run": str(self.run), "log": str(self.log)}


def result_of(run: Run, started: float, status: str) -> TrainResult:
    """The result of a run that ended, from its log.

    Args:
        run: the run.
        started: `time.perf_counter()` when it began.
        status: finished or stopped.
    """
    from medgrpo.runs.health import assess
    from medgrpo.runs.record import read_run

    history = log_entries(run.writer.path / "log.jsonl")
    rewards = [entry["reward"] for entry in history if entry.get("reward") is not None]
    window = max(5, round(len(rewards) / 10))
    health: dict[str, Any] = {"verdict": "insufficient_data", "findings": []}
    with suppress(MedgrpoError):
        health = assess(read_run(run.writer.path)).as_dict()
    return TrainResult(
        run=run.writer.path,
        log=run.writer.path / "log.jsonl",
        steps=int(history[-1]["step"]) if history else 0,
        reward_first=_mean(rewards[:window]),
        reward_last=_mean(rewards[-window:]),
        best=run.best or run.writer.info.get("best"),
        validation=run.validation,
        wall_s=time.perf_counter() - started,
        health=health,
        status=status,
        stopped_by=run.stop.requested if status == "stopped" else None,
    )


def after_failure(error: MedgrpoError, run: Path) -> MedgrpoError:
    """The error of a run of several processes, with what is left of the run; its record says that it failed.

    A process that was killed could not write it, and one that lost the others did not know why.
    """
    from medgrpo.files import write_json
    from medgrpo.locks import is_held
    from medgrpo.training.before.stopping import Stopped
    from medgrpo.training.run.checkpoints import complete_checkpoints

    record = run / "training_info.json"
    if (
        record.is_file()
        and not is_held(run)
        and (info := training_info(run)).get("status") in ("running", "failed")
    ):
        with suppress(OSError):  # the disk may be full
            status = "stopped" if isinstance(error, Stopped) else "failed"
            write_json(record, {**info, "status": status, "error": str(error)[:2000]})
    found = complete_checkpoints(run / "checkpoints")
    logs = sorted((run / "logs").glob("rank-*.log"))
    parts = [error.hint] if error.hint else []
    if found:
        parts.append(f"{found[-1].name} is whole: medgrpo train --resume {run} goes on from it")
    if logs:
        parts.append(f"logs of the processes: {run / 'logs'}")
    error.hint = "; ".join(parts) or None
    return error


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def peak_memory_gib() -> float | None:
    """Most GPU memory that this process's torch held at once, in GiB; None without a GPU."""
    import torch

    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None
