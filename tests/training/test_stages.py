"""One configuration, several stages: each from the last one's weights, in the same run folder (S2.5, S3.4, S5.9)."""

import pytest
import torch

from medgrpo.config.plan import plan_stage
from medgrpo.errors import UsageError
from medgrpo.files import read_json
from medgrpo.models.adapter_files import recorded_metadata
from medgrpo.records import json_objects
from medgrpo.training.before.preflight import preflight
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import REWARDS, StopsAt, losses, run

FOUR = (
    "tuning.method=lora",
    "tuning.rank=4",
    "rollout.max_completion_length=6",
    "stages.sft.max_steps=2",
    "stages.grpo-1.method=grpo",
    "stages.grpo-1.max_steps=2",
    "stages.grpo-1.learning_rate=1e-3",
    "stages.grpo-1.beta=0.001",
    "stages.grpo-2.method=grpo",
    "stages.grpo-2.max_steps=2",
    "stages.grpo-2.learning_rate=5e-4",
    "stages.grpo-2.beta=0.01",
    "training.method=dpo",
    "training.max_steps=2",
    "training.save_steps=1",
    f'rewards.weights={{"{REWARDS}:characters" = 1.0}}',
)
"""SFT, GRPO, GRPO with another KL weight and rate, DPO on the pairs of what they sampled."""
STAGES = ("stages/1-sft", "stages/2-grpo", "stages/3-grpo")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """An uninterrupted run through four stages: its configuration and folder."""
    from medgrpo.config.presets import resolve_run
    from tests.training.conftest import TINY

    config = resolve_run(assignments=(*TINY, f"data.path={dataset}", *FOUR))[0].config
    path = tmp_path_factory.mktemp("stages") / "whole"
    assert run(config, path).status == "finished"
    return config, path


def test_four_stages_each_start_from_the_last_ones_weights(whole):
    config, path = whole
    assert [len(json_objects(path / stage / "log.jsonl")) for stage in STAGES] == [2, 2, 2]
    assert len(json_objects(path / "log.jsonl")) == 2
    folders = [path / stage / "final_lora" for stage in STAGES] + [path / "final_lora"]
    abouts = [recorded_metadata(folder) for folder in folders]
    assert [about["stage"] for about in abouts] == ["sft", "grpo-1", "grpo-2", "dpo"]
    assert abouts[0]["adapter_before"] is None
    assert [str(about["adapter_before"]) for about in abouts[1:]] == [str(folder) for folder in folders[:-1]]
    first, second = (json_objects(path / stage / "log.jsonl") for stage in STAGES[1:])
    assert (
        max(entry["learning_rate"] for entry in first) > max(entry["learning_rate"] for entry in second) > 0
    )
    # The KL is to the weights that the stage began with: 0 before its first update.
    assert first[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert second[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert {"rewards/margins", "loss"} <= json_objects(path / "log.jsonl")[-1].keys()
    assert plan_stage(config, 7, stage="grpo-2").method == "grpo"


def test_the_dpo_stage_learns_from_the_runs_own_completions(whole):
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.runs.store import read_completions

    _, path = whole
    pairs = list(PreparedDataset.open(path / "pairs").rows("train"))
    stored = read_completions(path).to_pylist()
    rewards = {(row["question"], row["completion"].strip()): row["reward"] for row in stored}
    assert pairs
    for pair in pairs:
        chosen, rejected = (
            rewards[pair["question"], pair[which].strip()] for which in ("chosen", "rejected")
        )
        assert chosen >= rejected + 0.1


@pytest.mark.parametrize(("stage", "step", "goes_on_with"), [("grpo-1", 1, "grpo-1"), ("grpo-2", 2, "dpo")])
def test_resume_knows_the_stage_and_repeats_the_uninterrupted_run(whole, tmp_path, stage, step, goes_on_with):
    from safetensors.torch import load_file

    config, path = whole
    cut = tmp_path / "cut"
    assert run(config, cut, reporter=StopsAt(stage, step)).status == "stopped"
    reporter = SilentReporter()
    assert run(config, cut, reporter=reporter, resume=True).status == "finished"
    resumed = [note.split()[1] for note in reporter.notes if note.startswith("resuming ")]
    assert resumed[0] == goes_on_with
    for folder in (*STAGES, "."):
        assert losses(cut / folder) == losses(path / folder)
    ours, theirs = (load_file(one / "final_lora" / "adapter_model.safetensors") for one in (cut, path))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_dpo_stage_without_pairs_and_without_grpo_before_it_is_refused_before_anything_is_loaded(
    tiny_config,
):
    with pytest.raises(UsageError, match="no preference pairs") as raised:
        preflight(tiny_config("training.method=dpo"))
    assert "GRPO stage before" in raised.value.expected
    checks = preflight(tiny_config(*FOUR))
    assert any("run's own completions" in warning for warning in checks.warnings)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_dpo_stage_without_a_pair_is_left_out_and_the_grpo_weights_are_the_result(
    tiny_config, tmp_path, tuning
):
    constant = f'rewards.weights={{"{REWARDS}:always_one" = 1.0}}'
    short = ("sft.enabled=false", "grpo-2.enabled=false", "grpo-1.max_steps=1")
    short = (*(f"stages.{words}" for words in short), f"tuning.method={tuning}")
    config = tiny_config(*FOUR, *short, constant)
    path, reporter = tmp_path / "run", SilentReporter()
    assert run(config, path, reporter=reporter).status == "finished"
    told = [warning for warning in reporter.warnings if "left out: no pairs: " in warning]
    assert len(told) == 1
    assert "without spread" in told[0]
    final = "final_lora" if tuning == "lora" else "final_model"
    weights = "adapter_model.safetensors" if tuning == "lora" else "model.safetensors"
    before, after = path / "stages" / "1-grpo" / final, path / final
    assert (after / weights).read_bytes() == (before / weights).read_bytes()
    assert read_json(after / "medgrpo.json")["stage"] == "grpo-1"
    assert read_json(path / "training_info.json")["left_out"][0]["stage"] == "dpo"
    again = SilentReporter()  # what was decided stays decided
    assert run(config, path, reporter=again, resume=True).status == "finished"
    assert again.warnings == []


def test_a_dpo_stage_with_fewer_pairs_than_a_step_takes_smaller_steps(tiny_config, tmp_path):
    config = tiny_config(*FOUR, "stages.sft.enabled=false", "stages.grpo-2.enabled=false")
    training = {"prompts_per_step": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    stages = {**config.stages, "grpo-1": config.stages["grpo-1"].model_copy(
        update={"max_steps": 1, "prompts_per_step": 3, "per_device_train_batch_size": 12}
    )}  # fmt: skip
    config = config.model_copy(
        update={"stages": stages, "training": config.training.model_copy(update=training)}
    )
    path, reporter = tmp_path / "run", SilentReporter()
    result = run(config, path, reporter=reporter)
    assert (result.status, result.steps) == ("finished", 2)
    assert "3 pairs are fewer than the 4 of one step: steps of 3" in reporter.warnings
    assert run(config, path, resume=True).status == "finished"
