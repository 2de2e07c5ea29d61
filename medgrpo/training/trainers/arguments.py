"""From the configuration to TRL's arguments; read from TRL 1.16."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.config.plan import StagePlan
from medgrpo.config.sections import RunConfig

if TYPE_CHECKING:
    from trl import DPOConfig, GRPOConfig, SFTConfig

DPO_BETA = 0.1
"""TRL's preference temperature, used when `training.beta` is 0."""


def shared_arguments(config: RunConfig, plan: StagePlan, output: Path) -> dict[str, Any]:
    """Arguments that every method takes. Checkpoints are placed and rotated by `checkpoints.py`."""
    import torch

    from medgrpo.models.loading import has_bfloat16

    training = config.training
    on_gpu = torch.cuda.is_available()
    use_bf16 = has_bfloat16() and config.model.dtype in ("auto", "bfloat16")
    recompute = on_gpu if training.gradient_checkpointing is None else training.gradient_checkpointing
    return {
        "output_dir": str(output),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.per_device_train_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "learning_rate": training.learning_rate,
        "optim": training.optim,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_ratio,  # a share, since it is below 1
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "seed": config.run.seed,
        "bf16": use_bf16,
        "fp16": on_gpu and config.model.dtype == "float16",
        **_recompute_argument(recompute=recompute),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": training.save_steps,
        "save_total_limit": None,
        "eval_strategy": "no",
        "report_to": [tracker for tracker in config.logging.report_to if tracker != "tensorboard"] or "none",
        "run_name": config.run.name,
        "project": config.logging.project,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_gpu,
        "dataloader_drop_last": False,
        "trust_remote_code": config.model.trust_remote_code,
    }


def _recompute_argument(*, recompute: bool) -> dict[str, bool | None]:
    """Activation checkpointing under the name that this Transformers has; the older one is None beside the new."""
    from dataclasses import fields

    from transformers import TrainingArguments

    if any(field.name == "activation_checkpointing" for field in fields(TrainingArguments)):
        return {"activation_checkpointing": recompute, "gradient_checkpointing": None}
    return {"gradient_checkpointing": recompute}


def sft_arguments(config: RunConfig, plan: StagePlan, output: Path) -> SFTConfig:
    """Arguments of TRL's SFTTrainer. Nothing is truncated: what is too long was dropped and counted."""
    from trl import SFTConfig

    return SFTConfig(**shared_arguments(config, plan, output), max_length=None, packing=False)


def dpo_arguments(config: RunConfig, plan: StagePlan, output: Path) -> DPOConfig:
    """Arguments of TRL's DPOTrainer."""
    from trl import DPOConfig

    beta, dpo = config.training.beta or DPO_BETA, config.dpo
    losses = [dpo.loss_type, *(["sft"] if dpo.sft_weight else [])]
    return DPOConfig(
        **shared_arguments(config, plan, output),
        beta=beta,
        max_length=None,
        loss_type=losses,
        loss_weights=[1.0, dpo.sft_weight] if dpo.sft_weight else None,
        label_smoothing=dpo.label_smoothing,
    )


def grpo_arguments(config: RunConfig, plan: StagePlan, output: Path) -> GRPOConfig:
    """Arguments of TRL's GRPOTrainer. Rewards are summed by us, so TRL sees one reward of weight 1."""
    from trl import GRPOConfig

    training, rollout = config.training, config.rollout
    return GRPOConfig(
        **shared_arguments(config, plan, output),
        **vllm_arguments(config),
        num_generations=rollout.num_generations,
        max_completion_length=rollout.max_completion_length,
        temperature=rollout.temperature,
        top_p=rollout.top_p,
        top_k=rollout.top_k,
        min_p=rollout.min_p,
        repetition_penalty=rollout.repetition_penalty,
        steps_per_generation=plan.gradient_accumulation_steps,
        num_iterations=training.num_iterations,
        beta=training.beta,
        epsilon=training.epsilon,
        epsilon_high=training.epsilon_high,
        delta=training.delta,
        loss_type=training.loss_type,
        # GDPO has standardised each component in its group; what is left is whitening over the batch.
        scale_rewards="batch"
        if config.rewards.aggregation == "normalize_then_sum"
        else training.scale_rewards,
        importance_sampling_level=training.importance_sampling_level,
        mask_truncated_completions=training.mask_truncated_completions,
        entropy_coef=training.entropy_coef,
        top_entropy_quantile=training.top_entropy_quantile,
        shuffle_dataset=config.data.shuffle,
        log_completions=False,
        log_multimodal=False,  # TRL 1.16 gathers pictures only on processes that have some: the others hang
    )


def vllm_arguments(config: RunConfig) -> dict[str, Any]:
    """vLLM's part of the arguments; empty when Transformers generates."""
    if config.rollout.engine != "vllm":
        return {}
    vllm = config.vllm
    # VESPO weighs by the ratios of single tokens, so those of whole completions are of no use to it.
    by_token = (
        {"vllm_importance_sampling_mode": "token_truncate"} if config.training.loss_type == "vespo" else {}
    )
    return {
        **by_token,
        "use_vllm": True,
        "vllm_mode": vllm.mode,
        "vllm_gpu_memory_utilization": vllm.gpu_memory_utilization,
        "vllm_tensor_parallel_size": vllm.tensor_parallel_size,
        "vllm_max_model_length": vllm.max_model_length or config.model.context_length,
        "vllm_server_base_url": vllm.server_base_url,
        "vllm_enable_sleep_mode": vllm.enable_sleep_mode,
    }
