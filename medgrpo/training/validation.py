"""Measuring a policy on held-out rows while it trains: greedy completions, scored by the run's rewards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import PromptTemplate
    from medgrpo.rewards.composite import CompositeReward

Row = dict[str, Any]
Measures = dict[str, dict[str, Any]]
"""Metric -> value, low, high, n."""
REPEATED = 20
"""A question asked at least so often in training has a majority answer of its own."""
LONGEST_MAJORITY = 200
"""Longer answers, in characters, are nobody's majority and are not counted: a set of texts would be held whole."""


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

    def measure(self, model: Any, processor: Any) -> Measures:
        """Greedy completions of the rows, each metric with its interval clustered by image."""
        return self.score(self._complete(model, processor, self.rows))

    def measure_trainer(self, trainer: Any) -> Measures:
        """The same for a policy in training; its processes share the rows out, every one gets the result."""
        from accelerate.utils import gather_object
        from trl.models import unwrap_model_for_generation

        processes, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            own = self._complete(model, trainer.processing_class, self.rows[rank::processes])
        if processes == 1:
            return self.score(own)
        texts = [""] * len(self.rows)
        for place, shared in enumerate(gather_object([own])):
            texts[place::processes] = shared
        return self.score(texts)

    def _complete(self, model: Any, processor: Any, rows: Sequence[Row]) -> list[str]:
        from medgrpo.evaluation.generate import Sampling, generate

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

    def score(self, texts: Sequence[str]) -> Measures:
        """`reward`, every component, and the metric that chooses the best checkpoint."""
        import numpy as np

        from medgrpo.evaluation.statistics import estimate
        from medgrpo.rewards.composite import CompositeReward
        from medgrpo.training.scoring import row_columns

        columns = row_columns(self.rows)
        table = self.composite.score(texts, columns)
        values = {"reward": table.total} | {name: table.column(name) for name in table.names}
        if self.metric not in values:
            values[self.metric] = CompositeReward({self.metric: 1.0}).score(texts, columns).total
        clusters = [row.get("image_id") or row["id"] for row in self.rows]
        return {name: estimate(np.asarray(scores), clusters).as_dict() for name, scores in values.items()}

    def blind_baseline(self, train_rows: Sequence[Row]) -> Measures:
        """What perfect form and the majority answer reach without looking at any picture."""
        return self.score(blind_completions(train_rows, self.rows, self.template))


def choose_rows(rows: Sequence[Row], limit: int | None, seed: int) -> list[Row]:
    """At most `limit` rows, drawn by the seed and kept in order: files are often sorted by subject."""
    import numpy as np

    if limit is None or limit >= len(rows):
        return list(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), size=limit, replace=False)
    return [rows[index] for index in sorted(chosen.tolist())]


def blind_completions(train_rows: Sequence[Row], rows: Sequence[Row], template: PromptTemplate) -> list[str]:
    """For each row the well-formed completion with the majority answer, plane and modality of training, and
    its typical box.

    Majorities are taken among rows with the same question where it is asked often, else with the same
    language, answer type and question type.
    """
    from medgrpo.data.boxes import TypicalBox
    from medgrpo.data.prompts import build_target

    typical = TypicalBox.of(train_rows) if "boxes" in template.tags else None
    counts = Counter(hash(row["question"]) for row in train_rows)  # numbers: the questions are not held

    def kind(row: Row) -> tuple[Any, ...]:
        if counts[hash(row["question"])] >= REPEATED:
            return ("question", row["question"])
        return (row.get("language"), row.get("answer_type"), row.get("question_type"))

    seen: dict[tuple[Any, ...], Counter[tuple[str, Any]]] = defaultdict(Counter)
    for row in train_rows:
        values = [
            (column, row[column])
            for column in ("answer", "plane", "modality")
            if row.get(column) and len(row[column]) <= LONGEST_MAJORITY
        ]
        for group in (kind(row), ("language", row.get("language")), ()):
            seen[group].update(values)

    def majority(row: Row, column: str) -> Any:
        for group in (kind(row), ("language", row.get("language")), ()):
            found = [(n, value) for (name, value), n in seen[group].items() if name == column]
            if found:
                return max(found, key=lambda pair: (pair[0], str(pair[1])))[1]
        return None

    return [
        build_target(
            {**row, "chosen": None, "boxes": typical.column(row) if typical else None}
            | {column: majority(row, column) for column in ("answer", "plane", "modality")},
            template,
        )
        for row in rows
    ]


def values_of(measures: Measures) -> dict[str, float]:
    """Metric -> value, metrics without rows left out."""
    return {name: one["value"] for name, one in measures.items() if one["value"] is not None}
