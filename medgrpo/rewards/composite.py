"""The one place that sums rewards: weights, rows that a component cannot judge, the gate, group statistics."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.figures import Bounds, figure
from medgrpo.rewards import text
from medgrpo.rewards.columns import RESERVED, SETTINGS, is_leaked_field, with_own_names
from medgrpo.rewards.contained import call_contained
from medgrpo.rewards.plugins import FileReward, RewardError, as_column, failing_row, one_row, parameters
from medgrpo.rewards.registry import BUILT_IN, RewardFunction, brings_code, is_text, label, load_reward
from medgrpo.rewards.weights import check_weights, normalised, resolve_weights

Aggregation = Literal["sum", "normalize_then_sum"]
OnError = Literal["stop", "skip"]
Floats = NDArray[np.float64]

EPSILON = 1e-4
"""Added to a group's standard deviation before dividing, as TRL does."""


@dataclass(frozen=True)
class RewardTable:
    """What every component and their sum gave for a batch."""

    names: tuple[str, ...]
    """Components, in the order of the columns of `components`."""
    components: Floats
    """(n, k); NaN where a component could not judge the row."""
    total: Floats
    """(n,), the weighted sum after the gate; NaN where no weighted component judged the row."""
    weights: dict[str, float]
    """Normalised: they sum to 1."""
    gate: str | None = None
    errors: dict[str, int] = field(default_factory=dict)
    """Rows skipped because the component raised, by component (only with `on_error="skip"`)."""
    first_errors: dict[str, str] = field(default_factory=dict)
    """The first message of each component in `errors`."""

    def __len__(self) -> int:
        return len(self.total)

    def column(self, name: str) -> Floats:
        """(n,) values of one component, or of `total`."""
        if name == "total":
            return self.total
        if name not in self.names:
            raise choice_error("component", name, [*self.names, "total"])
        values: Floats = self.components[:, self.names.index(name)]
        return values

    @property
    def coverage(self) -> dict[str, float]:
        """Share of the rows that each component judged, in 0..1; 0.0 for an empty table."""
        judged = ~np.isnan(self.components)
        shares = judged.mean(axis=0) if len(self) else np.zeros(len(self.names))
        return dict(zip(self.names, (float(share) for share in shares), strict=True))

    @property
    def means(self) -> dict[str, float]:
        """Mean of each component over the rows it judged, and of `total`; NaN where it judged none."""
        return {name: _mean(self.column(name)) for name in (*self.names, "total")}

    @property
    def stds(self) -> dict[str, float]:
        """Standard deviation (n - 1) over the rows judged; 0.0 for one row, NaN for none."""
        return {name: _std(self.column(name)) for name in (*self.names, "total")}


class CompositeReward:
    """A weighted sum of rewards, itself a reward with TRL's signature, and picklable.

    A component that returns None for a row leaves that row's sum, and the remaining weights are
    rescaled to 1 there: plane is known for a fifth of real rows, and without this a perfect answer
    could not reach 1. A row that no weighted component judges has the total NaN (None for TRL,
    which then gives it the advantage 0): nothing is known, so nothing is learnt.

    Args:
        weights: reward → weight ≥ 0; a named set (`balanced`), or `name=weight,…`. A weight of 0 is
            logged and not summed. Rewards are named as `registry.load_reward` takes them.
        gate: a reward whose value (0..1) multiplies the total, usually `format`: a completion that fails
            it gets 0. It need not be among the weights. Where it gives None, the row is not gated.
        aggregation: what `signal` does. `sum`: the total. `normalize_then_sum` (GDPO): each component is
            standardised within its group before the weighted sum.
        on_error: `stop` raises on the first row where a reward raises; `skip` counts it and treats the
            row as not judged by that reward.
        rewards: functions for names that no registry knows (to use a function without a file).
        settings: further arguments for every reward, the same for all rows (`tags`, `plain`, …).
        timeout_s: longest time of one call of a reward that does not come with medgrpo; None: no limit.
    Raises:
        UsageError: unknown reward, negative or all-zero weights, an unknown gate or option.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | str = "balanced",
        *,
        gate: str | None = None,
        aggregation: Aggregation = "sum",
        on_error: OnError = "stop",
        rewards: Mapping[str, RewardFunction] | None = None,
        settings: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        given = resolve_weights(weights)
        check_weights(given)
        if aggregation not in ("sum", "normalize_then_sum"):
            raise choice_error("aggregation", aggregation, ["sum", "normalize_then_sum"])
        if on_error not in ("stop", "skip"):
            raise choice_error("way to handle reward errors", on_error, ["stop", "skip"])
        functions = dict(rewards or {})
        sources = list(given) if gate is None or gate in given else [*given, gate]
        labels = [label(source) for source in sources]
        for name in labels:
            if labels.count(name) > 1:
                raise UsageError(
                    f"two rewards are called {name!r}", expected="a name of its own for each reward"
                )
        self.names = tuple(labels)
        self.sources = tuple(sources)
        self.given_weights = {label(source): float(weight) for source, weight in given.items()}
        self.weights = normalised(self.given_weights)
        self.gate = None if gate is None else label(gate)
        self.aggregation: Aggregation = aggregation
        self.on_error: OnError = on_error
        self.functions: tuple[RewardFunction, ...] = tuple(
            functions[source] if source in functions else load_reward(source) for source in sources
        )
        self.settings = dict(settings or {})
        self.timeout_s = timeout_s or None
        self._own = frozenset(
            name
            for name, source in zip(labels, sources, strict=True)
            if source in functions or brings_code(source)
        )
        self.__name__ = "reward"
        self._first_state = self.state_dict()
        self._texts = [i for i, source in enumerate(sources) if source not in functions and is_text(source)]
        self._bounds = {
            name: figure(name).bounds if source in BUILT_IN and source not in functions else None
            for name, source in zip(labels, sources, strict=True)
        }

    def with_settings(self, **settings: Any) -> CompositeReward:
        """The same sum with other arguments for every reward, such as the `tags` of another prompt."""
        other = copy(self)
        other.settings = {**self.settings, **settings}
        return other

    def alone(self, reward: str) -> CompositeReward:
        """One reward, of this sum or not, judged with this sum's settings and its way to handle errors."""
        return CompositeReward({reward: 1.0}, on_error=self.on_error, settings=self.settings)

    def bounds(self, name: str = "total") -> Bounds | None:
        """The range of a component for one row, or of the total; None where a user's own reward sets it."""
        if name != "total":
            return self._bounds[name]
        ranges = [self._bounds[each] for each, weight in self.weights.items() if weight > 0]
        known = [one for one in ranges if one is not None]
        if len(known) < len(ranges):
            return None
        low, high = min(one[0] for one in known), max(one[1] for one in known)
        return (low, high) if self.gate is None else (min(0.0, low), max(0.0, high))

    def state_dict(self) -> dict[str, Any]:
        """What the rewards that have `state_dict` and `load_state_dict` want to keep, by name.

        Raises:
            MedgrpoError: a state is not made of numbers, texts, lists and dicts.
        """
        states = {}
        for name, reward in self._stateful():
            try:
                states[name] = json.loads(json.dumps(reward.state_dict()))
            except (TypeError, ValueError) as error:
                raise MedgrpoError(
                    f"the state of the reward {name!r} cannot be saved: {error}",
                    expected="numbers, texts, lists and dicts from state_dict()",
                ) from error
        return states

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Hand the rewards what `state_dict` gave; one without an entry stays as it is."""
        for name, reward in self._stateful():
            if name in states:
                reward.load_state_dict(deepcopy(states[name]))

    def reset(self) -> None:
        """Give the rewards the state that they had when they were loaded."""
        self.load_state_dict(self._first_state)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Within it rewards judge what no state may remember, such as held-out rows."""
        before = self.state_dict()
        try:
            yield
        finally:
            self.load_state_dict(before)

    def _stateful(self) -> Iterator[tuple[str, Any]]:
        for name, function in zip(self.names, self.functions, strict=True):
            reward = function.judge if isinstance(function, FileReward) else function
            if callable(getattr(reward, "state_dict", None)) and callable(
                getattr(reward, "load_state_dict", None)
            ):
                yield name, reward

    def score(self, completions: Sequence[Any], columns: Mapping[str, Any] | None = None) -> RewardTable:
        """Every component and the total for a batch.

        Args:
            completions: n strings or lists of chat messages.
            columns: the rows' columns as lists of n (`answer`, `plane`, …); anything else (a trainer's
                state) is handed on as it is. Fields that leak the answer are left out.
        Raises:
            RewardError: a component raised (unless `on_error="skip"`) or returned what cannot be used;
                names the component and the row.
        """
        offered = {
            key: value
            for key, value in (columns or {}).items()
            if key not in self.settings and key not in RESERVED and not is_leaked_field(key)
        }
        components = np.full((len(completions), len(self.names)), np.nan)
        errors: dict[str, int] = {}
        first_errors: dict[str, str] = {}
        built_in = {key: value for key, value in offered.items() if key not in SETTINGS}
        together = self._texts_together(completions, built_in)
        if together is not None:
            components[:, self._texts] = together
        for index, (name, function) in enumerate(zip(self.names, self.functions, strict=True)):
            if together is not None and index in self._texts:
                continue
            own = self.sources[index] not in BUILT_IN
            given = with_own_names(offered, parameters(function)) if own else built_in
            values, failures = self._component(name, function, completions, given)
            components[:, index] = values
            if failures:
                errors[name] = len(failures)
                first_errors[name] = failures[0]
        return RewardTable(
            names=self.names,
            components=components,
            total=self._total(components),
            weights=self.weights,
            gate=self.gate,
            errors=errors,
            first_errors=first_errors,
        )

    def __call__(
        self,
        completions: Sequence[Any],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The totals, None where nothing judged the row: TRL's signature.

        `log_metric` and `log_extra` are TRL's own hooks: the mean and coverage of each component go to
        the log as `rewards/<name>/mean` and `rewards/<name>/coverage`, the values to the completions table.
        """
        table = self.score(completions, columns)
        if log_metric is not None:
            means, coverage = table.means, table.coverage
            for name in table.names:
                if not math.isnan(means[name]):
                    log_metric(f"rewards/{name}/mean", means[name])
                log_metric(f"rewards/{name}/coverage", coverage[name])
        if log_extra is not None:
            for name in table.names:
                log_extra(name, _with_none(table.column(name)))
        return _with_none(table.total)

    def signal(self, table: RewardTable, group_size: int) -> Floats:
        """What a trainer centres into advantages, (n,), NaN where no component judged the row.

        With `sum` the total. With `normalize_then_sum` each component is gated, centred and divided by
        its standard deviation + 1e-4 within its group (rows it did not judge left out), then weighted;
        weights are rescaled for each row as in the total.

        Raises:
            ValueError: the rows do not divide into groups of `group_size`.

        Source: GDPO, TRL 1.16 `multi_objective_aggregation="normalize_then_sum"` before its last, batch-wide
        whitening, which the trainer does.
        """
        if self.aggregation == "sum":
            return table.total
        values = table.components * self._gate_factor(table.components)[:, None]
        return self._weighted(standardised(values, group_size))

    def _texts_together(self, completions: Sequence[Any], columns: Mapping[str, Any]) -> Floats | None:
        """All text rewards from one look at each completion; None where one fails, to be found one by one."""
        if not self._texts:
            return None
        rewards = [self.sources[index] for index in self._texts]
        try:
            return text.score(rewards, completions, **columns, **self.settings)
        except Exception:  # noqa: BLE001  (the component that raises it is called again, and named)
            return None

    def _component(
        self, name: str, function: RewardFunction, completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> tuple[list[float], list[str]]:
        function = self._as_called(name, function, self.timeout_s)
        try:
            returned = function(completions=completions, **columns, **self.settings)
            return as_column(name, returned, len(completions)), []
        except RewardError as error:
            if self.on_error == "stop":
                raise
            first = error
        except Exception as error:
            if self.on_error == "stop":
                row = failing_row(partial(function, **self.settings), completions, columns)
                known = row is not None and "id" in columns
                where = f"row {row} has the id {columns['id'][row]!r}; " if known else ""
                raise RewardError(
                    name,
                    f"{type(error).__name__}: {error}",
                    row=row,
                    hint=f"{where}--on-reward-error skip counts such rows and goes on",
                ) from error
            first = RewardError(name, f"{type(error).__name__}: {error}")
        if self.timeout_s is not None:  # all rows together get about as long as the batch had
            function = self._as_called(name, function, max(1.0, self.timeout_s / max(1, len(completions))))
        return _row_by_row(name, partial(function, **self.settings), completions, columns, first)

    def _as_called(self, name: str, function: RewardFunction, timeout_s: float | None) -> RewardFunction:
        """The function as it is where it is ours; a user's own so that what goes wrong in it stays in it."""
        if name not in self._own:
            return function

        def contained(completions: Sequence[Any], **columns: Any) -> Any:
            return call_contained(name, function, completions, columns, timeout_s=timeout_s)

        return contained

    def _total(self, components: Floats) -> Floats:
        return self._weighted(components) * self._gate_factor(components)

    def _weighted(self, values: Floats) -> Floats:
        weights = np.array([self.weights.get(name, 0.0) for name in self.names])
        judged = ~np.isnan(values) & (weights > 0)
        present = judged @ weights
        summed = np.where(judged, values, 0.0) @ weights
        total: Floats = np.divide(summed, present, out=np.full(len(values), np.nan), where=present > 0)
        return total

    def _gate_factor(self, components: Floats) -> Floats:
        if self.gate is None:
            return np.ones(len(components))
        gate = components[:, self.names.index(self.gate)]
        return np.where(np.isnan(gate), 1.0, gate)


def _row_by_row(
    name: str,
    function: Callable[..., Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    batch_error: RewardError,
) -> tuple[list[float], list[str]]:
    values: list[float] = []
    failures: list[str] = []
    for row, completion in enumerate(completions):
        try:
            returned = function(completions=[completion], **one_row(columns, row, len(completions)))
            values += as_column(name, returned, 1)
        except Exception as error:  # noqa: BLE001  (the caller asked to skip and count whatever it raises)
            reason = error.reason if isinstance(error, RewardError) else f"{type(error).__name__}: {error}"
            values.append(math.nan)
            failures.append(f"row {row}: {reason}")
    return values, failures or [batch_error.reason]


@dataclass(frozen=True)
class GroupStatistics:
    """Spread of one component within the groups of completions of one prompt."""

    groups: int
    """Groups with at least two rows that the component judged."""
    dead: int
    """Of these, the groups in which all values are equal: they teach nothing."""
    mean_std: float
    """Mean over these groups of the standard deviation (n - 1); NaN if there are none."""

    @property
    def dead_share(self) -> float:
        """dead / groups; NaN without groups."""
        return self.dead / self.groups if self.groups else math.nan


def group_statistics(table: RewardTable, group_size: int) -> dict[str, GroupStatistics]:
    """Spread within groups for each component and for `total`, so that the guilty reward is named.

    Args:
        table: rows in order, the `group_size` completions of one prompt beside each other.
        group_size: completions per prompt, G ≥ 2.
    Raises:
        ValueError: the rows do not divide into groups of `group_size`.
    """
    return {name: _group_statistics(table.column(name), group_size) for name in (*table.names, "total")}


def _group_statistics(values: Floats, group_size: int) -> GroupStatistics:
    grouped = _grouped(values, group_size)
    comparable = grouped[(~np.isnan(grouped)).sum(axis=1) >= 2]
    if not len(comparable):
        return GroupStatistics(0, 0, math.nan)
    spread = np.nanmax(comparable, axis=1) - np.nanmin(comparable, axis=1)
    return GroupStatistics(
        len(comparable), int((spread <= 1e-9).sum()), float(_nan_std(comparable, axis=1).mean())
    )


def standardised(values: Floats, group_size: int) -> Floats:
    """Values (n, …) centred and divided by their standard deviation + 1e-4 within each group; NaN left out."""
    grouped = _grouped(values, group_size)
    mean = _nan_mean(grouped, axis=1)[:, None]
    std = _nan_std(grouped, axis=1)[:, None]
    standard: Floats = ((grouped - mean) / (std + EPSILON)).reshape(values.shape)
    return standard


def _grouped(values: Floats, group_size: int) -> Floats:
    if group_size < 1 or len(values) % group_size:
        raise ValueError(f"{len(values)} rows do not divide into groups of {group_size}")
    return values.reshape(len(values) // group_size, group_size, *values.shape[1:])


def _nan_mean(values: Floats, axis: int) -> Floats:
    count = (~np.isnan(values)).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _nan_std(values: Floats, axis: int) -> Floats:
    count = (~np.isnan(values)).sum(axis=axis)
    mean = np.expand_dims(_nan_mean(values, axis), axis)
    squares = np.nansum((values - mean) ** 2, axis=axis)
    std: Floats = np.sqrt(np.divide(squares, count - 1, out=np.zeros(squares.shape), where=count > 1))
    return std


def _mean(values: Floats) -> float:
    return float(_nan_mean(values, 0)) if len(values) else math.nan


def _std(values: Floats) -> float:
    return math.nan if np.isnan(values).all() else float(_nan_std(values, 0))


def _with_none(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]
