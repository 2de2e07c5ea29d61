"""Two commands over loopback, as on two machines: whatever one is told or loses, both end soon, and the run goes on."""

import json
import os
import signal
import time

import pytest

from tests.training.test_failures import free_port
from tests.training.test_killed import LATE, SETTINGS, steps
from tests.training.warm import children, until

ALONE = ("launch.nodes=1", "launch.gpus=1")


def words(dataset, *more):
    settings = (*SETTINGS[:-1], "launch.gpus=1", "launch.nodes=2", f"data.path={dataset}", *more)
    options = ["--output", "run", "--resume", "auto", "--json"]
    return ["train", *options, *(word for text in settings for word in ("--set", text))]


@pytest.fixture
def both(warm, dataset, tmp_path):
    """Starts both commands; with `late` a file keeps the second one's process from the meeting as long as it is there."""

    def start(*more, late=False):
        (tmp_path / "mine.py").write_text(LATE)
        if late:
            (tmp_path / "late").touch()
        mine = f'rewards.weights={{"{tmp_path / "mine.py"}:given" = 1.0}}'
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "LATE_RANK": "1"}
        line = words(dataset, mine, *more)
        return [
            warm.start(tmp_path, line, name=f"machine-{node}", NODE_RANK=str(node), **place)
            for node in (0, 1)
        ]

    return start


def goes_on(warm, dataset, folder, last):
    """The run by one process to its end."""
    mine = f'rewards.weights={{"{folder / "mine.py"}:given" = 1.0}}'
    line = words(dataset, mine, f"training.max_steps={last}", *ALONE)
    done = warm.start(folder, line, name="after", LATE_RANK="1")
    assert done.wait(120) == 0, done.said
    assert done.documents[0]["status"] == "finished"
    log = [json.loads(entry)["step"] for entry in (folder / "run/log.jsonl").read_text().splitlines()]
    assert log == list(range(1, last + 1))


def errors(command):
    return [line for line in command.said.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "node", "number"),
    [
        ("meeting", 1, signal.SIGUSR2),
        ("step", 0, signal.SIGUSR2),
        ("step", 1, signal.SIGINT),
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_a_signal_to_one_machine_ends_both(moment, node, number, both, warm, dataset, tmp_path):
    commands = both(late=moment == "meeting")
    if moment == "meeting":
        for one in commands:
            until(lambda one=one: children(one.pid) and one.processes(), one)
        time.sleep(2)
    elif moment == "loading":
        until(lambda: "final_model/ will hold" in commands[0].said, commands[0])
    else:
        until(lambda: steps(tmp_path / "run") >= 1, commands[0])
    os.kill(commands[node].pid, number)
    assert [one.wait(60) for one in commands] == [128 + number] * 2, [one.said for one in commands]
    for command in commands:
        (document,) = command.documents
        if moment == "meeting":
            assert "asked to stop" in document["error"]["problem"]
            assert len(errors(command)) == 1
        else:
            assert document["status"] == "stopped"
            assert not errors(command)
        assert "Traceback" not in command.said
    (tmp_path / "late").unlink(missing_ok=True)
    if moment != "meeting":
        goes_on(warm, dataset, tmp_path, steps(tmp_path / "run") + 1)


@pytest.mark.slow
def test_a_process_killed_on_the_second_machine_ends_both(both, warm, dataset, tmp_path):
    commands = both()
    until((tmp_path / "run/checkpoints/checkpoint-1").exists, commands[0])
    os.kill(commands[1].processes()[0], signal.SIGKILL)
    assert [one.wait(60) for one in commands] == [1, 1]
    problems = [command.documents[0]["error"]["problem"] for command in commands]
    assert problems == ["machine 1: process 1 was killed (SIGKILL)", "process 1 was killed (SIGKILL)"]
    assert [len(errors(command)) for command in commands] == [1, 1]
    assert [len(command.documents) for command in commands] == [1, 1]
    assert json.loads((tmp_path / "run/training_info.json").read_text())["status"] == "failed"
    goes_on(warm, dataset, tmp_path, steps(tmp_path / "run") + 1)
