"""What a run is given that nobody chose: the engine and the prompts of a step, by what this machine has.

Only where neither the command line nor a file says, and said each time: the run's `config.toml` holds what was taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from medgrpo.config.sections import RunConfig
from medgrpo.estimate.advice import Change, applied, with_settings
from medgrpo.estimate.facts import Facts, situation_of
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import hours
from medgrpo.estimate.workload import Workload

ROOM = 0.9
"""Share of the card that a choice made here may fill: a tenth is left."""
MORE_PROMPTS = 16
LEAST_STEPS = 50
"""Steps that an epoch must keep."""
DEFAULT_SHARE = 0.3


def for_this_machine(
    config: RunConfig, origins: Mapping[str, str], facts: Facts
) -> tuple[RunConfig, list[str]]:
    """The configuration with engine and prompts per step as this machine allows, and what was taken and why.

    Args:
        origins: the layer of each value that one gave.
    Raises:
        UsageError: as `situation_of`.
    """
    work = situation_of(config, facts).work
    if work.gpu.is_cpu or not work.gpu.is_known or not work.method.samples_texts:
        return config, []
    notes = []
    if _is_free(origins, "rollout.engine") and not work.uses_vllm:
        found = _with_vllm(config, facts, work)
        if found is not None:
            config, note = found
            notes.append(note)
    if _is_free(origins, "training.prompts_per_step"):
        found = _with_more_prompts(config, facts)
        if found is not None:
            config, note = found
            notes.append(note)
    return config, notes


def _is_free(origins: Mapping[str, str], key: str) -> bool:
    """Whether nobody but a preset said it."""
    return origins.get(key, "default").startswith(("default", "preset balanced"))


def _with_vllm(config: RunConfig, facts: Facts, work: Workload) -> tuple[RunConfig, str] | None:
    """vLLM on the training GPUs, where it is installed, known to work there, fits, and is faster."""
    is_known_to_work = (
        work.gpu.maker == "nvidia"
        and work.gpu.has_bf16
        and config.tuning.method in {"lora", "full"}
        and not (config.launch.deepspeed or config.launch.fsdp or config.launch.cpu)
        and config.launch.nodes == 1
        and config.model.dtype in {"auto", "bfloat16"}
        and not work.shape.experts
    )
    if not is_known_to_work or find_spec("vllm") is None:
        return None
    needed = Memory(applied(config, facts, Change("", "", {"rollout.engine": "vllm"})) or work).least_share
    values: dict[str, object] = {
        "rollout.engine": "vllm",
        "vllm.mode": "colocate",
        "vllm.gpu_memory_utilization": max(DEFAULT_SHARE, needed),
    }
    changed = applied(config, facts, Change("", "", values))
    if changed is None or not _has_room(changed) or sum(hours(changed)) >= sum(hours(work)):
        return None
    times = sum(hours(work)) / sum(hours(changed))
    return with_settings(config, values), (
        f"rollout.engine = vllm: it is installed, fits ({Memory(changed).peak / GIB:.0f} of {work.gpu.memory_gib:.0f} GiB) and is "
        f"{times:.1f} times as fast here by estimate; --set rollout.engine=transformers takes the other"
    )


def _with_more_prompts(config: RunConfig, facts: Facts) -> tuple[RunConfig, str] | None:
    """Twice the prompts a step, where memory and the number of rows allow it."""
    before = situation_of(config, facts).work
    prompts = config.training.prompts_per_step
    if prompts >= MORE_PROMPTS or before.plan.rows < MORE_PROMPTS * LEAST_STEPS or config.training.max_steps:
        return None
    if config.training.per_device_train_batch_size or config.training.gradient_accumulation_steps:
        return None
    values: dict[str, object] = {"training.prompts_per_step": MORE_PROMPTS}
    changed = applied(config, facts, Change("", "", values))
    if changed is None or not _has_room(changed):
        return None
    return with_settings(config, values), (
        f"training.prompts_per_step = {MORE_PROMPTS}: memory allows it ({Memory(changed).peak / GIB:.0f} of {before.gpu.memory_gib:.0f} GiB), "
        f"sampling waits once for twice the prompts, and the gradient is the mean of more groups; "
        f"--set training.prompts_per_step={prompts} takes the preset's"
    )


def _has_room(work: Workload) -> bool:
    memory = Memory(work)
    return memory.fits and memory.peak <= ROOM * memory.total
