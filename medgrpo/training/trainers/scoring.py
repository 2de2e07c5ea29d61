"""From completions to what GRPO learns from: every component, their sum, and what the log says of them.

TRL 1.16 adds rewards with `nansum`, so that a component that is None counts as 0. Here the composite
decides, over the completions of all processes, and TRL sees the finished sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward, Floats, RewardTable

OVERLONG = "overlong"
"""Name of the length penalty among the components."""


@dataclass(frozen=True)
class Sample:
    """One completion and the row that it answers."""

    row: dict[str, Any]
    text: str
    tokens: int
    truncated: bool
    """Whether it was cut at the longest length."""


@dataclass(frozen=True)
class Overlong:
    """DAPO's soft punishment: what a completion loses for coming near the longest length.

    Source: DAPO, arXiv 2503.14476, section 3.4.
    """

    longest: int
    """Where completions are cut, in tokens."""
    share: float
    """The loss rises from 0 to `weight` over this last share of them; 0: no loss."""
    weight: float
    """What a completion of the longest length loses."""

    def penalties(self, tokens: Sequence[int]) -> Floats:
        """(n,) in -1..0."""
        lengths = np.asarray(tokens, dtype=np.float64)
        window = self.share * self.longest
        return np.clip((self.longest - window - lengths) / window, -1.0, 0.0)


@dataclass(frozen=True)
class Scored:
    """The completions of all processes and what they earned, in the order of the processes."""

    judged: RewardTable
    """What the composite gave."""
    samples: list[Sample]

    def table(self, overlong: Overlong) -> RewardTable:
        """Components and total, with the length penalty as a component of its own."""
        if not overlong.share:
            return self.judged
        penalties = self._penalties(overlong)
        return replace(
            self.judged,
            names=(*self.judged.names, OVERLONG),
            components=np.column_stack([self.judged.components, penalties]),
            total=self.judged.total + overlong.weight * penalties,
        )

    def signal(self, composite: CompositeReward, overlong: Overlong, group_size: int) -> Floats:
        """(n,) what advantages are made of; with GDPO the penalty too is normalised in its group first."""
        signal = composite.signal(self.judged, group_size)
        if not overlong.share:
            return signal
        from medgrpo.rewards.composite import standardised

        penalties = self._penalties(overlong)
        if composite.aggregation == "normalize_then_sum":
            penalties = standardised(penalties, group_size)
        return signal + overlong.weight * penalties

    def at(self, places: Sequence[int]) -> Scored:
        """The completions at these places alone."""
        return Scored(_chosen(self.judged, places), [self.samples[place] for place in places])

    def with_places(self, places: Sequence[int], other: Scored) -> Scored:
        """These completions with others, in their order, at some places."""
        components, total = self.judged.components.copy(), self.judged.total.copy()
        components[places], total[places] = other.judged.components, other.judged.total
        samples = list(self.samples)
        for place, sample in zip(places, other.samples, strict=True):
            samples[place] = sample
        return Scored(replace(self.judged, components=components, total=total), samples)

    def _penalties(self, overlong: Overlong) -> Floats:
        return overlong.penalties([sample.tokens for sample in self.samples])


def _chosen(table: RewardTable, places: Sequence[int]) -> RewardTable:
    return replace(table, components=table.components[list(places)], total=table.total[list(places)])


def row_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows' columns as lists, as rewards take them."""
    return {name: [row.get(name) for row in rows] for name in rows[0]} if rows else {}


def joined(parts: Sequence[RewardTable]) -> RewardTable:
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
