"""A user's own rewards: loading `file.py:function`, and what is made of what they return or raise."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.safe_path import as_the_person_has_it

TRL_ALONE = ("prompts", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""Arguments of TRL's reward functions that are no column of the data, so that a file can be scored without a model."""


class RewardError(MedgrpoError):
    """A reward failed or returned what cannot be used; names the reward and, where known, the row.

    Args:
        reward: its name.
        problem: what happened.
        row: index in the batch, from 0.
    """

    def __init__(self, reward: str, problem: str, *, row: int | None = None, hint: str | None = None) -> None:
        where = "" if row is None else f" at row {row}"
        super().__init__(
            f"the reward {reward!r} failed{where}: {problem}",
            expected="one finite number or None for each completion",
            hint=hint,
        )
        self.reward = reward
        self.row = row
        self.reason = problem


class FileReward:
    """The function, or an instance of the class, in `path/to/file.py:function`, pickled by that name.

    Raises:
        UsageError: no such file, or no such function in it.
        MedgrpoError: the file does not import.
    """

    def __init__(self, name: str) -> None:
        path, _, function = name.rpartition(":")
        self.path = Path(path).expanduser().resolve()
        self.__name__ = function
        self._function = _load_function(self.path, function)
        _refuse_what_is_not_given(function, self._function)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Calls the function, awaiting it where it is asynchronous."""
        values = self._function(completions=completions, **accepted(self._function, columns))
        if inspect.isawaitable(values):
            import asyncio

            values = asyncio.run(_awaited(values))
        return values  # type: ignore[no-any-return]  # checked by as_column

    @property
    def judge(self) -> Callable[..., Any]:
        """What the file defines."""
        return self._function

    def __reduce__(self) -> tuple[type[FileReward], tuple[str]]:
        return FileReward, (f"{self.path}:{self.__name__}",)


def _refuse_what_is_not_given(name: str, function: Callable[..., Any]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    for parameter in parameters:
        if parameter.name in TRL_ALONE and parameter.default is parameter.empty:
            raise UsageError(
                f"the reward {name!r} asks for {parameter.name!r}, which TRL's trainers give and medgrpo does not",
                expected="completions, and columns of the data such as question and answer",
                hint=f"take question instead of prompts, or give it a default: {parameter.name}=None",
            )


async def _awaited(values: Any) -> Any:
    return await values


def accepted(function: Callable[..., Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those columns that the function takes: all of them if it has `**kwargs`, else those it names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return dict(columns)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(columns)
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in columns.items() if name in names}


def parameters(function: Callable[..., Any]) -> list[str]:
    """The names of a reward's arguments; empty where it does not tell them."""
    judge = function.judge if isinstance(function, FileReward) else function
    try:
        return list(inspect.signature(judge).parameters)
    except (TypeError, ValueError):
        return []


@as_the_person_has_it()
def _load_function(path: Path, function: str) -> Callable[..., Any]:
    if not path.is_file():
        raise UsageError(f"no file {path} for the reward {function!r}", expected="path/to/file.py:function")
    module_name = f"medgrpo_reward_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file", expected="path/to/file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look the module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise MedgrpoError(f"{path} does not import: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        functions = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
        nearest = get_close_matches(function, functions, n=1)
        raise UsageError(
            f"{path} has no function {function!r}",
            expected=f"one of {', '.join(functions)}" if functions else "a function",
            hint=f"did you mean {nearest[0]!r}?" if nearest else None,
        )
    if isinstance(found, type):
        try:
            found = found()
        except (TypeError, SystemExit) as error:
            raise UsageError(
                f"the class {function!r} in {path} cannot be made: {error}",
                expected="a class without arguments",
            ) from error
    return found  # type: ignore[no-any-return]


def as_column(reward: str, values: Any, count: int) -> list[float]:
    """The values that a reward returned as floats, None as NaN.

    Raises:
        RewardError: they are not `count` values, or one is neither a finite number nor None.
    """
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise RewardError(reward, f"it returned {type(values).__name__}, not a list")
    if len(values) != count:
        raise RewardError(reward, f"it returned {len(values)} values for {count} completions")
    column: list[float] = []
    for row, value in enumerate(values):
        if value is None:
            column.append(math.nan)
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.inf
        if isinstance(value, str) or not math.isfinite(number):
            hint = "None says that it cannot judge a row" if math.isnan(number) else None
            raise RewardError(reward, f"it returned {value!r}", row=row, hint=hint)
        column.append(number)
    return column


def failing_row(
    function: Callable[..., Any], completions: Sequence[Any], columns: Mapping[str, Any]
) -> int | None:
    """The first row on which the reward raises when called alone; None if it raises on no single row."""
    for row in range(len(completions)):
        try:
            function(completions=[completions[row]], **one_row(columns, row, len(completions)))
        except Exception:  # noqa: BLE001  (whatever it raises is what we look for)
            return row
    return None


def one_row(columns: Mapping[str, Any], row: int, count: int) -> dict[str, Any]:
    """The columns cut to one row; what is not a list of `count` values (a trainer's state) stays."""
    return {
        key: [value[row]] if isinstance(value, list | tuple) and len(value) == count else value
        for key, value in columns.items()
    }
