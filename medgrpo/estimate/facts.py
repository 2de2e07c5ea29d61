"""What the caller knows of a run besides its configuration, and the workload that follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.data.schema import ROW_SCHEMA
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.estimate.hardware import find_gpu
from medgrpo.estimate.shapes import DEFAULT, find_shape, shape_of_size
from medgrpo.estimate.workload import COMPLETION_SHARE, Workload, read_dataset
from medgrpo.methods import METHODS
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
        has_old_pass, learns_past_tower, fell_back: see `Workload`.
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
    has_old_pass: bool = False
    learns_past_tower: bool = False
    fell_back: bool = False


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
    rows, counted, of_a_picture = _rows(facts, notes)
    seen = _tokens_of_pictures(config, facts, shape, counted, notes)
    text, target = _tokens_of_template(config)
    share = COMPLETION_SHARE if facts.completion_share is None else facts.completion_share
    work = Workload(
        config,
        shape,
        gpu,
        facts.gpus,
        rows,
        round(seen.mean * facts.images),
        largest_image_tokens=seen.largest * facts.images,
        images=facts.images,
        rows_of_a_picture=of_a_picture,
        text_tokens=text if facts.text_tokens is None else facts.text_tokens,
        completion_share=share,
        target_tokens=target if facts.target_tokens is None else facts.target_tokens,
        is_other_code=facts.is_other_code,
        has_old_pass=facts.has_old_pass,
        learns_past_tower=facts.learns_past_tower,
        fell_back=facts.fell_back,
    )
    _ = work.plan, [stage.plan for stage in work.warm_up]  # refuses what cannot be divided
    return Situation(work, gpu_source, tuple(notes), seen.uncapped)


TYPICAL_ROW = {
    "question": "Is there evidence of a pleural effusion in this image?",
    "answer": "no",
    "answers": ["no"],
    "images": ["picture"],
    "language": "en",
    "answer_type": "closed",
    "plane": "axial",
    "modality": "CT",
}
CHARACTERS_PER_TOKEN, CHARACTERS_PER_TARGET_TOKEN = 4.0, 2.5
"""Of prompts, and of targets, which are half tags: 101 and 40 tokens of the structured template."""
TOKENS_PER_MESSAGE, TOKENS_OF_END = 7, 3


def _tokens_of_template(config: RunConfig) -> tuple[int | None, int | None]:
    """Tokens of a prompt beside its pictures, and of what SFT teaches, by the template's words; None: as usual.

    A template that cannot be read is for training to complain of.
    """
    method = METHODS[config.training.method]
    if "mask" in method.needs:
        return None, None
    from medgrpo.data.prompts import build_messages, build_target, load_template

    try:
        template = load_template(config.data.prompt_template)
    except (MedgrpoError, OSError):
        return None, None
    if config.data.system_prompt is not None:
        template = template.with_system(config.data.system_prompt)
    row: Any = {**dict.fromkeys(ROW_SCHEMA), **TYPICAL_ROW}
    messages = build_messages(row, template)
    characters = sum(
        len(part if isinstance(part, str) else str(part.get("text") or ""))
        for message in messages
        for part in ([message["content"]] if isinstance(message["content"], str) else message["content"])
    )
    text = round(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages)
    if "target" not in method.teaches:
        return text, None
    target = build_target(row, template)
    return text, round(len(target) / CHARACTERS_PER_TARGET_TOKEN) + TOKENS_OF_END


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

        return _known_shape(config, find_weights(model).base)  # a run, or an adapter
    return _known_shape(config, model)


def _known_shape(config: RunConfig, model: str) -> ModelShape:
    """Its shape; of models that answer with masks only Sa2VA and the U-Net have one here."""
    try:
        return find_shape(model)
    except UsageError as error:
        if "mask" not in METHODS[config.training.method].needs:
            raise
        raise UsageError(
            f"what a step of {model} takes is not known: it was never measured",
            expected="Sa2VA by its name, or unet",
            hint="train three steps and read their s_per_prompt: medgrpo train … --set training.max_steps=3",
        ) from error


@dataclass(frozen=True)
class Pictures:
    """Image tokens of the rows as a model sees them.

    Attributes:
        mean: over all rows; one without a picture has none. Time goes by it.
        largest: which memory is needed for.
        uncapped: of the largest without the limit on pixels.
    """

    mean: float = 0.0
    largest: int = 0
    uncapped: int = 0


def _rows(facts: Facts, notes: list[str]) -> tuple[int, list[tuple[float, float]], float]:
    """Training rows, the image tokens that the dataset counted, each with the share of the rows that have so many, and rows a picture."""
    rows: int | None = facts.samples
    counted: list[tuple[float, float]] = []
    of_a_picture = 1.0
    if facts.data is not None:
        info: dict[str, Any] = read_dataset(facts.data)
        rows = rows or int(info["rows"]["train"])
        counted = _counted(info)
        if info.get("images"):
            of_a_picture = max(1.0, sum(info["rows"].values()) / info["images"])
    if rows is None:
        rows = DEFAULT_ROWS
        notes.append(f"no --data and no --samples: {rows} rows taken")
    if rows < 1:
        raise UsageError(f"{rows} samples cannot be trained on", expected="at least 1")
    return rows, counted, of_a_picture


def _counted(info: dict[str, Any]) -> list[tuple[float, float]]:
    """Tokens and share of the rows, by `dataset.json`: of its histogram's ranges the middle, else the median for all."""
    said = info.get("image_tokens")
    if not isinstance(said, dict) or not said.get("median"):
        return []
    lowest, largest = said.get("min") or said["median"], said.get("max") or said["median"]
    bins = said.get("histogram") or []
    with_picture = sum(one["rows"] for one in bins)
    if not with_picture:
        return [(float(said["median"]), 1.0)]
    everything = max(with_picture, sum(info.get("rows", {}).values()))
    middles = [
        ((max(one["from"], lowest) + min(one["to"], largest)) / 2, one["rows"] / everything) for one in bins
    ]
    return [*middles, (float(largest), 0.0)]


def _tokens_of_pictures(
    config: RunConfig,
    facts: Facts,
    shape: ModelShape,
    counted: list[tuple[float, float]],
    notes: list[str],
) -> Pictures:
    """Of one picture, with the limit on pixels and without."""
    size = facts.size
    if size is None and not counted and facts.data is None and facts.text_tokens is None:
        size = DEFAULT_SIZE
        if shape.vision_layers:
            notes.append(f"no --data and no --size: images of {size} px taken")
    if not shape.vision_layers or not (size is not None or counted):
        return Pictures()
    # A prepared dataset counts in Qwen2.5-VL's tokens, whatever model is to be trained.
    factor = image_family("qwen2.5-vl").factor
    sides = (
        [(size, 1.0)]
        if size is not None
        else [(round(tokens**0.5 * factor), share) for tokens, share in counted]
    )
    family, smallest = image_family(shape.family), config.model.min_pixels
    seen = [
        (image_tokens(side, side, family, config.model.max_pixels, smallest), share) for side, share in sides
    ]
    side = max(side for side, _ in sides)
    uncapped = image_tokens(side, side, family, min_pixels=smallest)
    largest = max(tokens for tokens, _ in seen)
    if largest < uncapped:
        notes.append(
            f"{side} px → capped by model.max_pixels = {config.model.max_pixels} → {largest} image tokens"
        )
    return Pictures(sum(tokens * share for tokens, share in seen), largest, uncapped)
