"""Predictions of several models: matched by what they answer, compared in pairs."""

import json

import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.side_by_side import compare_predictions, is_evaluation


def write(folder, name, answers, questions=None):
    path = folder / f"{name}.jsonl"
    rows = [
        {"id": f"q{i}", "question": (questions or {}).get(i, f"is it {i}?"), "answer": "yes", "completion": text, "image_id": f"i{i // 2}"}
        for i, text in answers.items()
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_difference_is_the_mean_over_common_questions(tmp_path):
    base = write(tmp_path, "base", dict.fromkeys(range(60), "no"))
    tuned = write(tmp_path, "tuned", {i: "yes" if i % 3 else "no" for i in range(59, -1, -1)})
    found = compare_predictions([base, tuned])
    assert (found.models, found.matched_by) == (["base", "tuned"], "id")
    difference = next(one for one in found.differences if one.metric == "answer_match")
    assert difference.difference == pytest.approx(40 / 60)
    assert 0 < difference.low < 40 / 60 < difference.high
    assert difference.p_value < 1e-6
    assert (difference.model, difference.baseline, difference.n) == ("tuned", "base", 60)


def test_questions_on_which_models_disagree_come_first(tmp_path):
    base = write(tmp_path, "base", {0: "yes", 1: "no", 2: "no", 3: "yes"})
    tuned = write(tmp_path, "tuned", {0: "yes", 1: "no", 2: "yes", 3: "yes"})
    questions = compare_predictions([base, tuned]).questions
    assert [question.question for question in questions[:2]] == ["is it 2?", "is it 1?"]
    assert [answer.score for answer in questions[0].answers] == [0.0, 1.0]


def test_questions_that_one_model_lacks_are_left_out_and_said(tmp_path):
    found = compare_predictions(
        [
            write(tmp_path, "a", dict.fromkeys(range(4), "yes")),
            write(tmp_path, "b", dict.fromkeys(range(3), "no")),
        ]
    )
    assert all(score.n == 3 for score in found.scores if score.metric == "answer_match")
    assert found.notes == ["a: 1 of 4 questions are not answered by all models"]


def test_the_baseline_can_be_named(tmp_path):
    paths = [write(tmp_path, name, {0: "yes", 1: "no"}) for name in ("a", "b")]
    assert {one.baseline for one in compare_predictions(paths, baseline="b").differences} == {"b"}
    with pytest.raises(UsageError, match="no predictions called 'c'"):
        compare_predictions(paths, baseline="c")


def test_predictions_of_other_questions_are_refused(tmp_path):
    other = write(tmp_path, "b", {0: "yes", 1: "yes"}, {0: "something else?", 1: "and this?"})
    with pytest.raises(UsageError, match="do not answer the same questions"):
        compare_predictions([write(tmp_path, "a", {0: "yes", 1: "yes"}), other])


def test_stored_scores_of_eval_are_used_as_they_are(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for name, score in (("base", 0.0), ("tuned", 1.0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.json").write_text("{}")
        columns = {
            "id": [str(i) for i in range(4)],
            "question": ["q"] * 4,
            "image_id": [str(i) for i in range(4)],
            "completion": ["anything"] * 4,
            "reference": ["yes"] * 4,
            "rule": ["stored"] * 4,
            "answer_match": [score] * 4,
        }
        pq.write_table(pa.table(columns), folder / "predictions.parquet")
    assert is_evaluation(tmp_path / "base")
    assert not is_evaluation(tmp_path)
    found = compare_predictions([tmp_path / "base", tmp_path / "tuned" / "predictions.parquet"])
    assert found.models == ["base", "tuned"]
    assert found.differences[0].difference == 1.0


def test_real_llava_med_answers_are_compared_on_vqa_rad(shared_data):
    folder = shared_data / "model_outputs/llava_med"
    found = compare_predictions(
        [folder / "answer-file-llava-zeorshot.jsonl", folder / "answer-file.jsonl"],
        references=shared_data / "vqa_rad/testset.json",
        join="row",
    )
    difference = next(one for one in found.differences if one.metric == "answer_match")
    assert difference.n == 318
    assert difference.low > 0  # the tuned model is better than zero-shot, beyond the interval


def evaluated(folder, reward, bounds=None, **scores):
    """An output folder of eval with these scores of its rows."""
    from medgrpo.evaluation.predictions import write_predictions

    folder.mkdir()
    count = len(reward)
    columns = {
        "id": [f"q{i}" for i in range(count)],
        "image_id": [f"i{i}" for i in range(count)],
        "question": ["is it?"] * count,
        "completion": ["yes"] * count,
        "rule": ["polarity"] * count,
        "reference": ["yes"] * count,
        "answer_match": [1.0] * count,
        "reward": reward,
        **scores,
    }
    write_predictions(folder / "predictions.parquet", columns, bounds={"reward": bounds})
    (folder / "metrics.json").write_text("{}")
    return folder


def test_scores_beyond_1_have_intervals_that_hold_them(tmp_path):
    wide = [2.5 + 0.1 * (i % 5) for i in range(60)]
    pieces = [9.0 + i % 3 for i in range(60)]
    found = compare_predictions(
        [
            evaluated(tmp_path / "a", wide, betti0_error=pieces),
            evaluated(tmp_path / "b", [value - 2 for value in wide], betti0_error=[p / 9 for p in pieces]),
        ]
    )
    for one in [*found.scores, *found.differences]:
        value = one.value if hasattr(one, "value") else one.difference
        assert one.low <= value <= one.high, (one.metric, one)
    difference = {one.metric: one for one in found.differences}
    assert difference["reward"].high < -1.9
    assert difference["betti0_error"].high < -8


def test_the_range_of_a_reward_that_its_evaluation_knows_is_kept_to(tmp_path):
    nearly = [1.0] * 28 + [0.9, 0.2]
    known, unknown = evaluated(tmp_path / "a", nearly, (0.0, 1.0)), evaluated(tmp_path / "b", nearly)
    high = {
        one.model: one.high for one in compare_predictions([known, unknown]).scores if one.metric == "reward"
    }
    assert high["a"] <= 1
    assert high["b"] > 1
