"""What stored completions tell: how the answers to one question changed, and how much those of a group differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

SHOWN_QUESTIONS = 10
SHOWN_STEPS = 8


@dataclass(frozen=True)
class Sampled:
    """The completions of one question at one step, the first drawn first."""

    step: int
    completions: list[str]
    rewards: list[float | None]
    question: str = ""
    answer: str = ""
    image: str = ""
    """Path of the first picture below the dataset folder; empty without one."""

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
    same: str = "prompt"
    """What the groups share: `prompt`; `question` where the same words were asked of other pictures; `nothing`."""

    @property
    def change(self) -> float:
        """By how much the mean reward moved between the first and the last time it was asked."""
        means = [group.mean for group in self.groups if group.mean is not None]
        return means[-1] - means[0] if len(means) > 1 else 0.0


_SHARED: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("prompt", lambda row: str(row.get("prompt_id"))),
    ("question", lambda row: str(row.get("question"))),
    ("nothing", lambda row: ""),
]
"""What the groups of a story have in common, the closest first: within one epoch no prompt comes twice."""


def stories(rows: Sequence[dict[str, Any]], limit: int = SHOWN_QUESTIONS) -> list[Story]:
    """Questions asked at two or more steps, those whose reward changed most first, up or down.

    In a run of less than two epochs no prompt comes twice: then questions of the same words about other
    pictures are followed, or else one question a step.
    """
    for same, key_of in _SHARED:
        found = _stories(rows, same, key_of)
        if found:
            return sorted(found, key=lambda story: -abs(story.change))[:limit]
    return []


def _stories(
    rows: Sequence[dict[str, Any]], same: str, key_of: Callable[[dict[str, Any]], str]
) -> list[Story]:
    grouped: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        by_step = grouped.setdefault((str(row.get("stage")), key_of(row)), {})
        group = by_step.setdefault(int(row.get("step") or 0), [])
        if not group or group[0].get("prompt_id") == row.get("prompt_id"):  # one prompt a step
            group.append(row)
    found = []
    for by_step in grouped.values():
        steps = sorted(by_step)
        if len(steps) < 2:
            continue
        if len(steps) > SHOWN_STEPS:
            steps = [steps[round(i * (len(steps) - 1) / (SHOWN_STEPS - 1))] for i in range(SHOWN_STEPS)]
        groups = [_sampled(step, by_step[step]) for step in steps]
        found.append(Story(groups[0].question, groups[0].answer, groups, same))
    return found


def _sampled(step: int, group: Sequence[dict[str, Any]]) -> Sampled:
    return Sampled(
        step,
        [str(row["completion"]) for row in group],
        [row.get("reward") for row in group],
        str(group[0].get("question") or ""),
        str(group[0].get("answer") or ""),
        str(next(iter(group[0].get("images") or []), "")),
    )


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
