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
    """One figure: which score is averaged over which rows. `medgrpo.figures` says what it means."""

    name: str
    score: str
    kind: str | None = None
    """Only rows of this kind (`closed`, `open`, `choice`); None: all."""
    has_baseline: bool = False
    """Whether blind answers can reach something of it."""


METRICS = (
    Metric("closed", "answer_match", "closed", has_baseline=True),
    Metric("open", "answer_match", "open", has_baseline=True),
    Metric("choice", "answer_match", "choice", has_baseline=True),
    Metric("answer_match", "answer_match", has_baseline=True),
    Metric("open_exact_match", "exact_match", "open", has_baseline=True),
    Metric("open_token_recall", "token_recall", "open", has_baseline=True),
    Metric("open_token_f1", "token_f1", "open", has_baseline=True),
    Metric("open_word_f1", "word_f1", "open", has_baseline=True),
    Metric("open_graded", "answer_match_graded", "open", has_baseline=True),
    *(
        Metric(name, name, has_baseline=True)
        for name in ("plane", "modality", "plane_match", "modality_match")
    ),
    Metric("format", "format"),
    Metric("reward", "reward", has_baseline=True),
    *(Metric(name, name) for name in ("abstained", "unanswered", "truncated")),
    *(Metric(name, name) for name in ("box_f1", "box_iou", "box_ap")),
    *(Metric(name, name) for name in ("dice", "mask_recall", "mask_precision", "mask_iou", "cldice")),
    *(Metric(name, name) for name in ("betti0_error", "betti1_error", "hausdorff95", "mask_failed")),
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
            second = estimate(
                scored.observer[metric.score], scored.clusters, bounds=scored.bounds_of(metric.score)
            )
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
    return estimate(values, scored.clusters, bounds=scored.bounds_of(metric.score))


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
