"""From completions to what GRPO learns from: every component, their sum, and what the log says of them.

TRL 1.16 adds rewards with `nansum`, so that a component that is None counts as 0. Here the composite
decides, over the completions of all processes, and TRL sees the finished sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward, RewardTable


def row_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows' columns as lists, as rewards take them."""
    return {name: [row.get(name) for row in rows] for name in rows[0]} if rows else {}


def completion_text(completion: Any) -> str:
    """The text of a completion: a string, or chat messages whose last one is the answer."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def joined(parts: Sequence[RewardTable], composite: CompositeReward) -> RewardTable:
    """The tables of all processes as one, in the order of the processes."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        components=np.concatenate([part.components for part in parts]),
        total=np.concatenate([part.total for part in parts]),
    )


def reward_metrics(table: RewardTable, group_size: int) -> dict[str, float]:
    """Log entries of one generated batch.

    `reward` is the mean of the rescaled total. Each component logs mean and standard deviation over the
    rows it judged, `coverage` (the share of rows it judged), and `frac_zero_std`: the share of its groups
    without spread. Keys of components that judged nothing are left out, save coverage.
    """
    from medgrpo.rewards.composite import group_statistics

    groups = group_statistics(table, group_size)
    means, stds, coverage = table.means, table.stds, table.coverage
    metrics = {
        "reward": means["total"],
        "reward_std": stds["total"],
        "frac_reward_zero_std": groups["total"].dead_share,
    }
    for name in table.names:
        metrics |= {
            f"rewards/{name}/mean": means[name],
            f"rewards/{name}/std": stds[name],
            f"rewards/{name}/coverage": coverage[name],
            f"rewards/{name}/frac_zero_std": groups[name].dead_share,
        }
    return {key: value for key, value in metrics.items() if not np.isnan(value)}
