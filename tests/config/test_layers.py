import pytest

from medgrpo.config.layers import Layer, assignments_layer, full_key, parse_value, resolve, to_toml
from medgrpo.config.presets import load_preset, preset_paths, resolve_run
from medgrpo.errors import UsageError


def test_the_later_layer_wins_and_is_remembered_as_the_origin():
    first = Layer("a", {"training": {"learning_rate": 1.0, "beta": 0.5}})
    second = Layer("b", {"training": {"learning_rate": 2.0}})
    resolved = resolve([first, second])
    assert resolved.config.training.learning_rate == 2.0
    assert resolved.config.training.beta == 0.5
    assert resolved.origins == {"training.learning_rate": "b", "training.beta": "a"}


def test_a_table_of_weights_replaces_the_older_one_but_a_single_weight_changes_it():
    base = Layer("a", {"rewards": {"weights": {"format": 1.0, "answer_match": 2.0}}})
    whole = Layer("b", {"rewards": {"weights": {"fluency": 1.0}}})
    single, _ = assignments_layer(["rewards.weights.format=0.3"])
    assert resolve([base, whole]).config.rewards.weights == {"fluency": 1.0}
    assert resolve([base, single]).config.rewards.weights == {"format": 0.3, "answer_match": 2.0}


def test_a_single_weight_changes_a_named_set_and_keeps_the_others():
    config = resolve_run("balanced", model="m", assignments=("rewards.weights.format=0.5",))[0].config
    assert config.rewards.weights == {
        "format": 0.5,
        "answer_match": 0.45,
        "plane_match": 0.2,
        "modality_match": 0.15,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("1e-5", 1e-5),
        (".5", 0.5),
        (".*q_proj", ".*q_proj"),
        ("true", True),
        ("none", None),
        ("sft", "sft"),
        ('["a"]', ["a"]),
        ("a/b c", "a/b c"),
    ],
)
def test_a_value_is_toml_or_else_a_plain_string(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("max_steps", "training.max_steps"),
        ("save_steps", "training.save_steps"),
        ("num_generations", "rollout.num_generations"),
        ("rows", "data.rows"),
        ("seed", "run.seed"),
        ("stages.sft.max_steps", "stages.sft.max_steps"),
    ],
)
def test_a_leaf_name_finds_its_key(name, key):
    assert full_key(name) == key


@pytest.mark.parametrize("name", ["training.learning_rat", "learning_rat", "stages.sft.max_step"])
def test_an_unknown_setting_is_refused_with_the_nearest_one(name):
    with pytest.raises(UsageError) as raised:
        assignments_layer([f"{name}=1"])
    assert name in raised.value.problem
    assert "did you mean" in raised.value.hint


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.learning_rate=fast", "training.learning_rate = 'fast'"),
        ("num_generations=1", "rollout.num_generations = 1"),
        ("method=ppo", "training.method = 'ppo'"),
        ("max_completion_length=5000", "leaves no room for the prompt"),
    ],
)
def test_an_impossible_value_is_named_with_its_key(assignment, words):
    with pytest.raises(UsageError, match=words):
        resolve_run(model="m", assignments=(assignment,))


def test_a_word_without_an_equals_sign_is_no_assignment():
    with pytest.raises(UsageError, match="is no assignment"):
        assignments_layer(["training.max_steps"])


@pytest.mark.parametrize("name", sorted(preset_paths()))
def test_every_preset_resolves_and_says_what_it_is_for_and_costs(name):
    preset = load_preset(name)
    assert preset.purpose
    assert preset.cost
    assert preset.launch.startswith("medgrpo train")
    resolve_run(name, model="m")
    text = preset_paths()[name].read_text(encoding="utf-8")
    assert [line.startswith("#") for line in text.splitlines()[:3]] == [True] * 3


def test_balanced_has_the_corrected_values():  # S1.6
    config = resolve_run("balanced", model="m")[0].config
    assert (config.training.prompts_per_step, config.rollout.num_generations) == (8, 8)
    assert (config.tuning.method, config.tuning.rank, config.tuning.alpha) == ("lora", 16, 32)
    assert config.tuning.towers == ("language",)
    assert (config.training.learning_rate, config.training.lr_scheduler_type, config.training.beta) == (
        1e-5,
        "cosine",
        0,
    )
    assert (config.rollout.temperature, config.rollout.top_p, config.rollout.max_completion_length) == (
        1,
        1,
        256,
    )
    assert (config.model.max_pixels, config.model.context_length, config.training.num_train_epochs) == (
        602_112,
        2048,
        3,
    )


@pytest.mark.parametrize(("name", "epochs"), [("verify", 1), ("recommended", 5), ("paper", 10)])
def test_the_three_stages_state_epochs(name, epochs):  # S1.6
    assert resolve_run(name, model="m")[0].config.training.num_train_epochs == epochs


def test_the_demo_layer_is_laid_over_the_preset_only_when_no_model_is_named():
    demo, notes = resolve_run("balanced")
    named, silent = resolve_run("balanced", assignments=("model.path=somewhere",))
    assert demo.config.tuning.method == "full"
    assert any("tuning.method" in note for note in notes)
    assert named.config.tuning.method == "lora"
    assert silent == []


def test_sft_on_the_demo_takes_the_values_of_its_warm_start_and_no_stage_before():
    config = resolve_run("balanced", options={"training.method": "sft"})[0].config
    assert config.stages == {}
    assert config.training.learning_rate == resolve_run()[0].config.stages["sft"].learning_rate


def test_adapters_on_the_demo_sit_on_the_language_tower_alone():
    assert resolve_run()[0].config.tuning.towers == ("language", "vision", "aligner")
    assert resolve_run(assignments=("tuning.method=lora",))[0].config.tuning.towers == ("language",)


def test_the_reason_beside_a_value_is_kept():
    resolved, _ = resolve_run("balanced", model="m")
    assert resolved.reasons["training.learning_rate"].startswith("1e-6 is for full fine-tuning")


def test_the_saved_configuration_reads_back_the_same(tmp_path):
    resolved, _ = resolve_run("paper", assignments=("max_steps=7",))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(resolved.config), encoding="utf-8")
    from medgrpo.config.layers import file_layer

    assert resolve([file_layer(path)[0]]).config == resolved.config


def test_a_model_that_medgrpo_trained_brings_its_prompt_and_picture_limits(tmp_path):
    import json

    from medgrpo.data.prompts import TEMPLATES, load_template

    folder = tmp_path / "run" / "final_model"
    folder.mkdir(parents=True)
    described = {"prompt_template": TEMPLATES["answer"].to_dict(), "max_pixels": 12_544, "min_pixels": 3136}
    (folder / "medgrpo.json").write_text(json.dumps(described))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    resolved, notes = resolve_run(model=str(tmp_path / "run"))
    assert load_template(resolved.config.data.prompt_template).tags == ("think", "answer")
    assert resolved.config.model.max_pixels == 12_544
    assert any("medgrpo.json" in note for note in notes)
    own, _ = resolve_run(model=str(tmp_path / "run"), assignments=("data.prompt_template=plain",))
    assert own.config.data.prompt_template == "plain"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{format=.2, answer_match=.8}", {"format": 0.2, "answer_match": 0.8}),
        ("{'a.5:b' = .5}", {"a.5:b": 0.5}),
        ("[.1, 0.2]", [0.1, 0.2]),
        ("./run.5/x", "./run.5/x"),
        ("q_proj.5", "q_proj.5"),
    ],
)
def test_numbers_that_begin_with_a_point_are_read_inside_of_tables_too(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("assignment", "setting", "value"),
    [
        ("report_to=tensorboard", "logging.report_to", ("tensorboard",)),
        ("report_to=wandb,tensorboard", "logging.report_to", ("wandb", "tensorboard")),
        ("report_to=none", "logging.report_to", ()),
        ('report_to="none"', "logging.report_to", ()),
        ("towers=vision", "tuning.towers", ("vision",)),
        ("stop_on=nan", "training.stop_on", ("nan",)),
        ("scale_rewards=true", "training.scale_rewards", "group"),
        ("scale_rewards=false", "training.scale_rewards", "none"),
        ('target_modules=["q_proj", "v_proj"]', "tuning.target_modules", r"(.*\.)?(q_proj|v_proj)"),
        ("lora_target_modules=q_proj,v_proj", "tuning.target_modules", r"(.*\.)?(q_proj|v_proj)"),
        (r"target_modules=.*\.(q|v)", "tuning.target_modules", r".*\.(q|v)"),
        ("target_modules=all-linear", "tuning.target_modules", "all-linear"),
    ],
)
def test_values_are_taken_as_other_trainers_write_them(assignment, setting, value):
    config = resolve_run("balanced", model="m", assignments=(assignment,))[0].config
    section, name = setting.split(".")
    assert getattr(getattr(config, section), name) == value


def test_an_impossible_value_is_answered_with_what_the_setting_means():
    with pytest.raises(UsageError, match=r"curriculum\.by = 'hardness' is not possible") as raised:
        resolve_run("balanced", model="m", assignments=("curriculum.by=hardness",))
    assert "column:NAME, mask_area (large is easy), thin_vessels (" in raised.value.hint
    with pytest.raises(UsageError) as raised:
        resolve_run("balanced", model="m", assignments=("stages.sft.learning_rate=fast",))
    assert raised.value.expected == "a number"
    assert "Peak learning rate" in raised.value.hint


@pytest.mark.parametrize("name", ["old.yaml", "old.json"])
def test_a_file_that_is_not_toml_is_told_so(tmp_path, name):
    path = tmp_path / name
    path.write_text("k_samples: 4")
    with pytest.raises(UsageError) as raised:
        resolve_run("balanced", config_file=path)
    assert "settings are TOML here" in raised.value.hint


@pytest.mark.parametrize(
    ("model", "words", "gone"),
    [
        (None, ("num_train_epochs=2",), "max_steps"),  # the demo layer has 100 steps
        ("m", ("epochs=2",), "max_steps"),  # the preset 1000
        (None, ("gradient_accumulation_steps=4",), "per_device_train_batch_size"),
        ("m", ("gradient_accumulation_steps=2",), "per_device_train_batch_size"),
    ],
)
def test_what_the_user_says_replaces_what_a_preset_says_of_the_same_thing(model, words, gone):
    config = resolve_run("balanced-2024", model=model, assignments=words)[0].config
    assert getattr(config.training, gone) is None
    both = resolve_run("balanced-2024", model=model, assignments=(*words, f"{gone}=4"))[0].config
    assert getattr(both.training, gone) == 4


def test_epochs_of_a_stage_replace_the_steps_that_the_demo_gives_it():
    resolved = resolve_run(assignments=("stages.sft.num_train_epochs=1",))[0]
    assert resolved.config.stages["sft"].max_steps is None
    assert resolved.config.training.max_steps == 100
    assert "stages.sft.max_steps" not in resolved.origins
