"""The border to files of others: whatever reading them raises says which file it was, and what it should have been.

Readers check what they can name, and raise `MedgrpoError` for it. What they did not think of is marked here with the place
and worded where the command ends, so that callers in between still see the error they know.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from medgrpo.errors import MedgrpoError

_MARK = "_medgrpo_read"
JINJA = "<template>"
"""What Python calls the file of a template's code."""
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Read:
    """What was being read."""

    place: str
    expected: str


@contextmanager
def reading(place: object, expected: str) -> Iterator[None]:
    """Within it, what is raised is a fault of this place; the innermost counts.

    Args:
        place: file, folder or name.
        expected: what lies there: "a training log".
    """
    try:
        yield
    except MedgrpoError:
        raise
    except Exception as error:
        if not hasattr(error, _MARK):
            setattr(error, _MARK, Read(_shown(place), expected))
        raise


def reads(argument: str, expected: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`reading` around a function, of the place that one of its arguments names."""

    def around(function: Callable[P, R]) -> Callable[P, R]:
        position = list(inspect.signature(function).parameters).index(argument)

        @wraps(function)
        def read(*args: P.args, **kwargs: P.kwargs) -> R:
            place = kwargs.get(argument, args[position] if position < len(args) else None)
            with reading(place, expected):
                return function(*args, **kwargs)

        return read

    return around


def fault_of_input(error: BaseException) -> MedgrpoError | None:
    """The error in words, where it came up while something of others was read; None elsewhere."""
    seen: BaseException | None = error
    while seen is not None:
        read = getattr(seen, _MARK, None)
        if isinstance(read, Read):
            said = str(seen).strip().splitlines()
            what = f"{type(seen).__name__}: {said[0][:300]}" if said else type(seen).__name__
            return MedgrpoError(
                f"{read.place} cannot be used: {what}",
                expected=read.expected,
                hint="if it is as it should be, MEDGRPO_DEBUG=1 shows where reading it failed",
            )
        if (said_of := _fault_of_template(seen)) is not None:
            return said_of
        seen = seen.__cause__ or seen.__context__
    return None


def _fault_of_template(error: BaseException) -> MedgrpoError | None:
    """The error in words, where it came up in what Jinja makes of a model's chat template."""
    is_its = isinstance(error, SyntaxError) and error.filename == JINJA
    step = error.__traceback__
    while step is not None and not is_its:
        is_its = step.tb_frame.f_code.co_filename == JINJA
        step = step.tb_next
    if not is_its:
        return None
    return MedgrpoError(
        f"the model's chat template cannot write this: {type(error).__name__}: {str(error)[:300]}",
        expected="a template that Jinja can run",
        hint="look at chat_template.jinja beside the model",
    )


def _shown(place: Any) -> str:
    if isinstance(place, list | tuple):
        return ", ".join(_shown(one) for one in place[:3])
    if isinstance(place, Path | str):
        return str(place)
    name = getattr(place, "folder", None) or getattr(place, "name", None)  # weights, a subject
    return str(name or place)
