"""How many completions a pass takes when their prompt is in it once."""

import pytest

from medgrpo.config.passes import tokens_of_a_pass
from medgrpo.config.plan import plan_stage
from medgrpo.training.trainers.passes import rows_of_pass, whole_groups


@pytest.mark.parametrize(
    ("budget", "rows"),
    # 8 groups of 8 completions of 256 tokens after 1350: a group is 3398 tokens
    [(100_000, 64), (27_184, 64), (27_183, 32), (12_848, 16), (3398, 8), (3397, 4), (1700, 1), (1, 1)],
)
def test_a_pass_takes_whole_groups_within_the_budget_or_an_even_part_of_one(budget, rows):
    assert rows_of_pass(budget, 1350, 256, group=8, groups=8) == rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from medgrpo.models.loading import load_model
    from tests.families import TINY_FAMILIES

    return load_model(str(TINY_FAMILIES["qwen3"].build(tmp_path_factory.mktemp("m") / "qwen3"))).model


def plans(tiny_config, model, *settings, longest_prompt=100):
    config = tiny_config(
        "training.prompts_per_step=4", "training.per_device_train_batch_size=4",
        "rollout.max_completion_length=10", *settings,
    )  # fmt: skip
    plan = plan_stage(config, 8)
    return plan, whole_groups(plan, config, model, longest_prompt)


def test_a_step_is_the_same_step_in_fewer_passes(tiny_config, model):
    # Four completions with their prompts are 440 tokens; two groups with theirs once, 280.
    before, after = plans(tiny_config, model, "engine.tokens_per_pass=440")
    assert (before.per_device_train_batch_size, before.gradient_accumulation_steps) == (4, 4)
    assert (after.per_device_train_batch_size, after.gradient_accumulation_steps) == (8, 2)
    assert after.samples_per_step == before.samples_per_step


@pytest.mark.parametrize(
    "settings",
    [(), ("engine.shared_prompt=off",), ("training.loss_type=bnpo",), ("training.entropy_coef=0.1",)],
)
def test_passes_stay_where_the_user_cut_them_or_the_loss_depends_on_the_cut(settings, tiny_config, model):
    more = ("engine.tokens_per_pass=440",) if settings else ()
    before, after = plans(tiny_config, model, *settings, *more)
    assert after == before


def test_passes_are_larger_where_each_gathers_the_weights():
    assert tokens_of_a_pass(3_398, 100_000, shared_out=True) >= 8 * 3_398
    assert tokens_of_a_pass(3_398, 5_000, shared_out=True) == 5_000  # no more than fits
    assert tokens_of_a_pass(3_398, 100_000) < 3 * 3_398
