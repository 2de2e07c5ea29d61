"""Out of memory: the ordered list of changes, instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError


@contextmanager
def explained(config: RunConfig) -> Iterator[None]:
    """Turn an out-of-memory error of torch, or a full disk, into a MedgrpoError with what to change."""
    import errno

    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise MedgrpoError(
            f"the disk is full: {error.filename or 'writing the run folder'}",
            hint="make room, then --resume auto goes on from the last complete checkpoint",
        ) from error
    except RuntimeError as error:
        import torch

        if not isinstance(error, torch.cuda.OutOfMemoryError) and "out of memory" not in str(error).lower():
            raise
        advice = "; ".join(memory_advice(config))
        raise MedgrpoError(
            f"out of GPU memory: {str(error).splitlines()[0]}",
            expected="a step that fits",
            hint=f"in this order: {advice}",
        ) from error


def memory_advice(config: RunConfig) -> list[str]:
    """Changes that save memory, those that change nothing about what is learned first."""
    training, rollout = config.training, config.rollout
    advice = []
    per_device = training.per_device_train_batch_size
    if per_device is None or per_device > 1:
        smaller = max(1, (per_device or 8) // 2)
        advice.append(
            f"--set training.per_device_train_batch_size={smaller} (same result, activations halved)"
        )
    if training.gradient_checkpointing is False:
        advice.append("--set training.gradient_checkpointing=true (same result, about a third slower)")
    if rollout.engine == "vllm" and not config.vllm.enable_sleep_mode:
        advice.append("--set vllm.enable_sleep_mode=true (frees the sampler's memory during the update)")
    if config.tuning.method == "full":
        advice.append("--set tuning.method=lora (no optimiser state for the base model)")
    if training.beta > 0 and config.tuning.method == "full":
        advice.append("--set training.beta=0 (no reference model)")
    if config.model.max_pixels > 200_704:
        advice.append(f"--set model.max_pixels={config.model.max_pixels // 2} (half the image tokens)")
    if rollout.max_completion_length > 128:
        advice.append(f"--set rollout.max_completion_length={rollout.max_completion_length // 2}")
    if config.tuning.method == "lora":
        advice.append("--set tuning.method=qlora (4-bit base)")
    if config.launch.deepspeed is None:
        advice.append("--deepspeed zero3 on several GPUs (weights shared out)")
    return advice
