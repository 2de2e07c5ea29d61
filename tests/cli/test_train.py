"""`medgrpo train` as it is typed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from medgrpo.cli.main import main

SMALL = (
    "--set=max_steps=12",
    "--set=save_steps=3",
    "--set=training.prompts_per_step=2",
    "--set=training.per_device_train_batch_size=16",
    "--set=stages.sft.max_steps=2",
    "--set=validation.rows=4",
    "--set=data.rows=64",
)


def called(*arguments: str) -> int:
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    return int(ended.value.code or 0)


def test_dry_run_says_demo_first_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert called("--dry-run", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0].startswith("demo: no --model given")
    assert "--model Qwen/" in printed.err.splitlines()[0]
    assert "the demo layer sets" not in printed.err
    assert called("--dry-run", "-v") == 0
    assert "the demo layer sets" in capsys.readouterr().err
    document = json.loads(printed.out)
    assert [stage["method"] for stage in document["stages"]] == ["sft", "grpo"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--preset", "balenced"], 2, "did you mean 'balanced'?"),
        (["--set", "lerning_rate=1"], 2, "learning_rate"),
        (["--set", 'rewards.weights="balenced"'], 2, "balanced"),
        (["--model", "no/such/model"], 2, "no model at"),
        (["--data", "nowhere"], 2, "no dataset at nowhere"),
        (["--method", "ppo"], 2, "training.method"),
        (["--set", "training.per_device_train_batch_size=7"], 2, "does not divide"),
        (["--deepspeed", "zero9", "--resume", "nowhere"], 2, "no run to resume"),
    ],
)
def test_bad_calls_get_one_error_and_write_nothing(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    assert called(*arguments) == code
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_used_run_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    assert called("--output", "run") == 2
    assert "--resume run" in capsys.readouterr().err


def test_a_killed_run_resumes_with_each_step_once(tmp_path, capsys):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medgrpo.cli.main", "train", "--output", "run", "--resume", "auto"]
    log = tmp_path / "run" / "log.jsonl"
    for lines in (3, 8):
        process = subprocess.Popen(
            [*command, "--quiet", *SMALL],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if log.is_file() and log.read_text().count("\n") >= lines:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert lines <= log.read_text().count("\n") < 12
    done = subprocess.run(
        [*command, "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 13))
    document = json.loads(done.stdout)
    wanted = {"run", "log", "steps", "reward_first", "reward_last", "best", "validation", "wall_s", "health"}
    assert wanted <= document.keys()
    assert document["steps"] == 12
    assert {"before", "after"} <= document["validation"].keys()
    assert json.loads((tmp_path / "logs" / "run.json").read_text())["finished"] is True
    assert called("--resume", str(tmp_path / "run"), "--dry-run") == 0
    assert "is finished after 12 steps: nothing is left to do" in capsys.readouterr().err
    assert called("--resume", str(tmp_path / "run"), "--dry-run", "--set", "max_steps=24") == 0
    assert "nothing is left to do" not in capsys.readouterr().err


def test_what_to_do_on_stop_is_one_of_two_words(capsys):
    assert called("--on-stop", "exit1", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "exit0" in said
    assert "signal" in said


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (signal.SIGTERM, (), 143),
        (signal.SIGINT, (), 130),
        (signal.SIGTERM, ("--exit-on-stop", "85"), 85),
        (signal.SIGTERM, ("--on-stop", "exit0"), 0),
        (signal.SIGTERM, ("--on-stop", "signal"), 143),
    ],
)
def test_a_stopped_run_does_not_exit_as_a_finished_one(tmp_path, monkeypatch, capsys, number, words, code):
    """In this process: the signal comes when the first step is logged, as `kill` would send it."""
    from medgrpo.cli.display import LiveReporter

    before = LiveReporter.step

    def step(self, entry):
        before(self, entry)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(LiveReporter, "step", step)
    monkeypatch.chdir(tmp_path)
    small = (*SMALL, "--set=stages.sft.enabled=false", "--set=validation.before_and_after=false")
    assert called("--output", "run", "--json", *words, *small) == code
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "stopped"
    assert document["stopped_by"] == signal.Signals(number).name
    assert document["steps"] == 1
