"""Rewards tried on a few rows, so that a plug-in that cannot work costs a second and not an hour."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from medgrpo.rewards.plugins import RewardError

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward, RewardTable

TRIAL_ROWS = 8
SEARCHED_ROWS = 5000
"""So many rows are looked through for values in columns that the first ones leave empty."""


def trial_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most eight rows that between them fill as many columns as eight of the first rows can.

    Plane and modality are known for a fifth of real rows, boxes and masks for none or all: the first rows alone
    would leave their rewards untried.
    """
    first: list[Mapping[str, Any]] = []
    telling: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    for row in islice(rows, SEARCHED_ROWS):
        filled = {name for name, value in row.items() if value is not None}
        if not filled <= seen and len(telling) < TRIAL_ROWS:
            telling.append(row)
            seen |= filled
        elif len(first) < TRIAL_ROWS:
            first.append(row)
    return [*telling, *first][:TRIAL_ROWS]


def try_rewards(
    composite: CompositeReward, completions: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> tuple[RewardTable, list[str]]:
    """Calls every reward on a few rows, as the run will.

    Args:
        composite: the rewards; with `on_error="skip"` what they raise is noted, not raised.
        completions: like those of the run, e.g. the references in the prompt's form.
        columns: the dataset's columns, each as long as `completions`.
    Returns:
        the scores, and what deserves a look: rows that a reward raised on, a reward that judged no row, values
        outside 0..1.
    Raises:
        RewardError: a reward raised, returned the wrong number of values or something that is no number (names
            reward and row), or cannot be pickled into a worker.
    """
    table = composite.score(completions, columns)
    notes = []
    for name, function in zip(composite.names, composite.functions, strict=True):
        try:
            pickle.dumps(function)
        except Exception as error:
            raise RewardError(
                name,
                f"it cannot be pickled ({error})",
                hint="define it at the top of a module, not inside a function",
            ) from error
        values = table.column(name)
        judged = values[~np.isnan(values)]
        if name in table.errors:
            notes.append(
                f"the reward {name} failed on {table.errors[name]} of {len(values)} trial rows: {table.first_errors[name]}"
            )
        elif not judged.size and (composite.given_weights.get(name) or name == composite.gate):
            notes.append(
                f"the reward {name} judged none of {len(values)} trial rows: are its columns empty? The other rewards decide "
                f"such rows; train --set rewards.weights.{name}=0 leaves it out"
            )
        elif not judged.size:
            continue  # of no weight, and so of no matter
        elif judged.min() < 0 or judged.max() > 1:
            notes.append(
                f"the reward {name} gives {judged.min():g} to {judged.max():g}; the other rewards lie in 0..1"
            )
    return table, notes
