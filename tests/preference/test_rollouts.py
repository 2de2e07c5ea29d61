"""Completions of other trainers, in the forms that they write; a prompt belongs to one row or to none."""

import json

import pytest

from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.errors import UsageError
from medgrpo.preference.rollouts import as_text, candidates_of_rollouts, read_rollouts
from medgrpo.preference.sources import from_runs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("set") / "d", seed=1, size=DemoSize(12, 2, 2))


@pytest.fixture(scope="module")
def rows(dataset):
    """Training rows whose question and answer no other row shares."""
    every = [row for split in ("train", "validation") for row in dataset.rows(split)]
    keys = [(row["question"], row["answer"]) for row in every]
    return [row for row, key in zip(every, keys, strict=True) if keys.count(key) == 1][:2]


def trl_folder(folder, rows):
    """As TRL 1.16's `log_completions` writes it, rewards under their functions' names."""
    import pandas as pd

    (folder / "completions").mkdir(parents=True)
    for step in (1, 2):
        table = {
            "step": [step] * 2 * len(rows),
            "prompt": [[{"role": "user", "content": row["question"]}] for row in rows for _ in range(2)],
            "completion": [
                [{"role": "assistant", "content": f"{say} {step}"}] for _ in rows for say in ("good", "bad")
            ],
            "answer_match": [1.0, 0.0] * len(rows),
            "format": [0.5, None] * len(rows),
            "answer": [row["answer"] for row in rows for _ in range(2)],
            "advantage": [1.0, -1.0] * len(rows),
        }
        pd.DataFrame(table).to_parquet(folder / "completions" / f"completions_{step:05d}.parquet")
    return folder


def swift_folder(folder, rows):
    """ms-swift's completions.jsonl: a line per step, a list per column."""
    folder.mkdir()
    line = {
        "step": ["1"] * 2 * len(rows),
        "prompt": [f"<|im_start|>user\n<image>{row['question']}<|im_end|>" for row in rows for _ in range(2)],
        "completion": ["good", "bad"] * len(rows),
        "Accuracy": [1.0, 0.0] * len(rows),
        "solution": [row["answer"] for row in rows for _ in range(2)],
        "advantages": [1.0, -1.0] * len(rows),
    }
    (folder / "completions.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def verl_folder(folder, rows):
    """verl's rollout_data_dir: a file per step, a line per completion."""
    folder.mkdir()
    for step in (9, 10):
        lines = [
            {"input": f"system\nuser\n{row['question']}\nassistant\n", "output": f"{say} {step}", "gts": row["answer"],
             "score": float(say == "good"), "step": step, "acc": say == "good"}
            for row in rows for say in ("good", "bad")
        ]  # fmt: skip
        (folder / f"{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(("make", "count"), [(trl_folder, 8), (swift_folder, 4), (verl_folder, 8)])
def test_completions_of_other_trainers_find_their_rows(make, count, dataset, rows, tmp_path):
    found = from_runs([make(tmp_path / "run", rows)], dataset.path)
    assert len(found.candidates) == count
    assert {one.prompt_id for one in found.candidates} == {row["id"] for row in rows}
    good = [one for one in found.candidates if one.text.startswith("good")]
    assert all(one.reward >= 1 for one in good)
    assert all(one.step in (1, 2, 9, 10) for one in found.candidates)
    assert found.prompt_template["name"] == dataset.info["prompt_template"]


def test_trls_rewards_are_summed_and_kept_apart(dataset, rows, tmp_path):
    found = from_runs([trl_folder(tmp_path / "run", rows)], dataset.path).candidates
    assert (found[0].reward, found[0].components) == (1.5, {"answer_match": 1.0, "format": 0.5})
    assert found[1].reward == 0.0


def test_they_can_be_scored_anew(dataset, rows, tmp_path):
    from medgrpo.rewards.composite import CompositeReward

    found = from_runs([verl_folder(tmp_path / "run", rows)], dataset.path, CompositeReward({"format": 1.0}))
    assert {one.reward for one in found.candidates} == {0.0}


def test_a_question_that_several_pictures_share_is_left_out_and_counted(dataset, tmp_path):
    every = list(dataset.rows("train"))
    keys = [(row["question"], row["answer"]) for row in every]
    shared = next(row for row, key in zip(every, keys, strict=True) if keys.count(key) > 1)
    lines = [{"prompt": shared["question"], "completion": text, "score": 1.0} for text in ("a", "b")]
    lines.append({"prompt": "what is the capital of France?", "completion": "Paris", "score": 1.0})
    lines.append({"prompt": "?", "completion": "by its id", "score": 1.0, "id": shared["id"]})
    (tmp_path / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, lost = candidates_of_rollouts(read_rollouts(tmp_path), dataset, "run")
    assert [one.text for one in found] == ["by its id"]
    assert lost == {"completion whose prompt several rows ask": 2, "completion of no row of the dataset": 1}


def test_test_rows_are_never_among_them(dataset, tmp_path):
    row = next(dataset.rows("test"))
    (tmp_path / "1.jsonl").write_text(
        json.dumps({"prompt": "?", "completion": "a", "score": 1.0, "id": row["id"]})
    )
    assert candidates_of_rollouts(read_rollouts(tmp_path), dataset, "run")[0] == []


def test_what_is_missing_is_said(dataset, rows, tmp_path):
    run = verl_folder(tmp_path / "run", rows)
    with pytest.raises(UsageError, match="does not say which rows"):
        from_runs([run], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is no run folder"):
        from_runs([tmp_path / "empty"], dataset.path)
    (run / "9.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(UsageError, match="without prompt and completion"):
        from_runs([run], dataset.path)


@pytest.mark.parametrize(
    "prompt",
    ["what?", [{"role": "user", "content": "what?"}], [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}],
     '[{"role": "user", "content": "what?"}]'],
)  # fmt: skip
def test_prompts_are_texts_in_any_form(prompt):
    assert as_text(prompt).strip() == "what?"


def written(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "1.jsonl").write_text(
        "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    )
    return folder


def test_a_score_that_is_missing_is_no_reward_and_other_numbers_do_not_take_its_place(tmp_path):
    said = {"prompt": "?", "completion": "a", "num_turns": 3}
    for score, wanted in ((None, None), ("bad", None), ("0.5", 0.5), (True, 1.0), (float("nan"), None)):
        (one,) = read_rollouts(written(tmp_path / "run", {**said, "score": score}))
        assert (None if one.reward != one.reward else one.reward) == wanted


def test_columns_taken_for_rewards_are_named(dataset, rows, tmp_path):
    (note,) = from_runs([trl_folder(tmp_path / "run", rows)], dataset.path).notes
    assert "answer_match + format" in note
    assert from_runs([verl_folder(tmp_path / "verl", rows)], dataset.path).notes == []


def test_an_id_whose_row_asks_something_else_is_left_out(dataset, rows, tmp_path):
    """Another trainer's running numbers may be our ids; the picture would be another one."""
    line = {"prompt": rows[0]["question"], "completion": "a", "score": 1.0, "answer": rows[0]["answer"]}
    other = next(row for row in dataset.rows("train") if row["question"] != rows[0]["question"])
    run = written(tmp_path / "run", {**line, "id": other["id"]}, {**line, "id": rows[0]["id"]})
    found, lost = candidates_of_rollouts(read_rollouts(run), dataset, "run")
    assert [one.prompt_id for one in found] == [rows[0]["id"]]
    assert lost == {"completion whose id and question are of different rows": 1}


def test_broken_lines_are_counted_and_lists_of_unequal_length_refused(dataset, rows, tmp_path):
    line = {"prompt": rows[0]["question"], "completion": "a", "score": 1, "answer": rows[0]["answer"]}
    run = written(tmp_path / "run", line, "{broken\n", "[1]\n", {**line, "step": 3.0}, '{"prompt": "cut')
    found = from_runs([run], dataset.path)
    assert [one.step for one in found.candidates] == [None, 3]
    assert found.left_out == {"line that is no JSON object": 3}
    table = {"prompt": ["a", "b"], "completion": ["c", "d"], "accuracy": [1.0]}
    with pytest.raises(UsageError, match=r"line 1: 2 completions and 1 values of accuracy"):
        read_rollouts(written(tmp_path / "table", table))


def test_a_reference_that_is_a_number_finds_its_row(dataset, tmp_path):
    every = list(dataset.rows("train"))
    row = next(row for row in every if row["answer"].isdigit())
    alike = [one for one in every if one["question"] == row["question"]]
    fitting = [one["id"] for one in alike if one["answer"] == row["answer"]]
    run = written(
        tmp_path / "run",
        {"prompt": row["question"], "completion": "a", "score": 1, "gts": int(row["answer"])},
    )
    found, _ = candidates_of_rollouts(read_rollouts(run), dataset, "run")
    assert [one.prompt_id for one in found] == (fitting if len(fitting) == 1 else [])
