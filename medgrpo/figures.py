"""What is known of each metric: the range of one row's value, which way is better, and what it means.

Reports, intervals, comparisons, targets and health rules ask here. To add a metric, add a line to `FIGURES`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

Bounds = tuple[float, float]
"""The least and the largest value that one row can have; an end may be infinite."""

SHARE: Bounds = (0.0, 1.0)
COUNT: Bounds = (0.0, math.inf)
MORE, LESS, NEITHER = 1, -1, 0


def is_finite_number(value: object) -> TypeGuard[int | float]:
    """Whether a value that was read (JSON, TOML) is a number that a float holds; True and False are none.

    An integer of JSON may have thousands of digits, which `math.isfinite` refuses with OverflowError.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def json_integer(digits: str) -> int | float:
    """A whole number of JSON (`parse_int`); infinite where no float holds it, as JSON's `1e400` is.

    So what reads numbers of others meets NaN and infinity only, never an integer that no float holds.
    """
    return int(digits) if len(digits) < 300 else float(digits)


def as_float(value: object) -> float:
    """The number in a value, a text too; NaN where it is none that a float holds, True and False among them."""
    if isinstance(value, bool):
        return math.nan
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def written_number(value: float) -> str:
    """A finite number as one writes it: 5.0 as "5", and every digit that it has."""
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else str(value)


@dataclass(frozen=True)
class Figure:
    """A metric. `direction`: 1 if more of it is better, -1 if less is, 0 if neither, or if it is not known."""

    meaning: str = ""
    direction: int = MORE
    bounds: Bounds | None = SHARE
    """Of one row's value; None: not known, as of a user's own reward."""


FIGURES: dict[str, Figure] = {
    # answers
    "closed": Figure("closed questions answered right"),
    "open": Figure("open questions whose answer a careful reader accepts"),
    "choice": Figure("multiple-choice questions answered right"),
    "answer_match": Figure("all questions answered right"),
    "answer_match_graded": Figure("answers with part marks"),
    "accuracy": Figure("all questions answered right"),
    "exact_match": Figure("answers with the very words of a reference"),
    "token_recall": Figure("share of the reference's words that answers have"),
    "token_f1": Figure("overlap of words of answers, precision and recall, as SQuAD"),
    "word_f1": Figure("overlap of words of answers, split at punctuation and between Chinese characters"),
    "open_exact_match": Figure("open answers with the very words of a reference"),
    "open_token_recall": Figure("share of the reference's words that open answers have"),
    "open_token_f1": Figure("overlap of words of open answers, precision and recall, as SQuAD"),
    "open_word_f1": Figure("overlap of words of open answers, split at punctuation and between Chinese characters"),
    "open_graded": Figure("open answers with part marks"),
    "plane": Figure("imaging plane named right, where it is known"),
    "modality": Figure("imaging modality named right, where it is known"),
    "plane_right": Figure("imaging plane named right, where it is known"),
    "modality_right": Figure("imaging modality named right, where it is known"),
    "plane_match": Figure("plane with part marks for a broader class"),
    "modality_match": Figure("modality with part marks for a broader class"),
    "format": Figure("completions in exactly the form asked for"),
    "format_graded": Figure("share of the form asked for that completions keep"),
    "levenshtein": Figure("likeness of the characters of answer and reference"),
    "fluency": Figure("variety, language, length and cleanness of the completion"),
    "caption_alignment": Figure("agreement with the picture's caption"),
    "abstained": Figure("answers that say they cannot tell, or hedge", LESS),
    "unanswered": Figure("completions without an answer", LESS),
    "truncated": Figure("completions cut off at the length limit", LESS),
    "invalid": Figure("completions that cannot be read", LESS),
    # boxes and masks
    "box_f1": Figure("boxes found, one to one at IoU .5"),
    "box_iou": Figure("overlap of matched boxes"),
    "box_ap": Figure("average precision of the boxes of an image"),
    "box_count": Figure("number of boxes right"),
    "map": Figure("mean average precision over IoU .50 to .95"),
    "map_50": Figure("mean average precision at IoU .50"),
    "map_75": Figure("mean average precision at IoU .75"),
    "dice": Figure("overlap of predicted and reference mask"),
    "mask_recall": Figure("share of the reference mask found"),
    "mask_precision": Figure("share of the predicted mask right"),
    "mask_iou": Figure("intersection over union of the masks"),
    "cldice": Figure("overlap of the centre lines: connected vessels"),
    "betti0_error": Figure("pieces too many or too few in a mask", LESS, COUNT),
    "betti1_error": Figure("holes too many or too few in a mask", LESS, COUNT),
    "hausdorff95": Figure("distance of the borders that 95 % of their points keep, in pixels", LESS, COUNT),
    "mask_failed": Figure("predictions without a usable mask, scored 0", LESS),
    "multi_objective": Figure("Dice, recall, topology and length of a mask"),
    "multi_objective_guarded": Figure("the same, less where the area is off or Dice falls"),
    "simple_dice": Figure("overlap of predicted and reference mask"),
    "recall_focused": Figure("mask reward that favours recall"),
    "recall_focused_guarded": Figure("the same, less where the area is off or Dice falls"),
    # a training log
    "reward": Figure("weighted sum of the rewards, as in training", MORE, None),
    "loss": Figure("the loss", LESS, None),
    "kl": Figure("KL from the reference, nats per token", LESS, None),
    "frac_reward_zero_std": Figure("share of the groups without any spread in reward", LESS),
    "s_per_prompt": Figure("seconds per prompt", LESS, COUNT),
    "step_time": Figure("seconds per step", LESS, COUNT),
    "completions/clipped_ratio": Figure("share of the completions cut off at the length limit", LESS),
    "rewards/accuracies": Figure("share of the pairs ranked right"),
    "rewards/margins": Figure("chosen less rejected, nats", MORE, None),
    "entropy": Figure("nats per token", NEITHER, None),
    "learning_rate": Figure("the learning rate", NEITHER, COUNT),
    "grad_norm": Figure("length of the gradient", NEITHER, COUNT),
    "epoch": Figure("passes over the data", NEITHER, COUNT),
    "num_tokens": Figure("tokens seen", NEITHER, COUNT),
}  # fmt: skip
"""Every metric that medgrpo itself reports, by name; in a log, held-out ones are called `eval_<name>`."""

HEADLINES = (
    "eval_reward",
    "eval_rewards/answer_match/mean",
    "eval_answer",
    "eval_rewards/accuracies",
    "eval_loss",
)
"""Held-out metrics of a log in the order in which one is shown."""

UNKNOWN = Figure("", NEITHER, None)

_COMPONENT = re.compile(r"rewards/(.+)/([^/]+)$")
_LESS_ENDINGS = ("loss", "kl", "clipped_ratio", "frac_reward_zero_std", "s_per_prompt", "step_time")
_LESS_WORDS = frozenset(
    [
        "loss",
        "error",
        "errors",
        "failed",
        "failures",
        "invalid",
        "unanswered",
        "abstained",
        "truncated",
        "perplexity",
        "wer",
        "cer",
        "mae",
        "mse",
        "rmse",
        "hausdorff",
        "hd95",
        "assd",
        "distance",
        "ece",
        "brier",
        "hallucination",
        "hallucinations",
    ]
)
_MORE_WORDS = ("answer", "plane", "modality", "format", "dice", "recall", "precision", "closed", "open", "f1")


@lru_cache(maxsize=4096)
def figure(key: str) -> Figure:
    """What is known of a metric, by its name in a log (`eval_rewards/dice/mean`) or among scores (`dice`).

    Of names that are not in `FIGURES`, such as another trainer's, the direction is told by their words, and
    the range is not known. A reward of another name is the better the more, whatever its words say.
    """
    name = key.removeprefix("eval_")
    if name in FIGURES:
        return FIGURES[name]
    component = _COMPONENT.match(name)
    if component:
        known = FIGURES.get(component[1], UNKNOWN)
        if component[2] != "mean":
            return UNKNOWN
        return Figure(known.meaning, known.direction or MORE, known.bounds)
    return Figure("", _direction_by_words(name, is_held_out=key != name), None)


def direction(key: str) -> int:
    """1 if more of the metric is better, -1 if less is, 0 if neither (length, entropy) or not known."""
    return figure(key).direction


def _direction_by_words(name: str, *, is_held_out: bool) -> int:
    if "length" in name:
        return NEITHER
    last = name.rsplit("/", maxsplit=1)[-1]
    if (
        name.startswith("time/")
        or name.endswith(_LESS_ENDINGS)
        or set(re.split(r"[\W_]+", name)) & _LESS_WORDS
    ):
        return LESS
    if name.endswith("accuracy") or (is_held_out and last.startswith(_MORE_WORDS)):
        return MORE
    return NEITHER
