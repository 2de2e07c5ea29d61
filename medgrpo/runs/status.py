"""How a run ended, or whether it still goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from medgrpo.locks import is_written

Status = Literal["running", "finished", "stopped", "failed", "killed"]

UNFINISHED: frozenset[str] = frozenset({"stopped", "failed", "killed"})
"""Ends that are not the run's own."""


def status_of(info: Mapping[str, Any], folder: Path | None) -> Status | None:
    """How the run stands.

    Args:
        info: what `training_info.json` or the log copy says: `status`, or `finished` alone in older ones.
        folder: the run folder, where it is still there: a run that says it is running while no process
            holds the folder was killed.
    Returns:
        None where nothing tells.
    """
    said = info.get("status")
    if said in ("finished", "stopped", "failed"):
        return said  # type: ignore[no-any-return]
    if said == "running" and folder is not None:
        return "killed" if is_written(folder) is False else "running"
    return "finished" if info.get("finished") is True else None
