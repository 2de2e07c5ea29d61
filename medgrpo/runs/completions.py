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


def distinct_share(rows: Sequence[dict[str, Any]]) -> tuple[float, int] | None:
    """Share of a group's completions that differ from each other over the last fifth of the steps.

    Returns:
        (share, groups looked at); None with fewer than 4 groups of 2 or more.
    """
    steps = sorted({int(row.get("step") or 0) for row in rows})
    if not steps:
        return None
    late = set(steps[-max(1, len(steps) // 5) :])
    grouped: dict[tuple[Any, int], list[str]] = {}
    for row in rows:
        if int(row.get("step") or 0) in late:
            grouped.setdefault((row.get("prompt_id"), int(row.get("step") or 0)), []).append(
                str(row["completion"])
            )
    shares = [(len(set(texts)) - 1) / (len(texts) - 1) for texts in grouped.values() if len(texts) > 1]
    return (fmean(shares), len(shares)) if len(shares) >= 4 else None
