"""What cannot work, refused before anything is loaded, and what works but misleads.

The refusals are those that TRL 1.16, PEFT and vLLM raise after the model is in memory. Most of TRL's batch
rules cannot be broken here: `plan_stage` derives batch, accumulation and generation batch from prompts.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from typing import NamedTuple

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError, missing_extra
from medgrpo.methods import METHODS

BY_TOKEN = ("dapo", "dr_grpo", "bnpo", "cispo")
"""Losses that add up tokens, so that a ratio of the whole completion counts once per token."""


def check(config: RunConfig, *, world_size: int = 1) -> list[str]:
    """Warnings about settings that work but mislead.

    Raises:
        UsageError: the first thing that cannot work, on any machine.
    """
    if config.tuning.target_modules is not None:
        _check_targets(config.tuning.target_modules)
    if config.tuning.method == "qlora" and config.launch.deepspeed == "zero3":
        raise UsageError(
            "qlora cannot be combined with DeepSpeed ZeRO-3", hint="use --deepspeed zero2, or lora"
        )
    if config.launch.fsdp:
        _check_fsdp(config, world_size)
    if _uses_vllm(config):
        _check_vllm(config, world_size)
    return [
        *_stage_warnings(config),
        *_sampling_warnings(config),
        *_loss_warnings(config),
        *_rate_warnings(config),
    ]


def check_machine(config: RunConfig) -> None:
    """Whether this machine has what the settings need.

    Raises:
        UsageError, MedgrpoError: the first GPU or package that is missing.
    """
    for need in _needs(config):
        need.check()


def _uses_vllm(config: RunConfig) -> bool:
    methods = {config.training.method, *(stage.method for stage in config.stages.values() if stage.enabled)}
    return any(METHODS[name].samples_texts for name in methods) and config.rollout.engine == "vllm"


class _Need(NamedTuple):
    """What a setting needs of the machine."""

    setting: str
    package: str
    extra: str
    instead: str | None
    """The setting that works without a CUDA GPU; None where no GPU is needed."""

    def check(self) -> None:
        if self.instead is not None and shutil.which("nvidia-smi") is None:
            raise UsageError(f"{self.setting} needs a CUDA GPU; none was found", hint=f"--set {self.instead}")
        if find_spec(self.package) is None:
            raise missing_extra(self.package, self.extra, self.setting)


def _needs(config: RunConfig) -> list[_Need]:
    needs = []
    if config.tuning.method == "qlora":
        needs.append(_Need("tuning.method = qlora", "bitsandbytes", "qlora", "tuning.method=lora"))
    if "8bit" in config.training.optim or "paged" in config.training.optim:
        setting = f"training.optim = {config.training.optim}"
        needs.append(_Need(setting, "bitsandbytes", "qlora", "training.optim=adamw_torch"))
    if _uses_vllm(config):
        is_colocated = config.vllm.mode == "colocate"
        setting = f"rollout.engine = vllm ({config.vllm.mode})"
        needs.append(_Need(setting, "vllm", "vllm", "rollout.engine=transformers" if is_colocated else None))
    for tracker in config.logging.report_to:
        extra = "train" if tracker == "tensorboard" else "trackers"
        needs.append(_Need(f"logging.report_to = {tracker}", tracker, extra, None))
    if config.launch.deepspeed is not None:
        needs.append(_Need(f"launch.deepspeed = {config.launch.deepspeed}", "deepspeed", "deepspeed", None))
    return needs


def _check_targets(pattern: str) -> None:
    try:
        hits_head = re.fullmatch(pattern, "lm_head") is not None
    except re.error as error:
        raise UsageError(
            f"tuning.target_modules is no regular expression: {error}",
            hint="--set tuning.target_modules='.*\\.(q_proj|v_proj)'",
        ) from error
    if hits_head:
        raise UsageError(
            "tuning.target_modules takes in lm_head, whose adapter TRL would never train",
            expected="a pattern without it",
            hint="--set tuning.target_modules='.*\\.(q_proj|v_proj)', or tuning.towers instead of a pattern",
        )


def _check_fsdp(config: RunConfig, world_size: int) -> None:
    launch = config.launch
    if launch.deepspeed is not None:
        raise UsageError("--fsdp and --deepspeed both spread the model over the GPUs", expected="one of them")
    if launch.cpu:
        raise UsageError(
            "--fsdp needs GPUs: accelerate knows it on none of the CPU's backends",
            hint="--set launch.fsdp=false",
        )
    if world_size < 2:
        raise UsageError("--fsdp spreads the model over several GPUs, and the run has one", hint="--gpus 2")
    if config.tuning.method == "qlora":
        raise UsageError(
            "qlora cannot be combined with FSDP: 4-bit weights are not spread",
            hint="use --deepspeed zero2, or lora",
        )


def _check_vllm(config: RunConfig, world_size: int) -> None:
    vllm = config.vllm
    if config.tuning.method == "qlora":
        raise UsageError(
            "qlora cannot be combined with vLLM: the 4-bit weights under the adapter are packed, and vLLM would be handed them as they are",
            hint="--set rollout.engine=transformers, or --set tuning.method=lora",
        )
    if vllm.max_model_length is not None and vllm.max_model_length < config.model.context_length:
        raise UsageError(
            f"vllm.max_model_length ({vllm.max_model_length}) is shorter than model.context_length "
            f"({config.model.context_length}), which image tokens, text and completion may fill",
            hint="leave vllm.max_model_length out, or lower model.context_length",
        )
    if vllm.mode == "colocate" and world_size % vllm.tensor_parallel_size:
        raise UsageError(
            f"vllm.tensor_parallel_size = {vllm.tensor_parallel_size} does not divide the {world_size} GPUs of the run",
            hint=f"--gpus {vllm.tensor_parallel_size}, or --set vllm.tensor_parallel_size=1",
        )
    samples = config.training.prompts_per_step * config.rollout.num_generations // world_size
    if vllm.mode == "server" and config.rollout.dynamic_sampling and samples % config.rollout.num_generations:
        raise UsageError(
            "rollout.dynamic_sampling with a vLLM server needs whole groups on each GPU",
            hint=f"set training.prompts_per_step to a multiple of {world_size}",
        )


def _stage_warnings(config: RunConfig) -> list[str]:
    """A stage that was only meant to be changed is a new one where its name is mistyped, and SFT."""
    return [
        f"stages.{name} says no method and is an SFT stage: set stages.{name}.method (stages so far: {', '.join(config.stages)})"
        for name, stage in config.stages.items()
        if stage.enabled and "method" not in stage.model_fields_set and not name.startswith("sft")
    ]


def _sampling_warnings(config: RunConfig) -> list[str]:
    rollout = config.rollout
    changed = [
        name
        for name, is_changed in (
            ("top_p < 1", rollout.top_p < 1),
            ("top_k > 0", rollout.top_k > 0),
            ("min_p > 0", bool(rollout.min_p)),
            ("repetition_penalty ≠ 1", rollout.repetition_penalty != 1),
        )
        if is_changed
    ]
    if not changed:
        return []
    return [
        f"rollout: {', '.join(changed)} samples from another distribution than the one whose gradient is taken; "
        "the policy ratio is biased (use temperature 1, top_p 1, top_k 0)"
    ]


def _loss_warnings(config: RunConfig) -> list[str]:
    training = config.training
    by_sequence = training.importance_sampling_level == "sequence"
    warnings = []
    if by_sequence and training.loss_type in BY_TOKEN:
        warnings.append(
            f'importance_sampling_level = "sequence" with loss_type = "{training.loss_type}" weights by length; use "grpo"'
        )
    if training.loss_type == "luspo" and not by_sequence:
        warnings.append('loss_type = "luspo" is meant with importance_sampling_level = "sequence"')
    if training.loss_type == "vespo" and by_sequence:
        warnings.append(
            'loss_type = "vespo" takes whole completions by itself: importance_sampling_level = "token"'
        )
    if training.loss_type == "cispo" and (training.epsilon_high or training.epsilon) < 1:
        warnings.append(
            "CISPO limits the ratio itself at epsilon_high, so below 1 every token is cut to it: "
            "set training.epsilon_high=5"
        )
    return warnings


def _power(rate: float) -> str:
    """1e-5 rather than 1e-05."""
    return f"{rate:.0e}".replace("e-0", "e-")


def _rate_warnings(config: RunConfig) -> list[str]:
    training, tuning = config.training, config.tuning
    warnings = []
    usual = METHODS[training.method].usual_lora_rate
    if tuning.method != "full" and usual is not None and 0 < training.learning_rate < usual / 2:
        factor = f"{usual / training.learning_rate:.2g}"
        warnings.append(
            f"learning_rate {training.learning_rate:g} is {factor} times below what LoRA takes ({_power(usual)})"
        )
    if training.vision_learning_rate is not None and set(tuning.towers) == {"language"}:
        warnings.append(
            'training.vision_learning_rate has no effect: tuning.towers = ["language"] trains nothing of the vision side'
        )
    return warnings
