"""Flags of other trainers are taken as settings, with a note, or answered with the line to type."""

import pytest
from typer.main import get_command

from medgrpo.cli.foreign_flags import translate
from medgrpo.cli.main import app
from medgrpo.errors import UsageError


def command(name):
    group = get_command(app)
    return group.get_command(None, name)


def settings(line):
    words = translate(command("train"), line.split())
    return words


@pytest.mark.parametrize(
    ("typed", "set_to"),
    [
        ("--learning_rate 1e-5", "training.learning_rate=1e-05"),
        ("--learning-rate=1e-5", "training.learning_rate=1e-05"),
        ("--num_train_epochs 3", "training.num_train_epochs=3"),
        ("--per_device_train_batch_size 4", "training.per_device_train_batch_size=4"),
        ("--num-generations 8", "rollout.num_generations=8"),
        ("--num_generations 8", "rollout.num_generations=8"),
        ("--max_completion_length 300", "rollout.max_completion_length=300"),
        ("--beta 0.0", "training.beta=0.0"),
        ("--gradient_checkpointing", "training.gradient_checkpointing=true"),
        ("--gradient_checkpointing false", "training.gradient_checkpointing=false"),
        ("--lora_rank 16", "tuning.rank=16"),
        ("--target_modules q_proj v_proj", 'tuning.target_modules=["q_proj", "v_proj"]'),
        ("--use_vllm true", "rollout.engine=vllm"),
        ("--torch_dtype bfloat16", "model.dtype=bfloat16"),
        ("--training.max_steps 4", "training.max_steps=4"),
        ("--bf16", "model.dtype=bfloat16"),
        ("--use_vllm", "rollout.engine=vllm"),
        ("--load_in_4bit", "tuning.method=qlora"),
        ("--train_type lora", "tuning.method=lora"),
        ("--rlhf_type grpo", "training.method=grpo"),
        ("--cutoff_len 2048", "model.context_length=2048"),
        ("--report_to none", "logging.report_to=none"),
        ("--weight_decay 0.1", "training.weight_decay=0.1"),
    ],
)
def test_a_flag_that_is_a_setting_is_taken_as_one_with_a_note(typed, set_to, capsys):
    assert settings(typed) == ["--set", set_to]
    assert f"taken as --set {set_to}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "typed", "own"),
    [
        ("train", "--output-dir here", ["--output_dir", "here"]),
        ("train", "--model-name-or-path m", ["--model_name_or_path", "m"]),
        ("eval", "--max_new_tokens 5", ["--max-new-tokens", "5"]),
        ("merge-lora", "--base-model b", ["--base_model", "b"]),
        ("estimate-time", "--prompts_per_step 8", ["--prompts-per-step", "8"]),
    ],
)
def test_the_command_s_own_option_is_known_in_either_spelling(name, typed, own):
    assert translate(command(name), typed.split()) == own


def test_values_that_look_like_flags_and_all_after_two_dashes_stay():
    assert settings("--set --odd") == ["--set", "--odd"]
    assert settings("-- --learning_rate") == ["--", "--learning_rate"]
    assert settings("--beta -1") == ["--set", "training.beta=-1"]
    assert settings("--quiet --beta 1") == ["--quiet", "--set", "training.beta=1"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--resume_from_checkpoint x", "medgrpo train --resume"),
        ("--reward_funcs a", "--set rewards.weights="),
        ("--learning_rat 1", "--set learning_rate=VALUE"),
        ("--presett fast", "--preset"),
        ("--do_train", "leave it out"),
        ("--learning_rate", "--set training.learning_rate=VALUE"),
        ("--learning_rate --beta 1", "--set training.learning_rate=VALUE"),
        ("--lr", "--set training.learning_rate=VALUE"),
        ("--num_generations", "--set rollout.num_generations=VALUE"),
    ],
)
def test_what_has_no_counterpart_is_answered_with_the_line_to_type(typed, words):
    with pytest.raises(UsageError) as refused:
        settings(typed)
    assert words in str(refused.value.hint)
