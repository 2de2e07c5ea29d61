"""What a run is given that nobody chose: the engine and the prompts of a step, by what this machine has.

Only where neither the command line nor a file says, and said each time: the run's `config.toml` holds what was taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

from medgrpo.config.sections import RunConfig
from medgrpo.estimate.advice import Change, applied, with_settings
from medgrpo.estimate.facts import Facts, situation_of
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import hours
from medgrpo.estimate.workload import Workload
from medgrpo.install import how_to_install

ROOM = 0.9
"""Share of the card that a choice made here may fill: a tenth is left."""
MORE_PROMPTS = 16
LEAST_STEPS = 50
"""Steps that an epoch must keep."""
DEFAULT_SHARE = 0.3
LEAST_GAIN = 0.95
"""Of the hours, for which a server of one's own is worth starting."""
NOT_TAKEN = "--vllm auto: rollout.engine stays as it is: {}"


def for_this_machine(
    config: RunConfig, origins: Mapping[str, str], facts: Facts, *, asks_vllm: bool = False
) -> tuple[RunConfig, list[str]]:
    """The configuration with engine and prompts per step as this machine allows, and what was taken and why.

    Args:
        origins: the layer of each value that one gave.
        asks_vllm: whether `--vllm auto` was typed: whatever the preset says, and if not why not.
    Raises:
        UsageError: as `situation_of`.
    """
    work = situation_of(config, facts).work
    if work.gpu.is_cpu or not work.gpu.is_known or not work.method.samples_texts:
        why = (
            "this method samples no texts"
            if not work.method.samples_texts
            else "no GPU that the estimate knows"
        )
        return config, [NOT_TAKEN.format(why)] if asks_vllm else []
    notes = []
    if asks_vllm or (_is_free(origins, "rollout.engine") and not work.uses_vllm):
        changed, note = _with_vllm(config, facts, work)
        config = changed or config
        if changed is not None or asks_vllm:
            notes.append(note)
    if asks_vllm and (beside := _server_beside(config, facts)) is not None:
        notes.append(beside)
    if _is_free(origins, "training.prompts_per_step"):
        found = _with_more_prompts(config, facts)
        if found is not None:
            config, note = found
            notes.append(note)
    return config, notes


def _is_free(origins: Mapping[str, str], key: str) -> bool:
    """Whether nobody but a preset said it."""
    return origins.get(key, "default").startswith(("default", "preset balanced"))


def _with_vllm(config: RunConfig, facts: Facts, work: Workload) -> tuple[RunConfig | None, str]:
    """vLLM on the training GPUs, where it is installed, known to work there, fits, and is faster; else None and why."""
    if (why := _unknown_to_work(config, work)) is not None:
        return None, NOT_TAKEN.format(why)
    if find_spec("vllm") is None:
        return None, NOT_TAKEN.format(f"it is not installed ({how_to_install('vllm')})")
    work = replace(work, config=with_settings(config, {"rollout.engine": "transformers"}))
    needed = Memory(applied(config, facts, Change("", "", {"rollout.engine": "vllm"})) or work).least_share
    values: dict[str, object] = {
        "rollout.engine": "vllm",
        "vllm.mode": "colocate",
        "vllm.gpu_memory_utilization": max(DEFAULT_SHARE, needed),
    }
    changed = applied(config, facts, Change("", "", values))
    if changed is None:
        return None, NOT_TAKEN.format("its settings do not go with the others")
    fit = f"{Memory(changed).peak / GIB:.0f} of {work.gpu.memory_gib:.0f} GiB"
    if not _has_room(changed):
        return None, NOT_TAKEN.format(f"it does not fit with room to spare ({fit})")
    times = sum(hours(work)) / sum(hours(changed))
    if times <= 1:
        return None, NOT_TAKEN.format(f"{times:.1f} times as fast as Transformers here by estimate")
    return with_settings(config, values), (
        f"rollout.engine = vllm: it is installed, fits ({fit}) and is "
        f"{times:.1f} times as fast here by estimate; --set rollout.engine=transformers takes the other"
    )


def _unknown_to_work(config: RunConfig, work: Workload) -> str | None:
    """What vLLM beside the policy was never run with; None: it is known to work."""
    was_run = {
        "NVIDIA cards with bfloat16": work.gpu.maker == "nvidia" and work.gpu.has_bf16,
        "tuning.method lora and full": config.tuning.method in {"lora", "full"},
        "whole weights on each GPU": not (config.launch.deepspeed or config.launch.fsdp or config.launch.cpu),
        "one machine": config.launch.nodes == 1,
        "weights in bfloat16": config.model.dtype in {"auto", "bfloat16"},
        "models without experts": not work.shape.experts,
    }
    return next((f"it was only run with {name}" for name, is_so in was_run.items() if not is_so), None)


def _server_beside(config: RunConfig, facts: Facts) -> str | None:
    """What to type where a vLLM server on the last GPU, beside training on the others, is faster by estimate."""
    gpus = facts.gpus
    if gpus < 2 or config.launch.nodes > 1 or find_spec("vllm") is None:
        return None
    here = situation_of(config, facts).work
    values = server_beside(config, gpus)
    apart = applied(config, replace(facts, gpus=gpus - 1), Change("", "", values))
    if apart is None or not _has_room(apart) or sum(hours(apart)) > LEAST_GAIN * sum(hours(here)):
        return None
    times = sum(hours(here)) / sum(hours(apart))
    return (
        f"by estimate {times:.1f} times as fast: a vLLM server on GPU {gpus - 1}, and --vllm server --gpus {gpus - 1} "
        f"--set training.prompts_per_step={values['training.prompts_per_step']} "
        "--set vllm.server_base_url=http://localhost:8000 (how to start it: docs/many_gpus.md)"
    )


def server_beside(config: RunConfig, gpus: int) -> dict[str, object]:
    """The settings of training on all GPUs but one, which a vLLM server has: of the prompts of a step as many as can be
    shared out."""
    prompts = config.training.prompts_per_step
    return {
        "rollout.engine": "vllm",
        "vllm.mode": "server",
        "launch.gpus": gpus - 1,
        "training.prompts_per_step": max(gpus - 1, prompts - prompts % (gpus - 1)),
    }


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
