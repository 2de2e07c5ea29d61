"""Every score of every prediction: what each metric is averaged from.

All rules are the rewards' own: nothing here decides whether an answer is right.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.data.clusters import cluster_labels
from medgrpo.data.prompts import reward_settings
from medgrpo.data.schema import is_yes_or_no
from medgrpo.figures import Bounds, figure
from medgrpo.foreign import reading
from medgrpo.rows import Row

Floats = NDArray[np.float64]

ANSWER_TAG = "answer"
LABELS = ("plane", "modality")
ANSWER_SCORES = (
    "answer_match",
    "answer_match_graded",
    "exact_match",
    "token_recall",
    "token_f1",
    "word_f1",
    "abstained",
    "unanswered",
)
"""Scores of the answer: none is given where the prompt asks for none."""
BOX_COLUMNS = ("boxes", "width", "height", "box_format", "model_width", "model_height")
"""What boxes are judged by; the last three are added by `medgrpo.models.coordinates`."""
UNANSWERED = ("empty", "no_answer_tag")
"""Rules of the matcher that mean: there is no answer to judge."""
ABSTAINED = ("refused", "hedged", "asks_back")
"""Rules that mean: the model says that it cannot tell, does not commit itself, or asks back."""


@dataclass(frozen=True)
class Scored:
    """Predictions with all their scores; every list and array has one entry a row."""

    rows: Sequence[Row]
    completions: Sequence[str]
    clusters: Sequence[Hashable]
    """The image (or patient) that a row belongs to."""
    kinds: Sequence[str]
    """`closed`, `open` or `choice`."""
    scores: Mapping[str, Floats]
    """Score -> (n,), NaN where a row cannot be judged."""
    rules: Sequence[str]
    """The rule of the matcher that decided on the answer."""
    answers: Sequence[str]
    """The text that was judged as the answer."""
    references: Sequence[str]
    """The accepted reference nearest to the answer."""
    said: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """`yes_no`, `plane`, `modality` -> what the completion says, in canonical words; None: not asked."""
    truth: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """The same of the reference."""
    observer: Mapping[str, Floats] = field(default_factory=dict)
    """Mask scores of a second observer, (n,) each; empty where there is none."""
    plain: bool = False
    """Whether completions without tags were scored as the answer itself."""
    clustered_by: str = "image"
    reward_bounds: Bounds | None = None
    """Range of the score `reward`, as far as its components' are known."""

    def __len__(self) -> int:
        return len(self.rows)

    def bounds_of(self, score: str) -> Bounds | None:
        """The range of a score of one row; None where it is not known."""
        return self.reward_bounds if score == "reward" else figure(score).bounds

    def chosen(self, name: str, keep: Callable[[int], bool] | None = None) -> Floats:
        """A score with the rows that `keep` refuses as NaN."""
        values = np.asarray(self.scores[name], dtype=np.float64)
        if keep is None:
            return values
        kept = np.array([keep(index) for index in range(len(self))], dtype=bool)
        return np.where(kept, values, np.nan)


def score_predictions(
    rows: Sequence[Row],
    completions: Sequence[str],
    *,
    tags: Sequence[str] = ("think", "answer", "plane", "modality"),
    plain: bool | None = None,
    reward: Any | None = None,
) -> Scored:
    """All scores of one completion for each row.

    Args:
        rows: rows of a dataset, or of a predictions file; columns that are missing count as unknown.
        completions: one for each row.
        tags: the tags that the prompt asked for; empty: none.
        plain: score a completion without an answer tag as the answer itself; None: where no completion
            has an answer tag, or the prompt asked for none.
        reward: a `CompositeReward` whose total, with these tags, is reported as `reward`, unless the
            answers are plain (it asks for tags); None: none is.
    Raises:
        ValueError: rows and completions differ in number.
    """
    if len(rows) != len(completions):
        raise ValueError(f"{len(rows)} rows but {len(completions)} completions")
    from medgrpo.rewards import text as rewards

    if plain is None:
        plain = is_plain(completions, tags)
    asked = tuple(tags) if ANSWER_TAG in tags else ("think", "answer", "plane", "modality")
    columns = {name: [row.get(name) for row in rows] for name in ("answer", "answers", "question", "options")}
    judged = rewards.explain(completions, tags=asked, plain=plain, **columns)
    scores = {
        "answer_match": _floats([one["answer_match"] for one in judged]),
        "answer_match_graded": _floats([one["answer_match_graded"] for one in judged]),
    }
    for name in ("exact_match", "token_recall", "token_f1", "word_f1"):
        function = getattr(rewards, name)
        scores[name] = _floats(function(completions, tags=asked, plain=plain, **columns))
    scores["format"] = np.full(len(rows), np.nan)
    if not plain and tags:
        scores["format"] = _floats(rewards.format(completions, tags=tuple(tags)))
    scores |= _label_scores(rows, completions, () if plain else tags)
    with reading("the column boxes of the rows", "boxes as `preprocess` stores them"):
        scores |= _box_scores(rows, completions)
    rules = [str(one["rule"]) for one in judged]
    scores["abstained"] = np.array([rule in ABSTAINED for rule in rules], dtype=np.float64)
    scores["unanswered"] = np.array([rule in UNANSWERED for rule in rules], dtype=np.float64)
    if tags and not plain and ANSWER_TAG not in tags:  # boxes were asked for, not an answer
        rules = ["not asked"] * len(rows)
        scores |= {name: np.full(len(rows), np.nan) for name in ANSWER_SCORES}
    segmented = [index for index, row in enumerate(rows) if is_segmentation(row)]
    for name in ANSWER_SCORES:
        scores[name][segmented] = np.nan
    for index in segmented:
        rules[index] = "mask"
    if reward is not None and not plain and len(segmented) < len(rows):
        row_columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else {})}
        asked_for = reward.with_settings(**reward_settings(tags))
        scores["reward"] = np.array(asked_for.score(list(completions), row_columns).total, dtype=np.float64)
        scores["reward"][segmented] = np.nan
    kinds = [kind_of(row) for row in rows]
    clusters, clustered_by = cluster_labels(rows)
    said, truth = _classes(rows, completions, kinds, asked, plain, scores)
    return Scored(
        rows=rows,
        completions=completions,
        clusters=clusters,
        kinds=kinds,
        scores=scores,
        rules=rules,
        answers=[str(one["field"] or "") for one in judged],
        references=[
            str(one["reference"] if one["reference"] is not None else row.get("answer") or "")
            for one, row in zip(judged, rows, strict=True)
        ],
        said=said,
        truth=truth,
        plain=plain,
        clustered_by=clustered_by,
        reward_bounds=None if reward is None else reward.bounds(),
    )


def is_plain(completions: Sequence[str], tags: Sequence[str]) -> bool:
    """Whether answers stand without tags: the prompt asked for none, or no completion opens one."""
    if not tags:
        return True
    if ANSWER_TAG not in tags:
        return False
    return not any("<answer" in completion.lower() for completion in completions)


def is_segmentation(row: Row) -> bool:
    """Whether a mask is asked for and no answer in words."""
    return bool(row.get("mask")) and str(row.get("answer") or "") in ("", SEGMENTED)


SEGMENTED = "[SEG]"
"""The reference answer of rows that are about their mask."""


def observed_tags(completions: Sequence[str]) -> tuple[str, ...]:
    """The usual tags that occur in any of the completions: for files that do not say what was asked for.

    None at all where neither an answer nor boxes are tagged: the completion is then the answer.
    """
    from medgrpo.rewards.text import DEFAULT_TAGS

    texts = [completion.lower() for completion in completions]
    found = tuple(tag for tag in (*DEFAULT_TAGS, "boxes") if any(f"<{tag}>" in text for text in texts))
    return found if {ANSWER_TAG, "boxes"} & set(found) else ()


def kind_of(row: Row) -> str:
    """`closed`, `open` or `choice`: what the row says, else choice with options and closed for yes or no."""
    stated = str(row.get("answer_type") or "").strip().lower()
    if stated in ("closed", "open", "choice"):
        return stated
    if row.get("options"):
        return "choice"
    return "closed" if is_yes_or_no(str(row.get("answer") or "")) else "open"


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _label_scores(rows: Sequence[Row], completions: Sequence[str], tags: Sequence[str]) -> dict[str, Floats]:
    """`plane` and `modality`: 1 only where the label is named in full (`plane_match` gives part marks)."""
    from medgrpo.rewards import text as rewards

    scores: dict[str, Floats] = {}
    for name in LABELS:
        marks = np.full(len(rows), np.nan)
        if name in tags:
            function = getattr(rewards, f"{name}_match")
            marks = _floats(
                function(completions, tags=tuple(tags), **{name: [row.get(name) for row in rows]})
            )
        scores[f"{name}_match"] = marks
        scores[name] = np.where(np.isnan(marks), np.nan, (marks >= 1.0).astype(np.float64))
    return scores


def _box_scores(rows: Sequence[Row], completions: Sequence[str]) -> dict[str, Floats]:
    """`box_f1`, `box_iou`, `box_ap` for rows with boxes; nothing for datasets without."""
    if not any(row.get("boxes") for row in rows):
        return {}
    from medgrpo.rewards.registry import load_reward

    columns = {name: [row.get(name) for row in rows] for name in BOX_COLUMNS}
    return {
        name: _floats(load_reward(name)(completions, **columns)) for name in ("box_f1", "box_iou", "box_ap")
    }


Classes = dict[str, list[str | None]]


def _classes(
    rows: Sequence[Row],
    completions: Sequence[str],
    kinds: Sequence[str],
    tags: Sequence[str],
    plain: bool,
    scores: Mapping[str, Floats],
) -> tuple[Classes, Classes]:
    said: Classes = {}
    truth: Classes = {}
    said["yes_no"], truth["yes_no"] = _yes_no(rows, completions, kinds, tags, plain)
    for name in LABELS:
        known = ~np.isnan(scores[name])
        truth[name] = [
            label_class(name, str(row.get(name))) if known[index] else None for index, row in enumerate(rows)
        ]
        said[name] = [
            label_class(name, _field(completion, tags, name)) if known[index] else None
            for index, completion in enumerate(completions)
        ]
    return said, truth


def _yes_no(
    rows: Sequence[Row], completions: Sequence[str], kinds: Sequence[str], tags: Sequence[str], plain: bool
) -> tuple[list[str | None], list[str | None]]:
    """What completion and reference say of closed questions, as the matcher reads them: yes, no or other."""
    from medgrpo.rewards import text as rewards

    questions = [row.get("question") for row in rows]
    words = [
        ("是" if row.get("language") == "zh" else "yes", "否" if row.get("language") == "zh" else "no")
        for row in rows
    ]
    matches: dict[tuple[str, int], list[float | None]] = {}
    for place in (0, 1):
        constant = [pair[place] for pair in words]
        matches["said", place] = rewards.answer_match(
            completions, answer=constant, question=questions, tags=tags, plain=plain
        )
        matches["truth", place] = rewards.answer_match(
            constant, answer=[row.get("answer") for row in rows], question=questions, plain=True
        )
    said: list[str | None] = []
    truth: list[str | None] = []
    for index, kind in enumerate(kinds):
        reference = _polarity(matches["truth", 0][index], matches["truth", 1][index])
        asked = kind == "closed" and reference is not None
        truth.append(reference if asked else None)
        said.append(
            (_polarity(matches["said", 0][index], matches["said", 1][index]) or "other") if asked else None
        )
    return said, truth


def _polarity(is_yes: float | None, is_no: float | None) -> str | None:
    if is_yes == is_no:
        return None
    return "yes" if is_yes else "no"


def _field(completion: str, tags: Sequence[str], tag: str) -> str:
    from medgrpo.rewards.text import parse_tags

    return parse_tags([completion], tags)[0][tag]["content"] or ""


def label_class(name: str, text: str) -> str:
    """The canonical word for a plane or modality: `axial` for "transverse plane"; `other`, or `none` if empty.

    Args:
        name: `plane` or `modality`.
        text: a label, or what a completion has in that tag.
    """
    from medgrpo import _reward_core as core

    if not text.strip():
        return "none"
    found = [meaning for _, meaning, negated in core.read_text(text) if not negated]
    named = sorted({meaning.split(".", 1)[1] for meaning in found if meaning.startswith(f"{name}.")})
    if not named and name == "modality" and any(meaning.startswith("sequence.") for meaning in found):
        named = ["mri"]
    return "+".join(named) or "other"
