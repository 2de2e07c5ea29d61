"""Figures that a user wants to reach: read from a file, compared with what was measured.

A target is a metric of `eval` with a least value, or a range as people state it:

    [targets]
    answer_match = [0.75, 0.85]   # reached from .75 on
    format = 0.95
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.evaluation.metrics import METRICS

TARGET_SETS = {"stage1": "targets_stage1.toml", "vessels": "targets_vessels.toml"}
"""Targets that come with medgrpo."""


@dataclass(frozen=True)
class Target:
    """A metric and the least value that is wanted."""

    metric: str
    wanted: float
    hoped: float | None = None
    """The upper end of a range; reaching it is better, not needed."""


def load_targets(name_or_path: str | Path) -> list[Target]:
    """Targets by the name of a set that comes with medgrpo, or from a TOML file.

    Raises:
        UsageError: no such set or file, not TOML, an unknown metric, or a value outside 0 to 1.
    """
    name = str(name_or_path)
    if name in TARGET_SETS:
        text, where = (files("medgrpo.evaluation") / TARGET_SETS[name]).read_text(encoding="utf-8"), name
    else:
        where = name
        if not Path(name).suffix and not Path(name).exists():
            raise choice_error("set of targets", name, TARGET_SETS)
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"no targets at {name}: {error.strerror}", hint="--targets stage1") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error
    wanted = content.get("targets", content)
    return [_target(metric, value, where) for metric, value in wanted.items()]


def _target(metric: str, value: Any, where: str) -> Target:
    names = [one.name for one in METRICS]
    if metric not in names:
        raise choice_error(f"metric in {where}", metric, names)
    ends = value if isinstance(value, list) else [value]
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) and 0 <= end <= 1 for end in ends
    )
    if not numbers or not 1 <= len(ends) <= 2:
        raise UsageError(
            f"{where}: {metric} = {value!r}", expected="a share such as 0.75, or a range [0.75, 0.85]"
        )
    return Target(metric, float(ends[0]), float(ends[1]) if len(ends) == 2 else None)


def judge_targets(targets: list[Target], metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of each target.

    Returns:
        for each: `metric`, `wanted`, `hoped`, `value`, `low`, `high`, `reached` (value ≥ wanted; None if
        nothing was measured) and `verdict`: `reached`, `not reached`, `reached, within the interval` or
        `not reached, within the interval` where chance alone could turn it, `not measured`.
    """
    return [_verdict(target, metrics.get(target.metric, {})) for target in targets]


def _verdict(target: Target, measured: Mapping[str, Any]) -> dict[str, Any]:
    value, low, high = (measured.get(key) for key in ("value", "low", "high"))
    document: dict[str, Any] = {
        "metric": target.metric,
        "wanted": target.wanted,
        "hoped": target.hoped,
        "value": value,
        "low": low,
        "high": high,
        "reached": None,
        "verdict": "not measured",
    }
    if value is None:
        return document
    reached = value >= target.wanted
    uncertain = low is not None and high is not None and low < target.wanted <= high
    document["reached"] = reached
    document["verdict"] = ("reached" if reached else "not reached") + (
        ", within the interval" if uncertain else ""
    )
    return document
