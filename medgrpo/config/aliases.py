"""Names that other trainers and older scripts use, and what they are called here.

They are accepted on the command line and in files, with a note; those that mean nothing here say why.
"""

from __future__ import annotations

from typing import Any

from medgrpo.errors import UsageError

ALIASES = {
    # model and data
    "model": "model.path",
    "data": "data.path",
    "base_model": "model.path",
    "model_path": "model.path",
    "model_name_or_path": "model.path",
    "model_id": "model.path",
    "cutoff_len": "model.context_length",
    "dataset_name": "data.path",
    "torch_dtype": "model.dtype",
    "enable_thinking": "model.thinking",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "attn_impl": "model.attn_implementation",
    "image_max_pixels": "model.max_pixels",
    "image_min_pixels": "model.min_pixels",
    "max_length": "model.context_length",
    "max_seq_length": "model.context_length",
    "max_seq_len": "model.context_length",
    "dataset": "data.path",
    "data_path": "data.path",
    "max_samples": "data.rows",
    "max_train_samples": "data.rows",
    # what changes
    "tuning_method": "tuning.method",
    "tuning_mode": "tuning.method",
    "train_type": "tuning.method",
    "tuner_type": "tuning.method",
    "finetuning_type": "tuning.method",
    "lora_r": "tuning.rank",
    "lora_rank": "tuning.rank",
    "lora_alpha": "tuning.alpha",
    "lora_dropout": "tuning.dropout",
    "lora_target_modules": "tuning.target_modules",
    "freeze_vision_tower": "tuning.towers",
    "freeze_vision_modules": "tuning.towers",
    "load_in_4bit": "tuning.method",
    "use_dora": "tuning.method",
    # rewards
    "reward_weights": "rewards.weights",
    "reward_func_weights": "rewards.weights",
    "multi_objective_aggregation": "rewards.aggregation",
    # masks
    "reward_type": "rewards.weights",
    "num_masks": "rollout.num_generations",
    "crop_size": "masks.patch_size",
    # rollout
    "k_samples": "rollout.num_generations",
    "n_generations": "rollout.num_generations",
    "group_size": "rollout.num_generations",
    "rollout_max_new_tokens": "rollout.max_completion_length",
    "max_new_tokens": "rollout.max_completion_length",
    "max_response_length": "rollout.max_completion_length",
    "rollout_temperature": "rollout.temperature",
    "rollout_top_p": "rollout.top_p",
    "rollout_top_k": "rollout.top_k",
    "use_vllm": "rollout.engine",
    "vllm_mode": "vllm.mode",
    "vllm_gpu_memory_utilization": "vllm.gpu_memory_utilization",
    "vllm_tensor_parallel_size": "vllm.tensor_parallel_size",
    "vllm_max_model_length": "vllm.max_model_length",
    "vllm_max_model_len": "vllm.max_model_length",
    "vllm_server_base_url": "vllm.server_base_url",
    "vllm_enable_sleep_mode": "vllm.enable_sleep_mode",
    # training
    "rlhf_type": "training.method",
    "stage": "training.method",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "batch_size": "training.prompts_per_step",
    "learning_rate_lora": "training.learning_rate",
    "lr": "training.learning_rate",
    "vision_lr": "training.vision_learning_rate",
    "lr_scheduler": "training.lr_scheduler_type",
    "accumulation": "training.gradient_accumulation_steps",
    "kl_coef": "training.beta",
    "kl_beta": "training.beta",
    "use_kl": "training.beta",
    "clip_ratio": "training.epsilon",
    "activation_checkpointing": "training.gradient_checkpointing",
    "eval_steps": "validation.steps",
    # run
    "output_dir": "run.output",
    "wandb_project": "logging.project",
    "run_name": "run.name",
    "num_gpus": "launch.gpus",
    "nproc_per_node": "launch.gpus",
    "nnodes": "launch.nodes",
}
ELSEWHERE = {
    "max_prompt_length": "nothing cuts prompts: longer rows are dropped and counted; model.context_length is the limit "
    "of prompt and completion together",
    "train_split_ratio": "splits are made once, by image or patient: medgrpo preprocess SOURCE OUTPUT --split .9,.05,.05",
    "log_file": "the run folder has log.jsonl, and ./logs/<run>.json is its copy",
    "log_to_file": "the run folder has log.jsonl, and ./logs/<run>.json is its copy",
    "resume_from_checkpoint": "medgrpo train --resume auto, or --resume PATH",
    "preprocessing_num_workers": "medgrpo preprocess SOURCE OUTPUT --workers N",
    "reward_funcs": 'rewards are named with their weights: --set rewards.weights=\'{"format" = 0.2, "answer_match" = 0.8}\'',
    "generation_batch_size": "training.prompts_per_step × rollout.num_generations is generated at once",
    "steps_per_generation": "a step generates once; training.gradient_accumulation_steps cuts it into passes",
    "auto_find_batch_size": "TRL refuses it for GRPO, since a smaller batch may hold half a group: set "
    "training.per_device_train_batch_size",
    "do_train": "leave it out: medgrpo train trains, and validates before and after",
    "do_eval": "leave it out: medgrpo train validates before and after; medgrpo eval RUN measures on the test split",
    "eval_strategy": "--set validation.steps=N validates every N steps",
    "evaluation_strategy": "--set validation.steps=N validates every N steps",
    "save_strategy": "--set training.save_steps=N writes a checkpoint every N steps",
    "logging_steps": "leave it out: every step is logged",
    "logging_dir": "leave it out: the run folder has log.jsonl and tensorboard/",
    "log_completions": "leave it out: all completions are stored in the run folder",
    "overwrite_output_dir": "a run folder is never overwritten: choose another --output, or --resume RUN goes on",
    "template": "leave it out: the chat template is the model's own; --set data.prompt_template=NAME chooses the prompt",
    "model_type": "leave it out: the model's own config says it",
    "remove_unused_columns": "leave it out: rewards are given every column they ask for",
    "dataloader_num_workers": "leave it out: rows are built as they are asked for",
    "per_device_eval_batch_size": "leave it out: validation chooses its batch by itself",
    "cuda": "leave it out: a GPU is used where there is one; --gpus N uses several",
    "device": "leave it out: a GPU is used where there is one; --gpus N uses several, CUDA_VISIBLE_DEVICES=1 chooses",
    "device_map": "leave it out: a GPU is used where there is one; --deepspeed zero3 spreads a model over several",
    "gpu": "--gpus N uses several; CUDA_VISIBLE_DEVICES=1 chooses one",
    "cpu": "CUDA_VISIBLE_DEVICES= in front of the command hides the GPUs",
    "warmup_steps": "training.warmup_ratio is the share of the steps",
}
"""Names that have no setting, and what to do instead."""

_SWITCHES: dict[str, tuple[Any, Any]] = {
    # what true and false mean; None: nothing can be said
    "bf16": ("bfloat16", "float32"),
    "fp16": ("float16", "float32"),
    "enable_thinking": ("on", "off"),
    "use_vllm": ("vllm", "transformers"),
    "load_in_4bit": ("qlora", "lora"),
    "use_dora": ("dora", "lora"),
    "freeze_vision_tower": (("language",), ("language", "vision", "aligner")),
    "freeze_vision_modules": (("language",), ("language", "vision", "aligner")),
    "use_kl": (None, 0.0),
}


def translated(name: str, value: Any) -> tuple[str, Any, str] | None:
    """(key, value, note) of an older name; None where the name is no older one.

    Raises:
        UsageError: the name has no setting here, or the value cannot be taken over.
    """
    if name in ELSEWHERE:
        raise UsageError(f"there is no setting {name!r}", hint=ELSEWHERE[name])
    if name not in ALIASES:
        return None
    key = ALIASES[name]
    return key, _value(name, key, value), f"{name} is called {key} here"


def is_switch(name: str) -> bool:
    """Whether an older name is one that is on or off."""
    return name in _SWITCHES


def _value(name: str, key: str, value: Any) -> Any:
    if name in _SWITCHES and isinstance(value, bool):
        chosen = _SWITCHES[name][0 if value else 1]
        if chosen is None:
            raise UsageError(
                f"{name} = true does not say how strongly",
                expected=f"a value of {key}; 0 is off",
                hint=f"--set {key}=0.001",
            )
        return chosen
    if key == "rewards.weights" and isinstance(value, list):
        raise UsageError(
            f"{name} is a list, and weights go by name here",
            expected="a weight set, or a weight for each reward",
            hint='--set rewards.weights=\'{"format" = 0.2, "answer_match" = 0.8}\'',
        )
    return value
