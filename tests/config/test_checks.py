"""Each error that TRL, PEFT or vLLM would raise after loading a model is told before (S1.6, S2.4)."""

import pytest

from medgrpo.config.checks import check, check_machine
from medgrpo.config.plan import plan_stage
from medgrpo.config.presets import resolve_run
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.install import how_to_install


def config(*assignments):
    return resolve_run("balanced", model="m", assignments=assignments)[0].config


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine on which `nvidia-smi` is found."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tuning.method=qlora"], "qlora needs a CUDA GPU"),
        (["optim=paged_adamw_8bit"], "needs a CUDA GPU"),
        (["rollout.engine=vllm"], "engine = vllm .* needs a CUDA GPU"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(no_gpu, settings, words):
    with pytest.raises(UsageError, match=words) as raised:
        check_machine(config(*settings))
    assert raised.value.hint.startswith("--set ")
    check(config(*settings))  # planned or estimated for another machine


@pytest.mark.parametrize(
    ("settings", "world_size", "words"),
    [
        (["tuning.method=qlora", "deepspeed=zero3"], 2, "ZeRO-3"),
        (["rollout.engine=vllm", "vllm.max_model_length=1024"], 1, "shorter than model.context_length"),
        (["rollout.engine=vllm", "vllm.tensor_parallel_size=2"], 1, "does not divide the 1 GPUs"),
        (["rollout.engine=vllm", "vllm.tensor_parallel_size=4"], 6, "does not divide the 6 GPUs"),
        (
            ["rollout.engine=vllm", "vllm.mode=server", "dynamic_sampling=2", "prompts_per_step=1"],
            2,
            "whole groups",
        ),
        (["tuning.target_modules=.*"], 1, "lm_head"),
        (["tuning.target_modules=(q_proj"], 1, "no regular expression"),
    ],
)
def test_combinations_that_fail_after_loading_are_refused_before(settings, world_size, words):
    with pytest.raises(UsageError, match=words):
        check(config(*settings), world_size=world_size)


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        (["rollout.engine=vllm"], "vllm"),
        (["tuning.method=qlora"], "qlora"),
        (["optim=adamw_8bit"], "qlora"),
        (["deepspeed=zero2", "logging.report_to=[]"], "deepspeed"),
        (['logging.report_to=["wandb"]'], "trackers"),
        (['logging.report_to=["tensorboard"]'], "train"),
    ],
)
def test_a_missing_package_is_named_by_the_extra_that_brings_it(gpu, monkeypatch, settings, extra):
    monkeypatch.setattr("medgrpo.config.checks.find_spec", lambda name: None)
    with pytest.raises(MedgrpoError) as raised:
        check_machine(config(*settings))
    assert raised.value.hint == how_to_install(extra)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["num_generations=1"], "greater than or equal to 2"),
        (["loss_type=ppo"], "loss_type = 'ppo'"),
        (["lr_scheduler_type=cosinus"], "lr_scheduler_type = 'cosinus'"),
        (["optim=adam"], "optim = 'adam'"),
        (['logging.report_to=["wandbb"]'], "report_to"),
        (["overlong_share=1.5"], "less than or equal to 1"),
        (["tuning.towers=[]"], "tuning.towers"),
    ],
)
def test_values_that_trl_refuses_late_are_no_values_here(settings, words):
    with pytest.raises(UsageError, match=words):
        config(*settings)


@pytest.mark.parametrize("prompts", [1, 3, 8])
@pytest.mark.parametrize("group", [2, 5, 8])
@pytest.mark.parametrize("world_size", [1, 2])
def test_every_planned_batch_is_one_that_trl_accepts(tmp_path, prompts, group, world_size):
    """TRL: the generation batch is divisible by the group; one of batch and steps per generation is given."""
    own = config(f"prompts_per_step={prompts}", f"num_generations={group}")
    if prompts * group % world_size:
        with pytest.raises(UsageError, match="cannot be shared evenly") as refused:
            plan_stage(own, 100, world_size=world_size)
        plan_stage(
            own, 100, world_size=int(refused.value.hint.split()[0])
        )  # a run that is gone on with keeps its step
        return
    plan = plan_stage(own, 100, world_size=world_size)
    generated = plan.per_device_train_batch_size * plan.gradient_accumulation_steps * world_size
    assert generated == plan.samples_per_step == prompts * group
    if world_size == 1:
        from medgrpo.training.trainers.arguments import grpo_arguments

        args = grpo_arguments(own, plan, tmp_path)  # its __post_init__ raises otherwise
        assert args.generation_batch_size == generated


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["top_p=0.9", "repetition_penalty=1.1"], r"top_p < 1, repetition_penalty"),
        (["importance_sampling_level=sequence"], "weights by length"),
        (["loss_type=luspo"], "sequence"),
        (["loss_type=vespo", "importance_sampling_level=sequence"], "token"),
        (["loss_type=cispo"], "epsilon_high=5"),
        (["learning_rate=1e-6"], "below what LoRA takes"),
        (["vision_learning_rate=1e-6"], "no effect"),
    ],
)
def test_settings_that_work_but_mislead_are_warned_of(settings, words):
    import re

    assert any(re.search(words, warning) for warning in check(config(*settings)))


def test_accumulation_cuts_the_step_and_never_enlarges_it():
    plan = plan_stage(config("gradient_accumulation_steps=4"), 100)
    assert (plan.per_device_train_batch_size, plan.samples_per_step) == (16, 64)
    with pytest.raises(UsageError, match="4 passes of 1 are 4 samples") as raised:
        plan_stage(config("accumulation=4", "per_device_train_batch_size=1", "num_generations=4"), 100)
    assert raised.value.hint.startswith("--set training.prompts_per_step=1 ")


def test_a_step_is_described_by_prompts_completions_tokens_and_epochs():  # S1.6 (a)
    described = plan_stage(config(), 1797).describe()
    assert described == (
        "main (grpo): 672 steps of 8 prompts × 8 completions of ≤ 256 tokens = 3.00 epochs of 1797 rows"
    )
    assert plan_stage(config(), 1797).tokens_per_step == 64 * 256
    old = plan_stage(resolve_run("verify-2024", model="m")[0].config, 1797).describe()
    assert "1000 steps of 1 prompts × 4 completions of ≤ 256 tokens = 0.56 epochs" in old


def test_a_stage_without_a_method_is_told_to_be_sft():
    (warning,) = [one for one in check(config("stages.grop-1.max_steps=3")) if "stages" in one]
    assert "stages.grop-1 says no method and is an SFT stage" in warning
    for fine in (["stages.sft.max_steps=3"], ["stages.first.method=grpo"], ["stages.first.enabled=false"]):
        assert not [one for one in check(config(*fine)) if "stages" in one]


@pytest.mark.parametrize(("rate", "times"), [("1e-6", "10"), ("2e-6", "5"), ("4e-6", "2.5"), ("0", None)])
def test_a_rate_that_is_low_for_lora_is_told_by_how_much(rate, times):
    said = [one for one in check(config(f"learning_rate={rate}")) if "times below" in one]
    assert said == (
        [f"learning_rate {float(rate):g} is {times} times below what LoRA takes (1e-5)"] if times else []
    )
