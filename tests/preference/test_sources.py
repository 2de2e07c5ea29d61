"""Where candidates come from: scored with the tags of the prompt that was answered, never of test rows."""

import json

import pytest

from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prompts import load_template
from medgrpo.errors import UsageError
from medgrpo.models.demo import build_demo_model
from medgrpo.preference.sources import from_files, from_sampling
from medgrpo.rewards.composite import CompositeReward

REWARD = CompositeReward({"format": 0.5, "answer_match": 0.5})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("set") / "d", seed=1, size=DemoSize(4, 4, 6))


def write_answers(path, rows, text):
    lines = [{"id": row["id"], "completion": text.format(**row), "samples": ["other"]} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_of_models_are_scored_with_the_tags_of_the_prompt(tmp_path, dataset):
    rows = list(dataset.rows("train"))[:3]
    file = write_answers(tmp_path / "a.jsonl", rows, "<think>seen</think><answer>{answer}</answer>")
    four_tags = from_files([file], dataset.path, REWARD)
    two_tags = from_files([file], dataset.path, REWARD, prompt="answer")
    first = [[one.reward for one in found.candidates[:2]] for found in (four_tags, two_tags)]
    assert first[1] == [1.0, 0.0]
    assert first[0][0] == pytest.approx(0.5)  # right, but plane and modality are not in the form asked for
    assert two_tags.prompt_template["tags"] == ["think", "answer"]


def test_further_samples_of_a_row_are_candidates_too(tmp_path, dataset):
    rows = list(dataset.rows("train"))[:2]
    found = from_files(
        [write_answers(tmp_path / "a.jsonl", rows, "<answer>x</answer>")], dataset.path, REWARD
    )
    assert [one.text for one in found.candidates] == ["<answer>x</answer>", "other"] * 2


def test_answers_to_test_questions_make_no_pairs(tmp_path, dataset):
    test, train = list(dataset.rows("test"))[:2], list(dataset.rows("train"))[:2]
    with pytest.raises(UsageError, match="test questions only"):
        from_files([write_answers(tmp_path / "t.jsonl", test, "yes")], dataset.path, REWARD)
    both = from_files([write_answers(tmp_path / "b.jsonl", [*test, *train], "yes")], dataset.path, REWARD)
    assert {one.prompt_id for one in both.candidates} == {row["id"] for row in train}


def test_rows_without_an_id_are_refused(tmp_path, dataset):
    file = tmp_path / "a.jsonl"
    file.write_text('{"completion": "yes"}\n')
    with pytest.raises(UsageError, match="without an id"):
        from_files([file], dataset.path, REWARD)


def test_samples_of_a_model_are_drawn_and_scored_with_its_own_prompt(tmp_path, dataset):
    model = build_demo_model(tmp_path / "model", demo_texts(), seed=3)
    described = load_template("answer").to_dict()
    (model / "medgrpo.json").write_text(json.dumps({"prompt_template": described}))
    found = from_sampling(
        str(model),
        dataset.path,
        CompositeReward({"format": 1}),
        samples=2,
        limit=2,
        max_new_tokens=3,
        on_rows=lambda count: None,
    )
    assert found.prompt_template == described
    asked = [row["id"] for row in dataset.rows("train", 2)]
    assert sorted(one.prompt_id for one in found.candidates) == sorted(asked * 2)
    assert all(one.reward == 0 for one in found.candidates)


def test_what_belongs_to_no_row_or_to_a_test_row_is_counted(tmp_path, dataset):
    rows = [*list(dataset.rows("train"))[:2], next(dataset.rows("test")), {"id": "nowhere"}]
    lines = [{"id": row["id"], "completion": "yes", "truncated": True, "lengths": 7} for row in rows]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = from_files([tmp_path / "a.jsonl"], dataset.path, REWARD)
    assert found.left_out == {"completion of no row of the dataset": 1, "completion of a test row": 1}
    assert [(one.truncated, one.tokens) for one in found.candidates] == [(True, 7)] * 2


def test_models_whose_files_have_one_name_are_told_apart(tmp_path):
    from medgrpo.preference.sources import sources_of

    assert sources_of([tmp_path / "a/out.jsonl", tmp_path / "b/out.jsonl"]) == ["a/out", "b/out"]
    assert sources_of([tmp_path / "a/predictions.parquet", tmp_path / "b/predictions.parquet"]) == ["a", "b"]
    assert sources_of([tmp_path / "a/one.jsonl", tmp_path / "a/two.jsonl"]) == ["one", "two"]
