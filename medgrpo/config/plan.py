"""What one optimiser step is, and what cannot work: told before anything is loaded.

The rules are those of TRL 1.16's `GRPOConfig.__post_init__` and `GRPOTrainer.__init__`, met by
construction where possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from medgrpo.config.sections import RunConfig, StageConfig
from medgrpo.errors import UsageError


@dataclass(frozen=True)
class StagePlan:
    """One stage in numbers. A sample is a completion for grpo, a row for sft and dpo."""

    name: str
    method: str
    rows: int
    prompts_per_step: int
    samples_per_step: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    steps: int
    epochs: float

    def describe(self) -> str:
        """One line for a person."""
        samples = (
            f"{self.prompts_per_step} prompts × {self.samples_per_step // self.prompts_per_step} completions"
        )
        what = samples if self.method == "grpo" else f"{self.prompts_per_step} rows"
        return f"{self.name} ({self.method}): {self.steps} steps of {what} = {self.epochs:.2f} epochs of {self.rows} rows"


def plan_stage(config: RunConfig, rows: int, *, stage: str | None = None, world_size: int = 1) -> StagePlan:
    """The numbers of a stage over `rows` training rows; the main stage if none is named.

    Raises:
        UsageError: the batch cannot be divided, or there are fewer rows than one step takes.
    """
    settings = stage_settings(config, stage)
    training = settings.training
    rows = min(rows, settings.data.rows or rows)
    group = config.rollout.num_generations if training.method == "grpo" else 1
    samples = training.prompts_per_step * group
    if samples % world_size:
        raise UsageError(
            f"{samples} samples a step cannot be shared evenly by {world_size} GPUs",
            hint=f"set training.prompts_per_step to a multiple of {world_size}",
        )
    per_device = training.per_device_train_batch_size or _largest_divisor(samples // world_size, 8)
    per_device = min(per_device, samples // world_size)  # more than the step has: the step in one pass
    if (samples // world_size) % per_device:
        what = (
            f"{training.prompts_per_step} prompts × {group} generations"
            if group > 1
            else f"{training.prompts_per_step} rows"
        )
        raise UsageError(
            f"training.per_device_train_batch_size = {per_device} does not divide one step's share of a GPU ({what} / {world_size} GPU = {samples // world_size})",
            expected="a divisor of it",
            hint=f"--set training.per_device_train_batch_size={_largest_divisor(samples // world_size, per_device)}",
        )
    if rows < training.prompts_per_step:
        raise UsageError(
            f"{rows} training rows are fewer than the {training.prompts_per_step} of one step",
            hint=f"--set training.prompts_per_step={max(1, rows)}, or use more rows",
        )
    steps_per_epoch = rows // training.prompts_per_step  # the last incomplete step of an epoch is dropped
    steps = training.max_steps or max(1, floor(steps_per_epoch * training.num_train_epochs))
    return StagePlan(
        name=stage or "main",
        method=training.method,
        rows=rows,
        prompts_per_step=training.prompts_per_step,
        samples_per_step=samples,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=samples // world_size // per_device,
        steps=steps,
        epochs=steps / steps_per_epoch,
    )


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
    if "num_train_epochs" in changed and "max_steps" not in changed:
        changed["max_steps"] = None
    data = (
        config.data
        if own.rows is None
        else config.data.model_copy(update={"rows": min(own.rows, config.data.rows or own.rows)})
    )
    return config.model_copy(update={"training": config.training.model_copy(update=changed), "data": data})


def enabled_stages(config: RunConfig) -> list[str]:
    """Names of the stages before the main one, in order."""
    return [name for name, stage in config.stages.items() if stage.enabled]


def check(config: RunConfig) -> list[str]:
    """Warnings about settings that work but mislead; raises UsageError for those that cannot work."""
    warnings = []
    rollout, training = config.rollout, config.training
    if rollout.top_p < 1 or rollout.top_k > 0:
        warnings.append(
            "rollout.top_p < 1 or top_k > 0 samples from another distribution than the one whose gradient is taken; "
            "the policy ratio is biased (use temperature 1, top_p 1, top_k 0)"
        )
    if training.importance_sampling_level == "sequence" and training.loss_type in {
        "dapo",
        "dr_grpo",
        "bnpo",
        "cispo",
    }:
        warnings.append(
            f'importance_sampling_level = "sequence" with loss_type = "{training.loss_type}" weights by length; use "grpo"'
        )
    if (
        config.tuning.method in {"lora", "dora", "qlora"}
        and training.method == "grpo"
        and training.learning_rate < 5e-6
    ):
        warnings.append(
            f"learning_rate {training.learning_rate:g} is 5–10 times below what LoRA takes (1e-5)"
        )
    if config.tuning.method == "qlora":
        _refuse_without_cuda()
    if config.launch.deepspeed and config.tuning.method == "qlora" and config.launch.deepspeed == "zero3":
        raise UsageError(
            "qlora cannot be combined with DeepSpeed ZeRO-3", hint="use --deepspeed zero2, or lora"
        )
    return warnings


def _refuse_without_cuda() -> None:
    import shutil

    if shutil.which("nvidia-smi") is None:
        raise UsageError("qlora needs a CUDA GPU; none was found", hint="--set tuning.method=lora")


def _largest_divisor(number: int, limit: int) -> int:
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
