"""A process of several that stands still: which, and where; who is waited for at the start; nothing is left behind."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medgrpo.files import write_json
from medgrpo.locks import held
from medgrpo.training.before.failures import cause_of
from medgrpo.training.before.machines import Machines
from medgrpo.training.before.processes import CAUSE
from medgrpo.training.before.standing import keep, standing
from medgrpo.training.run.checkpoints import own_or_first
from medgrpo.training.run.outcome import after_failure
from tests.training.test_failures import cause, failure, free_port, spec
from tests.training.warm import until

ANSWERS = (
    "import os, sys, time, signal, pathlib, subprocess\n"
    "from medgrpo.training.before.standing import answer, has_met\n"
    "from medgrpo.training.before.failures import write_down\n"
    "from medgrpo.errors import MedgrpoError\n"
    "answer(os.environ)\nrank = os.environ['RANK']\nfolder = pathlib.Path(os.environ['MEDGRPO_FAILURES'])\n"
    "def stuck():\n    time.sleep(100)\n"
    "def late():\n    time.sleep(1)\n    lost = RuntimeError('Timed out waiting 1000ms for recv')\n    write_down(MedgrpoError(str(lost)), folder, int(rank), cause=lost)\n    sys.exit(1)\n"
)
"""A process that says where it stands, and what it may do then."""


def script(tmp_path, code):
    """A file, as a reward is one: what is run from a string has no lines to name."""
    (tmp_path / "mine.py").write_text(ANSWERS + code)
    return [sys.executable, str(tmp_path / "mine.py")]


def launched(made, folder, *, patches="", **options):
    """The launcher of one machine, with other limits."""
    made.write(folder / "spec.json")
    code = f"from medgrpo.training.before import processes\n{patches}\nprocesses.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "spec.json")], start_new_session=True, **options
    )


def test_who_stands_still_is_named_with_the_function_and_the_line(tmp_path):
    command = script(tmp_path, "has_met(os.environ)\nstuck() if rank == '1' else late()")
    made = launched(spec(tmp_path, "", command=command), tmp_path, patches="processes.GRACE_S = 1")
    assert made.wait(60) == 1
    line = next(n for n, text in enumerate(ANSWERS.splitlines(), start=1) if "sleep(100)" in text)
    where = f"stuck ({tmp_path.name}/mine.py, line {line})"
    assert cause(tmp_path) == f"process 1 stood still in {where}: process 0 waited 60 s"
    keep(tmp_path, tmp_path / "logs")
    assert "in stuck" in (tmp_path / "logs/stack-1.txt").read_text()


def test_a_machine_is_told_where_a_process_of_another_stood(tmp_path):
    folders, port, made = [tmp_path / "0", tmp_path / "1"], free_port(), []
    command = script(tmp_path, "has_met(os.environ)\nstuck() if rank == '1' else (time.sleep(2), late())")
    for node, folder in enumerate(folders):
        folder.mkdir()
        made.append(
            launched(spec(folder, "", command=command, nodes=2, node=node, port=port, local=1), folder)
        )
    assert [one.wait(60) for one in made] == [1, 1]
    assert cause(folders[0]).startswith("process 1 stood still in stuck (")
    assert cause(folders[1]) == f"machine 0: {cause(folders[0])}"


def test_machines_ask_each_other_over_the_first_and_who_is_missing_is_known():
    port = free_port()
    with Machines(0, 3, "127.0.0.1", port) as first, Machines(1, 3, "127.0.0.1", port) as second:
        _until(lambda: first.missing() == ["machine 2 of 3 (NODE_RANK)"], first, second)
        with Machines(2, 3, "127.0.0.1", port) as third:
            _until(lambda: first.missing() == [], first, second, third)
            third.ask_places()
            _until(lambda: second.is_asked, first, second, third)
            second.tell_places({5: "judge (me/rewards.py, line 7)"})
            _until(lambda: third.places == {5: "judge (me/rewards.py, line 7)"}, first, second, third)
            assert second.missing() == []


def _until(holds, *machines):
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        assert [one.failed() for one in machines] == [None] * len(machines)
        time.sleep(0.02)
    assert holds()


def test_who_is_missing_at_the_start_is_said_and_not_waited_for_without_end(tmp_path):
    # Two machines that both take themselves for the second: nobody listens.
    port = free_port()
    command = script(tmp_path, "time.sleep(100)")
    one = spec(tmp_path, "", command=command, nodes=2, node=1, port=port, local=1, start_timeout_s=4)
    made = launched(one, tmp_path, patches="processes.SAY_EVERY_S = 2", stderr=subprocess.PIPE, text=True)
    _, said = made.communicate(timeout=60)
    first = f"the first machine (NODE_RANK=0), at 127.0.0.1:{port} (MASTER_ADDR, MASTER_PORT)"
    assert made.returncode == 1
    assert f"{first}: 2 s, at most 4 s (launch.start_timeout_s)" in said
    assert cause(tmp_path).endswith(f"{first} did not come within 4 s")
    assert "launch.start_timeout_s" in json.loads((tmp_path / CAUSE).read_text())["hint"]


def test_who_is_asked_to_stop_before_all_have_met_ends_at_once(tmp_path):
    (tmp_path / "stop").touch()
    command = script(tmp_path, "time.sleep(100)")
    began = time.monotonic()
    assert launched(spec(tmp_path, "", command=command), tmp_path).wait(60) == 143
    assert time.monotonic() - began < 30
    assert cause(tmp_path) == "asked to stop (SIGTERM) before all processes had met"


@pytest.mark.parametrize(("last", "code"), [("1", 0), ("0", 1)])
def test_who_does_not_end_after_the_others_is_ended(last, code, tmp_path):
    command = script(tmp_path, f"has_met(os.environ)\nrank == '{last}' and stuck()")
    made = launched(
        spec(tmp_path, "", command=command),
        tmp_path,
        patches="processes.END_S = 2",
        stderr=subprocess.PIPE,
        text=True,
    )
    _, said = made.communicate(timeout=60)
    assert made.returncode == code, said
    words = said if code == 0 else cause(tmp_path)
    assert f"process {last} had not ended 2 s after the others were done; it was in stuck (" in words


def test_what_a_process_started_ends_with_the_run(tmp_path):
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])"
    command = script(tmp_path, f"has_met(os.environ)\n{child}\n(folder / f'child-{{child.pid}}').touch()")
    assert launched(spec(tmp_path, "", command=command, local=1), tmp_path).wait(60) == 0
    (pid,) = [int(file.name[6:]) for file in tmp_path.glob("child-*")]
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_process_that_ends_while_it_is_asked_did_not_crash(tmp_path):
    code = (
        "import atexit, faulthandler, os, signal\nfrom medgrpo.training.before.standing import answer\nanswer(os.environ)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGUSR2)\n"  # the last to be registered is the first to be called
        "atexit.register(faulthandler.unregister, signal.SIGUSR2)\n"  # as Python does at its end
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MEDGRPO_FAILURES": str(tmp_path)}, check=False
    )
    assert done.returncode == 0


STACK = """Thread 0x1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 3 in wait
  File "/usr/lib/python3.11/threading.py", line 9 in _bootstrap

Current thread 0x2 (most recent call first):
  File "/x/site-packages/{}.py", line 5 in inner
  File "/home/me/rewards.py", line 7 in judge
"""


def test_a_process_that_waits_for_others_is_told_from_one_that_stands_still():
    still = standing(STACK.format("PIL/Image"))
    assert (still.place, still.waits) == ("judge (me/rewards.py, line 7)", False)
    assert standing(STACK.format("torch/distributed/distributed_c10d")).waits
    collecting = "Current thread 0x2 (most recent call first):\n  Garbage-collecting\n  <no Python frame>\n"
    assert standing(STACK.format("PIL/Image") + collecting) == still  # asked a second time, at its end
    assert standing(collecting) is None
    loads = standing(
        STACK.format("numpy/core").replace(
            '  File "/home', '  File "<frozen importlib._bootstrap>", line 1 in x\n  File "/home'
        )
    )
    assert loads.place == "judge (me/rewards.py, line 7), loading libraries"
    late = [failure(0, "Timed out waiting 60000ms for recv", of_others=True)]
    error = cause_of(late, {0: 1}, processes=3, timeout_s=60, places={2: still.place})
    assert error.problem == "process 2 stood still in judge (me/rewards.py, line 7): process 0 waited 60 s"


def test_the_record_of_a_failed_run_says_the_cause_and_that_of_a_run_that_goes_on_is_left_alone(tmp_path):
    record = tmp_path / "training_info.json"
    write_json(record, {"status": "failed", "error": "RuntimeError: Connection closed by peer"})
    after_failure(_error("process 1: the disk is full"), tmp_path)
    assert json.loads(record.read_text())["error"] == "process 1: the disk is full"
    write_json(record, {"status": "running"})
    with held(tmp_path):
        after_failure(_error("another process writes it"), tmp_path)
    assert json.loads(record.read_text())["status"] == "running"


def test_a_process_that_is_new_takes_up_where_the_first_was(tmp_path):
    (tmp_path / "cycle_0.pt").touch()
    assert own_or_first(tmp_path, "cycle_{}.pt", 1).name == "cycle_0.pt"
    (tmp_path / "cycle_1.pt").touch()
    assert own_or_first(tmp_path, "cycle_{}.pt", 1).name == "cycle_1.pt"


def _error(problem):
    from medgrpo.errors import MedgrpoError

    return MedgrpoError(problem)


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["collator_hangs", "picture_hangs"])
def test_a_process_whose_rows_do_not_come_is_named_with_file_and_line(plant, warm, dataset, tmp_path):
    """There is no process for data: rows are made in the one that trains, and their pictures opened ahead in a thread of it."""
    settings = (
        "training.method=sft", "training.prompts_per_step=2", "training.per_device_train_batch_size=1",
        "training.max_steps=50", "training.save_steps=1", "stages.sft.enabled=false", "data.rows=6", f"data.path={dataset}",
        "validation.before_and_after=false", "logging.report_to=[]", "launch.cpu=true", "launch.gpus=2", "launch.timeout_s=12",
    )  # fmt: skip
    words = ["train", "--output", "run", "--json", *(word for text in settings for word in ("--set", text))]
    checkpoint = tmp_path / "run/checkpoints/checkpoint-2"
    command = warm.start(
        tmp_path,
        words,
        PLANT=plant,
        PLANT_AFTER=str(checkpoint),
    )
    until(checkpoint.exists, command)
    began = time.monotonic()
    assert command.wait(60) == 1, command.said
    assert time.monotonic() - began < 12 + 15
    (document,) = command.documents
    said = document["error"]
    assert re.fullmatch(
        r"process 1 stood still in hangs \(training/faults.py, line \d+\): process 0 waited 12 s",
        said["problem"],
    ), command.said
    assert "stack-N.txt" in said["hint"]
    assert "is whole: medgrpo train --resume run" in said["hint"]
    assert "in hangs" in (tmp_path / "run/logs/stack-1.txt").read_text()
