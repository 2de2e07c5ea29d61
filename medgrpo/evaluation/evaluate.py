"""What `medgrpo eval` finds out of answers: how they score, and what that is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medgrpo.data.prepared import PreparedDataset
from medgrpo.evaluation.above_baseline import below_baseline
from medgrpo.evaluation.baseline import constant_completions
from medgrpo.evaluation.calibration import sample_metrics, stated_calibration
from medgrpo.evaluation.counterfactual import compare_with_real
from medgrpo.evaluation.detection import detection_metrics, label_table
from medgrpo.evaluation.mask_files import MaskFiles, score_masks
from medgrpo.evaluation.metrics import confusion, groups, measure
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.score import Scored, is_segmentation, observed_tags, score_predictions
from medgrpo.evaluation.statistics import MIN_CLUSTERS
from medgrpo.evaluation.targets import Target, judge_targets
from medgrpo.generation.ask_all import Answers
from medgrpo.generation.resumable import Completed
from medgrpo.generation.subject import Subject
from medgrpo.rewards.mask_prompts import Prompted
from medgrpo.rows import Row

SCHEMA_VERSION = 1


@dataclass
class Evaluation:
    """Everything that was found out."""

    predictions: Predictions
    scored: Scored
    document: dict[str, Any]
    """What `--json` prints and `metrics.json` holds."""
    warnings: list[str] = field(default_factory=list)
    sample_answers: list[list[str]] = field(default_factory=list)
    """The parsed answers of each row's samples; empty where none were drawn."""
    masks: MaskFiles | None = None
    """Where the masks lie; None where there are none."""
    image_file: Callable[[Row], Path | None] | None = None
    """The first picture of a row; None where there are no pictures."""


def evaluate_answers(
    answers: Answers,
    subject: Subject,
    dataset: PreparedDataset,
    *,
    reward: Any | None,
    plain: bool | None = None,
    targets: Sequence[Target] = (),
    prompted: Prompted | None = None,
) -> Evaluation:
    """Measures what a model answered.

    Args:
        answers: of the rows of a split, by `medgrpo.generation.ask_all`.
        subject: the model that was asked.
        dataset: what it was asked.
        reward: the `CompositeReward` of the run; None: no `reward` metric.
        plain: completions without tags are answers; None: where none has an answer tag.
        targets: figures to reach.
        prompted: makes masks of the boxes and points that the model wrote; None: boxes are filled.
    """
    started = time.perf_counter()
    greedy, plan = answers.greedy, answers.plan
    predictions = Predictions(
        rows=answers.rows,
        completions=[one["completions"][0] for one in greedy],
        samples=[one["completions"] for one in answers.drawn],
        truncated=[one["truncated"][0] for one in greedy],
        lengths=[one["lengths"][0] for one in greedy if one["lengths"]],
        source=subject.name,
        notes=list(subject.notes),
    )
    train = list(dataset.rows("train")) if dataset.count("train") else []
    result = evaluate_predictions(
        predictions,
        tags=answers.template.tags,
        reward=reward,
        learnt_from=train,
        targets=(),
        plain=plain,
        masks=MaskFiles(dataset.image_path, prompted=prompted),
    )
    if answers.without_picture:
        result.document["counterfactual"] = _without_the_picture(result, answers)
    result.document |= {
        "model": subject.name,
        "base_model": subject.base,
        "adapter": str(subject.adapter) if subject.adapter else None,
        "data": str(dataset.path),
        "data_hash": dataset.info.get("hash"),
        "split": plan.split,
        "engine": answers.engine,
        "dtype": plan.dtype,
        "prompt_template": answers.template.name,
        "max_new_tokens": answers.max_new_tokens,
        "wall_s": answers.wall_s + time.perf_counter() - started,
    }
    result.warnings += _without_answer(greedy)
    if plan.split == "train" and subject.has_learnt(dataset):
        result.warnings.append("these rows are what the model was trained on")
    _add_targets(result, targets)
    result.image_file = lambda row: dataset.image_path(row["images"][0]) if row.get("images") else None
    return result


def _without_answer(greedy: Sequence[Completed]) -> list[str]:
    """What is said of rows that a server did not answer: they count as empty answers."""
    failed = [one for one in greedy if one.get("failed")]
    if not failed:
        return []
    return [
        f"{len(failed)} of {len(greedy)} rows got no answer and count as empty ones; the first, {failed[0]['key']!r}: "
        f"{failed[0]['failed']}; the same command asks them again"
    ]


def _without_the_picture(result: Evaluation, answers: Answers) -> dict[str, Any]:
    """Each counterfactual compared with the real pictures; its warning joins the result's."""
    found: dict[str, Any] = {}
    for kind, done in answers.without_picture.items():
        texts = [one["completions"][0] for one in done]
        other = score_predictions(answers.rows, texts, tags=answers.template.tags, plain=result.scored.plain)
        found[kind] = compare_with_real(result.scored, other)
        if found[kind]["warning"]:
            result.warnings.append(f"{kind} pictures: {found[kind]['warning']}")
    return found


def evaluate_predictions(
    predictions: Predictions,
    *,
    tags: Sequence[str] | None = None,
    plain: bool | None = None,
    reward: Any | None = None,
    learnt_from: Sequence[Row] = (),
    targets: Sequence[Target] = (),
    masks: MaskFiles | None = None,
) -> Evaluation:
    """Measures ready completions; needs neither a model nor torch.

    Args:
        predictions: completions beside their rows.
        tags: what the prompt asked for; None: those that occur in the completions.
        plain: completions without tags are answers; None: where none has an answer tag.
        reward: a `CompositeReward`, for the `reward` metric.
        learnt_from: rows for the majority baselines (the train split); none: the rows themselves.
        targets: figures to reach.
        masks: where the masks of the rows lie; None: masks are not measured.
    """
    if tags is None:
        tags = observed_tags(predictions.completions)
    scored = score_predictions(
        predictions.rows, predictions.completions, tags=tags, plain=plain, reward=reward
    )
    if predictions.truncated:
        import numpy as np

        truncated = np.array(predictions.truncated, dtype=np.float64)
        scored = replace(scored, scores={**scored.scores, "truncated": truncated})
    mask_document: dict[str, Any] = {}
    if masks is not None and any(row.get("mask") for row in predictions.rows):
        found = score_masks(predictions.rows, predictions.completions, masks)
        scored = replace(scored, scores={**scored.scores, **found.scores}, observer=found.observer)
        mask_document = {"failed_predictions": found.failures, "inside_field_of_view": found.is_inside_fov}
    asked = () if scored.plain else tuple(tags)
    baselines = {}
    if len(predictions) and not all(map(is_segmentation, predictions.rows)):
        for name in ("majority", "blind"):
            constant = constant_completions(
                predictions.rows,
                learnt_from or predictions.rows,
                asked,
                "majority" if name == "majority" else "blind",
            )
            baselines[name] = score_predictions(
                predictions.rows, constant, tags=asked, plain=scored.plain, reward=reward
            )
    images = len(set(scored.clusters))
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "n": len(predictions), "images": images}
    document |= measure(scored, baselines) | mask_document
    found_boxes = detection_metrics(scored, baselines.get("blind"))
    if found_boxes is not None:
        document["detection"] = found_boxes
        document["detection_by_label"] = label_table(scored)
    document["groups"] = groups(scored)
    document["confusion"] = confusion(scored)
    document["rules"] = _counted(scored.rules)
    document["clustered_by"] = scored.clustered_by
    if baselines:
        document["baseline_from"] = "train split" if learnt_from else "the rows themselves (optimistic)"
    form = "plain answers" if scored.plain else "".join(f"<{tag}>" for tag in tags)
    document["scored_as"] = "masks" if masks is not None and masks.predicted is not None else form
    document["source"] = predictions.source
    answers: list[list[str]] = []
    if predictions.samples:
        answers, marks = _judged_samples(predictions, scored, tags)
        document["samples"] = sample_metrics(answers, marks, scored.clusters)
    if predictions.confidences:
        document["stated_confidence"] = stated_calibration(
            predictions.confidences, scored.scores["answer_match"]
        )
    result = Evaluation(
        predictions, scored, document, sample_answers=answers, masks=masks if mask_document else None
    )
    document["below_baseline"] = below_baseline(document)
    result.warnings += [one["words"] for one in document["below_baseline"]]
    if 0 < images < MIN_CLUSTERS:
        result.warnings.append(
            f"too few images: {images}, and below {MIN_CLUSTERS} the intervals promise more than they hold"
        )
    failed = sum(mask_document.get("failed_predictions", {}).values())
    if failed:
        reasons = ", ".join(f"{count} {why}" for why, count in mask_document["failed_predictions"].items())
        result.warnings.append(f"{failed} of {len(predictions)} masks failed and count as 0: {reasons}")
    _add_targets(result, targets)
    return result


def _counted(rules: Sequence[str]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(rules).most_common())


def _judged_samples(
    predictions: Predictions, scored: Scored, tags: Sequence[str]
) -> tuple[list[list[str]], list[Any]]:
    """The parsed answer and the mark of every sample, by row."""
    rows = [row for row, texts in zip(predictions.rows, predictions.samples, strict=True) for _ in texts]
    flat = [text for texts in predictions.samples for text in texts]
    judged = score_predictions(rows, flat, tags=tags, plain=scored.plain)
    answers: list[list[str]] = []
    marks: list[Any] = []
    start = 0
    for texts in predictions.samples:
        stop = start + len(texts)
        answers.append(list(judged.answers[start:stop]))
        marks.append(judged.scores["answer_match"][start:stop])
        start = stop
    return answers, marks


def _add_targets(result: Evaluation, targets: Sequence[Target]) -> None:
    result.document["targets"] = judge_targets(list(targets), result.document)
