"""What a run depended on: versions, machine, data; written once as `environment.json`."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.files import write_json

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.data.prepared import PreparedDataset

PACKAGES = (
    "medgrpo",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pillow",
    "vllm",
    "deepspeed",
)


def describe_environment(seed: int) -> dict[str, Any]:
    """Versions, machine and seed; torch must be installed, a GPU need not be there."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "schema_version": 1,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "code_version": _git_commit(),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "cpu_threads": torch.get_num_threads(),
        "seed": seed,
    }


def record_environment(path: Path, config: RunConfig, dataset: PreparedDataset) -> None:
    """Write `environment.json` into the run folder."""
    data = {
        "data": dataset.location,
        "data_hash": dataset.info.get("hash"),
        "pixels_hash": dataset.info.get("pixels_hash"),
        "data_parts": dataset.info.get("parts"),
    }
    write_json(path / "environment.json", {**describe_environment(config.run.seed), **data})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed wheel."""
    folder = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
