"""From the scores of rows to figures with intervals, each under its own name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medgrpo.evaluation.score import Scored
from medgrpo.evaluation.statistics import Estimate, estimate


@dataclass(frozen=True)
class Metric:
    """One figure: which score is averaged over which rows."""

    name: str
    score: str
    kind: str | None
    """Only rows of this kind (`closed`, `open`, `choice`); None: all."""
    meaning: str
    has_baseline: bool = True
    bounds: tuple[float, float] | None = (0.0, 1.0)
    """The range of the score; None: it counts something."""


METRICS = (
    Metric("closed", "answer_match", "closed", "closed questions answered right"),
    Metric("open", "answer_match", "open", "open questions whose answer a careful reader accepts"),
    Metric("choice", "answer_match", "choice", "multiple-choice questions answered right"),
    Metric("answer_match", "answer_match", None, "all questions answered right"),
    Metric("open_exact_match", "exact_match", "open", "open answers with the very words of a reference"),
    Metric(
        "open_token_recall", "token_recall", "open", "share of the reference's words that open answers have"
    ),
    Metric("open_token_f1", "token_f1", "open", "overlap of words of open answers, precision and recall"),
    Metric("open_graded", "answer_match_graded", "open", "open answers with part marks"),
    Metric("plane", "plane", None, "imaging plane named right, where it is known"),
    Metric("modality", "modality", None, "imaging modality named right, where it is known"),
    Metric("plane_match", "plane_match", None, "plane with part marks for a broader class"),
    Metric("modality_match", "modality_match", None, "modality with part marks for a broader class"),
    Metric("format", "format", None, "completions in exactly the form asked for", has_baseline=False),
    Metric("reward", "reward", None, "weighted sum of the rewards, as in training"),
    Metric("abstained", "abstained", None, "answers that say they cannot tell, or hedge", has_baseline=False),
    Metric("unanswered", "unanswered", None, "completions without an answer", has_baseline=False),
    Metric("truncated", "truncated", None, "completions cut off at the length limit", has_baseline=False),
    Metric("box_f1", "box_f1", None, "boxes found, one to one at IoU .5", has_baseline=False),
    Metric("box_iou", "box_iou", None, "overlap of matched boxes", has_baseline=False),
    Metric("box_ap", "box_ap", None, "average precision of the boxes of an image", has_baseline=False),
    Metric("dice", "dice", None, "overlap of predicted and reference mask", has_baseline=False),
    Metric("mask_recall", "mask_recall", None, "share of the reference mask found", has_baseline=False),
    Metric("mask_precision", "mask_precision", None, "share of the predicted mask right", has_baseline=False),
    Metric("mask_iou", "mask_iou", None, "intersection over union of the masks", has_baseline=False),
    Metric("cldice", "cldice", None, "overlap of the centre lines: connected vessels", has_baseline=False),
    Metric(
        "betti0_error",
        "betti0_error",
        None,
        "pieces too many or too few in a mask",
        has_baseline=False,
        bounds=None,
    ),
    Metric(
        "betti1_error",
        "betti1_error",
        None,
        "holes too many or too few in a mask",
        has_baseline=False,
        bounds=None,
    ),
    Metric(
        "mask_failed", "mask_failed", None, "predictions without a usable mask, scored 0", has_baseline=False
    ),
)
"""Every figure that `eval` reports, in its order."""

ALWAYS = ("closed", "open", "plane", "modality", "format", "answer_match")
"""Reported even without rows, as nulls with n = 0."""

GROUPED_BY = ("question_type", "organ", "language", "answer_type")


def measure(scored: Scored, baselines: dict[str, Scored] | None = None) -> dict[str, Any]:
    """Every metric with value, interval and n, and beside it what is reached blindly.

    Args:
        scored: the predictions.
        baselines: name -> constant answers to the same rows; their values enter as `baseline` (of
            `majority`) and `<name>_baseline`.
    Returns:
        metric -> {value, low, high, n, baseline?, observer?, note?}; `observer` is the same of a second
        observer's masks, where the rows have them. Metrics without rows are left out unless
        they are in `ALWAYS`.
    """
    document: dict[str, Any] = {}
    for metric in METRICS:
        if metric.score not in scored.scores and metric.name not in ALWAYS:
            continue
        result = estimate_metric(scored, metric)
        if result.n == 0 and metric.name not in ALWAYS:
            continue
        entry = result.as_dict()
        if metric.has_baseline and result.n:
            for name, constant in (baselines or {}).items():
                if metric.score in constant.scores:
                    key = "baseline" if name == "majority" else f"{name}_baseline"
                    entry[key] = estimate_metric(constant, metric, interval=False).value
        if metric.score in scored.observer:
            second = estimate(scored.observer[metric.score], scored.clusters, bounds=metric.bounds)
            if second.n:
                entry["observer"] = second.as_dict()
        document[metric.name] = entry
    return document


def estimate_metric(
    scored: Scored,
    metric: Metric,
    *,
    keep: Callable[[int], bool] | None = None,
    interval: bool = True,
) -> Estimate:
    """One metric over the rows of its kind, or over those of them that `keep` takes."""

    def chosen(index: int) -> bool:
        return (metric.kind is None or scored.kinds[index] == metric.kind) and (keep is None or keep(index))

    if metric.score not in scored.scores:
        return Estimate(None, None, None, 0)
    values = scored.chosen(metric.score, chosen)
    if not interval:
        judged = values[~np.isnan(values)]
        value = float(judged.mean()) if len(judged) else None
        return Estimate(value, None, None, len(judged))
    return estimate(values, scored.clusters, bounds=metric.bounds)


def metric_named(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: there is none.
    """
    return next(metric for metric in METRICS if metric.name == name)


def groups(scored: Scored) -> dict[str, dict[str, Any]]:
    """`answer_match` per question type, organ, language and answer type, the largest groups first.

    A row with several question types (`PRES,ATTRIB`) counts in each of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for column in GROUPED_BY:
        members: dict[str, set[int]] = defaultdict(set)
        for index, row in enumerate(scored.rows):
            labels = (
                [scored.kinds[index]] if column == "answer_type" else str(row.get(column) or "").split(",")
            )
            for label in labels:
                if label.strip():
                    members[label.strip()].add(index)
        if not members:
            continue
        ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
        found[column] = {
            label: estimate_metric(scored, metric_named("answer_match"), keep=rows.__contains__).as_dict()
            for label, rows in ordered
        }
    return found


def confusion(scored: Scored) -> dict[str, Any]:
    """For yes/no, plane and modality: `labels` of the references, `said`, and `counts` (labels × said)."""
    return {name: _matrix(scored.truth[name], scored.said[name]) for name in scored.truth}


def _matrix(truth: Sequence[str | None], said: Sequence[str | None]) -> dict[str, Any]:
    pairs = Counter((a, b) for a, b in zip(truth, said, strict=True) if a is not None and b is not None)
    rows = Counter(label for label in truth if label is not None)
    labels = [label for label, _ in sorted(rows.items(), key=lambda item: (-item[1], item[0]))]
    extra = sorted({b for _, b in pairs} - set(labels), key=lambda label: (label in ("other", "none"), label))
    columns = [*labels, *extra]
    return {
        "labels": labels,
        "said": columns,
        "counts": [[pairs[label, column] for column in columns] for label in labels],
        "n": sum(pairs.values()),
    }
