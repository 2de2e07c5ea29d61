"""Every preset: its header, its reasons, its plan, its launch line (S1.6, S2.1, S3.3, S3.4)."""

import shlex

import pytest
import typer

from medgrpo.config.checks import check
from medgrpo.config.plan import enabled_stages, plan_stage
from medgrpo.config.presets import DEMO, load_preset, preset_paths, resolve_run

NAMES = sorted(name for name in preset_paths() if name != DEMO)


def resolved(name):
    return resolve_run(name, model="m")[0].config


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_plans_every_stage_of_a_typical_dataset(name):
    config = resolved(name)
    for stage in [*enabled_stages(config), None]:
        plan = plan_stage(config, 1797, stage=stage)
        assert plan.steps > 0
        assert plan.samples_per_step % config.rollout.num_generations == 0 or plan.method != "grpo"
    misleading = check(config)
    assert bool(misleading) is name.endswith("-2024"), misleading  # the originals mislead, ours do not


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_can_be_tried_on_the_demo(name):
    config = resolve_run(name)[0].config
    check(config)
    for stage in [*enabled_stages(config), None]:
        assert plan_stage(config, 1024, stage=stage).steps > 0


@pytest.mark.parametrize("name", sorted(preset_paths()))
def test_the_launch_line_of_a_preset_is_a_call_that_train_takes(name):
    from medgrpo.cli.train import app

    preset = load_preset(name)
    program, command, *words = shlex.split(preset.launch)
    assert (program, command) == ("medgrpo", "train")
    context = typer.main.get_command(app).make_context("train", words)
    if name != DEMO:
        assert context.params["preset"] == name
        assert context.params["model"]
        assert context.params["data"] == "DATA"
    text = preset_paths()[name].read_text(encoding="utf-8")
    assert f"# Launch: {preset.launch}\n" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_value_that_differs_from_the_default_has_a_reason_or_a_description(name):
    from medgrpo.config.layers import field_keys

    result = resolve_run(name, model="m")[0]
    for key in result.origins:
        parts = key.split(".")
        described = ".".join(["stages", "<name>", *parts[2:]]) if parts[0] == "stages" else key
        assert result.reasons.get(key) or field_keys()[described], key


def test_text_qa_goes_from_sft_through_two_leashes():  # S3.3, S3.4
    config = resolved("text-qa")
    assert list(config.stages) == ["sft", "grpo-1"]
    assert config.stages["grpo-1"].beta == 0.001
    assert config.training.beta == 0.01
    assert config.training.learning_rate < config.stages["grpo-1"].learning_rate
    assert (config.tuning.rank, config.tuning.alpha) == (16, 32)
    assert config.rewards.weights == "text"
    old = resolved("text-qa-2024")
    assert (old.stages["grpo-1"].learning_rate, old.training.learning_rate) == (1e-6, 5e-7)


def test_the_recipes_set_what_names_them():
    dr, dapo, gspo = (resolved(name) for name in ("dr-grpo", "dapo", "gspo"))
    assert (dr.training.loss_type, dr.training.scale_rewards) == ("dr_grpo", "none")
    assert (dapo.training.loss_type, dapo.training.epsilon_high) == ("dapo", 0.28)
    assert dapo.rollout.dynamic_sampling == 3
    assert dapo.rewards.overlong_share == 0.2
    assert (gspo.training.loss_type, gspo.training.importance_sampling_level) == ("grpo", "sequence")
    assert resolved("qlora").tuning.method == resolved("small-12gb").tuning.method == "qlora"


@pytest.mark.parametrize(
    ("name", "gpu"),
    [("small-12gb", "RTX3060"), ("small-16gb", "RTX4060Ti"), ("small-24gb", "RTX4090"), ("qlora", "RTX3060")],
)
def test_a_small_gpu_preset_fits_its_gpu_by_the_memory_model(name, gpu):  # S2.3
    from medgrpo.estimate.estimate import Facts, estimate

    config = resolve_run(name, model="Qwen/Qwen2.5-VL-3B-Instruct")[0].config
    result = estimate(config, Facts(None, None, 1797, 1024, gpu, 1))
    assert result.document()["fits"]


def test_the_demo_leaves_the_prompt_and_the_lengths_of_another_task_alone():
    boxes = resolve_run("detection")[0]
    assert boxes.config.data.prompt_template == "detection"
    assert boxes.config.rollout.max_completion_length == 512
    assert boxes.origins["tuning.method"] == f"preset {DEMO}"
    assert resolve_run("balanced")[0].config.data.prompt_template == "short"
