"""What GPUs can do: memory, memory bandwidth and dense bf16 rate, from their makers' data sheets."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from medgrpo.errors import choice_error


@dataclass(frozen=True)
class Gpu:
    """One accelerator.

    Attributes:
        memory_gib: memory, in GiB.
        bandwidth_gb_s: memory bandwidth, in GB/s.
        bf16_tflops: dense bf16 (fp16 where there is no bf16) matrix rate, in TFLOP/s.
    """

    name: str
    memory_gib: float
    bandwidth_gb_s: float
    bf16_tflops: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", 15, 320, 65),
        Gpu("RTX3060", 12, 360, 51),
        Gpu("RTX3090", 24, 936, 71),
        Gpu("RTX4060Ti", 16, 288, 88),
        Gpu("RTX4090", 24, 1008, 165),
        Gpu("RTX5090", 32, 1792, 210),
        Gpu("A10", 24, 600, 125),
        Gpu("L4", 23, 300, 121),
        Gpu("L40S", 45, 864, 362),
        Gpu("A6000", 48, 768, 155),
        Gpu("V100", 32, 900, 112),
        Gpu("A100-40GB", 40, 1555, 312),
        Gpu("A100", 80, 2039, 312),
        Gpu("A800", 80, 2039, 312),
        Gpu("H20", 96, 4000, 148),
        Gpu("H100", 80, 3350, 989),
        Gpu("H800", 80, 3350, 989),
        Gpu("H200", 141, 4800, 989),
        Gpu("B200", 180, 8000, 2250),
    )
}
REFERENCE = "A100"


def find_gpu(name: str) -> tuple[Gpu, str]:
    """The GPU of this name, or for `auto` the one of this machine, else the reference; and how it was found.

    Raises:
        UsageError: no such name.
    """
    if name != "auto":
        by_lower = {known.lower(): known for known in GPUS}
        if name.lower().replace(" ", "") not in by_lower:
            raise choice_error("GPU", name, GPUS)
        return GPUS[by_lower[name.lower().replace(" ", "")]], "named"
    for installed in installed_gpus():
        squeezed = installed.lower().replace(" ", "")
        matches = [gpu for known, gpu in GPUS.items() if known.lower() in squeezed]
        if matches:
            return max(matches, key=lambda gpu: len(gpu.name)), f"found here: {installed}"
    return GPUS[
        REFERENCE
    ], f"no known GPU here; {REFERENCE} taken as the reference (--gpu NAME names another)"


def installed_gpus() -> list[str]:
    """Names of the NVIDIA GPUs of this machine, as their driver gives them; empty where there are none."""
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env={**os.environ, "LC_ALL": "C"},
    )
    return (
        [line.strip() for line in answer.stdout.splitlines() if line.strip()]
        if answer.returncode == 0
        else []
    )
