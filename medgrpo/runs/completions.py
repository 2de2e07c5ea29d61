"""Stored completions of a run: how the answers to one question changed from step to step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

COLUMNS = (
    "stage",
    "step",
    "prompt_id",
    "question",
    "answer",
    "completion",
    "reward",
    "truncated",
    "abandoned",
)
SHOWN_QUESTIONS = 10
SHOWN_STEPS = 8


@dataclass(frozen=True)
class Sampled:
    """The completions of one question at one step, the first drawn first."""

    step: int
    completions: list[str]
    rewards: list[float | None]

    @property
    def mean(self) -> float | None:
        """Mean reward of the group; None where nothing was judged."""
        judged = [reward for reward in self.rewards if reward is not None]
        return fmean(judged) if judged else None


@dataclass(frozen=True)
class Story:
    """One question through the run."""

    question: str
    answer: str
    groups: list[Sampled]

    @property
    def change(self) -> float:
        """By how much the mean reward moved between the first and the last time it was asked."""
        means = [group.mean for group in self.groups if group.mean is not None]
        return means[-1] - means[0] if len(means) > 1 else 0.0


def read_stored(folder: Path) -> list[dict[str, Any]]:
    """The completions of a run folder that count; empty without any, or without pyarrow.

    Args:
        folder: the run folder.
    """
    return _read(folder, sorted((folder / "completions").glob("part-*.parquet")))


def read_recent(folder: Path) -> list[dict[str, Any]]:
    """Those of the newest part and of what is not in a part yet."""
    return _read(folder, sorted((folder / "completions").glob("part-*.parquet"))[-1:])


def _read(folder: Path, parts: Sequence[Path]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if parts and find_spec("pyarrow") is not None:
        import pyarrow.parquet as pq

        for part in parts:
            present = [name for name in COLUMNS if name in pq.read_schema(part).names]
            rows += pq.read_table(part, columns=present).to_pylist()
    spool = folder / "completions" / "spool.jsonl"
    if spool.is_file():
        for line in spool.read_text("utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # the half line of a kill
                continue
            if isinstance(row, dict):
                rows.append(row)
    return [row for row in rows if not row.get("abandoned") and row.get("completion") is not None]


def stories(rows: Sequence[dict[str, Any]], limit: int = SHOWN_QUESTIONS) -> list[Story]:
    """Questions asked at two or more steps, those whose reward changed most first, up or down."""
    grouped: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        asked = (str(row.get("stage")), str(row.get("prompt_id")))
        grouped.setdefault(asked, {}).setdefault(int(row.get("step") or 0), []).append(row)
    found = []
    for by_step in grouped.values():
        if len(by_step) < 2:
            continue
        steps = sorted(by_step)
        if len(steps) > SHOWN_STEPS:
            steps = [steps[round(i * (len(steps) - 1) / (SHOWN_STEPS - 1))] for i in range(SHOWN_STEPS)]
        groups = [
            Sampled(
                step,
                [str(row["completion"]) for row in by_step[step]],
                [row.get("reward") for row in by_step[step]],
            )
            for step in steps
        ]
        head = by_step[steps[0]][0]
        found.append(Story(str(head.get("question") or ""), str(head.get("answer") or ""), groups))
    return sorted(found, key=lambda story: -abs(story.change))[:limit]


@dataclass(frozen=True)
class Variety:
    """How much the completions of a group differ over the last fifth of the steps."""

    distinct: float
    """0 if all completions of every group are equal, 1 if all differ."""
    groups: int
    repeated_reward: float | None
    """Mean reward of the groups whose completions are all equal, as a share of the best reward; None without any."""


def variety(rows: Sequence[dict[str, Any]]) -> Variety | None:
    """The variety of completions within groups; None with fewer than 4 groups of 2 or more."""
    steps = sorted({int(row.get("step") or 0) for row in rows})
    late = set(steps[-max(1, len(steps) // 5) :])
    grouped: dict[tuple[Any, int], list[dict[str, Any]]] = {}
    for row in rows:
        if int(row.get("step") or 0) in late:
            grouped.setdefault((row.get("prompt_id"), int(row.get("step") or 0)), []).append(row)
    groups = [group for group in grouped.values() if len(group) > 1]
    if len(groups) < 4:
        return None
    kinds = [len({str(row["completion"]) for row in group}) for group in groups]
    shares = [(kind - 1) / (len(group) - 1) for kind, group in zip(kinds, groups, strict=True)]
    rewards = [row["reward"] for group in groups for row in group if row.get("reward") is not None]
    repeated = [
        row["reward"]
        for kind, group in zip(kinds, groups, strict=True)
        for row in group
        if kind == 1 and row.get("reward") is not None
    ]
    best = max(rewards, default=0.0)
    return Variety(fmean(shares), len(groups), fmean(repeated) / best if repeated and best > 0 else None)
