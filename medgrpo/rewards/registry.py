"""Rewards by name: built in, from a user's file, or from an installed package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.rewards.plugins import FileReward
from medgrpo.rewards.trust import check_granted
from medgrpo.rewards.weights import resolve_weights
from medgrpo.safe_path import as_the_person_has_it

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

RewardFunction: TypeAlias = Callable[..., "list[float | None]"]
"""TRL's signature: `f(completions, **columns)`, one number or None for each completion."""

ENTRY_POINT_GROUP = "medgrpo.rewards"

BUILT_IN = {
    "format": "medgrpo.rewards.text",
    "format_graded": "medgrpo.rewards.text",
    "answer_match": "medgrpo.rewards.text",
    "answer_match_graded": "medgrpo.rewards.text",
    "accuracy": "medgrpo.rewards.text",
    "exact_match": "medgrpo.rewards.text",
    "token_recall": "medgrpo.rewards.text",
    "token_f1": "medgrpo.rewards.text",
    "word_f1": "medgrpo.rewards.text",
    "levenshtein": "medgrpo.rewards.text",
    "plane_match": "medgrpo.rewards.text",
    "modality_match": "medgrpo.rewards.text",
    "fluency": "medgrpo.rewards.text",
    "caption_alignment": "medgrpo.rewards.caption",
    "box_f1": "medgrpo.rewards.boxes",
    "box_iou": "medgrpo.rewards.boxes",
    "box_ap": "medgrpo.rewards.boxes",
    "box_count": "medgrpo.rewards.boxes",
    "multi_objective": "medgrpo.rewards.masks",
    "multi_objective_guarded": "medgrpo.rewards.masks",
    "simple_dice": "medgrpo.rewards.masks",
    "recall_focused": "medgrpo.rewards.masks",
    "recall_focused_guarded": "medgrpo.rewards.masks",
}
"""Built-in rewards: name → module. The module is imported when the reward is loaded."""


def load_reward(name: str) -> RewardFunction:
    """The reward function of that name; picklable.

    Args:
        name: a built-in name, `path/to/file.py:function`, or the name of an entry point in the group
            `medgrpo.rewards` of an installed package.
    Raises:
        UsageError: there is no such reward (with the nearest name), no such file or function, or it is Python that
            a command was not told to run (`rewards.trust`).
        MedgrpoError: the module of the reward does not import.
    """
    if name in BUILT_IN:
        module = import_module(BUILT_IN[name])
        try:
            function: RewardFunction = getattr(module, name)
        except AttributeError:
            raise MedgrpoError(f"the reward {name!r} is not in {BUILT_IN[name]}") from None
        return function
    if ":" in name:
        check_granted(name)
        return FileReward(name)
    installed = _entry_points()
    if name in installed:
        check_granted(name)
        return _load_entry_point(installed[name])
    error = choice_error("reward", name, reward_names())
    error.hint = " ".join(filter(None, [error.hint, "your own: path/to/file.py:function"]))
    raise error


def brings_code(name: str) -> bool:
    """Whether loading the reward runs Python that did not come with medgrpo; an unknown name runs none."""
    return name not in BUILT_IN and (":" in name or name in _entry_points())


def code_among(weights: str | Mapping[str, float] | None, *others: str | None) -> list[str]:
    """The rewards that bring code of their own among weights, as a set, a mapping or `name=weight,…`, and other
    names (a gate, a metric)."""
    stated = resolve_weights(weights) if isinstance(weights, str | Mapping) and weights else {}
    names = [*stated, *(str(name) for name in others if name)]
    return [name for name in dict.fromkeys(names) if brings_code(name)]


def is_text(name: str) -> bool:
    """True for a built-in reward on text: `text.score` gives several of them at once."""
    return BUILT_IN.get(name) == "medgrpo.rewards.text"


def reward_names() -> list[str]:
    """All names that can be loaded without a file, built-in ones first."""
    return [*BUILT_IN, *sorted(name for name in _entry_points() if name not in BUILT_IN)]


def label(name: str) -> str:
    """The short name under which a reward is logged: the function's name for `file.py:function`."""
    return name.rsplit(":", 1)[-1]


@cache
def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # .02 s that built-in rewards do without

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


@as_the_person_has_it()
def _load_entry_point(point: EntryPoint) -> RewardFunction:
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:
        raise MedgrpoError(
            f"the reward {point.name!r} ({point.value}) does not import: {type(error).__name__}: {error}"
        ) from error
    if not callable(loaded):
        raise UsageError(f"the reward {point.name!r} ({point.value}) is not callable", expected="a function")
    function: RewardFunction = loaded
    return function
