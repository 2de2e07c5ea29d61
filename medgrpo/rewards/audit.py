"""The best cheating score: what completions that deserve nothing would earn from a reward on a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medgrpo.errors import UsageError
from medgrpo.rewards.cheats import BOX_CHEATS, TEXT_CHEATS, Cheat, Knowledge, honest, knowledge, truth

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward, RewardTable

DEFAULT_TAGS = ("think", "answer", "plane", "modality")


@dataclass(frozen=True)
class CheatScore:
    """What one cheat earned."""

    name: str
    description: str
    measure: str
    """`total`, or the component that the cheat attacks while the rest is right."""
    rows: int
    """Rows to which the cheat applies and that were judged."""
    mean: float
    """Mean of the measure over these rows; NaN without rows."""
    honest: float
    """Mean of the same measure of the honest completions over the same rows."""
    components: dict[str, float]
    """Mean of every component: which of them is fooled."""

    @property
    def ratio(self) -> float:
        """mean / honest; infinite where the honest completions earn nothing and the cheat something."""
        if math.isnan(self.mean) or math.isnan(self.honest):
            return math.nan
        if self.honest == 0:
            return math.inf if self.mean > 0 else 0.0
        return self.mean / self.honest


@dataclass(frozen=True)
class AuditReport:
    """Every cheat's score beside the honest one."""

    honest: float
    """Mean total of the honest completions over all rows judged."""
    honest_source: str
    """`completions` that were given, or the `references` written in the prompt's form."""
    cheats: list[CheatScore]
    """The best first; those that apply to no row last."""

    @property
    def best(self) -> CheatScore:
        """The cheat with the highest mean."""
        return self.cheats[0]

    @property
    def ratio(self) -> float:
        """The best cheat's mean divided by the honest mean on the same rows."""
        return self.best.ratio

    def exceeds(self, limit: float) -> bool:
        """True where the best cheat earns more than `limit` times the honest mean on its rows."""
        return self.ratio > limit

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "best_cheat": self.best.name,
            "best_score": self.best.mean,
            "honest": self.best.honest,
            "ratio": self.ratio,
            "honest_all_rows": self.honest,
            "honest_source": self.honest_source,
            "cheats": [
                {
                    "name": cheat.name,
                    "mean": cheat.mean,
                    "honest": cheat.honest,
                    "ratio": cheat.ratio,
                    "rows": cheat.rows,
                    "measure": cheat.measure,
                    "components": cheat.components,
                    "description": cheat.description,
                }
                for cheat in self.cheats
            ],
        }


def audit(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    composite: CompositeReward,
    *,
    completions: Sequence[Any] | None = None,
    limit: int | None = None,
) -> AuditReport:
    """Scores every cheat, and honest completions, with the reward on the same rows.

    Args:
        rows: the dataset: a list of rows, or column → values.
        composite: the reward. Its settings `tags` and `plain` say how completions are written.
        completions: honest ones, one a row; None: the references themselves, in the prompt's form.
        limit: audit only the first rows.
    Raises:
        UsageError: there are no rows with a reference answer or boxes.
    """
    columns = rows if isinstance(rows, Mapping) else _columns(rows)
    listed = _rows(columns)[:limit]
    columns = {name: list(values[:limit]) for name, values in columns.items()}
    cheats = _cheats(listed)
    plain = bool(composite.settings.get("plain"))
    known = knowledge(listed, () if plain else composite.settings.get("tags", DEFAULT_TAGS))
    written = (
        list(completions[: len(listed)])
        if completions is not None
        else [honest(row, known) for row in listed]
    )
    honest_table = composite.score(written, columns)
    scores = [
        _cheat_score(cheat, listed, columns, composite, known, honest_table)
        for cheat in cheats
        if cheat.measure in (*honest_table.names, "total")
    ]
    scores.sort(key=lambda score: math.inf if math.isnan(score.mean) else -score.mean)
    return AuditReport(
        honest=honest_table.means["total"],
        honest_source="completions" if completions is not None else "references",
        cheats=scores,
    )


def _cheats(rows: Sequence[Mapping[str, Any]]) -> tuple[Cheat, ...]:
    if any(truth(row) for row in rows):
        return TEXT_CHEATS
    if any(row.get("boxes") is not None for row in rows):
        return BOX_CHEATS
    raise UsageError("nothing to audit: no row has an answer or boxes", expected="rows with references")


def _cheat_score(
    cheat: Cheat,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Sequence[Any]],
    composite: CompositeReward,
    known: Knowledge,
    honest_table: RewardTable,
) -> CheatScore:
    written: list[str] = []
    chosen: list[int] = []
    for index, row in enumerate(rows):
        applies = any(truth(row) if name == "answer" else row.get(name) is not None for name in cheat.columns)
        completion = cheat.write(row, known) if applies else None
        if completion is not None:
            written.append(completion)
            chosen.append(index)
    table = composite.score(written, {name: [values[i] for i in chosen] for name, values in columns.items()})
    cheated = table.column(cheat.measure)
    fair = honest_table.column(cheat.measure)[chosen]
    both = ~np.isnan(cheated) & ~np.isnan(fair)
    means = table.means
    return CheatScore(
        name=cheat.name,
        description=cheat.description,
        measure=cheat.measure,
        rows=int(both.sum()),
        mean=float(cheated[both].mean()) if both.any() else math.nan,
        honest=float(fair[both].mean()) if both.any() else math.nan,
        components={name: means[name] for name in table.names},
    )


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    count = len(next(iter(columns.values()), ()))
    return [{name: values[index] for name, values in columns.items()} for index in range(count)]
