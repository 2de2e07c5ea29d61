"""Several GPUs or machines: the same command again under `accelerate launch`, with a generated configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from medgrpo.config.sections import LaunchConfig
from medgrpo.errors import UsageError, choice_error

CHILD = "MEDGRPO_LAUNCHED"
"""Set in the processes that accelerate starts."""
PORT = 29_500


def is_child() -> bool:
    """Whether this process was started by a launcher (ours, torchrun or accelerate)."""
    return CHILD in os.environ or "LOCAL_RANK" in os.environ


def rank() -> int:
    """Number of this process over all machines; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def needs_launch(launch: LaunchConfig) -> bool:
    """Whether the run needs more than this process."""
    several = (launch.gpus or 1) > 1 or launch.nodes > 1 or launch.deepspeed is not None
    return several and not is_child()


def use_one_gpu(environment: dict[str, str]) -> None:
    """Show this process one GPU: Transformers would split the batch over all it sees, which TRL refuses."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    environment["CUDA_VISIBLE_DEVICES"] = "0" if visible is None else visible.split(",")[0]


def deepspeed_file(name: str) -> Path:
    """The DeepSpeed configuration of a name (zero2, zero3) or path.

    Raises:
        UsageError: there is none.
    """
    folder = Path(str(files("medgrpo"))) / "presets" / "deepspeed"
    shipped = {path.stem: path for path in folder.glob("*.json")}
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == ".json":
        raise UsageError(f"no DeepSpeed configuration at {path}")
    raise choice_error("DeepSpeed configuration", name, shipped)


def accelerate_config(launch: LaunchConfig, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `accelerate launch --config_file` reads.

    With several machines the address of the first is taken from MASTER_ADDR (and MASTER_PORT), this
    machine's number from NODE_RANK or SLURM_NODEID.

    Raises:
        UsageError: several machines without an address.
    """
    gpus = launch.gpus or 1
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED"
        if launch.deepspeed
        else ("MULTI_GPU" if gpus * launch.nodes > 1 else "NO"),
        "num_machines": launch.nodes,
        "num_processes": gpus * launch.nodes,
        "machine_rank": int(environment.get("NODE_RANK", environment.get("SLURM_NODEID", "0"))),
        "main_process_port": int(environment.get("MASTER_PORT", PORT)),
        "use_cpu": False,
    }
    if launch.nodes > 1:
        if "MASTER_ADDR" not in environment:
            raise UsageError(
                "--nodes needs the address of the first machine",
                hint="MASTER_ADDR=host NODE_RANK=0 medgrpo train --nodes 2 …, the same on each with its NODE_RANK",
            )
        config["main_process_ip"] = environment["MASTER_ADDR"]
    if launch.deepspeed:
        config["deepspeed_config"] = {
            "deepspeed_config_file": str(deepspeed_file(launch.deepspeed)),
            "zero3_init_flag": False,
        }
    else:
        config["mixed_precision"] = (
            "no"  # the trainer's own arguments decide; beside a DeepSpeed file it is refused
        )
    return config


def relaunch(arguments: Sequence[str], launch: LaunchConfig) -> int:
    """Run `medgrpo ARGUMENTS` in every process; the exit code of the launcher."""
    import json

    config = accelerate_config(launch, os.environ)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accelerate.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(path)]
        command += ["-m", "medgrpo.cli.main", *arguments]
        process = subprocess.Popen(command, env={**os.environ, CHILD: "1"})
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the children got it too: they save and end
                continue


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """The command line without an option and its value."""
    words = iter(arguments)
    kept = []
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(option + "="):
            kept.append(word)
    return kept
