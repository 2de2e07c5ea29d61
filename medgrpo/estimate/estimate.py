"""The estimate of one run: from a configuration and a few facts to hours, memory and advice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.advice import advise
from medgrpo.estimate.hardware import find_gpu
from medgrpo.estimate.memory import fits, memory_gib
from medgrpo.estimate.shapes import DEFAULT, find_shape
from medgrpo.estimate.time import HIGH, LOW, hours, phases
from medgrpo.estimate.workload import DEAD_SHARE_HIGH, DEAD_SHARE_LOW, Workload, read_dataset
from medgrpo.models.families import image_family
from medgrpo.models.image_tokens import image_tokens

DEFAULT_ROWS = 1797  # free-form and paraphrased training rows of VQA-RAD
DEFAULT_SIZE = 512


@dataclass(frozen=True)
class Facts:
    """What the caller knows of a run besides its configuration; None where unknown."""

    model: str | None = None
    data: Path | None = None
    samples: int | None = None
    size: int | None = None
    gpu: str = "auto"
    gpus: int = 1


@dataclass(frozen=True)
class Estimate:
    """An estimate and how it came about."""

    work: Workload
    gpu_source: str
    notes: list[str]
    stored_tokens: int

    @property
    def s_per_prompt(self) -> float:
        """Seconds per prompt of the main stage, all of its completions included."""
        return phases(self.work).total

    def document(self) -> dict[str, Any]:
        """The JSON document of `medgrpo estimate-time`."""
        work = self.work
        spent, plan, per_phase = hours(work), work.plan, phases(work)
        least, most = (
            sum(hours(replace(work, dead_share=share))) for share in (DEAD_SHARE_LOW, DEAD_SHARE_HIGH)
        )
        return {
            "hours": sum(spent),
            "hours_low": least * LOW,
            "hours_high": most * HIGH,
            "validation_hours": spent.validation,
            "pass_rate_hours": spent.pass_rate,
            "s_per_prompt": per_phase.total,
            "prompts_per_hour": 3600 / per_phase.total,
            "steps": plan.steps,
            "epochs": plan.epochs,
            "prompts_per_step": plan.prompts_per_step,
            "generations": work.generations,
            "rows": plan.rows,
            "image_tokens": work.image_tokens,
            "image_tokens_uncapped": self.stored_tokens,
            "memory_gib": memory_gib(work),
            "fits": fits(work),
            "advice": [advice.as_dict() for advice in advise(work)],
            "phases": vars(per_phase),
            "source": "model",
            "model": work.shape.name,
            "parameters": work.shape.parameters,
            "gpu": work.gpu.name,
            "gpu_source": self.gpu_source,
            "gpus": work.gpus,
            "engine": work.config.rollout.engine,
            "notes": self.notes,
        }


def estimate(config: RunConfig, facts: Facts) -> Estimate:
    """What a run with this configuration costs.

    Raises:
        UsageError: an unknown model or GPU, no prepared dataset, or a batch that cannot be divided.
    """
    notes = []
    model = facts.model or config.model.path
    if model is None:
        model = DEFAULT
        notes.append(f"no --model: {DEFAULT} taken")
    shape = find_shape(model)
    gpu, gpu_source = find_gpu(facts.gpu)
    rows, size = facts.samples, facts.size
    tokens = None
    if facts.data is not None:
        info = read_dataset(facts.data)
        rows = rows or int(info["rows"]["train"])
        histogram = info.get("image_tokens") or {}
        tokens = histogram.get("median") if isinstance(histogram, dict) else None
    if rows is None:
        rows = DEFAULT_ROWS
        notes.append(f"no --data and no --samples: {rows} rows taken")
    if size is None and tokens is None:
        size = DEFAULT_SIZE
        if shape.vision_layers and facts.data is None:
            notes.append(f"no --data and no --size: images of {size} px taken")
    if rows < 1:
        raise UsageError(f"{rows} samples cannot be trained on", expected="at least 1")
    uncapped = capped = 0
    if shape.vision_layers and (size is not None or tokens):
        # A prepared dataset counts in Qwen2.5-VL's tokens, whatever model is to be trained.
        side = size if size is not None else round((tokens or 0) ** 0.5 * image_family("qwen2.5-vl").factor)
        family, smallest = image_family(shape.family), config.model.min_pixels
        uncapped = image_tokens(side, side, family, min_pixels=smallest)
        capped = image_tokens(side, side, family, config.model.max_pixels, smallest)
        if capped < uncapped:
            notes.append(
                f"{side} px → capped by model.max_pixels = {config.model.max_pixels} → {capped} image tokens"
            )
    work = Workload(config, shape, gpu, facts.gpus, rows, capped)
    notes += _assumptions(work)
    return Estimate(work, gpu_source, notes, uncapped)


def _assumptions(work: Workload) -> list[str]:
    """What the hours take for granted of what only the run can tell."""
    notes = []
    if work.resampled:
        notes.append(
            f"rollout.dynamic_sampling = {len(work.resampled)}: {100 * work.dead_share:.0f} % of the groups are assumed to "
            f"be without spread and drawn again; the range spans {100 * DEAD_SHARE_LOW:.0f} to {100 * DEAD_SHARE_HIGH:.0f} %"
        )
    if work.method.samples and not work.method.samples_texts:
        notes.append(
            "masks: counted is the language model's reading of picture and prompt; SAM's pass, and models without a "
            "language model, are not"
        )
    if work.config.curriculum.by == "pass_rate":
        notes.append(
            f"curriculum.by = pass_rate: {work.plan.rows} rows × {work.config.curriculum.samples} completions are sampled "
            f"before training ({60 * hours(work).pass_rate:.0f} min, once: they are kept for later runs)"
        )
    return notes
