"""What a plan should be told before it costs hours: settings that work and mislead on the card that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from medgrpo.config.checks import check
from medgrpo.errors import MedgrpoError
from medgrpo.estimate.advice import with_settings
from medgrpo.estimate.disk import room_warning
from medgrpo.estimate.drivers import host_memory_gib
from medgrpo.estimate.memory import Memory
from medgrpo.estimate.workload import Workload
from medgrpo.models.families import image_family


def plan_warnings(
    work: Workload,
    *,
    uncapped_tokens: int = 0,
    is_here: bool = False,
    folder: Path | None = None,
    is_counted: bool = False,
) -> list[str]:
    """Warnings of a workload, in the order of what they cost.

    Args:
        uncapped_tokens: of a picture without `model.max_pixels`; 0: not known.
        is_here: whether the run would be on this machine, so that its memory counts.
        folder: of the run, on whose disk there must be room.
        is_counted: whether the rows that are too long were counted one by one (`room`).
    """
    found = []
    work = work.at_largest
    memory = Memory(work)
    if work.is_colocated and not memory.share_is_enough:
        found.append(f"{memory.verdict()}: {_makes_vllm_fit(work, memory.least_share)}")
    if not work.gpu.is_cpu and not work.gpu.has_bf16 and work.config.model.dtype == "bfloat16":
        found.append(
            f"{work.gpu.name} computes bfloat16 by emulation, many times slower: --set model.dtype=float16 (or float32)"
        )
    is_wide = work.config.model.dtype == "auto" and not work.shape.widths  # a U-Net is in float32 everywhere
    if not work.gpu.is_cpu and not work.gpu.has_bf16 and is_wide:
        found.append(
            f"{work.gpu.name} has no bfloat16, so this run computes in float32: --set model.dtype=float16 takes half the memory"
        )
    family = image_family(work.shape.family) if work.image_tokens else None
    if family and family.layout == "tiles" and work.image_tokens == family.tile_tokens < uncapped_tokens:
        found.append(
            f"{work.shape.name} sees one tile of {family.tile_px} px of each picture at model.max_pixels = "
            f"{work.config.model.max_pixels}: --set model.max_pixels={4 * family.tile_px**2} gives it four and an overview"
        )
    if (
        not is_counted
        and work.image_tokens
        and work.prompt_tokens + work.longest_learned > work.config.model.context_length
    ):
        found.append(
            f"prompt and completion are {work.prompt_tokens + work.longest_learned:.0f} tokens, and rows above model.context_length = "
            f"{work.config.model.context_length} are dropped"
        )
    host = host_memory_gib()
    if is_here and host and memory.host_gib > host:
        found.append(
            f"loading takes about {memory.host_gib:.0f} GiB of this machine's memory, which has {host:.0f}"
        )
    if folder is not None and (short := room_warning(work, folder)) is not None:
        found.append(short)
    return found


def _makes_vllm_fit(work: Workload, least: float) -> str:
    """The setting with which the run fits: a larger share, sleep mode beside it, Transformers; or that none is enough."""
    share, asleep = "vllm.gpu_memory_utilization", "vllm.enable_sleep_mode"
    tries: list[dict[str, object]] = [{share: least}, {share: least, asleep: True}] if least <= 0.95 else []
    tries.append({"rollout.engine": "transformers"})
    for settings in tries:
        try:
            config = with_settings(work.config, settings)
            check(config, world_size=work.gpus)
        except (MedgrpoError, ValidationError):
            continue
        if Memory(replace(work, config=config)).fits:
            return " ".join(f"--set {key}={str(value).lower()}" for key, value in settings.items())
    return "no share is enough beside the training (estimate-time lists what makes it fit)"
