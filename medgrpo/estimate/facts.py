"""What the caller knows of a run besides its configuration, and the workload that follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.hardware import find_gpu
from medgrpo.estimate.shapes import DEFAULT, find_shape, shape_of_size
from medgrpo.estimate.workload import COMPLETION_SHARE, Workload, read_dataset
from medgrpo.models.families import image_family
from medgrpo.models.image_tokens import image_tokens
from medgrpo.models.shape import ModelShape

DEFAULT_ROWS = 1797  # free-form and paraphrased training rows of VQA-RAD
DEFAULT_SIZE = 512


@dataclass(frozen=True)
class Facts:
    """What the caller knows; None where unknown.

    Attributes:
        params: size of a model that is in no table (`7B`).
        images: pictures of a question.
        text_tokens: of a prompt beside its pictures.
        completion_share: mean length of a completion as a share of the limit.
        target_tokens: of what SFT learns, or of each answer of a pair.
        is_other_code: whether another trainer is meant (the table of published figures).
    """

    model: str | None = None
    data: Path | None = None
    samples: int | None = None
    size: int | None = None
    gpu: str = "auto"
    gpus: int = 1
    params: str | None = None
    images: int = 1
    text_tokens: int | None = None
    completion_share: float | None = None
    target_tokens: int | None = None
    is_other_code: bool = False


@dataclass(frozen=True)
class Situation:
    """A workload, and how it was found out."""

    work: Workload
    gpu_source: str
    notes: tuple[str, ...]
    uncapped_tokens: int
    """Image tokens without the limit on pixels."""


def situation_of(config: RunConfig, facts: Facts) -> Situation:
    """The workload of a configuration.

    Raises:
        UsageError: an unknown model or GPU, no prepared dataset, or a batch that cannot be divided.
    """
    notes: list[str] = []
    shape = _shape(config, facts, notes)
    gpu, gpu_source = find_gpu(facts.gpu)
    rows, tokens = _rows(facts, notes)
    capped, uncapped = _tokens_of_pictures(config, facts, shape, tokens, notes)
    share = COMPLETION_SHARE if facts.completion_share is None else facts.completion_share
    work = Workload(
        config,
        shape,
        gpu,
        facts.gpus,
        rows,
        capped * facts.images,
        text_tokens=facts.text_tokens,
        completion_share=share,
        target_tokens=facts.target_tokens,
        is_other_code=facts.is_other_code,
    )
    _ = work.plan, [stage.plan for stage in work.warm_up]  # refuses what cannot be divided
    return Situation(work, gpu_source, tuple(notes), uncapped)


def _shape(config: RunConfig, facts: Facts, notes: list[str]) -> ModelShape:
    if facts.params is not None:
        notes.append(f"--params {facts.params}: built as the Qwen2.5-VL nearest in size")
        return shape_of_size(facts.params)
    model = facts.model or config.model.path
    if model is None:
        model = DEFAULT
        notes.append(f"no --model: {DEFAULT} taken")
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        from medgrpo.models.weights import find_weights

        return find_shape(find_weights(model).base)  # a run, or an adapter
    return find_shape(model)


def _rows(facts: Facts, notes: list[str]) -> tuple[int, float | None]:
    """Training rows, and the median of the image tokens that the dataset counted."""
    rows, tokens = facts.samples, None
    if facts.data is not None:
        info: dict[str, Any] = read_dataset(facts.data)
        rows = rows or int(info["rows"]["train"])
        histogram = info.get("image_tokens") or {}
        tokens = histogram.get("median") if isinstance(histogram, dict) else None
    if rows is None:
        rows = DEFAULT_ROWS
        notes.append(f"no --data and no --samples: {rows} rows taken")
    if rows < 1:
        raise UsageError(f"{rows} samples cannot be trained on", expected="at least 1")
    return rows, tokens


def _tokens_of_pictures(
    config: RunConfig, facts: Facts, shape: ModelShape, tokens: float | None, notes: list[str]
) -> tuple[int, int]:
    """Of one picture, with the limit on pixels and without."""
    size = facts.size
    if size is None and tokens is None and facts.data is None and facts.text_tokens is None:
        size = DEFAULT_SIZE
        if shape.vision_layers:
            notes.append(f"no --data and no --size: images of {size} px taken")
    if not shape.vision_layers or not (size is not None or tokens):
        return 0, 0
    # A prepared dataset counts in Qwen2.5-VL's tokens, whatever model is to be trained.
    side = size if size is not None else round((tokens or 0) ** 0.5 * image_family("qwen2.5-vl").factor)
    family, smallest = image_family(shape.family), config.model.min_pixels
    uncapped = image_tokens(side, side, family, min_pixels=smallest)
    capped = image_tokens(side, side, family, config.model.max_pixels, smallest)
    if capped < uncapped:
        notes.append(
            f"{side} px → capped by model.max_pixels = {config.model.max_pixels} → {capped} image tokens"
        )
    return capped, uncapped
