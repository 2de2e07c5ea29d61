"""A very small dataset and short runs on the demo-size model."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.training.watch.reporter import SilentReporter

REWARDS = Path(__file__).with_name("rewards.py")
TINY = (
    "rollout.num_generations=4",
    "rollout.max_completion_length=12",
    "training.prompts_per_step=2",
    "training.per_device_train_batch_size=8",
    "training.max_steps=7",
    "training.save_steps=2",
    "training.save_total_limit=10",
    "stages.sft.max_steps=3",
    "stages.sft.prompts_per_step=4",
    "stages.sft.per_device_train_batch_size=4",
    "data.rows=7",
    "validation.before_and_after=false",
    "logging.report_to=[]",
    f'rewards.weights={{"{REWARDS}:digits_and_letters" = 1.0}}',
)
"""Seven steps of two prompts over seven rows: an epoch is three steps, so the runs cross two borders."""


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """The folder of a small demo set."""
    from medgrpo.data.demo import DemoSize, write_demo_dataset

    folder = tmp_path_factory.mktemp("data") / "demo"
    write_demo_dataset(folder, size=DemoSize(train=40, validation=8, test=8))
    return folder


@pytest.fixture
def tiny_config(dataset):
    """A function: settings -> the configuration of a very short run, SFT then GRPO."""

    def build(*assignments: str):
        resolved, _ = resolve_run(assignments=(*TINY, f"data.path={dataset}", *assignments))
        return resolved.config

    return build


@pytest.fixture(scope="session")
def warm():
    """Starts commands whose libraries are there already."""
    from tests.training.warm import Warm

    made = Warm()
    yield made
    made.end()


def run(config, path, *, reporter=None, resume=False):
    """Train into the folder, or go on with the run that is there."""
    from medgrpo.training.run.resume import ResumePoint
    from medgrpo.training.run.train import train

    return train(
        config,
        name="test",
        reporter=reporter or SilentReporter(),
        output=path,
        logs=None,
        resume=ResumePoint(path) if resume else None,
    )


def two_processes(path, words, *, timeout_s):
    """Train with these settings in two processes on the CPU, as `torchrun` starts them."""
    script = Path(__file__).with_name("two_processes.py")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d"]
    return subprocess.run(
        [sys.executable, *launch, "--rdzv-endpoint=localhost:0", str(script), str(path), *words],
        check=False,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


class StopsAt(SilentReporter):
    """Asks the run to stop, as `kill` does, when a step of the stage was logged."""

    def __init__(self, stage: str, step: int) -> None:
        super().__init__()
        self.stage, self.at = stage, step

    def step(self, entry) -> None:
        if entry["stage"] == self.stage and entry["step"] == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def losses(run: Path, stage: str = "log.jsonl") -> list[tuple[int, float]]:
    """(step, loss) of each log line."""
    from medgrpo.records import json_objects

    return [(entry["step"], entry["loss"]) for entry in json_objects(run / stage)]


def prompt_order(run: Path) -> list[tuple[int, str]]:
    """(step, prompt) of the completions that count, each prompt of a step once, in order."""
    from medgrpo.runs.store import read_completions

    table = read_completions(run).select(["step", "prompt_id"]).to_pylist()
    return list(
        dict.fromkeys((row["step"], row["prompt_id"]) for row in sorted(table, key=lambda r: r["step"]))
    )
