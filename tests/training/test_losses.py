"""What is learned from a batch: TRL's losses, KL on and off, GDPO, the gate, over-long completions (S1.3, S2.1, S2.4)."""

from typing import get_args

import numpy as np
import pytest

from medgrpo.config.sections import LossType
from medgrpo.records import json_objects
from medgrpo.rewards.composite import CompositeReward
from medgrpo.runs.store import read_completions
from medgrpo.training.run.train import train
from medgrpo.training.trainers.scoring import Overlong, Sample, Scored, reward_metrics
from medgrpo.training.watch.reporter import SilentReporter
from tests.families import TINY_FAMILIES
from tests.training.conftest import REWARDS

ONE_STEP = (
    "stages.sft.enabled=false",
    "training.max_steps=1",
    "training.warmup_ratio=0",
    "rollout.max_completion_length=8",
)


def run(config, path):
    result = train(config, name="test", reporter=SilentReporter(), output=path, logs=None)
    return json_objects(result.log)


@pytest.mark.parametrize("loss", get_args(LossType))
def test_every_loss_of_trl_takes_a_step(tiny_config, tmp_path, loss):
    settings = [f"training.loss_type={loss}"]
    settings += ["training.importance_sampling_level=sequence"] if loss == "luspo" else []
    (entry,) = run(tiny_config(*ONE_STEP, *settings), tmp_path / "run")
    assert np.isfinite(entry["loss"])
    assert entry["grad_norm"] > 0
    assert "kl" not in entry


def test_the_names_of_the_losses_are_trls():
    import inspect

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._compute_loss)
    assert all(f'"{name}"' in source for name in get_args(LossType))


def test_kl_entropy_and_lengths_are_in_the_log(tiny_config, tmp_path):
    (entry,) = run(tiny_config(*ONE_STEP, "training.beta=0.01"), tmp_path / "run")
    assert entry["kl"] == pytest.approx(0, abs=1e-5)  # the first step is on the reference itself
    assert entry["entropy"] > 0
    lengths = [entry[f"completions/{what}_length"] for what in ("min", "mean", "max")]
    assert 1 <= lengths[0] <= lengths[1] <= lengths[2] <= 8
    assert 0 <= entry["completions/clipped_ratio"] <= 1
    assert entry["completions/mean_terminated_length"] >= 0


# --------------------------------------------------------------------------------------------- GDPO


def share_of_letters(completions, **_):
    return [sum(one.isalpha() for one in text) / max(len(text), 1) for text in as_texts(completions)]


def length(completions, **_):
    return [float(len(text)) for text in as_texts(completions)]


def as_texts(completions):
    return [one if isinstance(one, str) else one[-1]["content"] for one in completions]


def test_gdpo_gives_the_advantages_of_trl_on_the_same_completions(tmp_path):
    """TRL normalises each reward in its group, sums, then whitens the batch; so do composite and batch scaling."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from medgrpo.models.loading import load_model

    group, weights = 4, {"share_of_letters": 0.7, "length": 0.3}
    loaded = load_model(str(TINY_FAMILIES["qwen3"].build(tmp_path / "model")))
    trainer = GRPOTrainer(
        model=loaded.model,
        processing_class=loaded.processor,
        reward_funcs=[share_of_letters, length],
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=8,
            num_generations=group,
            max_completion_length=8,
            max_steps=1,
            report_to="none",
            bf16=False,
            multi_objective_aggregation="normalize_then_sum",
            reward_weights=list(weights.values()),
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["Is there a lesion?", "Which plane is shown?"] * 4}),
    )
    trainer.model.train()
    rows = [{"prompt": "Is there a lesion?"}] * group + [{"prompt": "Which plane is shown?"}] * group
    trainer._generate_and_score_completions(rows)
    advantages = np.array(list(trainer._logs["advantages"]))
    composite = CompositeReward(
        weights,
        aggregation="normalize_then_sum",
        rewards={"share_of_letters": share_of_letters, "length": length},
    )
    table = composite.score(list(trainer._logs["completion"]))
    signal = composite.signal(table, group)
    ours = (signal - signal.mean()) / (signal.std(ddof=1) + 1e-4)
    assert np.ptp(advantages) > 1
    np.testing.assert_allclose(ours, advantages, atol=2e-3)


def test_gdpo_runs_and_whitens_over_the_batch(tiny_config, tmp_path):
    config = tiny_config(
        *ONE_STEP,
        "rewards.aggregation=normalize_then_sum",
        f'rewards.weights={{"{REWARDS}:digits_and_letters" = 0.5, "{REWARDS}:shortness" = 0.5}}',
    )
    (entry,) = run(config, tmp_path / "run")
    assert {"rewards/digits_and_letters/mean", "rewards/shortness/mean"} <= entry.keys()
    advantages = np.array(read_completions(tmp_path / "run")["advantage"].to_pylist())
    assert advantages.mean() == pytest.approx(0, abs=1e-5)
    assert advantages.std(ddof=1) == pytest.approx(1, abs=1e-2)


def test_the_gate_multiplies_the_reward_that_is_learned_from(tiny_config, tmp_path):
    gate = f"{REWARDS}:starts_with_a_letter"
    (entry,) = run(tiny_config(*ONE_STEP, f"rewards.gate={gate}"), tmp_path / "run")
    assert 0 <= entry["rewards/starts_with_a_letter/mean"] <= 1
    for row in read_completions(tmp_path / "run").to_pylist():
        expected = row["rewards/digits_and_letters"] * row["rewards/starts_with_a_letter"]
        assert row["reward"] == pytest.approx(expected)


# ----------------------------------------------------------------------------------------- over-long


def test_the_soft_length_penalty_falls_linearly_within_the_window():
    penalties = Overlong(longest=20, share=0.25, weight=0.5).penalties([1, 15, 16, 18, 20])
    np.testing.assert_allclose(penalties, [0, 0, -0.2, -0.6, -1.0])


def scored(composite, tokens):
    texts = ["a1", "b", "c2", "d?"]
    rows = [{"id": "r"}] * len(texts)
    samples = [Sample(row, text, count, False) for row, text, count in zip(rows, texts, tokens, strict=True)]
    return Scored(composite.score(texts), samples)


@pytest.mark.parametrize("aggregation", ["sum", "normalize_then_sum"])
def test_the_penalty_is_part_of_the_total_and_a_component_of_its_own(aggregation):
    composite = CompositeReward(
        {"letters": 1.0}, aggregation=aggregation, rewards={"letters": share_of_letters}
    )
    overlong = Overlong(longest=20, share=0.5, weight=0.5)
    short, long = scored(composite, [5, 5, 5, 5]), scored(composite, [5, 5, 15, 20])
    assert short.table(overlong).total.tolist() == short.judged.total.tolist()
    table = long.table(overlong)
    np.testing.assert_allclose(table.total - long.judged.total, [0, 0, -0.25, -0.5])
    metrics = reward_metrics(table, 4)
    assert metrics["rewards/overlong/mean"] == pytest.approx(-0.375)
    assert metrics["reward"] == pytest.approx(float(table.total.mean()))
    change = long.signal(composite, overlong, 4) - short.signal(composite, overlong, 4)
    assert change[3] < change[2] < change[0]
    off = Overlong(longest=20, share=0, weight=0.5)
    assert long.table(off).names == ("letters",)


def test_completions_of_the_longest_length_lose_reward_in_a_run(tiny_config, tmp_path):
    (entry,) = run(tiny_config(*ONE_STEP, "rewards.overlong_share=0.5"), tmp_path / "run")
    rows = read_completions(tmp_path / "run").to_pylist()
    assert {row["tokens"] for row in rows} - {1}
    for row in rows:
        lost = min(max((row["tokens"] - 4) / 4, 0), 1)
        assert row["rewards/overlong"] == pytest.approx(-lost)
        assert row["reward"] == pytest.approx(row["rewards/digits_and_letters"] - 0.5 * lost)
    assert entry["rewards/overlong/mean"] == pytest.approx(np.mean([row["rewards/overlong"] for row in rows]))


def test_masked_completions_teach_nothing(tiny_config, tmp_path):
    """With a limit of one token every completion is cut, so that all of them are left out of the loss."""
    cut = ("rollout.max_completion_length=1", "training.mask_truncated_completions=true")
    (entry,) = run(tiny_config(*ONE_STEP, *cut), tmp_path / "run")
    assert entry["completions/clipped_ratio"] > 0.9
    if entry["completions/clipped_ratio"] == 1:
        assert entry["grad_norm"] == 0


def test_most_completions_cut_off_is_said_while_the_run_goes_on(tiny_config, tmp_path):
    reporter = SilentReporter()
    config = tiny_config(
        *ONE_STEP, "training.max_steps=12", "rollout.max_completion_length=2", "training.learning_rate=0"
    )
    train(config, name="test", reporter=reporter, output=tmp_path / "run", logs=None)
    assert any("cut" in warning or "limit" in warning for warning in reporter.warnings)
