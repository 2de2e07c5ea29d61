"""What training writes about a run, read again. A run travels: a value of another type than training writes is left out.

Whoever adds up, compares or sorts these values needs no check of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medgrpo.files import read_json
from medgrpo.places import found_place
from medgrpo.records import json_objects

INFO = "training_info.json"


def log_entries(file: Path) -> list[dict[str, Any]]:
    """The steps of a `log.jsonl`: `step` a whole number from 0 on, `stage` a text, all else numbers or None.

    A line without a step is no step; an absent file has none.
    """
    found = []
    for entry in json_objects(file):
        step, stage = entry.get("step"), entry.get("stage")
        if _is_count(step):
            numbers = {name: value for name, value in entry.items() if value is None or _is_number(value)}
            found.append({**({"stage": stage} if isinstance(stage, str) else {}), **numbers})
    return found


def training_info(run: Path) -> dict[str, Any]:
    """The record of a run folder, `training_info.json`; empty where there is none, or no whole one."""
    info = read_json(run / INFO)
    info = {name: value for name, value in info.items() if name not in TYPES or TYPES[name](value)}
    if isinstance(info.get("validation"), dict):
        measures = {name: said for name, said in info["validation"].items() if isinstance(said, dict)}
        info["validation"] = {
            name: {metric: value for metric, value in said.items() if _is_measure(value)}
            for name, said in measures.items()
        }
    return info


def has_fingerprint(dataset: Path, run: Path) -> bool:
    """Whether a dataset is the one that a run was trained on, by the fingerprint of its rows that the run recorded.

    A run travels, and the dataset that it names may be anybody's. Who knows the fingerprint of a dataset has had its rows.
    """
    wanted = read_json(run / "environment.json").get("data_hash")
    return bool(wanted) and read_json(dataset / "dataset.json").get("hash") == wanted


def copy_of_log(run: Path) -> Path:
    """Where a run says that the copy of its log lies; both travel, so that it counts only where the copy names the run as well."""
    return Path(found_place(str(training_info(run).get("log_copy") or ""), run))


def is_copy_of(copy: Path, run: Path) -> bool:
    """Whether a file is a copy of the run's log that names this run."""
    named = read_json(copy).get("run")
    return isinstance(named, str) and bool(named) and _is_same(found_place(named, copy.parent), run)


def _is_same(place: str, folder: Path) -> bool:
    try:
        return Path(place).resolve() == folder.resolve()
    except (OSError, ValueError, RuntimeError):  # a zero in it, too long, a link to itself
        return False


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_measure(value: object) -> bool:
    said = value.get("value") if isinstance(value, dict) else value
    return said is None or _is_number(said)


def _is_best(value: object) -> bool:
    return isinstance(value, dict) and _is_measure(value) and _is_text(value.get("metric", ""))


def _are(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(one, kind) for one in value)


TYPES: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("name", "preset", "started", "ended", "status", "log_copy", "error"), _is_text),
    **dict.fromkeys(("schema_version", "steps", "total_steps", "max_steps"), _is_count),
    **dict.fromkeys(("wall_s", "peak_memory_gib"), _is_number),
    **dict.fromkeys(("engine", "health", "validation"), lambda value: isinstance(value, dict)),
    **dict.fromkeys(("retries", "left_out"), _are(dict)),
    "finished": lambda value: isinstance(value, bool),
    "resumed": _are(str),
    "best": _is_best,
}
"""Field → whether a value is of the type that training writes; what is null is as good as absent."""
