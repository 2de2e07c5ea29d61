"""How a run ended is said by its record, its log copy, health, compare and the list of runs."""

import os
import signal
import subprocess
import sys

import pytest

from medgrpo.errors import UsageError
from medgrpo.locks import is_written
from medgrpo.runs.comparison import compare_runs
from medgrpo.runs.health import assess
from medgrpo.runs.known import known_runs, latest_run, meant
from medgrpo.runs.record import read_run
from medgrpo.runs.report.curves import chart_data
from medgrpo.runs.report.sections import failed
from medgrpo.runs.writer import RunWriter

STEPS = 40


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begin(tmp_path, name):
    writer = RunWriter.create(
        tmp_path / "runs" / name, name, "[training]\nmethod = 'grpo'\n", {}, preset="fast"
    )
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    for step in range(1, STEPS + 1):
        writer.append(stage, {"step": step, "reward": 0.2 + step / 100, "loss": 0.01 * (step % 3)})
    return writer


def killed(tmp_path, name):
    code = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from tests.runs.test_status import begin; begin(Path(sys.argv[2]), sys.argv[3]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, "-c", code, root, str(tmp_path), name], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        ("failed", "abnormal", "the run failed after step 40: RuntimeError: out of memory"),
        ("killed", "warning", "the run was killed after step 40"),
        ("stopped", "normal", "the run was stopped after step 40"),
        ("finished", "normal", None),
        ("running", "normal", None),
    ],
)
@pytest.mark.parametrize("source", ["folder", "copy"])
def test_a_run_is_named_after_its_end_everywhere(tmp_path, status, verdict, words, source):
    if status == "killed":
        killed(tmp_path, "one")
    else:
        writer = begin(tmp_path, "one")
        writer.copy_log(force=True)
        if status != "running":
            error = {"error": "RuntimeError: out of memory\nsecond line"} if status == "failed" else {}
            writer.finish(status, **error)
    record = read_run(tmp_path / ("runs/one" if source == "folder" else "logs/one.json"))
    if source == "copy" and status == "killed":  # the copy is refreshed twice a minute: it may hold less
        words = "the run was killed"
    judged = assess(record)
    said = [finding.evidence for finding in judged.findings if finding.rule == "ended"]
    assert record.status == status
    assert said == [] if words is None else said[0].startswith(words)
    if not (source == "copy" and status == "killed"):
        assert judged.verdict == verdict
    assert compare_runs([record.path]).as_dict()["runs"][0]["status"] == status
    assert [run.status for run in known_runs()] == [status]


def test_asking_for_the_lock_does_not_give_it_up(tmp_path):
    writer = begin(tmp_path, "one")
    assert is_written(writer.path)
    code = "import sys; from pathlib import Path; from medgrpo.locks import is_written; print(is_written(Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(writer.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    writer.finish("stopped")
    assert not is_written(writer.path)


def test_a_failed_run_is_drawn_only_when_asked_for_or_when_all_failed(tmp_path):
    begin(tmp_path, "good").finish("finished")
    begin(tmp_path, "bad").finish("failed", error="ValueError: broken")
    both = compare_runs([tmp_path / "runs" / name for name in ("good", "bad")])
    left_out = failed(both)
    assert left_out == {1: "bad"}
    drawn = {trace["run"] for chart in chart_data(both.runs, left_out) for trace in chart["traces"]}
    assert drawn == {0}
    assert failed(compare_runs([tmp_path / "runs" / "bad"])) == {}


def test_latest_is_the_run_begun_or_taken_up_last(tmp_path):
    with pytest.raises(UsageError, match="no latest run"):
        meant("latest")
    begin(tmp_path, "one").finish("stopped")
    begin(tmp_path, "two").finish("finished")
    assert latest_run().name == "two"
    assert os.readlink(tmp_path / "runs" / "latest") == "two"
    RunWriter.reopen(tmp_path / "runs" / "one").finish("finished")
    assert [run.name for run in known_runs()] == ["two", "one"] or latest_run().name == "one"
    assert os.readlink(tmp_path / "runs" / "latest") == "one"
    assert meant("runs/latest/best_lora") == meant("latest/best_lora") == f"{meant('latest')}/best_lora"
    assert meant("./runs/latest") == meant("latest")
    assert meant("other/latest") == "other/latest"


@pytest.mark.parametrize("end", ["failed", "stopped"])
def test_a_run_without_a_step_is_not_the_latest_unless_all_are(tmp_path, end):
    RunWriter.create(tmp_path / "runs" / "none", "none", "", {}).finish(end, error="no such model")
    assert latest_run().name == "none"
    judged = assess(read_run(tmp_path / "runs" / "none"))
    if end == "failed":
        (found,) = [finding for finding in judged.findings if finding.rule == "ended"]
        assert found.evidence == "the run failed before its first step: no such model"
        assert "checkpoint" not in found.remedy
    begin(tmp_path, "one").finish("finished")
    RunWriter.create(tmp_path / "runs" / "two", "two", "", {}).finish(end)
    assert next(iter(known_runs())).name == "two"
    assert latest_run().name == "one"
    assert os.readlink(tmp_path / "runs" / "latest") == "one"
    sft = RunWriter.create(tmp_path / "runs" / "three", "three", "", {})
    sft.append(sft.stage(1, "sft", "sft", is_main=False), {"step": 1, "loss": 1.0})
    sft.finish(end)
    assert latest_run().name == "three"


def test_places_in_the_list_of_runs_are_seen_from_here(tmp_path):
    config = "[model]\npath = 'Qwen/Qwen3-8B'\n[data]\npath = '../../data'\n"
    RunWriter.create(tmp_path / "runs" / "one", "one", config, {}).finish("finished")
    (run,) = known_runs()
    assert (run.model, run.data) == ("Qwen/Qwen3-8B", "data")


def test_a_folder_called_latest_is_left_alone(tmp_path):
    begin(tmp_path, "one").finish("finished")
    (tmp_path / "latest").mkdir()
    assert meant("latest") == "latest"
    assert meant("runs/latest") == "runs/one"


def test_runs_elsewhere_are_known_by_their_log_copies(tmp_path):
    RunWriter.create(tmp_path / "else where 数据" / "mine", "mine", "", {}).finish("finished")
    assert [str(run.path) for run in known_runs()] == ["else where 数据/mine"]
    assert meant("latest") == "else where 数据/mine"
    assert not (tmp_path / "else where 数据" / "latest").exists()
