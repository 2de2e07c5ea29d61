"""A user's own rewards: loading `file.py:function`, and trying a reward on a few rows before GPU time."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import inspect
import math
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError

TRIAL_ROWS = 8


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
    """The function in `path/to/file.py:function`, pickled by that name.

    Raises:
        UsageError: no such file, or no such function in it.
        MedgrpoError: the file does not import.
    """

    def __init__(self, name: str) -> None:
        path, _, function = name.rpartition(":")
        self.path = Path(path).expanduser().resolve()
        self.__name__ = function
        self._function = _load_function(self.path, function)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Calls the function, awaiting it where it is asynchronous."""
        values = self._function(completions=completions, **accepted(self._function, columns))
        if inspect.isawaitable(values):
            values = asyncio.run(_awaited(values))
        return values  # type: ignore[no-any-return]  # checked by as_column

    def __reduce__(self) -> tuple[type[FileReward], tuple[str]]:
        return FileReward, (f"{self.path}:{self.__name__}",)


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
    except Exception as error:
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
        if isinstance(value, str) or math.isinf(number):
            raise RewardError(reward, f"it returned {value!r}", row=row)
        column.append(number)
    return column


@dataclass(frozen=True)
class Trial:
    """What a reward did on a few rows."""

    reward: str
    values: list[float | None]
    seconds: float
    notes: list[str] = field(default_factory=list)
    """What works but deserves a look: values outside 0..1, the same value everywhere, …"""


def try_reward(
    name: str, function: Callable[..., Any], completions: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> Trial:
    """Calls a reward on the first eight rows, as training will, and checks what it returns.

    Args:
        name: how errors call it.
        function: the reward.
        completions: completions like those of the run, e.g. the references in the prompt's format.
        columns: the dataset's columns, each as long as `completions`.
    Raises:
        RewardError: it raised, returned the wrong number of values or something that is no number,
            or cannot be pickled into a worker.
    """
    count = min(TRIAL_ROWS, len(completions))
    few = {key: value[:count] for key, value in columns.items()}
    started = time.perf_counter()
    try:
        values = as_column(name, function(completions=list(completions[:count]), **few), count)
    except RewardError:
        raise
    except Exception as error:
        row = failing_row(function, completions[:count], few)
        raise RewardError(name, f"{type(error).__name__}: {error}", row=row) from error
    seconds = time.perf_counter() - started
    try:
        pickle.loads(pickle.dumps(function))
    except Exception as error:
        raise RewardError(
            name,
            f"it cannot be pickled ({error})",
            hint="define it at the top of a module, not inside a function",
        ) from error
    return Trial(name, [None if math.isnan(v) else v for v in values], seconds, _notes(values))


def _notes(values: Sequence[float]) -> list[str]:
    judged = [value for value in values if not math.isnan(value)]
    notes = []
    if not judged:
        notes.append("it judged none of the trial rows (None for each): is a column missing?")
    elif min(judged) < 0 or max(judged) > 1:
        notes.append(f"values reach from {min(judged):g} to {max(judged):g}; the other rewards lie in 0..1")
    return notes


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
