"""Whoever of a run of several processes is killed, `--json` gives one document, and the exit code is right."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.training.warm import Command, children, until

SETTINGS = (
    "rollout.num_generations=2", "rollout.max_completion_length=6", "training.prompts_per_step=2",
    "training.per_device_train_batch_size=2", "training.save_steps=1", "training.max_steps=300", "stages.sft.enabled=false",
    "data.rows=6", "validation.before_and_after=false", "logging.report_to=[]", "launch.cpu=true", "launch.gpus=2",
)  # fmt: skip


def words(dataset, *more, output="run"):
    settings = (*SETTINGS, f"data.path={dataset}", *more)
    return ["train", "--output", output, "--json", *(word for text in settings for word in ("--set", text))]


def steps(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_text().count("\n") if log.is_file() else 0


def send(command: Command, who: str, number: int) -> None:
    """A signal to one of the processes, or to all of them as a scheduler sends it."""
    if who == "command":
        os.kill(command.pid, number)
        return
    watcher = command.watcher()
    processes = children(watcher)
    pids = {
        "watcher": [watcher],
        "first": processes[:1],
        "second": processes[1:],
        "all": [*processes, watcher, command.pid],
    }[who]
    for pid in pids:
        os.kill(pid, number)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


STOPPED = [
    ("command", signal.SIGTERM),
    ("watcher", signal.SIGTERM),
    ("all", signal.SIGINT),
    ("command", signal.SIGUSR1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("who", "number"), STOPPED, ids=lambda one: getattr(one, "name", one))
def test_a_run_that_is_asked_to_stop_says_so_once(who, number, warm, dataset, tmp_path):
    command = warm.start(tmp_path, words(dataset))
    until(lambda: steps(tmp_path / "run") >= 1, command)
    send(command, who, number)
    assert command.wait(60) == 128 + number, command.said
    (document,) = command.documents
    assert (document["status"], document["stopped_by"]) == ("stopped", number.name)
    assert json.loads((tmp_path / "run/training_info.json").read_text())["status"] == "stopped"


KILLED = {
    "command": (-9, "the command that started the processes was killed"),
    "watcher": (1, "the process that watches those of this machine was killed (SIGKILL)"),
    "first": (1, "process 0 was killed (SIGKILL)"),
    "second": (1, "process 1 was killed (SIGKILL)"),
    "all": (-9, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("who", KILLED)
def test_a_run_of_which_one_is_killed_says_so_once(who, warm, dataset, tmp_path):
    command = warm.start(tmp_path, words(dataset))
    until(lambda: steps(tmp_path / "run") >= 1, command)
    pids = [command.watcher(), *command.processes()]
    send(command, who, signal.SIGKILL)
    code, problem = KILLED[who]
    assert command.wait(60) == code, command.said
    deadline = time.monotonic() + 60
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [document["error"]["problem"] for document in command.documents] == ([problem] if problem else [])
    assert command.said.count("error: ") == (1 if problem else 0)
    assert "Traceback" not in command.said


LATE = """
import os, time
while os.environ.get("RANK", "-") == os.environ["LATE_RANK"] and os.path.exists("late"):
    time.sleep(.1)
def given(completions, **_):
    return [float(len(text) % 3) for text in completions]
"""
"""A reward whose file takes a process (of no number: the only one) as long as a file is there."""


BEFORE = [(1, "command", signal.SIGTERM), (2, "command", signal.SIGUSR1), (2, "all", signal.SIGINT)]


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "who", "number"), BEFORE, ids=lambda one: getattr(one, "name", one))
def test_a_run_that_is_asked_to_stop_before_training_began_says_so_once(
    gpus, who, number, warm, dataset, tmp_path
):
    (tmp_path / "late").touch()
    (tmp_path / "mine.py").write_text(LATE)
    mine = f'rewards.weights={{"{tmp_path / "mine.py"}:given" = 1.0}}'
    late = "-" if gpus == 1 else "1"
    command = warm.start(tmp_path, words(dataset, mine, f"launch.gpus={gpus}"), LATE_RANK=late)
    if gpus == 1:
        until(lambda: "checking settings" in command.said, command)
    else:
        until(lambda: children(command.pid) and len(command.processes()) == 2, command)
    time.sleep(1)
    send(command, who, number)
    assert command.wait(30) == 128 + number, command.said
    (document,) = command.documents
    assert document["error"]["problem"].startswith(("stopped", "asked to stop", "process"))
    assert len([line for line in command.said.splitlines() if line.startswith(("error: ", "stopped"))]) == 1
    assert "Traceback" not in command.said
    assert not (tmp_path / "run").exists()
