"""Cells of completions files that are no plain text: read where the form is known, else refused with row and form."""

import json

import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.predictions import read_predictions
from medgrpo.rewards.completion_values import reference_in, samples_in
from medgrpo.rewards.completions_file import read_completions
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.score_file import score_rows

OPENAI = {
    "status_code": 200,
    "request_id": "r",
    "body": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]},
}
ANTHROPIC = {
    "type": "succeeded",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
}
GEMINI = {"candidates": [{"content": {"parts": [{"text": "yes"}]}}]}
GEMINI_IN_PARTS = {
    "candidates": [{"content": {"parts": [{"text": "no?", "thought": True}, {"text": "ye"}, {"text": "s"}]}}]
}
RESPONSES = {
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "no?"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
    ]
}
REFUSAL = {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "yes"}}]}


def text_of(sample):
    from medgrpo.rewards.text import completion_text

    return completion_text(sample)


@pytest.mark.parametrize(
    "value",
    [
        "yes",
        ["yes"],
        [["yes"]],
        {"role": "assistant", "content": "yes"},
        [{"role": "assistant", "content": "yes"}],
        {"generated_text": "yes"},
        [{"generated_text": "yes"}],
        {"outputs": [{"text": "yes"}]},
        {"choices": [{"text": "yes"}]},
        {"choices": [{"message": {"content": "yes"}}]},
        OPENAI,
        ANTHROPIC,
        {"response": GEMINI},
        GEMINI_IN_PARTS,
        {"response": {"body": RESPONSES}},
        REFUSAL,
        {"model": "m", "message": {"role": "assistant", "content": "yes"}, "done": True},  # Ollama
        {"output": {"message": {"role": "assistant", "content": [{"text": "yes"}]}}},  # Bedrock
        [{"generated_text": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}]}],
        [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}],
        True,
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_known_form_is_its_text(value):
    assert [text_of(sample) for sample in samples_in(value, "a, row 1")] == ["yes"]


@pytest.mark.parametrize(
    "value",
    [["yes", "no"], [["yes"], ["no"]], [["yes", "no"]], {"choices": [{"text": "yes"}, {"text": "no"}]}],
)
def test_several_texts_are_samples(value):
    assert samples_in(value, "a, row 1") == ["yes", "no"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "no completion"),
        (float("nan"), "no completion"),
        ([], "not known"),
        ({}, "not known"),
        ({"score": 1}, "an object with score"),
        ([[-1.2, False], [-3.0, True]], "not known"),
        ([{"role": "assistant", "content": None}], "no completion"),
        ({"status_code": 429, "body": {}}, "request failed"),
        ({"error": {"code": "rate_limit"}}, "request failed"),
        ({"type": "errored", "error": None}, "request failed"),
    ],
)
def test_anything_else_is_refused_with_its_row_and_form(value, words):
    with pytest.raises(UsageError, match=f"a, row 3.*{words}"):
        samples_in(value, "a, row 3")


def test_numbers_are_texts():
    assert [samples_in(value, "a") for value in (3, 3.0, 2.5)] == [["3"], ["3"], ["2.5"]]


def test_a_reference_in_an_object_is_found_or_refused():
    assert reference_in({"style": "rule", "ground_truth": "yes"}, "a") == "yes"
    assert reference_in(["yes", {"text": "y"}], "a") == ["yes", "y"]
    with pytest.raises(UsageError, match="reference is an object with spans"):
        reference_in({"spans": []}, "a, row 1")


def written(tmp_path, rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_batch_output_is_scored(tmp_path):
    rows = [{"custom_id": str(n), "response": OPENAI, "error": None, "answer": "yes"} for n in range(2)]
    scored = score_rows(
        read_completions(written(tmp_path, rows)),
        CompositeReward({"answer_match": 1}, settings={"plain": True}),
    )
    assert scored.table.total.tolist() == [1, 1]


def test_samples_are_rows_of_a_file_and_samples_of_one_question_in_an_evaluation(tmp_path):
    rows = [
        {"question": "Is there an effusion?", "target": "yes", "resps": [["yes"], ["no"]]},
        {"question": "Which side?", "target": "left", "resps": [["left"], ["left"]]},
    ]
    path = written(tmp_path, rows)
    read = read_completions(path)
    assert read.completions == ["yes", "no", "left", "left"]
    assert read.columns["answer"] == ["yes", "yes", "left", "left"]
    assert [row["resps"] for row in read.rows] == read.completions
    assert "2 rows hold several completions" in read.notes[0]
    predictions = read_predictions(path)
    assert (len(predictions), predictions.samples) == (2, [["yes", "no"], ["left", "left"]])


def test_a_null_among_texts_is_refused_and_an_empty_text_is_an_answer(tmp_path):
    rows = [{"prediction": "yes", "answer": "yes"}, {"prediction": None, "answer": "no"}]
    with pytest.raises(UsageError, match="row 2: no completion"):
        read_completions(written(tmp_path, rows))
    rows[1]["prediction"] = ""
    assert read_completions(written(tmp_path, rows)).completions == ["yes", ""]


@pytest.mark.parametrize("name", ["solution", "ground_truth", "gt", "target", "reference"])
@pytest.mark.parametrize("column", ["solution", "answer", "gt"])
def test_a_reward_is_given_the_reference_under_the_name_it_asks_for(tmp_path, name, column):
    (tmp_path / "mine.py").write_text(
        f"def same(completions, {name}):\n    return [float(a == b) for a, b in zip(completions, {name})]\n"
    )
    read = read_completions(
        written(tmp_path, [{"completion": "yes", column: "yes"}, {"completion": "no", column: "yes"}])
    )
    table = CompositeReward({f"{tmp_path / 'mine.py'}:same": 1}).score(read.completions, read.columns)
    assert table.total.tolist() == [1, 0]
