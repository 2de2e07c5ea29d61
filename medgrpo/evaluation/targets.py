"""Figures that a user wants to reach: read from a file, compared with what was measured.

A target is a metric of `eval` with a value, or a range as people state it. Where more is better it is reached
from the lower end up, where less is better from the upper end down:

    [targets]
    answer_match = [0.75, 0.85]   # reached from .75 on
    format = 0.95
    betti0_error = 2              # reached from 2 down
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.evaluation.metrics import METRICS
from medgrpo.figures import LESS, SHARE, figure, is_finite_number
from medgrpo.files import check_regular, toml_values

TARGET_SETS = {"stage1": "targets_stage1.toml", "vessels": "targets_vessels.toml"}
"""Targets that come with medgrpo."""


@dataclass(frozen=True)
class Target:
    """A metric and the value that is wanted at least, or at most where less of it is better."""

    metric: str
    wanted: float
    hoped: float | None = None
    """The better end of a range; reaching it is not needed."""

    @property
    def is_most(self) -> bool:
        """Whether less is better, so that `wanted` is the largest value that will do."""
        return figure(self.metric).direction == LESS


def load_targets(name_or_path: str | Path) -> list[Target]:
    """Targets by the name of a set that comes with medgrpo, or from a TOML file.

    Raises:
        UsageError: no such set or file, not TOML, an unknown metric, or a value outside of its range.
    """
    name = str(name_or_path)
    if name in TARGET_SETS:
        text, where = (files("medgrpo.evaluation") / TARGET_SETS[name]).read_text(encoding="utf-8"), name
    else:
        where = name
        if not Path(name).suffix and not Path(name).exists():
            raise choice_error("set of targets", name, TARGET_SETS)
        try:
            check_regular(Path(name).expanduser())
            text = Path(name).expanduser().read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name} is not UTF-8: {error.reason} at byte {error.start:,}", expected="a TOML file"
            ) from error
        except OSError as error:
            raise UsageError(f"no targets at {name}: {error.strerror}", hint="--targets stage1") from error
    try:
        content = toml_values(text)
    except ValueError as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error
    wanted = content.get("targets", content)
    return [_target(metric, value, where) for metric, value in wanted.items()]


def _target(metric: str, value: Any, where: str) -> Target:
    names = [one.name for one in METRICS]
    if metric not in names:
        raise choice_error(f"metric in {where}", metric, names)
    ends = value if isinstance(value, list) else [value]
    low, high = figure(metric).bounds or (-math.inf, math.inf)
    numbers = all(is_finite_number(end) and low <= end <= high for end in ends)
    if not numbers or not 1 <= len(ends) <= 2:
        kind = "a share such as 0.75, or a range [0.75, 0.85]"
        if (low, high) != SHARE:
            kind = "a number, 0 or more, or a range [1, 2]" if low == 0 else "a number, or a range [1.5, 2]"
        raise UsageError(f"{where}: {metric} = {value!r}", expected=kind)
    target = Target(metric, float(ends[0]))
    if len(ends) == 1:
        return target
    worse, better = (max(ends), min(ends)) if target.is_most else (min(ends), max(ends))
    return Target(metric, float(worse), float(better))


def judge_targets(targets: list[Target], metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of each target.

    Returns:
        for each: `metric`, `wanted`, `hoped`, `value`, `low`, `high`, `reached` (value ≥ wanted, or ≤ where
        less is better; None if nothing was measured) and `verdict`: `reached`, `not reached`,
        `reached, within the interval` or `not reached, within the interval` where chance alone could turn it, `not measured`.
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
    reached = value <= target.wanted if target.is_most else value >= target.wanted
    uncertain = low is not None and high is not None and low < target.wanted <= high
    if target.is_most:
        uncertain = low is not None and high is not None and low <= target.wanted < high
    document["reached"] = reached
    document["verdict"] = ("reached" if reached else "not reached") + (
        ", within the interval" if uncertain else ""
    )
    return document
