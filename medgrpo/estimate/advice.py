"""Changes that save time or memory, tried on the model and listed with what each would save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.memory import fits, memory_gib
from medgrpo.estimate.time import hours
from medgrpo.estimate.workload import Workload
from medgrpo.models.families import image_family
from medgrpo.models.image_tokens import image_tokens

WORTH = 0.05  # changes that save less than this share are not listed


@dataclass(frozen=True)
class Advice:
    """One change, and its saving by itself: share of the hours, GiB of the peak."""

    change: str
    saves_hours: float
    saves_gib: float
    costs: str

    def as_dict(self) -> dict[str, object]:
        """The entry of `advice` in the JSON document."""
        saving = []
        if self.saves_hours > 0.05:
            saving.append(f"{self.saves_hours:.1f} h")
        if self.saves_gib > 0.1:
            saving.append(f"{self.saves_gib:.1f} GiB")
        return {
            "change": self.change,
            "saving": " and ".join(saving),
            "saves_hours": self.saves_hours,
            "saves_gib": self.saves_gib,
            "costs": self.costs,
        }


def advise(work: Workload, *, is_short: bool | None = None) -> list[Advice]:
    """Changes worth making, safest first when memory is short, else the largest saving of time first.

    Args:
        is_short: whether memory is short, where that was found out; None: as estimated.
    """
    now_hours, now_gib = sum(hours(work)), memory_gib(work)["peak"]
    short = not fits(work) if is_short is None else is_short
    found = []
    for change, costs, changed in _changes(work):
        try:
            then_hours, then_gib = sum(hours(changed)), memory_gib(changed)["peak"]
        except UsageError:  # the change does not divide this batch
            continue
        saves_hours, saves_gib = now_hours - then_hours, now_gib - then_gib
        worth_memory = saves_gib > WORTH * now_gib
        if worth_memory if short else saves_hours > WORTH * now_hours:
            found.append(Advice(change, saves_hours, saves_gib, costs))
    return found if short else sorted(found, key=lambda advice: -advice.saves_hours)


def _changes(work: Workload) -> Iterator[tuple[str, str, Workload]]:
    """(what to type, what it costs, the changed run), from the harmless to the drastic."""
    config, plan = work.config, work.plan
    if not work.checkpoints_activations:
        yield (
            "--set training.gradient_checkpointing=true",
            "time for recomputing",
            _with(work, "training", gradient_checkpointing=True),
        )
    if plan.per_device_train_batch_size > 1:
        half = plan.per_device_train_batch_size // 2
        yield (
            f"--set training.per_device_train_batch_size={half}",
            "a little speed",
            _with(work, "training", per_device_train_batch_size=half, gradient_accumulation_steps=None),
        )
    if work.method.samples_texts and config.rollout.engine == "transformers":
        yield (
            "--vllm colocate",
            "needs the extra [vllm] and memory for a second copy",
            _with(work, "rollout", engine="vllm"),
        )
    if config.tuning.method == "full":
        yield "--set tuning.method=lora", "fewer weights are trained", _with(work, "tuning", method="lora")
    if config.tuning.method in {"lora", "dora"}:
        yield (
            "--set tuning.method=qlora",
            "4-bit base: a little accuracy and speed",
            _with(work, "tuning", method="qlora"),
        )
    family = image_family(work.shape.family) if work.shape.vision_layers else None
    if family is not None and work.image_tokens > 256 and family.layout != "fixed":
        pixels = work.image_tokens // 2 * family.factor**2
        side = round(pixels**0.5)
        tokens = image_tokens(side, side, family, max_pixels=pixels, min_pixels=work.config.model.min_pixels)
        smaller = replace(_with(work, "model", max_pixels=pixels), image_tokens=tokens)
        yield f"--set model.max_pixels={pixels}", "finer detail is lost", smaller
    if config.rollout.max_completion_length > 128:
        tokens = config.rollout.max_completion_length // 2
        yield (
            f"--set rollout.max_completion_length={tokens}",
            "longer reasoning is cut off",
            _with(work, "rollout", max_completion_length=tokens),
        )
    if work.method.samples and config.rollout.num_generations > 4:
        group = config.rollout.num_generations // 2
        yield (
            f"--set rollout.num_generations={group}",
            "noisier advantages",
            _with(work, "rollout", num_generations=group),
        )
    yield "--gpus 2", "a second GPU", replace(work, gpus=work.gpus * 2)


def _with(work: Workload, section: str, **values: object) -> Workload:
    changed = getattr(work.config, section).model_copy(update=values)
    config: RunConfig = work.config.model_copy(update={section: changed})
    return replace(work, config=config)
