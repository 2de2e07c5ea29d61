"""Whether a run's settings spread the model's weights over its GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json

if TYPE_CHECKING:
    from medgrpo.config.sections import LaunchConfig


def shares_weights(launch: LaunchConfig, processes: int) -> bool:
    """Whether each process holds a share of the weights and gathers the others layer by layer (ZeRO-3, FSDP)."""
    return processes > 1 and (launch.fsdp or zero_stage(launch.deepspeed) == 3)


def zero_stage(deepspeed: str | None) -> int:
    """ZeRO's stage by `launch.deepspeed`: a shipped name, or what a configuration file says; 0 without one."""
    if deepspeed is None:
        return 0
    if deepspeed in {"zero2", "zero3"}:
        return int(deepspeed[-1])
    try:
        settings = read_json(Path(deepspeed))
        return int((settings.get("zero_optimization") or {}).get("stage") or 0)
    except (OSError, ValueError, MedgrpoError):
        return 3 if "zero3" in deepspeed else 2
