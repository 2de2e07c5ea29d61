"""A user's reward is called so that what goes wrong in it stays in it: time, exits, arguments, working directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

from medgrpo.alarm import limited
from medgrpo.rewards.plugins import RewardError
from medgrpo.safe_path import as_the_person_has_it

TIMEOUT_S = 600.0
"""Longest call of a user's reward where a command says nothing else."""


class RewardTimeout(RewardError):
    """A reward took longer than it may."""


def call_contained(
    reward: str,
    function: Callable[..., Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
) -> Any:
    """What a reward returns for a batch.

    It gets copies, so that it cannot empty the caller's lists; where it changes the working directory, that is put back,
    with a warning.

    Args:
        timeout_s: longest time of this call; None: no limit. Python code and waiting are interrupted, also `re`; a call
            into a library that does not return to Python is not.
    Raises:
        RewardTimeout: it took longer.
        RewardError: it tried to end the program, or raised what is no Exception.
        Exception: whatever it raises.
    """
    given = {key: _copy(values) for key, values in columns.items()}

    def late() -> RewardTimeout:
        return RewardTimeout(
            reward,
            f"it took longer than {timeout_s:g} s for one call",
            hint="--reward-timeout SECONDS gives it more; 0: no limit",
        )

    try:
        with as_the_person_has_it(), _same_folder(reward), limited(timeout_s, late):
            return function(completions=_copy(completions), **given)
    except SystemExit as error:
        raise RewardError(
            reward,
            f"it tried to end the program (SystemExit: {error.code})",
            hint="return None for such rows",
        ) from error
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # nobody else would catch it
        raise RewardError(reward, f"{type(error).__name__}: {error}", hint="raise an Exception") from error


def _copy(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        return values
    if all(isinstance(value, str | int | float | bool | None) for value in values):
        return list(values)
    return deepcopy(list(values))


@contextmanager
def _same_folder(reward: str) -> Iterator[None]:
    before = os.getcwd()
    try:
        yield
    finally:
        now = None
        with suppress(OSError):
            now = os.getcwd()
        if now != before:
            os.chdir(before)
            warnings.warn(
                f"the reward {reward!r} changed the working directory to {now}; it was put back to {before}",
                RuntimeWarning,
                stacklevel=2,
            )
