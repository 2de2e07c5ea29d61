"""What one optimiser step is, and what cannot work: told before anything is loaded.

The rules are those of TRL 1.16's `GRPOConfig.__post_init__` and `GRPOTrainer.__init__`, met by
construction where possible.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import floor

from medgrpo.config.layers import SAME_THING
from medgrpo.config.sections import RunConfig, StageConfig
from medgrpo.errors import UsageError
from medgrpo.methods import METHODS


@dataclass(frozen=True)
class StagePlan:
    """One stage in numbers. A sample is a completion where the method samples some, else a row."""

    name: str
    method: str
    rows: int
    prompts_per_step: int
    samples_per_step: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    steps: int
    epochs: float
    tokens_per_step: int
    """At most: the completions of a step where the method samples some, else rows with their prompts."""
    steps_per_batch: int = 1
    """Steps that learn from the same samples; more than one only where the method samples them."""
    tokens_per_pass: int | None = None
    """Most tokens of a pass where the trainer cuts a batch into passes by itself; None: a batch is a pass."""

    def describe(self) -> str:
        """One line for a person."""
        group = self.samples_per_step // self.prompts_per_step
        longest = f"≤ {self.tokens_per_step // self.samples_per_step:,} tokens"
        method = METHODS[self.method]
        if method.needs == ("mask",):
            masks = f" × {group} masks" if method.samples else ""
            what = f"{self.prompts_per_step} picture{'s' * (self.prompts_per_step > 1)}{masks}"
        elif method.samples_texts:
            what = f"{self.prompts_per_step} prompts × {group} completions of {longest}"
        else:
            what = f"{self.prompts_per_step} rows of {longest}"
        again = "" if self.steps_per_batch == 1 else f", each batch used for {self.steps_per_batch} steps,"
        return f"{self.name} ({self.method}): {self.steps} steps of {what}{again} = {self.epochs:.2f} epochs of {self.rows} rows"


def plan_stage(config: RunConfig, rows: int, *, stage: str | None = None, world_size: int = 1) -> StagePlan:
    """The numbers of a stage over `rows` training rows; the main stage if none is named.

    Raises:
        UsageError: the batch cannot be divided, or there are fewer rows than one step takes.
    """
    settings = stage_settings(config, stage)
    training = settings.training
    rows = min(rows, settings.data.rows or rows)
    method = METHODS[training.method]
    group = method.group_size(config.rollout.num_generations)
    section = section_of(stage)
    samples = training.prompts_per_step * group
    if samples % world_size:
        fits = _largest_divisor(samples, world_size)
        raise UsageError(
            f"{samples} samples a step cannot be shared evenly by {world_size} GPUs",
            hint=f"{fits} GPU{'s' if fits > 1 else ''}; or, in a new run, {section}.prompts_per_step a multiple of {world_size}",
        )
    share = samples // world_size
    passes = training.gradient_accumulation_steps
    per_device = training.per_device_train_batch_size or (
        max(1, share // passes) if passes else _largest_divisor(share, 8)
    )
    per_device = min(per_device, share)  # more than the step has: the step in one pass
    if passes and per_device * passes != share:
        raise UsageError(
            f"{passes} passes of {per_device} are {per_device * passes} samples, and a GPU's share of a step is {share} "
            f"({training.prompts_per_step} prompts × {group} / {world_size} GPU)",
            expected=f"{section}.gradient_accumulation_steps × {section}.per_device_train_batch_size = that share",
            hint=_accumulation_hint(per_device * passes * world_size, group, section),
        )
    if share % per_device:
        what = (
            f"{training.prompts_per_step} prompts × {group} generations"
            if group > 1
            else f"{training.prompts_per_step} rows"
        )
        raise UsageError(
            f"{section}.per_device_train_batch_size = {per_device} does not divide one step's share of a GPU ({what} / {world_size} GPU = {share})",
            expected="a divisor of it",
            hint=f"--set {section}.per_device_train_batch_size={_largest_divisor(share, per_device)}",
        )
    if rows < training.prompts_per_step:
        raise UsageError(
            f"{rows} training rows are fewer than the {training.prompts_per_step} of one step"
            + (f" of the stage {stage}" if stage else ""),
            hint=f"--set {section}.prompts_per_step={max(1, rows)}, or use more rows",
        )
    steps_per_batch = training.num_iterations if method.samples else 1
    # The last incomplete batch of an epoch is dropped.
    steps_per_epoch = rows // training.prompts_per_step * steps_per_batch
    steps = training.max_steps or max(1, floor(steps_per_epoch * training.num_train_epochs))
    return StagePlan(
        name=stage or "main",
        method=training.method,
        rows=rows,
        prompts_per_step=training.prompts_per_step,
        samples_per_step=samples,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=share // per_device,
        steps=steps,
        epochs=steps / steps_per_epoch,
        tokens_per_step=samples
        * (settings.rollout.max_completion_length if method.samples_texts else settings.model.context_length),
        steps_per_batch=steps_per_batch,
    )


def with_smaller_step(config: RunConfig, rows: int, *, stage: str | None, world_size: int = 1) -> RunConfig:
    """The configuration with the largest step of a stage that `rows` fill, in passes no larger than before.

    Args:
        rows: at least `world_size`, and fewer than one step takes.
    """
    before = plan_stage(config, sys.maxsize, stage=stage, world_size=world_size)
    share = rows // world_size * before.samples_per_step // before.prompts_per_step
    return with_training(
        config,
        stage,
        prompts_per_step=rows // world_size * world_size,
        per_device_train_batch_size=_largest_divisor(share, before.per_device_train_batch_size),
        gradient_accumulation_steps=None,
    )


def with_training(config: RunConfig, stage: str | None, **values: object) -> RunConfig:
    """The configuration with other training settings in a stage; the main stage if none is named."""
    if stage is None:
        return config.model_copy(update={"training": config.training.model_copy(update=values)})
    stages = {**config.stages, stage: config.stages[stage].model_copy(update=values)}
    return config.model_copy(update={"stages": stages})


def stage_settings(config: RunConfig, stage: str | None) -> RunConfig:
    """The configuration as one stage sees it: the stage's own values over the main stage's."""
    if stage is None:
        return config
    own: StageConfig = config.stages[stage]
    changed = {
        name: value
        for name, value in own.model_dump(exclude={"rows", "enabled"}).items()
        if value is not None
    }
    for one, other in SAME_THING:
        if one in changed:  # what the stage says replaces what the main stage says of the same thing
            changed.setdefault(other, None)
    data = (
        config.data
        if own.rows is None
        else config.data.model_copy(update={"rows": min(own.rows, config.data.rows or own.rows)})
    )
    return config.model_copy(update={"training": config.training.model_copy(update=changed), "data": data})


def section_of(stage: str | None) -> str:
    """The section in which a change is sure to reach this stage; the main stage if none is named."""
    return "training" if stage is None else f"stages.{stage}"


def enabled_stages(config: RunConfig) -> list[str]:
    """Names of the stages before the main one, in order."""
    return [name for name, stage in config.stages.items() if stage.enabled]


def _accumulation_hint(samples: int, group: int, section: str) -> str:
    if samples % group == 0:
        return f"--set {section}.prompts_per_step={samples // group} makes the step that small or large; or leave out gradient_accumulation_steps"
    return "leave out gradient_accumulation_steps: it follows from prompts_per_step"


def _largest_divisor(number: int, limit: int) -> int:
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
