"""Measuring a policy on held-out rows while it trains: greedy completions, scored by the run's rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medgrpo.training.run.context import gathered

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import PromptTemplate
    from medgrpo.rewards.composite import CompositeReward

from medgrpo.rows import Row

Measures = dict[str, dict[str, Any]]
"""Metric -> value, low, high, n."""


@dataclass(frozen=True)
class Validator:
    """Held-out rows and how they are judged."""

    dataset: PreparedDataset
    rows: Sequence[Row]
    template: PromptTemplate
    composite: CompositeReward
    metric: str
    max_new_tokens: int
    batch_size: int = 32
    said: list[str] = field(default_factory=list)
    """The completions of the last measurement, one for each row."""

    def measure(self, model: Any, processor: Any) -> Measures:
        """Greedy completions of the rows, each metric with its interval, clustered as `medgrpo eval` does.

        The processes share the rows out, every one gets the result.
        """
        self.said[:] = self._shared(model, processor)
        return self.score(self.said)

    def measure_trainer(self, trainer: Any) -> Measures:
        """The same for a policy in training."""
        from trl.models import unwrap_model_for_generation

        from medgrpo.training.trainers.sharding import whole_weights

        with (
            whole_weights(trainer.model_wrapped),
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model,
        ):
            self.said[:] = self._shared(model, trainer.processing_class)
        return self.score(self.said)

    def _shared(self, model: Any, processor: Any) -> list[str]:
        """A completion for each row; this process makes those of every so many rows."""
        from accelerate import PartialState

        processes, rank = PartialState().num_processes, PartialState().process_index
        texts = [""] * len(self.rows)
        for place, shared in enumerate(
            gathered(self._complete(model, processor, self.rows[rank::processes]))
        ):
            texts[place::processes] = shared
        return texts

    def _complete(self, model: Any, processor: Any, rows: Sequence[Row]) -> list[str]:
        from medgrpo.generation.generate import Sampling, generate

        texts = [""] * len(rows)
        for done in generate(
            model,
            processor,
            rows,
            self.template,
            image_path=self.dataset.image_path,
            sampling=Sampling(max_new_tokens=self.max_new_tokens),
            batch_size=self.batch_size,
        ):
            texts[done.index] = done.completions[0]
        return texts

    @cached_property
    def _chooser(self) -> CompositeReward:
        """The metric that chooses, where it is no component of the reward."""
        return self.composite.alone(self.metric)

    def score(self, texts: Sequence[str]) -> Measures:
        """`reward`, every component, and the metric that chooses the best checkpoint."""
        import numpy as np

        from medgrpo.data.clusters import cluster_labels
        from medgrpo.evaluation.statistics import estimate
        from medgrpo.training.trainers.scoring import row_columns

        columns = row_columns(self.rows)
        with self.composite.unchanged():
            table = self.composite.score(texts, columns)
        values = {"reward": table.total} | {name: table.column(name) for name in table.names}
        if self.metric not in values:
            values[self.metric] = self._chooser.score(texts, columns).total
        clusters, _ = cluster_labels(self.rows)
        return {
            name: estimate(np.asarray(scores), clusters, bounds=self._bounds(name)).as_dict()
            for name, scores in values.items()
        }

    def _bounds(self, name: str) -> tuple[float, float] | None:
        """The range of a metric for one row; None where a user's own reward sets it."""
        if name == "reward":
            return self.composite.bounds()
        return self.composite.bounds(name) if name in self.composite.names else self._chooser.bounds()

    def blind_baseline(self, train_rows: Sequence[Row]) -> Measures:
        """What perfect form and the majority answer reach without looking at any picture."""
        from medgrpo.evaluation.baseline import constant_completions

        return self.score(constant_completions(self.rows, train_rows, self.template.tags, "blind"))


def choose_rows(rows: Sequence[Row], limit: int | None, seed: int) -> list[Row]:
    """At most `limit` rows, drawn by the seed and kept in order: files are often sorted by subject."""
    import numpy as np

    if limit is None or limit >= len(rows):
        return list(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), size=limit, replace=False)
    return [rows[index] for index in sorted(chosen.tolist())]


def values_of(measures: Measures) -> dict[str, float]:
    """Metric -> value, metrics without rows left out."""
    return {name: one["value"] for name, one in measures.items() if one["value"] is not None}
