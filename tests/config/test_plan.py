import pytest

from medgrpo.config.checks import check
from medgrpo.config.plan import plan_stage, stage_settings
from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError


def config(*assignments):
    return resolve_run("balanced", model="m", assignments=assignments)[0].config


def test_steps_follow_from_epochs_and_rows():
    # 1797 rows / 8 prompts a step = 224 whole steps an epoch; 3 epochs = 672 steps of 64 completions
    plan = plan_stage(config(), 1797)
    assert (plan.steps, plan.samples_per_step, plan.epochs) == (672, 64, 3.0)
    assert plan.per_device_train_batch_size * plan.gradient_accumulation_steps == 64


def test_a_thousand_steps_of_one_prompt_are_half_an_epoch():  # S1.6 (a)
    old = resolve_run("verify-2024", model="m")[0].config
    plan = plan_stage(old, 1797)
    assert (plan.steps, plan.prompts_per_step, plan.samples_per_step) == (1000, 1, 4)
    assert plan.epochs == pytest.approx(0.56, abs=0.01)


def test_a_pass_over_the_rows_takes_as_many_steps_more_as_each_batch_is_used_again():
    # 1797 rows / 8 prompts = 224 batches an epoch, each used for 2 steps; 3 epochs = 1344 steps
    plan = plan_stage(config("num_iterations=2"), 1797)
    assert (plan.steps, plan.epochs, plan.steps_per_batch) == (1344, 3.0, 2)
    assert "each batch used for 2 steps" in plan.describe()
    assert plan_stage(config("num_iterations=2", "max_steps=448"), 1797).epochs == 1.0
    assert plan_stage(config("num_iterations=2", "training.method=sft"), 1797).steps == 672


def test_a_batch_that_does_not_divide_the_step_is_refused_with_one_that_does():
    with pytest.raises(UsageError, match=r"12 does not divide .* = 64") as raised:
        plan_stage(config("per_device_train_batch_size=12"), 1797)
    assert raised.value.hint == "--set training.per_device_train_batch_size=8"


def test_fewer_rows_than_a_step_takes_are_refused():
    with pytest.raises(UsageError, match="5 training rows are fewer than the 8"):
        plan_stage(config(), 5)


def test_a_step_that_gpus_cannot_share_is_refused():
    with pytest.raises(UsageError, match="3 GPUs"):
        plan_stage(config(), 100, world_size=3)


def test_a_stage_takes_the_main_values_where_it_has_none_of_its_own():
    own = config("stages.sft.max_steps=20", "stages.sft.learning_rate=2e-3", "data.rows=16")
    settings = stage_settings(own, "sft")
    assert (settings.training.method, settings.training.max_steps, settings.training.learning_rate) == (
        "sft",
        20,
        2e-3,
    )
    assert settings.training.lr_scheduler_type == "cosine"
    assert plan_stage(own, 1000, stage="sft").rows == 16


def test_truncated_sampling_and_a_low_lora_rate_are_warned_of():  # S1.6 (c), (d)
    old = resolve_run("verify-2024", model="m")[0].config
    assert len(check(old)) == 2
    assert check(config()) == []


@pytest.mark.parametrize(
    ("settings", "rows", "hint"),
    [
        (["stages.sft.prompts_per_step=32"], 8, "--set stages.sft.prompts_per_step=8"),
        (
            ["stages.sft.prompts_per_step=32", "stages.sft.per_device_train_batch_size=5"],
            99,
            "--set stages.sft.per_device_train_batch_size=4",
        ),
        (
            [
                "stages.sft.prompts_per_step=9",
                "stages.sft.per_device_train_batch_size=3",
                "stages.sft.gradient_accumulation_steps=2",
            ],
            99,
            "--set stages.sft.prompts_per_step=6",
        ),
    ],
)
def test_what_is_wrong_in_a_stage_is_mended_in_that_stage(settings, rows, hint):
    with pytest.raises(UsageError) as raised:
        plan_stage(config(*settings), rows, stage="sft")
    assert raised.value.hint.startswith(hint)
    assignment = hint.removeprefix("--set ")
    plan_stage(config(*settings, assignment), rows, stage="sft")
