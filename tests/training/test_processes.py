"""Two processes on the CPU: one log, a file for the other's words, and both save and end when asked."""

import json
import os
import signal
import subprocess
import sys

import pytest

from medgrpo.training.before.launch import without_option
from tests.training.warm import until

SMALL = (
    "rollout.num_generations=2",
    "rollout.max_completion_length=6",
    "training.prompts_per_step=2",
    "training.per_device_train_batch_size=2",
    "training.save_steps=100",
    "stages.sft.enabled=false",
    "data.rows=6",
    "validation.rows=2",
    "logging.report_to=[]",
    "launch.gpus=2",
    "launch.cpu=true",
)


def test_an_option_and_its_value_are_taken_out():
    words = ["train", "--resume", "auto", "--json", "--resume=auto", "--set", "a=1"]
    assert without_option(words, "--resume") == ["train", "--json", "--set", "a=1"]


@pytest.mark.slow
def test_two_processes_save_and_end_when_asked_and_go_on(warm, dataset, tmp_path):
    settings = [word for text in (*SMALL, f"data.path={dataset}") for word in ("--set", text)]
    line = ["train", "--output", "run", "--resume", "auto", "--json"]
    run, log = tmp_path / "run", tmp_path / "run" / "log.jsonl"
    command = warm.start(tmp_path, [*line, *settings, "--set", "training.max_steps=200"])
    until(lambda: log.is_file() and log.read_text().count("\n") >= 2, command)
    os.kill(command.pid, signal.SIGINT)
    assert command.wait(200) == 130, command.said
    info = json.loads((run / "training_info.json").read_text())
    assert info["status"] == "stopped"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"checkpoint-{steps[-1]}"]
    assert (run / "logs" / "rank-1.log").is_file()

    last = steps[-1] + 1
    done = warm.start(tmp_path, [*line, "--set", f"training.max_steps={last}"])
    assert done.wait(200) == 0, done.said
    assert done.documents[0]["steps"] == last
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, last + 1))


@pytest.mark.slow
def test_two_runs_that_are_not_named_get_folders_of_their_own_and_both_finish(dataset, tmp_path):
    texts = [text for text in SMALL if not text.startswith("launch")]
    settings = [
        word for text in (*texts, "training.max_steps=1", f"data.path={dataset}") for word in ("--set", text)
    ]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "medgrpo.cli.main", "train", "--json", "--quiet", *settings],
            cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    runs = [json.loads(out)["run"] for out, _ in said]
    assert len(set(runs)) == 2
    for run in runs:
        assert json.loads((tmp_path / run / "training_info.json").read_text())["finished"]
    copies = [json.loads(file.read_text())["finished"] for file in (tmp_path / "logs").glob("*.json")]
    assert copies == [True, True]
