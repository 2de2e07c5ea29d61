"""`medgrpo score` as a user sees it."""

import json

import pytest
from typer.testing import CliRunner

from medgrpo.cli.main import app, main
from medgrpo.errors import UsageError

runner = CliRunner()
ROWS = [
    {"question": "Is it CT?", "answer": "yes", "completion": "<think>a</think><answer>Yes</answer><plane>axial</plane><modality>CT</modality>", "plane": "axial"},
    {"question": "Which side?", "answer": "left", "completion": "<answer>right</answer>", "plane": None},
]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


def run_json(*arguments):
    result = runner.invoke(app, ["score", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_each_reward_has_mean_std_and_coverage(file):
    rewards = run_json(file)["rewards"]
    assert rewards["answer_match"]["mean"] == 0.5
    assert rewards["plane_match"] == {"mean": 1.0, "std": 0.0, "coverage": 0.5, "weight": pytest.approx(0.2)}
    assert rewards["modality_match"]["mean"] is None
    # row 0: all right, modality unknown → 1; row 1: format 0, answer 0 → 0
    assert rewards["total"]["mean"] == pytest.approx(0.5)


def test_the_table_shows_the_file_and_the_rewards(file):
    result = runner.invoke(app, ["score", str(file)])
    assert result.exit_code == 0
    assert "rows.jsonl: 2 rows (JSON lines)" in result.stdout
    assert "answer_match" in result.stdout
    assert "modality_match judged no row" in result.stderr


def test_weights_and_rewards_come_from_the_command_line(file):
    document = run_json(file, "--rewards", "format,answer_match", "--weights", "format=1,answer_match=3")
    assert document["given_weights"] == {"format": 1.0, "answer_match": 3.0}
    assert document["rewards"]["answer_match"]["weight"] == 0.75


def test_explain_names_the_rule_of_every_row(file):
    document = run_json(file, "--explain")
    assert [row["answer_match"] for row in document["explain"]] == [1.0, 0.0]
    assert all(row["rule"] for row in document["explain"])
    assert sum(document["rules"].values()) == 2


def test_explain_without_a_file_lists_the_synonyms():
    table = run_json("--explain")["synonyms"]
    assert table["version"]
    assert any("transverse" in group["terms"] for group in table["groups"])


def test_the_audit_names_the_best_cheat_and_fails_above_the_limit(file):
    audit = run_json(file, "--audit")["audit"]
    assert 0 <= audit["best_score"] <= 1
    assert audit["best_cheat"] in [cheat["name"] for cheat in audit["cheats"]]
    assert runner.invoke(app, ["score", str(file), "--audit-limit", "0.01"]).exit_code == 1
    assert runner.invoke(app, ["score", str(file), "--audit-limit", "100"]).exit_code == 0


def test_output_holds_every_row_with_its_rule(file, tmp_path):
    run_json(file, "--output", tmp_path / "scored.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert [row["answer_match"] for row in rows] == [1.0, 0.0]
    assert all("rule" in row for row in rows)


def test_plain_answers_without_tags_need_the_option(tmp_path):
    path = tmp_path / "plain.json"
    path.write_text(json.dumps([{"prediction": "yes", "gt": "Yes"}]))
    without = runner.invoke(app, ["score", str(path), "--json"])
    assert json.loads(without.stdout)["rewards"]["answer_match"]["mean"] == 0.0
    assert "--plain" in without.stderr
    assert run_json(path, "--plain")["rewards"]["exact_match"]["mean"] == 1.0


def test_missing_references_exit_with_2_and_the_way_out(tmp_path, capsys):
    path = tmp_path / "bare.jsonl"
    path.write_text('{"text": "yes"}\n')
    with pytest.raises(SystemExit) as exit_:
        main(["score", str(path)])
    assert exit_.value.code == 2
    assert "--references FILE --join row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "balancd"], "did you mean 'balanced'?"),
        (["--rewards", "answer_mach"], "did you mean 'answer_match'?"),
        (["--weights", "format=-1"], "negative"),
        (["--gate", "formt"], "did you mean 'format'?"),
        (["--on-reward-error", "ignore"], "one of skip, stop"),
        (["--group-size", "3"], "groups of 3"),
        (["--output", "out.xlsx"], "cannot write"),
        (["--columns", "completion"], "completion=NAME"),
        (["--join", "row"], "--references"),
    ],
)
def test_a_wrong_call_is_worded(file, arguments, words):
    result = runner.invoke(app, ["score", str(file), *arguments])
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)


def test_a_users_reward_is_scored_and_its_failure_named(file, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "def tagged(completions, **_):\n    return [1.0 if '<plane>' in c else 1 / 0 for c in completions]\n"
    )
    result = runner.invoke(app, ["score", str(file), "--rewards", f"{mine}:tagged"])
    assert "'tagged' failed at row 1: ZeroDivisionError" in str(result.exception)
    document = run_json(file, "--rewards", f"{mine}:tagged", "--on-reward-error", "skip")
    assert document["rewards"]["tagged"]["mean"] == 1.0
    assert document["errors"] == {"tagged": 1}


def test_groups_without_spread_are_counted_for_each_reward(file):
    groups = run_json(file, "--group-size", "2")["groups"]
    assert groups["answer_match"]["dead"] == 0
    assert groups["plane_match"]["groups"] == 0


OWN_REFERENCES = [
    "blip2_zeroshot/predictions_zeroshot.csv",
    *(f"fm_medvqa/eval_{name}.json" for name in
      ("llavamed_slake", "llavamed_vqa_rad", "tinyllava_ft_slake", "tinyllava_ft_vqa_rad", "tinyllava_vqa_rad", "vilt_vqa_rad")),
    *(f"fm_medvqa/tinyllava_ft_{name}.jsonl" for name in ("pathvqa", "slake", "vqa_rad")),
    "grpo_rollouts/20251022_120531_rollouts.md",
    "grpo_rollouts/system_prompt_special_token_rollouts.md",
]  # fmt: skip
JOINED = [
    *((f"llava_med/{name}.jsonl", "vqa_rad/testset.json", "row") for name in
      ("answer-file", "answer-file-1epoch", "answer-file-llava-zeorshot")),
    *((f"fm_medvqa/{model}_{data}.jsonl", f"model_outputs/fm_medvqa/tinyllava_ft_{data}.jsonl", "question_id")
      for model, data in (("llavamed", "vqa_rad"), ("llavamed", "slake"), ("llavamed", "pathvqa"),
                          ("tinyllava", "vqa_rad"), ("tinyllava", "slake"), ("vilt", "vqa_rad"))),
]  # fmt: skip


def test_the_real_outputs_are_all_listed(shared_data):
    found = {
        str(p.relative_to(shared_data / "model_outputs"))
        for p in (shared_data / "model_outputs").rglob("*.*")
    }
    assert found == {*OWN_REFERENCES, *(name for name, _, _ in JOINED)}


@pytest.mark.parametrize("name", OWN_REFERENCES)
def test_real_outputs_with_references_run(shared_data, name):
    document = run_json(shared_data / "model_outputs" / name, "--plain", "--explain")
    assert document["rewards"]["answer_match"]["coverage"] == 1.0
    assert 0.2 < document["rewards"]["answer_match"]["mean"] < 0.8


@pytest.mark.parametrize(("name", "references", "join"), JOINED)
def test_real_outputs_joined_with_references_run(shared_data, name, references, join):
    document = run_json(
        shared_data / "model_outputs" / name, "--plain", "--explain", "--references", shared_data / references, "--join", join
    )  # fmt: skip
    assert document["unmatched"] == 0
    assert 0.1 < document["rewards"]["answer_match"]["mean"] < 0.8


def test_a_prepared_dataset_is_audited_by_its_references(tmp_path):
    pytest.importorskip("pyarrow")
    from medgrpo.data.demo import DemoSize, write_demo_dataset

    write_demo_dataset(tmp_path / "demo", size=DemoSize(train=60, validation=8, test=8))
    audit = run_json(tmp_path / "demo", "--audit")["audit"]
    assert audit["honest_source"] == "references"
    assert audit["honest_all_rows"] == pytest.approx(1.0)
    assert audit["ratio"] < 0.9


def test_questions_with_answers_and_no_completions_can_be_audited(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([{"question": row["question"], "answer": row["answer"]} for row in ROWS]))
    assert run_json(path, "--audit")["audit"]["honest_source"] == "references"
    assert "no completions" in str(runner.invoke(app, ["score", str(path)]).exception)


def test_a_plugin_that_fails_is_named_with_its_row_or_skipped(file, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "def stumbles(completions, answer, **_):\n    return [1 / (a != 'left') for a in answer]\n"
    )
    arguments = ["score", str(file), "--rewards", f"{plugin}:stumbles"]
    error = runner.invoke(app, arguments).exception
    assert "'stumbles' failed at row 1: ZeroDivisionError" in str(error)
    document = run_json(*arguments[1:], "--on-reward-error", "skip")
    assert document["errors"] == {"stumbles": 1}


def test_an_audit_without_completions_refuses_what_only_they_could_use(tmp_path):
    from medgrpo.data.demo import DemoSize, write_demo_dataset

    write_demo_dataset(tmp_path / "demo", size=DemoSize(train=8, validation=2, test=2))
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "Is it CT?", "answer": "yes"}) + "\n")
    for place, option in (
        (tmp_path / "demo", ["--output", "x.jsonl"]),
        (tmp_path / "demo", ["--references", "r.jsonl"]),
        (questions, ["--explain"]),
        (questions, ["--group-size", "2"]),
    ):
        with pytest.raises(UsageError, match=rf"{option[0]} belongs to completions"):
            runner.invoke(app, ["score", str(place), "--audit", *option], catch_exceptions=False)


def test_written_rows_hold_no_nan_and_no_half_characters(tmp_path, file):
    rows = [{**row, "weight": float("nan"), "note": "x\ud83d"} for row in ROWS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_json(file, "--output", tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert [json.loads(line)["note"] for line in text.splitlines()] == ["x\ufffd"] * 2


def test_a_second_file_is_answered_with_compare(file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["score", str(file), str(file)])
    assert f"several side by side: medgrpo compare FILE {file}" in capsys.readouterr().err


def test_a_folder_of_references_is_answered_with_a_file_in_it(file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["score", str(file), "--references", str(tmp_path)])
    said = capsys.readouterr().err
    assert f"{tmp_path} is a folder, and no prepared dataset" in said
    assert f"name the file, such as {file}" in said


def test_completions_without_tags_end_with_what_to_type(tmp_path, capsys):
    plain = tmp_path / "plain.jsonl"
    plain.write_text('{"answer": "yes", "prediction": "Yes."}\n')
    for options, last in (([], True), (["--plain"], False)):
        with pytest.raises(SystemExit):
            main(["score", str(plain), *options])
        assert ("next: the same with --plain" in capsys.readouterr().err) == last
