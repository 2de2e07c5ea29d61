"""Measuring a mask model on held-out rows while it trains: its masks at the best threshold, and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgrpo.segmentation.examples import Examples
from medgrpo.segmentation.measuring import MaskMeasures, best_threshold, measure_rows, predicted_logits
from medgrpo.training.run.validation import choose_rows
from medgrpo.training.watch.events import event_writer

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.segmenters import Segmenter
    from medgrpo.training.run.state import Run
    from medgrpo.training.run.validation import Measures
    from medgrpo.training.trainers.policy import Policy

from medgrpo.rows import Row


@dataclass
class MaskValidator:
    """Held-out rows and how their masks are judged; like `Validator`, for masks."""

    examples: Examples
    composite: CompositeReward
    metric: str
    settings: RunConfig
    policy: Policy
    run_folder: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    """Of the stage's weights: the threshold found last is written beside them."""
    step: int = 0

    @property
    def rows(self) -> Sequence[Any]:
        """The rows measured."""
        return self.examples.rows

    @property
    def segmenter(self) -> Segmenter:
        """The model's face."""
        assert self.policy.segmenter is not None
        return self.policy.segmenter  # type: ignore[no-any-return]

    def measure(self, model: Any, processor: Any) -> Measures:
        """Each metric with its interval, clustered by patient, at the best threshold (itself a metric)."""
        was_training = model.training
        model.eval()
        logits = predicted_logits(self.segmenter, model, self.examples, self.settings.masks.patch_size)
        model.train(was_training)
        return self._measured(logits)

    def measure_trainer(self, trainer: Any) -> Measures:
        """The same for a model in training; its processes share the rows out."""
        from accelerate.utils import gather_object

        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        self.step, self.metadata = trainer.state.global_step, trainer.context.metadata
        processes, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        if processes == 1:
            return self.measure(model, None)
        was_training = model.training
        model.eval()
        own = predicted_logits(
            self.segmenter,
            model,
            self.examples,
            self.settings.masks.patch_size,
            numbers=range(rank, len(self.examples), processes),
        )
        model.train(was_training)
        logits: list[Any] = [None] * len(self.examples)
        for place, shared in enumerate(gather_object([own])):
            logits[place::processes] = shared
        return self._measured(logits)

    def blind_baseline(self, train_rows: Sequence[Row]) -> Measures:
        """What a mask of every pixel in the field of view earns: recall 1 without a look."""
        everything = [
            np.full(self.examples.whole(number).size, 9.0, np.float32) for number in range(len(self.examples))
        ]
        return self._told(measure_rows(everything, self.examples, 0.5, self.composite))

    def _measured(self, logits: Sequence[Any]) -> Measures:
        threshold = self.settings.masks.threshold
        if threshold is None:
            threshold = best_threshold(logits, self.examples, self.composite, self.metric)
        found = measure_rows(logits, self.examples, threshold, self.composite)
        self.metadata.setdefault("masks", {})["threshold"] = threshold
        measures = self._told(found)
        measures["threshold"] = {"value": threshold, "low": None, "high": None, "n": len(logits)}
        self._draw(logits, threshold)
        return measures

    def _told(self, found: MaskMeasures) -> Measures:
        from medgrpo.data.clusters import cluster_labels
        from medgrpo.evaluation.statistics import estimate

        clusters, _ = cluster_labels(self.rows)
        return {name: estimate(values, clusters).as_dict() for name, values in found.values.items()}

    def _draw(self, logits: Sequence[Any], threshold: float) -> None:
        """Overlays of the first pictures, as PNG and for TensorBoard."""
        from accelerate import PartialState

        from medgrpo.segmentation.measuring import cut_at
        from medgrpo.segmentation.overlays import overlay, write_overlay

        if not self.settings.masks.overlays or not PartialState().is_main_process:
            return
        folder = self.run_folder / "overlays" / f"step-{self.step:06d}"
        for number in range(min(self.settings.masks.overlays, len(self.examples))):
            example = self.examples.whole(number)
            assert example.truth is not None
            canvas = overlay(
                example.picture, cut_at(logits[number], threshold), example.truth.mask, example.truth.fov
            )
            write_overlay(folder / f"{_file_name(example.id)}.png", canvas)
            self._to_tensorboard(example.id, canvas)

    def _to_tensorboard(self, name: str, canvas: Any) -> None:
        if "tensorboard" not in self.settings.logging.report_to:
            return
        writer = event_writer(self.run_folder / "tensorboard" / "overlays")
        writer.add_image(f"overlays/{name}", canvas, self.step, dataformats="HWC")
        writer.close()


def mask_validator(run: Run, settings: RunConfig, policy: Policy) -> MaskValidator | None:
    """What measures the main stage; None where nothing is to be measured, or there are no rows for it."""
    if not run.dataset.count("validation") or not (
        settings.validation.before_and_after or settings.validation.steps
    ):
        return None
    rows = choose_rows(run.dataset.view("validation"), settings.validation.rows, settings.run.seed)
    rows = [row for row in rows if row.get("images") and row.get("mask")]
    if not rows:
        return None
    examples = Examples(rows, run.dataset.path, settings.masks.image_size)
    return MaskValidator(
        examples, run.checks.composite, settings.validation.metric, settings, policy, run.writer.path
    )


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:80]
