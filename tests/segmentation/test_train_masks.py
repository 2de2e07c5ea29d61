"""`train --method masks`: the run record, resume, what is kept, and models with an adapter."""

import json
from pathlib import Path

import numpy as np
import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.segmentation.packed import unpack
from medgrpo.training.before.preflight import preflight
from tests.training.conftest import StopsAt, losses, run

TINY = (
    "training.method=masks",
    "tuning.method=full",
    "training.max_steps=4",
    "training.prompts_per_step=2",
    "training.save_steps=1",
    "training.save_total_limit=10",
    "training.learning_rate=1e-3",
    "rollout.num_generations=4",
    "stages.warm.method=masks-sft",
    "stages.warm.max_steps=3",
    "stages.warm.prompts_per_step=2",
    "validation.steps=2",
    "data.augment=flip",
)


@pytest.fixture
def masks_config(vessels):
    def build(*assignments, model="unet"):
        words = (*TINY, f"data.path={vessels}", *assignments)
        return resolve_run(model=model, assignments=words)[0].config

    return build


def test_a_run_by_reward_writes_what_every_run_writes_and_its_overlays(masks_config, tmp_path):
    result = run(masks_config(), tmp_path / "run")
    assert result.status == "finished"
    entries = json_objects(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    for key in ("reward", "frac_reward_zero_std", "rewards/dice/mean", "rewards/multi_objective_guarded/mean",
                "rewards/dice/coverage", "recall/running_mean", "s_per_prompt", "time/reward"):  # fmt: skip
        assert key in entries[0], key
    assert entries[0]["time/prepare"] > 0
    for entry in json_objects(tmp_path / "run" / "stages" / "1-masks-sft" / "log.jsonl"):
        spent = {key for key in entry if key.startswith("time/")}
        assert spent == {"time/prepare", "time/rollout", "time/update"}
    assert "eval_dice" in entries[1]
    assert (tmp_path / "run" / "stages" / "1-masks-sft" / "log.jsonl").is_file()
    described = read_json(tmp_path / "run" / "final_model" / "medgrpo.json")
    assert 0.1 <= described["masks"]["threshold"] <= 0.9
    assert (tmp_path / "run" / "best_model" / "model.safetensors").is_file()
    assert read_json(tmp_path / "run" / "training_info.json")["validation"]["after"]["dice"]["n"] == 3
    assert len(list((tmp_path / "run" / "overlays").glob("*/*.png"))) >= 6
    table = read_completions(tmp_path / "run").to_pylist()
    assert len(table) == 4 * 2 * 2  # the best and the worst of each group
    mask = unpack(json.loads(table[0]["completion"]))
    assert mask.shape == (48, 48)


@pytest.mark.parametrize(
    "words", [(), ("training.num_iterations=2", "training.beta=0.1", "masks.dynamic_recall=true")]
)
def test_a_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(masks_config, tmp_path, words):
    config = masks_config("validation.steps=0", "validation.before_and_after=false", *words)
    run(config, tmp_path / "whole")
    stopped = run(config, tmp_path / "cut", reporter=StopsAt("masks", 2))
    assert stopped.status == "stopped"
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    whole, cut = (
        (tmp_path / name / "final_model" / "model.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert whole == cut
    texts = [read_completions(tmp_path / name).column("completion").to_pylist() for name in ("whole", "cut")]
    assert texts[0] == texts[1]


def test_what_is_rewarded_is_learned(masks_config, tmp_path):
    # Recall alone, from a start that answers almost nothing: more and more is called a vessel.
    words = ("stages.warm.max_steps=25", "stages.warm.learning_rate=1e-2", "training.max_steps=12", "rewards.weights=recall_focused",
             "training.learning_rate=3e-3", "validation.steps=0", "training.save_steps=50", "masks.threshold=0.5")  # fmt: skip
    result = run(masks_config(*words), tmp_path / "run")
    before, after = (result.validation[name]["mask_recall"]["value"] for name in ("before", "after"))
    assert after > before + 0.05


def test_the_tiny_sa2va_trains_with_an_adapter_and_its_answers_are_policy_too(masks_config, tmp_path):
    words = ("tuning.method=lora", "training.max_steps=2", "masks.text=sampled", "stages.warm.max_steps=1",
             "validation.steps=0", "masks.image_size=48")  # fmt: skip
    run(masks_config(*words, model="sa2va-tiny"), tmp_path / "run")
    assert (tmp_path / "run" / "final_lora" / "adapter_config.json").is_file()
    entries = json_objects(tmp_path / "run" / "log.jsonl")
    assert "completions/failed" in entries[0]
    warm = json_objects(tmp_path / "run" / "stages" / "1-masks-sft" / "log.jsonl")
    assert {"mask_loss", "text_loss"} <= set(warm[0])


def test_a_unet_has_no_adapter(masks_config, tmp_path):
    with pytest.raises(UsageError, match="does not fit"):
        run(masks_config("tuning.method=lora"), tmp_path / "run")


def test_rewards_of_texts_and_models_that_write_are_refused(masks_config, vessels):
    with pytest.raises(UsageError, match="judges texts"):
        preflight(masks_config("rewards.weights=balanced"))


@pytest.mark.parametrize(("metric", "best"), [("betti0_error", min), ("dice", max)])
def test_the_best_weights_are_those_of_the_named_measure(metric, best, masks_config, tmp_path):
    words = (
        f"validation.metric={metric}",
        "validation.steps=1",
        "training.learning_rate=0.05",
        "masks.threshold=0.4",
    )
    run(masks_config(*words), tmp_path / "run")
    measured = {
        entry["step"]: entry[f"eval_{metric}"] for entry in json_objects(tmp_path / "run" / "log.jsonl")
    }
    info = read_json(tmp_path / "run" / "training_info.json")
    assert len(set(measured.values())) > 1
    assert info["best"]["metric"] == metric
    assert info["best"]["value"] == best(measured.values())
    assert info["best"]["step"] == next(step for step, value in measured.items() if value == best(measured.values()))  # fmt: skip


def test_a_step_is_told_in_pictures_and_masks(masks_config):
    warm, main = (plan.describe() for plan in preflight(masks_config()).plans)
    assert warm.startswith("warm (masks-sft): 3 steps of 2 pictures =")
    assert main.startswith("main (masks): 4 steps of 2 pictures × 4 masks =")


def test_the_words_beside_a_mask_are_no_answer_to_guess(vessels):
    from medgrpo.data.lint import majority
    from medgrpo.data.prepared import PreparedDataset

    dataset = PreparedDataset.open(vessels)
    rows = [(row, split) for split in dataset.splits for row in dataset.rows(split)] * 4
    masked = majority(*zip(*rows, strict=True))
    assert masked == []
    assert majority([{**row, "mask": None} for row, _ in rows], [split for _, split in rows])


def test_a_measure_that_no_mask_has_is_refused_with_its_neighbour(masks_config):
    with pytest.raises(UsageError, match="recall") as told:
        preflight(masks_config("validation.metric=recall"))
    assert "mask_recall" in told.value.hint
    with pytest.raises(UsageError, match="simple_dice"):  # it was never measured, and nothing was the best
        preflight(masks_config("validation.metric=simple_dice"))


def test_only_a_mask_reward_has_weights_to_change(masks_config):
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.objective import mask_reward_of

    changed = mask_reward_of(CompositeReward("multi_objective"), {"recall_target": 0.7, "dice_weight": 0.4})
    assert (changed.recall_target, changed.dice) == (0.7, 0.4)
    both = CompositeReward({"multi_objective": 1.0, "simple_dice": 1.0})
    assert mask_reward_of(both, {}) is None
    with pytest.raises(UsageError, match="recall_target"):
        mask_reward_of(both, {"recall_target": 0.7})


def test_a_sum_of_mask_rewards_is_judged_whole(masks_config, tmp_path):
    words = ('rewards.weights={"multi_objective" = 0.5, "simple_dice" = 0.5}', "training.max_steps=1",
             "validation.steps=0", "stages.warm.enabled=false")  # fmt: skip
    run(masks_config(*words), tmp_path / "run")
    entry = json_objects(tmp_path / "run" / "log.jsonl")[0]
    assert entry["reward"] == pytest.approx(
        np.mean([entry["rewards/multi_objective/mean"], entry["rewards/simple_dice/mean"]])
    )
    assert Path(tmp_path / "run" / "final_model").is_dir()


def test_a_guarded_reward_holds_the_dice_of_before_the_stage(masks_config):
    from types import SimpleNamespace

    from medgrpo.training.trainers.masks import _holding_dice, objective_of

    notes = []
    for words, reward, expected in (((), "multi_objective_guarded", 0.6), (("masks.hold_dice=false",), "multi_objective_guarded", None),
                                    ((), "multi_objective", None)):  # fmt: skip
        config = masks_config(*words, f"rewards.weights={reward}")
        context = SimpleNamespace(
            config=config, before={"dice": {"value": 0.6}}, reporter=SimpleNamespace(note=notes.append)
        )
        held = _holding_dice(objective_of(config, preflight(config)), context)
        assert held.reward.dice_start == expected
    assert len(notes) == 1
    assert "0.600" in notes[0]
