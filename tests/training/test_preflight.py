"""What is checked before a run loads anything heavy."""

import pytest

from medgrpo.config.sections import RunConfig
from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards.plugins import RewardError
from medgrpo.training.before.preflight import preflight

PLUGIN = """
def stumbles(completions, answer, **_):
    return [1.0 / (text != 'yes') for text in answer]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "demo"
    write_demo_dataset(path, size=DemoSize(train=60, validation=8, test=8))
    return path


def checked(data, **rewards):
    return preflight(RunConfig(data={"path": str(data)}, rewards=rewards))


def test_a_sound_run_has_nothing_to_be_warned_of_in_its_rewards(data):
    assert not [warning for warning in checked(data).warnings if "reward" in warning or "cheat" in warning]


def test_an_audit_above_the_limit_stops_the_run_before_it_starts(data):
    with pytest.raises(MedgrpoError, match=r"the cheat .* earns 0\.\d+ of what the references earn"):
        checked(data, audit_limit=0.1)
    checked(data, audit_limit=1.0)


def test_a_plugin_that_raises_is_named_with_its_row(data, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    with pytest.raises(RewardError, match=r"'stumbles' failed at row \d+: ZeroDivisionError") as caught:
        checked(data, weights={f"{path}:stumbles": 1.0})
    assert "of the data" in caught.value.hint


def test_a_plugin_that_raises_may_be_skipped(data, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    weights = {f"{path}:stumbles": 0.5, "answer_match": 0.5}
    warnings = checked(data, weights=weights, on_error="skip").warnings
    assert any("stumbles failed on" in warning and "trial rows" in warning for warning in warnings)


def test_a_metric_that_validation_does_not_know_is_told_before_the_first_step(data, tmp_path):
    with pytest.raises(UsageError, match=r"validation.metric: no reward called 'answer_mach'") as raised:
        preflight(RunConfig(data={"path": str(data)}, validation={"metric": "answer_mach", "steps": 5}))
    assert "did you mean 'answer_match'?" in raised.value.hint
    path = tmp_path / "mine.py"
    path.write_text("def good(completions, **_):\n    return [1.0 for _ in completions]\n")
    for metric in ("reward", "token_f1", "good"):
        weights = {f"{path}:good": 1.0}
        preflight(
            RunConfig(data={"path": str(data)}, rewards={"weights": weights}, validation={"metric": metric})
        )


def test_a_health_rule_that_does_not_exist_cannot_be_waited_for(data):
    with pytest.raises(UsageError, match=r"no health rule for training.stop_on called 'nans'") as raised:
        preflight(RunConfig(data={"path": str(data)}, training={"stop_on": ["nans"]}))
    assert raised.value.hint == "did you mean 'nan'?"


@pytest.mark.parametrize(("visible", "words"), [("", "shows no CUDA GPU"), ("3", "shows 1 CUDA GPU")])
def test_more_gpus_than_there_are_is_refused(data, monkeypatch, visible, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UsageError, match=f"launch.gpus = 2, and this machine {words}"):
        preflight(RunConfig(data={"path": str(data)}, launch={"gpus": 2}), world_size=2)
    preflight(RunConfig(data={"path": str(data)}, launch={"gpus": 2, "cpu": True}), world_size=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    preflight(RunConfig(data={"path": str(data)}, launch={"gpus": 2}), world_size=2)


def test_a_reward_and_a_curriculum_are_tried_on_the_demo_too(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def broken(completions, **_):\n    return completions[0].nothing\n")
    with pytest.raises(RewardError, match="'broken' failed"):
        preflight(RunConfig(rewards={"weights": {f"{path}:broken": 1.0}}))
    with pytest.raises(UsageError, match=r"no column for curriculum\.by called 'hardness'"):
        preflight(RunConfig(curriculum={"by": "column:hardness"}))


def test_a_reward_written_for_trl_alone_is_told_what_it_can_have(data, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def ours(prompts, completions, **_):\n    return [1.0 for _ in prompts]\n")
    with pytest.raises(UsageError, match="the reward 'ours' asks for 'prompts'") as caught:
        checked(data, weights={f"{path}:ours": 1.0})
    assert "take question instead of prompts" in caught.value.hint
    path.write_text("def ours(completions, prompts=None, **_):\n    return [1.0 for _ in completions]\n")
    checked(data, weights={f"{path}:ours": 1.0})


def test_a_curriculum_beside_other_stages_is_said_to_be_of_the_main_one_alone(data):
    by_answer = {"by": "column:image_tokens"}
    alone = RunConfig(data={"path": str(data)}, curriculum=by_answer)
    assert not [warning for warning in preflight(alone).warnings if "curriculum" in warning]
    for path in (str(data), None):  # the demo's data are not there yet
        both = RunConfig(
            data={"path": path}, curriculum=by_answer, stages={"sft": {}, "grpo-1": {"method": "grpo"}}
        )
        told = [warning for warning in preflight(both).warnings if "main stage" in warning]
        assert told == [
            "curriculum.by orders the rows of the main stage; sft and grpo-1 take them as data.shuffle says"
        ]


@pytest.mark.parametrize("weights", ["multi_objective_guarded", {"simple_dice": 0.5, "format": 0.5}])
def test_rewards_that_compare_masks_cannot_judge_texts(data, weights):
    with pytest.raises(UsageError, match="compares masks, and the data has none"):
        checked(data, weights=weights)


def test_a_metric_that_can_judge_no_row_is_warned_of(data):
    def told(metric, steps=5):
        config = RunConfig(data={"path": str(data)}, validation={"metric": metric, "steps": steps})
        return [one for one in preflight(config).warnings if "early stopping" in one and "judges none" in one]

    assert told("box_iou")
    assert not told("answer_match")
    assert not told("box_iou", steps=0)


def test_data_without_a_validation_split_are_fine(data, tmp_path):
    from medgrpo.data.prepared import PreparedDataset, PreparedWriter

    with PreparedWriter(tmp_path / "all") as writer:
        writer.write("train", [{**row, "images": []} for row in PreparedDataset.open(data).rows("train")])
        writer.finish({"name": "all", "task": "text", "hash": "all"})
    preflight(RunConfig(data={"path": str(tmp_path / "all")}, validation={"steps": 5}))
