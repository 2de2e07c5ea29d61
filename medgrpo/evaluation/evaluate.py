"""The whole of `medgrpo eval`: what is said, how it scores, what that is worth, and what is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import PromptTemplate
from medgrpo.data.schema import Row
from medgrpo.errors import UsageError
from medgrpo.evaluation.baseline import constant_completions
from medgrpo.evaluation.calibration import sample_metrics, stated_calibration
from medgrpo.evaluation.counterfactual import Counterfactual, compare_with_real, counterfactual_rows
from medgrpo.evaluation.detection import detection_metrics
from medgrpo.evaluation.mask_files import MaskFiles, score_masks
from medgrpo.evaluation.metrics import confusion, groups, measure
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.score import Scored, is_segmentation, observed_tags, score_predictions
from medgrpo.evaluation.statistics import MIN_CLUSTERS
from medgrpo.evaluation.targets import Target, judge_targets
from medgrpo.generation.generate import Sampling
from medgrpo.generation.resumable import Completed, generate_resumably
from medgrpo.generation.subject import Subject
from medgrpo.masking import without_credentials

SCHEMA_VERSION = 1


class Engine(Protocol):
    """A loaded model, whatever runs it."""

    name: str

    def generate(
        self,
        rows: Sequence[Row],
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
        on_batch: Callable[[int], None] | None,
    ) -> Iterable[Any]:
        """`Generated` for each row, in any order."""
        ...


class Watcher(Protocol):
    """Who is told what goes on (`medgrpo.cli.output.Output` is one)."""

    def note(self, message: str) -> None:
        """A line for the person watching."""
        ...

    def warn(self, message: str) -> None:
        """A line that must be seen."""
        ...

    def progress(
        self, label: str, total: int | None = None, unit: str = "rows"
    ) -> AbstractContextManager[Any]:
        """A progress bar; yields `advance(n)`."""
        ...


@dataclass(frozen=True)
class Plan:
    """What is asked of a model."""

    split: str = "test"
    limit: int | None = None
    samples: int = 0
    """Further completions of each question, drawn at `temperature`; 0: none."""
    temperature: float = 1.0
    """Of the further completions; the scored one is greedy."""
    max_new_tokens: int | None = None
    """Longest completion, in tokens; None: as in training, else 256."""
    prompt: str | None = None
    counterfactuals: Sequence[Counterfactual] = ()
    seed: int = 0
    engine: str = "transformers"
    dtype: str = "auto"
    plain: bool | None = None
    """Completions without tags are answers; None: where none has an answer tag."""


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


def evaluate_model(
    subject: Subject,
    dataset: PreparedDataset,
    load: Callable[[], Engine],
    plan: Plan,
    watcher: Watcher,
    *,
    output: Path | None,
    reward: Any | None,
    targets: Sequence[Target] = (),
) -> Evaluation:
    """Generates and measures.

    Args:
        subject: the model, not yet loaded.
        dataset: what it is asked.
        load: loads it; not called when all completions are already in `output`.
        plan: what is asked of it.
        output: folder that generation resumes from; None: nothing is kept.
        reward: the `CompositeReward` of the run; None: no `reward` metric.
        targets: figures to reach.
    Raises:
        UsageError: the split has no rows; a counterfactual is asked of rows without pictures.
    """
    started = time.perf_counter()
    rows = subject.shown(list(dataset.rows(plan.split, plan.limit)))
    if not rows:
        raise UsageError(f"{dataset.path} has no rows in the split {plan.split!r}", hint="--split validation")
    if plan.counterfactuals and not any(row["images"] for row in rows):
        raise UsageError("--counterfactual needs rows with pictures; these have none")
    template = subject.template(plan.prompt, dataset.info.get("prompt_template"))
    stated = subject.metadata.get("generation") or {}
    tokens = plan.max_new_tokens or int(stated.get("max_new_tokens") or 256)
    session = _Session(subject, dataset, load, plan, template, watcher, output)
    greedy = session.complete(
        rows, Sampling(max_new_tokens=tokens), dataset.image_path, "answering", "predictions"
    )
    drawn: list[Completed] = []
    if plan.samples:
        sampling = Sampling(tokens, plan.temperature, num_generations=plan.samples)
        drawn = session.complete(rows, sampling, dataset.image_path, "sampling", "samples")
    predictions = Predictions(
        rows=rows,
        completions=[one["completions"][0] for one in greedy],
        samples=[one["completions"] for one in drawn],
        truncated=[one["truncated"][0] for one in greedy],
        lengths=[one["lengths"][0] for one in greedy if one["lengths"]],
        source=subject.name,
        notes=list(subject.notes),
    )
    train = list(dataset.rows("train")) if dataset.count("train") else []
    result = evaluate_predictions(
        predictions,
        tags=template.tags,
        reward=reward,
        learnt_from=train,
        targets=(),
        plain=plan.plain,
        masks=MaskFiles(dataset.image_path),
    )
    if plan.counterfactuals:
        result.document["counterfactual"] = _without_the_picture(
            result, session, Sampling(max_new_tokens=tokens)
        )
    result.document |= {
        "model": subject.name,
        "base_model": subject.base,
        "adapter": str(subject.adapter) if subject.adapter else None,
        "data": str(dataset.path),
        "data_hash": dataset.info.get("hash"),
        "split": plan.split,
        "engine": session.engine_name,
        "dtype": plan.dtype,
        "prompt_template": template.name,
        "max_new_tokens": tokens,
        "wall_s": time.perf_counter() - started,
    }
    if plan.split == "train" and subject.has_learnt(dataset):
        result.warnings.append("these rows are what the model was trained on")
    _add_targets(result, targets)
    result.image_file = lambda row: dataset.image_path(row["images"][0]) if row.get("images") else None
    return result


def _without_the_picture(result: Evaluation, session: _Session, sampling: Sampling) -> dict[str, Any]:
    """Each counterfactual compared with the real pictures; its warning joins the result's."""
    from tempfile import TemporaryDirectory

    rows, scored, plan = result.predictions.rows, result.scored, session.plan
    found: dict[str, Any] = {}
    with TemporaryDirectory(prefix="medgrpo-eval-") as scratch:
        for kind in plan.counterfactuals:
            changed, where = counterfactual_rows(
                rows, kind, session.dataset.image_path, Path(scratch) / kind, seed=plan.seed
            )
            done = session.complete(changed, sampling, where, f"{kind} pictures", kind)
            texts = [one["completions"][0] for one in done]
            other = score_predictions(rows, texts, tags=session.template.tags, plain=scored.plain)
            found[kind] = compare_with_real(scored, other)
            if found[kind]["warning"]:
                result.warnings.append(f"{kind} pictures: {found[kind]['warning']}")
    return found


class _Session:
    """Generates for one evaluation; loads the model when it is first needed."""

    def __init__(
        self,
        subject: Subject,
        dataset: PreparedDataset,
        load: Callable[[], Engine],
        plan: Plan,
        template: PromptTemplate,
        watcher: Watcher,
        output: Path | None,
    ) -> None:
        self.subject, self.dataset, self.plan = subject, dataset, plan
        self.template, self.watcher, self.output = template, watcher, output
        self._load = load
        self._engine: Engine | None = None

    @property
    def engine_name(self) -> str | None:
        """What ran the model; None where nothing had to be generated."""
        return self._engine.name if self._engine else None

    def complete(
        self,
        rows: Sequence[Row],
        sampling: Sampling,
        image_path: Callable[[str], Path],
        label: str,
        name: str,
    ) -> list[Completed]:
        """Completions of the rows, resumed from the output folder."""
        settings = {
            "subject": self.subject.identity,
            "template": self.template.to_dict(),
            "sampling": vars(sampling),
            "data": self.dataset.info.get("hash"),
            "pixels": self.dataset.info.get("pixels_hash"),
            "engine": without_credentials(self.plan.engine),
            "dtype": self.plan.dtype,
            "box_format": rows[0].get("box_format"),
            "pictures": name,
            "seed": self.plan.seed,
        }
        file = self.output / "generated" / f"{name}.jsonl" if self.output else None
        with self.watcher.progress(label, total=len(rows)) as advance:

            def generate(missing: Sequence[Row]) -> Iterable[Any]:
                if self._engine is None:
                    self._engine = self._load()
                return self._engine.generate(missing, self.template, image_path, sampling, advance)

            def resumed(count: int) -> None:
                self.watcher.note(f"{count} of {len(rows)} rows ({label}) were already answered: kept")
                advance(count)

            def replaced(changed: Sequence[str]) -> None:
                what = f"with another {', '.join(changed)}" if changed else "with other settings"
                self.watcher.note(f"{file} was answered {what}: answering again")

            return generate_resumably(rows, generate, file, settings, on_resume=resumed, on_replace=replaced)


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
