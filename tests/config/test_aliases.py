"""Older and other trainers' names, on the command line and in files (S2.1)."""

import pytest

from medgrpo.config.aliases import ALIASES, ELSEWHERE
from medgrpo.config.layers import assignments_layer, field_keys, file_layer, leaves
from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_every_older_name_stands_for_a_setting_and_is_none_itself(name):
    assert ALIASES[name] in field_keys()
    assert name not in {key.rpartition(".")[2] for key in field_keys()}


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("k_samples=4", "rollout.num_generations", 4),
        ("rollout_max_new_tokens=512", "rollout.max_completion_length", 512),
        ("learning_rate_lora=1e-6", "training.learning_rate", 1e-6),
        ("max_seq_length=4096", "model.context_length", 4096),
        ("wrongly.k_samples=4", "rollout.num_generations", 4),
        ("use_vllm=true", "rollout.engine", "vllm"),
        ("use_vllm=false", "rollout.engine", "transformers"),
        ("bf16=true", "model.dtype", "bfloat16"),
        ("load_in_4bit=true", "tuning.method", "qlora"),
        ("use_kl=false", "training.beta", 0.0),
        ("freeze_vision_tower=false", "tuning.towers", ("language", "vision", "aligner")),
        ("stages.sft.lr=2e-4", "stages.sft.learning_rate", 2e-4),
    ],
)
def test_an_older_name_is_accepted_with_a_note(assignment, key, value):
    layer, notes = assignments_layer([assignment])
    assert dict(leaves(layer.values)) == {key: value}
    (note,) = notes
    assert "is called" in note


def test_a_name_that_is_a_setting_in_its_section_gives_no_note():
    assert assignments_layer(["max_steps=8", "run.name=a", "deepspeed=zero2"])[1] == []


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_a_name_without_a_setting_says_what_to_do_instead(name):
    with pytest.raises(UsageError) as raised:
        assignments_layer([f"{name}=1"])
    assert raised.value.hint == ELSEWHERE[name]


def test_kl_switched_on_must_say_how_strongly():
    with pytest.raises(UsageError, match="does not say how strongly") as raised:
        assignments_layer(["use_kl=true"])
    assert raised.value.hint == "--set training.beta=0.001"


def test_weights_in_a_list_are_refused_with_the_way_to_name_them():
    with pytest.raises(UsageError, match="weights go by name") as raised:
        assignments_layer(["reward_func_weights=[0.2, 0.8]"])
    assert '"format" = 0.2' in raised.value.hint


def test_a_file_may_use_bare_and_older_names(tmp_path):
    file = tmp_path / "old.toml"
    file.write_text(
        "k_samples = 4\nmax_steps = 12\nmodel = 'somewhere'\n"
        "[training]\nlearning_rate_lora = 2e-6\n[rollout]\ntop_p = 0.9\n[rewards.weights]\nformat = 1.0\n"
    )
    resolved, notes = resolve_run(config_file=file, assignments=("rollout_temperature=0.7",))
    config = resolved.config
    assert config.model.path == "somewhere"
    assert (config.rollout.num_generations, config.rollout.top_p, config.rollout.temperature) == (4, 0.9, 0.7)
    assert (config.training.max_steps, config.training.learning_rate) == (12, 2e-6)
    assert config.rewards.weights == {"format": 1.0}
    assert [note.split()[0] for note in notes] == [
        "k_samples",
        "model",
        "learning_rate_lora",
        "rollout_temperature",
    ]
    assert resolved.origins["rollout.num_generations"] == str(file)


def test_a_mistyped_name_in_a_file_names_the_file_and_the_nearest_setting(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nlearning_rat = 1\n")
    with pytest.raises(UsageError, match=r"mine\.toml") as raised:
        file_layer(file)
    assert "learning_rate" in raised.value.hint


@pytest.mark.parametrize("header", ["", "[rewards]\n"])
@pytest.mark.parametrize("name", ["reward_func_weights", "reward_weights"])
def test_an_older_name_of_the_weights_takes_a_table_in_a_file(tmp_path, header, name):
    path = tmp_path / "old.toml"
    path.write_text(f"{header}{name} = {{format = 0.2, answer_match = 0.8}}\n")
    config = resolve_run("balanced", model="m", config_file=path)[0].config
    assert config.rewards.weights == {"format": 0.2, "answer_match": 0.8}
