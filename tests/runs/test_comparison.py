"""What a comparison says about runs, and that one broken log does not spoil it."""

import json

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.figures import direction
from medgrpo.runs.comparison import compare_runs, summarise
from medgrpo.runs.record import RunRecord


def write_log(folder, name, rewards, config=None, **extra):
    history = [
        {"stage": "grpo", "step": i, "reward": value, "s_per_prompt": 2.0}
        for i, value in enumerate(rewards, 1)
    ]
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"schema_version": 1, "name": name, "config": config or {}, "history": history, **extra})
    )
    return path


def test_first_and_last_are_means_of_five_entries_or_a_tenth(tmp_path):
    comparison = compare_runs([write_log(tmp_path, "a", [i / 100 for i in range(100)])])
    (run,) = comparison.runs
    assert run.first["reward"] == pytest.approx(0.045)  # mean of 0 … .09
    assert run.last["reward"] == pytest.approx(0.945)
    assert run.best["reward"].step == 100
    assert run.best["reward"].value == pytest.approx(0.97)  # mean of the last of 20 blocks, .95 … .99
    assert run.prompts_per_hour == 1800


def test_best_of_a_held_out_metric_is_its_best_value_at_its_step():
    history = [{"step": 10 * i, "eval_loss": value} for i, value in enumerate([3.0, 1.0, 2.0], 1)]
    run = summarise(RunRecord("run", "test", {}, history))
    assert (run.best["eval_loss"].value, run.best["eval_loss"].step, run.last["eval_loss"]) == (1.0, 20, 2.0)


@pytest.mark.parametrize(
    ("key", "sign"),
    [
        ("reward", 1),
        ("rewards/format/mean", 1),
        ("eval_answer_match", 1),
        ("loss", -1),
        ("eval_loss", -1),
        ("frac_reward_zero_std", -1),
        ("completions/mean_length", 0),
        ("eval_completions/mean_length", 0),
        ("learning_rate", 0),
        ("entropy", 0),
    ],
)
def test_metrics_know_which_way_is_better(key, sign):
    assert direction(key) == sign


def test_only_settings_that_differ_are_listed(tmp_path):
    a = write_log(tmp_path, "a", [0.5], {"training": {"beta": 0.0, "lr": 1e-5}, "output": "runs/a"})
    b = write_log(
        tmp_path, "b", [0.5], {"training": {"beta": 0.04, "lr": 1e-5}, "output": "runs/b", "seed": 1}
    )
    assert compare_runs([a, b]).config_differences == {"seed": [None, 1], "training.beta": [0.0, 0.04]}


def test_settings_that_only_another_trainer_knows_are_not_listed(tmp_path):
    ours = write_log(tmp_path, "a", [0.5], {"training": {"beta": 0.0}})
    theirs = tmp_path / "trainer_state.json"
    theirs.write_text(json.dumps({"log_history": [{"step": 1, "loss": 1.0}], "train_batch_size": 2}))
    assert compare_runs([ours, theirs]).config_differences == {}


def test_runs_of_one_name_are_told_apart(shared_data):
    logs = shared_data / "logs/swift_sft"
    comparison = compare_runs([logs / "logging.jsonl", logs / "trainer_state.json"])
    assert [run.name for run in comparison.runs] == ["swift_sft (logging)", "swift_sft (trainer_state)"]


def test_a_broken_log_is_named_and_left_out(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{nothing")
    comparison = compare_runs([write_log(tmp_path, "a", [0.5]), broken])
    assert [run.name for run in comparison.runs] == ["a"]
    assert comparison.unreadable[0][0] == str(broken)
    with pytest.raises(MedgrpoError, match="no training metrics"):
        compare_runs([broken])


def test_an_unknown_baseline_is_refused_with_the_names(tmp_path):
    with pytest.raises(UsageError, match="no run called 'c'"):
        compare_runs([write_log(tmp_path, "a", [0.5])], baseline="c")


def test_empty_histories_compare(tmp_path):
    comparison = compare_runs([write_log(tmp_path, "a", []), write_log(tmp_path, "b", [0.5])])
    assert [run.health.verdict for run in comparison.runs] == ["insufficient_data", "insufficient_data"]
    assert comparison.as_dict()["runs"][0]["last"] == {}
