"""The processes of a run find each other, or the one that waits says for whom."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.training.before.agreement import HINT, difference, facts_of
from medgrpo.training.before.failures import COMMAND
from medgrpo.training.before.launch import is_child
from medgrpo.training.before.standing import has_met
from medgrpo.training.run.context import gathered

if TYPE_CHECKING:
    from accelerate import PartialState

    from medgrpo.config.sections import LaunchConfig, RunConfig
    from medgrpo.training.watch.reporter import Reporter


def met(launch: LaunchConfig, reporter: Reporter) -> PartialState:
    """What accelerate knows of the processes, once all are there.

    Raises:
        MedgrpoError: after `launch.timeout_s` seconds not all were there, or the first cannot be reached.
    """
    from accelerate import PartialState
    from torch.distributed import DistError

    if not is_child():
        return PartialState(cpu=launch.cpu)
    count, place = (
        os.environ.get("WORLD_SIZE", "1"),
        ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT")),
    )
    if COMMAND not in os.environ and int(count) > 1:
        reporter.note(
            f"meeting the {count} processes that WORLD_SIZE says, at {place}: at most {launch.timeout_s} s"
        )
    try:
        state = PartialState(cpu=launch.cpu, timeout=timedelta(seconds=launch.timeout_s))
        has_met(os.environ)
        return state
    except DistError as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise MedgrpoError(
            f"process {os.environ.get('RANK', '0')} (RANK) of {count} (WORLD_SIZE) did not meet the others at {place} "
            f"(MASTER_ADDR, MASTER_PORT): {said}",
            expected=f"all of them there within {launch.timeout_s} s (launch.timeout_s)",
            hint="look why the others did not start, or cannot reach that address"
            if COMMAND in os.environ
            else "unset RANK WORLD_SIZE LOCAL_RANK, where this process was to train alone; else look why the others did not "
            "start, or cannot reach that address",
        ) from error


def agree(config: RunConfig, data_hash: str | None) -> None:
    """Hold what the processes were started with against the first one's; launchers of ours did so before, where they could meet.

    Raises:
        UsageError: in all of them, where one differs.
    """
    found = gathered(facts_of(config, data_hash))
    words = (difference(found[0], theirs, f"process {number}") for number, theirs in enumerate(found))
    problem = next(filter(None, words), None)
    if problem is not None:
        raise UsageError(problem, hint=HINT)
