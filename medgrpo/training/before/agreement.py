"""What all processes of a run, on all its machines, must have in common: versions, settings, data.

Each machine is started by a command of its own. Where one learns by another rate, on other rows or with another version, the run
would wait for good, or learn what no machine was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig

Facts = dict[str, str]
PACKAGES = ("medgrpo", "torch", "transformers", "trl", "peft", "accelerate")
OF_A_MACHINE = ("run.name", "run.output", "data.path", "model.path", "logging.", "launch.")
"""Settings that may differ: where something lies, what it is called, how it is started."""
OF_THE_LAUNCH = ("launch.gpus", "launch.nodes", "launch.deepspeed", "launch.fsdp", "launch.cpu")
"""Of those, what all launchers must say alike: the number of a process follows from it."""
FOLDERS = re.compile(r"(?:[\w.~-]*[/\\])+")
HINT = "start the same command on every machine, with one version of medgrpo and the same data"


def facts_of(config: RunConfig, data_hash: str | None) -> Facts:
    """By what each is called.

    Args:
        data_hash: of the prepared dataset; None: made by the run itself.
    """
    found = {f"version of {name}": _version(name) for name in PACKAGES}
    found["hash of the data"] = data_hash or "made by the run"
    found |= {
        FOLDERS.sub("", key): FOLDERS.sub("", str(value))
        for key, value in _flat(config.model_dump(), "")
        if key in OF_THE_LAUNCH or not key.startswith(OF_A_MACHINE)
    }
    return found


def difference(mine: Mapping[str, str], theirs: Mapping[str, str], whose: str) -> str | None:
    """The first few facts that differ, in words; None where none does.

    Args:
        mine: of here.
        whose: who the others are.
    """
    keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    if not keys:
        return None
    named = "; ".join(f"{key} is {mine.get(key)} here and {theirs.get(key)} on {whose}" for key in keys[:3])
    more = f"; and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"this is not the same run on every machine: {named}{more}"


def _flat(values: Mapping[str, Any], before: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        key = f"{before}{name}"
        found += _flat(value, f"{key}.") if isinstance(value, dict) else [(key, value)]
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
