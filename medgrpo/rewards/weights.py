"""Weights of the reward's components: the named sets, and the checks on what a user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medgrpo.errors import UsageError, choice_error
from medgrpo.figures import is_finite_number

WEIGHT_SETS: dict[str, dict[str, float]] = {
    "balanced": {"format": 0.20, "answer_match": 0.45, "plane_match": 0.20, "modality_match": 0.15},
    "conservative": {"format": 0.25, "answer_match": 0.50, "plane_match": 0.15, "modality_match": 0.10},
    "balanced_caption": {
        "format": 0.20,
        "answer_match": 0.40,
        "plane_match": 0.20,
        "modality_match": 0.15,
        "caption_alignment": 0.05,
    },
    "text": {"accuracy": 0.7, "format": 0.2, "fluency": 0.1},
    "detection": {"box_iou": 0.4, "box_f1": 0.4, "format": 0.2},
    "multi_objective": {"multi_objective": 1.0},
    "multi_objective_guarded": {"multi_objective_guarded": 1.0},
    "simple_dice": {"simple_dice": 1.0},
    "recall_focused": {"recall_focused": 1.0},
    "recall_focused_guarded": {"recall_focused_guarded": 1.0},
}
"""Named sets. `equal` is not listed: it gives the same weight to the rewards named beside it.

The mask sets name one reward each: their parts share one pass over the masks, in `rewards.masks`."""

EQUAL = "equal"


def resolve_weights(
    weights: str | Mapping[str, float] | None = None, rewards: Sequence[str] | None = None
) -> dict[str, float]:
    """The weight of each reward, as given (not normalised).

    Args:
        weights: a named set, `equal`, `name=weight,name=weight`, a mapping, or None.
        rewards: the rewards to use; those without a weight in `weights` are refused. None: those in `weights`.
    Returns:
        reward name → weight, in the order of `rewards` where given. With neither argument: `balanced`.
        With `rewards` alone: equal weights.
    Raises:
        UsageError: an unknown set, a weight that is no number, a negative one, all of them zero, or a
            reward without a weight.
    """
    if weights is None:
        weights = EQUAL if rewards else "balanced"
    if isinstance(weights, str):
        if weights == EQUAL:
            if not rewards:
                rewards = list(WEIGHT_SETS["balanced"])
            return {name: 1 / len(rewards) for name in rewards}
        weights = parse_weights(weights)
    given = dict(weights)
    check_weights(given)
    if rewards is None:
        return given
    for name in rewards:
        if name not in given:
            raise UsageError(
                f"the reward {name!r} has no weight",
                expected=f"a weight for each of {', '.join(rewards)}",
                hint=f"add {name}=… to --weights (0 = logged only)",
            )
    chosen = {name: given[name] for name in rewards}
    if len(chosen) < len(given):
        extra = next(name for name in given if name not in chosen)
        raise UsageError(
            f"a weight is given for {extra!r}, which is not among the rewards",
            expected=f"weights for {', '.join(rewards)}",
            hint=f"add {extra} to --rewards or drop its weight",
        )
    return chosen


def parse_weights(text: str) -> dict[str, float]:
    """The weights in a set's name or in `name=weight,name=weight`."""
    if "=" not in text:
        if text not in WEIGHT_SETS:
            raise choice_error("set of weights", text, [*WEIGHT_SETS, EQUAL])
        return dict(WEIGHT_SETS[text])
    parsed: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.rpartition("=")
        name = name.strip()
        if not name:
            raise UsageError(f"{part!r} is no weight", expected="name=weight,name=weight")
        if name in parsed:
            raise UsageError(
                f"the reward {name!r} is given two weights", expected="one weight for each reward"
            )
        try:
            parsed[name] = float(value)
        except ValueError:
            raise UsageError(f"the weight of {name!r} is {value!r}", expected="a number ≥ 0") from None
    return parsed


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuses weights that no sum can be made of.

    Raises:
        UsageError: there are none, one is negative, not finite or no number, or all are zero.
    """
    if not weights:
        raise UsageError("no rewards are given", expected="at least one reward with a weight")
    for name, weight in weights.items():
        if not is_finite_number(weight):
            raise UsageError(f"the weight of {name!r} is {weight!r}", expected="a number ≥ 0")
        if weight < 0:
            raise UsageError(
                f"the weight of {name!r} is negative: {weight}",
                expected="a number ≥ 0",
                hint="to punish something, write a reward that is low where it occurs",
            )
    if not any(weights.values()):
        raise UsageError("every weight is zero", expected="at least one weight above 0")


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights divided by their sum."""
    check_weights(weights)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
