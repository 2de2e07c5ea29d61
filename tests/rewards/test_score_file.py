"""Reading completions of other programs, joining references, writing scores back."""

import csv
import json

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards.columns import find_columns, is_leaked_field, parse_columns
from medgrpo.rewards.completions_file import read_completions, read_rows
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.score_file import score_rows, write_rows

ROWS = [
    {"question": "Is it CT?", "answer": "yes", "prediction": "Yes."},
    {"question": "Which side?", "answer": "left", "prediction": "right"},
]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def as_csv(rows, delimiter=","):
    names = list(rows[0])
    lines = [names, *([row[name] for name in names] for row in rows)]
    return "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)


@pytest.mark.parametrize(
    ("name", "text", "encoding", "kind"),
    [
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS), "utf-8", "JSON lines"),
        ("a.jsonl", json.dumps(ROWS, indent=1), "utf-8", "JSON list"),
        ("a.json", "\n\n".join(json.dumps(row) for row in ROWS) + "\n", "utf-8", "JSON lines"),
        ("a.json", json.dumps({"data": ROWS}), "utf-8", "JSON list"),
        ("a.csv", as_csv(ROWS), "utf-8-sig", "CSV"),
        ("a.tsv", as_csv(ROWS, "\t"), "utf-8", "CSV"),
    ],
)
def test_a_file_is_read_by_what_it_is(tmp_path, name, text, encoding, kind):
    rows = read_completions(write(tmp_path / name, text, encoding))
    assert rows.format == kind
    assert rows.completions == ["Yes.", "right"]
    assert rows.columns["answer"] == ["yes", "left"]


def test_parquet_is_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read_completions(tmp_path / "a.parquet").completions == ["Yes.", "right"]


def test_a_chinese_table_in_gb18030_is_read(tmp_path):
    file = write(tmp_path / "a.csv", "question,prediction,answer\n有结节吗,没有,无", "gb18030")
    assert read_completions(file).completions == ["没有"]


@pytest.mark.parametrize(
    "alias", ["completion", "prediction", "text", "response", "answer_pred", "pred_answer", "original_pred"]
)
def test_every_alias_of_completion_is_found(alias):
    assert find_columns([alias, "original_gt"]) == {"completion": alias, "answer": "original_gt"}


def test_the_users_names_win_over_the_aliases(tmp_path):
    file = write(
        tmp_path / "a.json",
        json.dumps([{"text": "prompt", "out": "yes", "asnwer_type": "CLOSED", "key": "no"}]),
    )
    rows = read_completions(file, parse_columns("completion=out, answer=key"))
    assert (rows.completions, rows.columns["answer"], rows.columns["answer_type"]) == (
        ["yes"],
        ["no"],
        ["CLOSED"],
    )


def test_a_misspelt_column_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UsageError) as error:
        read_completions(write(tmp_path / "a.json", json.dumps(ROWS)), {"completion": "predicton"})
    assert "did you mean 'prediction'?" in str(error.value)


def test_without_references_the_way_to_give_them_is_named(tmp_path):
    with pytest.raises(UsageError) as error:
        read_completions(write(tmp_path / "a.json", '[{"text": "yes"}]'))
    assert error.value.exit_code == 2
    assert "--references" in str(error.value)
    assert "--join" in str(error.value)


def bare(tmp_path, rows):
    return write(tmp_path / "completions.json", json.dumps(rows))


def test_rows_are_joined_in_order(tmp_path):
    file = bare(tmp_path, [{"text": "yes"}, {"text": "left"}])
    references = write(tmp_path / "r.json", json.dumps(ROWS))
    rows = read_completions(file, references=references, join="row")
    assert rows.columns["answer"] == ["yes", "left"]
    assert rows.columns["question"] == ["Is it CT?", "Which side?"]
    assert rows.completions == ["yes", "left"]  # never the references' own predictions


def test_rows_are_joined_by_key_whatever_its_type_and_order(tmp_path):
    file = bare(
        tmp_path,
        [{"text": "a", "question_id": 7}, {"text": "b", "question_id": "5"}, {"text": "c", "question_id": 9}],
    )
    references = write(
        tmp_path / "r.json", json.dumps([{"qid": "5", "answer": "B"}, {"qid": 7.0, "answer": "A"}])
    )
    rows = read_completions(file, references=references, join="question_id=qid")
    assert rows.columns["answer"] == ["A", "B", None]
    assert rows.unmatched == 1
    assert any("1 of 3" in note for note in rows.notes)


def test_a_key_with_several_answers_gives_no_reference(tmp_path):
    file = bare(tmp_path, [{"text": "a", "k": 1}, {"text": "b", "k": 2}])
    references = write(
        tmp_path / "r.json",
        json.dumps([{"k": 1, "answer": "x"}, {"k": 1, "answer": "y"}, {"k": 2, "answer": "z"}]),
    )
    rows = read_completions(file, references=references, join="k")
    assert rows.columns["answer"] == [None, "z"]
    assert any("several answers" in note for note in rows.notes)


def test_a_join_of_other_questions_is_refused(tmp_path):
    file = bare(tmp_path, [{"text": "a", "question": "What organ?"}, {"text": "b", "question": "How many?"}])
    references = write(tmp_path / "r.json", json.dumps(ROWS))
    with pytest.raises(UsageError, match="0 of 2 questions"):
        read_completions(file, references=references, join="row")
    assert len(read_completions(file, {"question": ""}, references=references, join="row")) == 2


def test_rows_of_other_number_are_refused_with_the_keys_in_common(tmp_path):
    references = write(tmp_path / "r.json", json.dumps(ROWS))
    with pytest.raises(UsageError) as error:
        read_completions(bare(tmp_path, [{"text": "a", "question": "x"}]), references=references, join="row")
    assert "both have question" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": ', "line 2"),
        ("a.json", "[1, 2]", "row 0"),
        ("a.json", '[{"text": "a",]', "line 1"),
        ("a.json", "hello", "is not JSON"),
        ("a.csv", "a,b\n1,2,3\n", "line 2: 3 fields"),
        ("a.json", "[]", "no rows"),
        ("a.json", '[{"x": 1}]', "no completions"),
    ],
)
def test_a_broken_file_is_answered_with_file_and_place(tmp_path, name, text, words):
    with pytest.raises(MedgrpoError) as error:
        read_completions(write(tmp_path / name, text))
    assert words in str(error.value)
    assert name in str(error.value)


def test_rollouts_in_markdown_are_read(tmp_path):
    text = (
        "## === Rollout Step 3 ===\n### Sample 1\n\n**Prompt:** user Q?\n\n**Completion:** <think>\na\n</think>\n"
        "<answer>C</answer>\n\n**Solution:** C\n\n**Rewards:** accuracy=1.000\n\n---\n"
        "### Sample 2\n\n**Prompt:** user Q?\n\n**Completion:** B\n\n**Solution:** C\n\n"
    )
    rows, kind = read_rows(write(tmp_path / "r.md", text))
    assert kind == "Markdown rollouts"
    assert [row["completion"] for row in rows] == ["<think>\na\n</think>\n<answer>C</answer>", "B"]
    assert [(row["step"], row["sample"], row["solution"]) for row in rows] == [(3, 1, "C"), (3, 2, "C")]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_scores_are_written_back_with_every_row(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    rows = read_completions(write(tmp_path / "a.json", json.dumps([{**row, "total": 9} for row in ROWS])))
    scored = score_rows(rows, CompositeReward({"answer_match": 1}, settings={"plain": True}))
    out = tmp_path / f"out{suffix}"
    write_rows(scored.scored_rows(), out)
    back = list(csv.DictReader(out.read_text().splitlines())) if suffix == ".csv" else read_rows(out)[0]
    assert [float(row["answer_match"]) for row in back] == [1.0, 0.0]
    assert [float(row["total_original"]) for row in back] == [9.0, 9.0]
    assert back[0]["prediction"] == "Yes."
    assert all(row["rule"] for row in back)
    assert not list(tmp_path.glob("*.partial"))


def test_fields_that_tell_the_answer_are_known_by_path_and_case():
    assert is_leaked_field("Case/Findings")
    assert is_leaked_field("topic.title")
    assert not is_leaked_field("caption")


@pytest.mark.parametrize(
    ("present", "completion", "answer"),
    [
        (["prompt", "predict", "label"], "predict", "label"),  # LLaMA-Factory
        (["response", "labels", "messages", "images"], "response", "labels"),  # ms-swift
        (["image_id", "Question", "Ground Truth", "Prediction"], "Prediction", "Ground Truth"),
        (["question", "true_answer", "model_answer"], "model_answer", "true_answer"),
        (["question", "reference", "generated_text"], "generated_text", "reference"),
        (["question", "answer", "response", "label"], "response", "answer"),
    ],
)
def test_columns_of_other_programs_are_found(present, completion, answer):
    found = find_columns(present)
    assert (found["completion"], found["answer"]) == (completion, answer)


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029", "\x0c", "\r\n"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_what_is_written_back_is_read_again_whatever_its_texts_hold(tmp_path, suffix, separator):
    row = {"prediction": f"first{separator}yes", "answer": "yes", "note": f"a{separator}b"}
    rows = read_completions(write(tmp_path / "a.json", json.dumps([row])))
    out = tmp_path / f"out{suffix}"
    write_rows(score_rows(rows, CompositeReward({"answer_match": 1})).scored_rows(), out)
    (back,) = read_rows(out)[0]
    assert (back["prediction"], back["note"]) == (row["prediction"], row["note"])


@pytest.mark.parametrize("name", ["completions", "rewards", "self", "function", "tags", "plain", "measure"])
def test_a_column_that_is_called_like_an_argument_of_a_reward_is_no_argument(tmp_path, name):
    plain = [{"prediction": "<answer>yes</answer>", "answer": "yes"}, {"prediction": "no", "answer": "yes"}]
    named = [{**row, name: ["think", "chest"]} for row in plain]
    found = []
    for number, rows in enumerate((plain, named)):
        read = read_completions(write(tmp_path / f"{number}.json", json.dumps(rows)))
        scored = score_rows(read, CompositeReward({"answer_match": 1, "token_f1": 1, "box_f1": 0}))
        found.append(scored.table.total.tolist())
    assert found[0] == found[1]


def test_completions_under_their_plural_name_are_completions(tmp_path):
    rows = [{"completions": "yes", "answer": "yes"}, {"completions": "no", "answer": "yes"}]
    read = read_completions(write(tmp_path / "a.json", json.dumps(rows)))
    assert read.completions == ["yes", "no"]
