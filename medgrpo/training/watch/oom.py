"""Out of memory and full disks: what to change, and what each change saves, instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medgrpo.config.plan import StagePlan
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.system import is_full_disk


@contextmanager
def memory_and_disk_in_words(config: RunConfig) -> Iterator[None]:
    """Turn an out-of-memory error of torch, or a full disk, into a MedgrpoError with what to change."""
    try:
        yield
    except (MedgrpoError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # some of torch's are no Exception
        if is_full_disk(error):
            raise MedgrpoError(
                f"the disk is full: {getattr(error, 'filename', None) or 'writing the run folder'}",
                hint="make room, then --resume goes on from the last complete checkpoint",
            ) from error
        if is_out_of_memory(error):
            raise MedgrpoError(
                f"out of GPU memory: {str(error).splitlines()[0]}",
                expected="a step that fits",
                hint="in this order: " + "; ".join(memory_advice(config)),
            ) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, or what it calls, found no memory on the device."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()


def memory_advice(config: RunConfig) -> list[str]:
    """The estimate's changes for a run that does not fit, safest first, each with what it is predicted to save."""
    from medgrpo.estimate.estimate import Facts, estimate
    from medgrpo.models.weights import find_weights

    model = None if config.model.path is None else find_weights(config.model.path).base
    data = None if config.data.path is None else Path(config.data.path)
    try:
        facts = Facts(model=model, data=data, gpus=(config.launch.gpus or 1) * config.launch.nodes)
        found = estimate(config, facts).advice(is_short=True)
    except UsageError:  # a model or data that the estimate does not know
        found = []
    if not found:
        return [
            "--set training.per_device_train_batch_size=1, --set model.max_pixels=N, a shorter "
            "rollout.max_completion_length"
        ]
    return [
        f"{advice.change} (saves about {advice.saves_gib:.1f} GiB; costs {advice.costs})" for advice in found
    ]


def smaller_batch(plan: StagePlan) -> int | None:
    """Half the batch per device, rounded down to a divisor of the step's share; None where it is 1 already.

    The result is the same: the step is taken in more passes.
    """
    now = plan.per_device_train_batch_size
    share = now * plan.gradient_accumulation_steps
    return next((size for size in range(now // 2, 0, -1) if share % size == 0), None)
