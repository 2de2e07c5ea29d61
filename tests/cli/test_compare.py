"""`medgrpo compare`: table, JSON, page, predictions."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from medgrpo.cli.compare import app
from medgrpo.errors import MedgrpoError, UsageError


@pytest.fixture
def logs(tmp_path):
    paths = []
    for name, top in (("base", 0.5), ("tuned", 0.9)):
        history = [
            {
                "stage": "grpo",
                "step": i,
                "reward": top * i / 40,
                "rewards/format/mean": top,
                "s_per_prompt": 2.0,
            }
            for i in range(1, 41)
        ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"name": name, "config": {"training": {"beta": top}}, "history": history}))
        paths.append(path)
    return paths


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


def test_the_table_names_runs_rewards_and_health(logs):
    result = invoke(*logs)
    assert result.exit_code == 0
    for expected in ("base", "tuned", "reward", "format", "normal", "training.beta", "1800"):
        assert expected in result.stdout


def test_json_holds_the_keys_of_the_contract(logs, tmp_path):
    document = json.loads(invoke(*logs, "--html", "--output", tmp_path / "out", "--json").stdout)
    assert {"runs", "differences", "report"} <= set(document)
    first = document["runs"][0]
    assert (first["name"], first["steps"], first["health"]) == ("base", 40, "normal")
    # the last 5 of 40 values .0125 i: mean of i = 36 … 40 is 38
    assert first["last"]["reward"] == pytest.approx(0.5 * 38 / 40)
    assert first["best"]["reward"] > first["first"]["reward"]
    assert document["report"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").stat().st_size > 30_000


def test_without_html_nothing_is_written(logs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert json.loads(invoke(*logs, "--json").stdout)["report"] is None
    assert set(tmp_path.iterdir()) == before


def test_logs_can_be_named_by_the_older_option(logs):
    assert invoke("--logs", logs[0], "--logs", logs[1]).exit_code == 0


def test_predictions_give_paired_differences(tmp_path):
    for name, answer in (("base", "no"), ("tuned", "yes")):
        rows = [
            {"id": i, "question": f"is it {i}?", "answer": "yes", "completion": answer} for i in range(30)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = invoke(
        "--predictions", tmp_path / "base.jsonl", "--predictions", tmp_path / "tuned.jsonl", "--json"
    )
    document = json.loads(result.stdout)
    found = next(one for one in document["differences"] if one["metric"] == "answer_match")
    assert (found["model"], found["baseline"], found["difference"], found["n"]) == ("tuned", "base", 1.0, 30)
    assert found["low"] > 0.5
    assert found["p_value"] < 1e-6


def test_nothing_to_compare_is_a_wrong_call():
    assert isinstance(invoke().exception, UsageError)


def test_a_missing_log_is_named(tmp_path):
    result = invoke(tmp_path / "none.json")
    assert isinstance(result.exception, UsageError)
    assert "none.json" in str(result.exception)


def test_a_second_page_keeps_the_first(logs, tmp_path):
    assert invoke(*logs, "--html", "--output", tmp_path / "out").exit_code == 0
    again = invoke(*logs, "--html", "--output", tmp_path / "out")
    assert "is kept as" in again.stderr
    assert len(list((tmp_path / "out").glob("report*.html"))) == 2


def test_the_plain_table_needs_no_numpy(logs):
    code = (
        "import sys\n"
        "from medgrpo.cli.main import main\n"
        f"try:\n    main(['compare', *{[str(path) for path in logs]!r}])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'plotly', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_real_log_can_be_compared_at_once(shared_data):
    files = sorted(path for path in (shared_data / "logs").rglob("*") if path.is_file())
    document = json.loads(invoke(*files, "--json").stdout)
    assert len(document["runs"]) == len(files) == 11
    assert document["unreadable"] == []


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_files_of_answers_are_compared_question_by_question_and_are_no_logs(kind, logs, tmp_path):
    files = []
    for name, answer in (("first", "yes"), ("second", "no")):
        rows = [{"question_id": i, "text": answer, "gt_answer": "yes"} for i in range(20)]
        files.append(tmp_path / f"{name}.{kind}")
        if kind == "csv":
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            files[-1].write_text("\ufeff" + "\n".join(lines))
        else:
            files[-1].write_text("\n".join(map(json.dumps, rows)) if kind == "jsonl" else json.dumps(rows))
    result = invoke(*files, logs[0], "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [run["name"] for run in document["runs"]] == ["base"]
    by_model = {one["model"]: one["value"] for one in document["scores"] if one["metric"] == "answer_match"}
    assert by_model == {"first": 1.0, "second": 0.0}


def test_a_folder_of_logs_is_answered_with_what_to_name(tmp_path, logs):
    with pytest.raises(MedgrpoError) as caught:
        CliRunner().invoke(app, [str(tmp_path)], catch_exceptions=False)
    assert caught.value.hint == f"name its files: {tmp_path}/*.json, or one: {tmp_path}/base.json"
    of_others = tmp_path / "of others" / "one"
    of_others.mkdir(parents=True)
    (of_others / "trainer_state.json").write_text("{}")
    with pytest.raises(MedgrpoError) as caught:
        CliRunner().invoke(app, [str(of_others.parent)], catch_exceptions=False)
    assert f"or one: '{of_others}'" in caught.value.hint
