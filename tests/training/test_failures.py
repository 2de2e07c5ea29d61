"""A process of several that fails: one says why, soon, and the others are ended."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medgrpo.cli.main import main
from medgrpo.config.presets import resolve_run
from medgrpo.errors import MedgrpoError
from medgrpo.runs.store import read_completions
from medgrpo.training.before.agreement import difference, facts_of
from medgrpo.training.before.failures import Failure, cause_of, write_down, written_down
from medgrpo.training.before.machines import Machines
from medgrpo.training.before.processes import CAUSE, Spec
from medgrpo.training.trainers.parts import failures_themselves

TRAINING = Path(__file__).parent


def failure(process, problem, *, at=0.0, of_others=False, code=1):
    return Failure(process, problem, None, None, code, at, of_others)


# ------------------------------------------------------------------------------------------ which is the cause


def test_the_first_of_its_own_is_the_cause_though_another_noticed_it_before():
    failures = [
        failure(0, "Connection closed by peer", of_others=True),
        failure(1, "out of GPU memory", at=1),
    ]
    error = cause_of(failures, {0: 1, 1: 1}, processes=2, timeout_s=60)
    assert str(error) == "process 1: out of GPU memory"


def test_what_all_say_is_said_without_a_number():
    failures = [failure(number, "no such reward", code=2) for number in range(2)]
    error = cause_of(failures, {0: 2, 1: 2}, processes=2, timeout_s=60)
    assert (error.problem, error.exit_code) == ("no such reward", 2)


def test_a_killed_process_is_named_and_not_those_that_lost_it():
    failures = [failure(0, "RuntimeError: Connection closed by peer", of_others=True)]
    error = cause_of(failures, {2: -9, 0: 1}, processes=3, timeout_s=60)
    assert error.problem == "process 2 was killed (SIGKILL)"
    assert "memory" in error.hint


def test_who_lost_the_others_is_no_bug():
    lost = failure(0, "RuntimeError: [gloo/pair.cc:561] Connection closed by peer", of_others=True)
    error = cause_of([lost], {0: 1}, processes=2, timeout_s=60)
    assert error.problem.startswith("process 0 lost the others (RuntimeError: [gloo")
    assert "logs of the others" in error.hint


@pytest.mark.parametrize(
    ("failures", "codes"),
    [
        ([failure(0, "Timed out waiting 60000ms for recv", of_others=True)], {0: 1}),  # gloo
        ([], {0: -6}),  # NCCL's watchdog
    ],
)
def test_who_did_not_come_is_named_after_a_timeout(failures, codes):
    error = cause_of(failures, codes, processes=2, timeout_s=60)
    assert error.problem == "process 1 stood still: process 0 waited 60 s"


@pytest.mark.parametrize(
    ("error", "is_of_others"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:3"), True),
        (RuntimeError("NCCL communicator was aborted on rank 0."), True),
        (RuntimeError("shape mismatch"), False),
        (MedgrpoError("the reward nccl_like gives NaN"), False),
    ],
)
def test_what_comes_of_another_process_is_told_apart(error, is_of_others, tmp_path):
    write_down(MedgrpoError(str(error)), tmp_path, 3, cause=error)
    (found,) = written_down(tmp_path)
    assert (found.process, found.is_of_others) == (3, is_of_others)


# ------------------------------------------------------------------------------------------ processes


def spec(tmp_path, code, **changes):
    facts = {
        "command": [sys.executable, "-c", code], "local": 2, "nodes": 1, "node": 0, "address": "127.0.0.1", "port": 1,
        "config": None, "timeout_s": 60, "start_timeout_s": 60, "folder": str(tmp_path),
    }  # fmt: skip
    return Spec(**{**facts, **changes})


def launched(made, tmp_path, **options):
    path = tmp_path / f"spec-{made.node}.json"
    made.write(path)
    return subprocess.Popen([sys.executable, "-m", "medgrpo.training.before.processes", str(path)], **options)


def cause(tmp_path):
    return json.loads((tmp_path / CAUSE).read_text())["problem"]


def test_all_that_end_well_end_well(tmp_path):
    code = (
        "import os, pathlib; pathlib.Path(os.environ['MEDGRPO_FAILURES'], 'of-' + os.environ['RANK']).touch()"
    )
    assert launched(spec(tmp_path, code), tmp_path).wait(30) == 0
    assert {path.name for path in tmp_path.glob("of-*")} == {"of-0", "of-1"}


def test_the_others_of_a_killed_process_end_within_seconds(tmp_path):
    code = "import os, signal, time; os.environ['RANK'] == '1' and os.kill(os.getpid(), 9); time.sleep(100)"
    began = time.monotonic()
    assert launched(spec(tmp_path, code), tmp_path).wait(60) == 1
    assert time.monotonic() - began < 30
    assert cause(tmp_path) == "process 1 was killed (SIGKILL)"


def test_the_processes_end_with_the_one_who_started_them(tmp_path):
    code = "import os, pathlib, time; pathlib.Path(os.environ['MEDGRPO_FAILURES'], 'pid-' + str(os.getpid())).touch(); time.sleep(100)"
    started = launched(spec(tmp_path, code), tmp_path)
    deadline = time.monotonic() + 30
    while len(found := list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    deadline = time.monotonic() + 10
    while any(_is_there(int(path.name[4:])) for path in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == 2
    assert not any(_is_there(int(path.name[4:])) for path in found)


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# ------------------------------------------------------------------------------------------ machines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("failing", ["0", "1"])
def test_a_machine_ends_when_another_fails_and_says_what_that_one_said(failing, tmp_path):
    code = f"import os, sys, time; time.sleep(2); os.environ['NODE_RANK'] == '{failing}' and sys.exit(3); time.sleep(100)"
    folders, port = [tmp_path / "0", tmp_path / "1"], free_port()
    made = []
    for node, folder in enumerate(folders):
        folder.mkdir()
        made.append(launched(spec(folder, code, nodes=2, node=node, port=port, local=1), folder))
    assert [one.wait(60) for one in made] == [1, 1]
    own, other = int(failing), 1 - int(failing)
    assert cause(folders[own]) == f"process {failing} ended with code 3"
    assert cause(folders[other]) == f"machine {failing}: process {failing} ended with code 3"


def test_a_machine_that_vanishes_is_noticed(tmp_path):
    folders, port = [tmp_path / "0", tmp_path / "1"], free_port()
    made = []
    for node, folder in enumerate(folders):
        folder.mkdir()
        made.append(launched(spec(folder, "import time; time.sleep(100)", nodes=2, node=node, port=port, local=1), folder))  # fmt: skip
    time.sleep(4)
    made[1].kill()
    assert made[0].wait(60) == 1
    made[1].wait()
    assert cause(folders[0]) == "machine 1 is gone"


def test_a_machine_whose_command_is_killed_says_so_to_the_others(tmp_path):
    # Its processes were asked to save as by SIGTERM, killed half a minute later, and the machine counted as done.
    folders, port = [tmp_path / "0", tmp_path / "1"], free_port()
    waits = "import signal, time; signal.signal(15, lambda *_: 0); [time.sleep(1) for _ in range(100)]"
    for folder in folders:
        folder.mkdir()
    first = launched(spec(folders[0], waits, nodes=2, node=0, port=port, local=1), folders[0])
    second = spec(folders[1], waits, nodes=2, node=1, port=port, local=1)
    second.write(folders[1] / "spec.json")
    code = (
        "import subprocess, sys; from medgrpo.training.before.processes import end_with_parent; "
        "subprocess.Popen(sys.argv[1:], preexec_fn=end_with_parent()).wait()"
    )
    started = ["-m", "medgrpo.training.before.processes", str(folders[1] / "spec.json")]
    command = subprocess.Popen([sys.executable, "-c", code, sys.executable, *started])
    time.sleep(4)
    command.kill()
    command.wait()
    began = time.monotonic()
    assert first.wait(60) == 1
    assert time.monotonic() - began < 25
    assert cause(folders[0]) == "machine 1: the command that started the processes was killed"


def test_a_machine_that_is_done_may_go(tmp_path):
    folders, port = [tmp_path / "0", tmp_path / "1"], free_port()
    code = "import os, time; time.sleep(3 if os.environ['NODE_RANK'] == '1' else 6)"
    made = []
    for node, folder in enumerate(folders):
        folder.mkdir()
        made.append(launched(spec(folder, code, nodes=2, node=node, port=port, local=1), folder))
    assert [one.wait(60) for one in made] == [0, 0]


def test_who_only_knocks_at_the_port_is_no_machine():
    port = free_port()
    with Machines(0, 2, "127.0.0.1", port) as machines:
        for words in (
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            b'{"machine": 7, "problem": "x"}\n',
            b'{"problem": "x"}\n[1]\n',
        ):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(words)
            for _ in range(4):
                assert machines.failed() is None
                time.sleep(0.01)


SAME = {"training.learning_rate": "1e-05", "version of medgrpo": "1", "launch.gpus": "1"}


@pytest.mark.parametrize(
    ("nodes", "facts", "said"),
    [
        ((0, 1), {"training.learning_rate": "0.001"}, "training.learning_rate is 1e-05 here and 0.001 on machine 1"),
        ((0, 1), {"version of medgrpo": "2", "launch.gpus": "2"}, "launch.gpus is 1 here and 2 on machine 1"),
        ((0, 1, 1), {}, "two machines were started with NODE_RANK=1"),
        ((0, 0), {}, "NODE_RANK=0 too"),
    ],
    ids=["a rate", "a version", "a number twice", "two that are the first"],
)  # fmt: skip
def test_machines_that_do_not_start_the_same_run_say_so_at_once(nodes, facts, said, tmp_path):
    port, made, began = free_port(), [], time.monotonic()
    for place, node in enumerate(nodes):
        (folder := tmp_path / str(place)).mkdir()
        stated = {**SAME, **(facts if place else {})}
        made.append(launched(spec(folder, "import time; time.sleep(100)", nodes=2, node=node, port=port, local=1, facts=stated), folder))  # fmt: skip
        time.sleep(0 if node else 1)  # the first listens before the others come
    if nodes == (0, 0):
        assert made[1].wait(30) == 1
        assert said in cause(tmp_path / "1")
        made[0].terminate()
        made[0].wait(60)
        return
    assert all(one.wait(60) == 1 for one in made)
    assert time.monotonic() - began < 40
    found = [cause(tmp_path / str(place)) for place in range(len(nodes))]
    assert said in found[0]
    assert found[1] == f"machine 0: {found[0]}"


def test_what_lies_elsewhere_is_the_same_run_and_another_rate_is_not():
    texts = ("data.path=/a/data", 'rewards.weights={"/a/b/mine.py:f" = 1.0}', "model.path=/a/model")
    mine = facts_of(resolve_run(assignments=texts)[0].config, "h")
    there = [text.replace("/a/", "/mnt/x/") for text in texts]
    assert difference(mine, facts_of(resolve_run(assignments=there)[0].config, "h"), "machine 1") is None
    other = facts_of(resolve_run(assignments=[*there, "training.beta=0.1"])[0].config, "g")
    assert "hash of the data is h here and g on machine 1; training.beta" in difference(
        mine, other, "machine 1"
    )


# ------------------------------------------------------------------------------------------ a real run


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_one_process_goes_on_with_it(warm, dataset, tmp_path):
    settings = (
        "rollout.num_generations=2", "rollout.max_completion_length=6", "training.prompts_per_step=2",
        "training.per_device_train_batch_size=2", "training.save_steps=1", "training.max_steps=4",
        "stages.sft.enabled=false", "data.rows=6", "validation.before_and_after=false", "logging.report_to=[]",
        f'rewards.weights={{"{TRAINING / "failing_rewards.py"}:fails" = 1.0}}', f"data.path={dataset}", "launch.cpu=true",
    )  # fmt: skip
    line = ["train", "--output", "run", "--resume", "auto", "--json"]
    line += [word for text in settings for word in ("--set", text)]

    def run(gpus, **more):
        command = warm.start(
            tmp_path,
            [*line, "--set", f"launch.gpus={gpus}"],
            FAIL_AFTER="run/checkpoints/checkpoint-2",
            **more,
        )
        return command.wait(240), command

    code, failed = run(2, FAIL="killed")
    assert code == 1
    error = failed.documents[0]["error"]
    assert error["problem"] == "process 1 was killed (SIGKILL)"
    assert "checkpoint-2 is whole: medgrpo train --resume run" in error["hint"]
    assert "Traceback" not in failed.said
    assert json.loads((tmp_path / "run/training_info.json").read_text())["status"] == "failed"
    code, done = run(1)
    assert code == 0, done.said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    asked = {(row["step"], row["prompt_id"]) for row in read_completions(tmp_path / "run").to_pylist()}
    assert len({prompt for step, prompt in asked if step <= 3}) == 6  # every row of the epoch, each once


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_what_torch_gathered_from_the_processes_is_raised_as_itself(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught, failures_themselves():  # noqa: PT012
        import torch.distributed.checkpoint as parts

        parts.save({"value": torch.zeros(2)}, checkpoint_id=tmp_path / "file" / "folder", no_dist=True)
    assert type(caught.value.__cause__).__name__ == "CheckpointException"


def test_an_error_that_is_no_exception_is_written_down_too(tmp_path, monkeypatch, capsys):
    class OfTorch(BaseException):
        pass

    def fails(*_, **__):
        raise OfTorch("PytorchStreamWriter: file write failed")

    monkeypatch.setattr("medgrpo.cli.main.app", fails)
    with pytest.raises(SystemExit) as ended:
        main(["train"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: the disk is full")
    monkeypatch.setenv("MEDGRPO_FAILURES", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["train"])
    assert [one.problem[:16] for one in written_down(tmp_path)] == ["the disk is full"]
