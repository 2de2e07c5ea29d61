import json

import pytest

from medgrpo.cli import main as command_line
from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.estimate.shapes import SHAPES, find_shape


def config(*assignments, preset="balanced"):
    return resolve_run(preset, model="m", assignments=assignments)[0].config


def document(*assignments, **facts):
    return estimate(
        config(*assignments), Facts(**{"model": "Qwen2.5-VL-3B", "gpu": "A100", **facts})
    ).document()


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen2.5-VL-3B", 3.75),
        ("Qwen2.5-VL-7B", 8.29),
        ("Qwen2.5-VL-32B", 33.45),
        ("Qwen2-VL-2B", 2.21),
        ("InternVL3-2B", 2.09),
        ("Qwen3-8B", 8.19),
    ],
)
def test_the_shapes_give_the_published_parameter_counts(name, billions):
    assert SHAPES[name].parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_model_is_found_by_its_hub_name():
    assert find_shape("Qwen/Qwen2.5-VL-3B-Instruct").name == "Qwen2.5-VL-3B"
    with pytest.raises(UsageError, match="no model shape called"):
        find_shape("nobody/nothing-1B")


def test_a_folder_is_read_from_its_config(shared_data):
    shape = find_shape(str(shared_data / "qwen2_5_vl"))
    assert shape.parameters == pytest.approx(SHAPES["Qwen2.5-VL-7B"].parameters, rel=1e-6)


def test_more_of_anything_takes_longer_and_a_faster_engine_less():
    base = document(size=512, samples=1797)
    assert document(size=1024, samples=1797)["hours"] > base["hours"]
    assert document("max_completion_length=512", size=512, samples=1797)["hours"] > base["hours"]
    assert document("num_train_epochs=6", size=512, samples=1797)["hours"] > 1.8 * base["hours"]
    assert document("engine=vllm", size=512, samples=1797)["hours"] < base["hours"]
    assert document(size=512, samples=1797, gpus=2)["hours"] < base["hours"]


def test_nothing_goes_back_through_a_frozen_tower_and_all_through_one_that_learns():
    sft = ("training.method=sft", "engine.shared_prompt=off")
    frozen, former = document(*sft, size=512), document(*sft, size=512, learns_past_tower=True)
    learning = document(*sft, "tuning.towers=language,vision", size=512)
    assert frozen["s_per_prompt"] < 0.6 * former["s_per_prompt"]
    assert frozen["memory_gib"]["activations"] < former["memory_gib"]["activations"]
    assert learning["s_per_prompt"] >= former["s_per_prompt"]


def test_the_cap_on_pixels_is_named():  # S5.2
    found = document(size=1024)
    assert (found["image_tokens_uncapped"], found["image_tokens"]) == (1369, 729)
    assert any("capped" in note and "729" in note for note in found["notes"])


def test_a_run_that_does_not_fit_gets_advice_that_saves_memory():  # S2.3
    found = document("tuning.method=full", size=1024, gpu="RTX3090")
    assert not found["fits"]
    assert found["advice"]
    assert all(entry["saves_gib"] > 0 for entry in found["advice"])
    assert any("lora" in entry["change"] for entry in found["advice"])


def test_steps_and_epochs_are_those_of_the_plan():
    found = document(samples=1797)
    assert (found["steps"], found["epochs"], found["prompts_per_step"]) == (672, 3.0, 8)
    assert found["hours"] * 3600 >= found["steps"] * 8 * found["s_per_prompt"]


def test_batches_that_are_used_twice_double_the_steps_and_the_updates_but_not_the_sampling():
    once, twice = document(samples=1797), document("num_iterations=2", samples=1797)
    assert (twice["steps"], twice["epochs"]) == (2 * once["steps"], once["epochs"])
    assert twice["phases"]["rollout"] == once["phases"]["rollout"]
    assert twice["phases"]["backward"] == pytest.approx(2 * once["phases"]["backward"])
    assert twice["phases"]["forward"] == pytest.approx(2 * once["phases"]["forward"])
    # TRL takes the sampler's log-probabilities first where a batch is used again.
    assert twice["phases"]["logprobs"] > 2 * once["phases"]["logprobs"]
    trained = twice["hours"] - twice["validation_hours"]
    assert trained * 3600 == pytest.approx(twice["s_per_prompt"] * 8 * 672)


def test_rounds_of_dynamic_sampling_count_and_the_range_says_what_it_spans():
    plain, again = document(samples=1797), document("dynamic_sampling=3", samples=1797)
    extra = again["hours"] - plain["hours"]
    assert 0.3 * 3600 * plain["hours"] < 3600 * extra  # sampling is most of a step with Transformers
    assert again["phases"]["rollout"] < 4 * plain["phases"]["rollout"]  # 3 further rounds at most
    assert again["phases"]["backward"] == plain["phases"]["backward"]  # what is replaced is not learned from
    assert again["hours_low"] == pytest.approx(plain["hours_low"])
    assert again["hours_high"] / again["hours"] > plain["hours_high"] / plain["hours"]
    assert any("40 % of the groups" in note and "0 to 80 %" in note for note in again["notes"])
    one = document("dynamic_sampling=1", samples=1797)["hours"]
    assert plain["hours"] < one < again["hours"]


def test_measuring_the_pass_rate_is_counted_before_the_training():
    plain = document(samples=1797)
    found = document("curriculum.by=pass_rate", samples=1797)
    assert found["hours"] == pytest.approx(plain["hours"] + found["pass_rate_hours"])
    assert any("1797 rows × 4 completions" in note for note in found["notes"])
    more = document("curriculum.by=pass_rate", "curriculum.samples=8", samples=1797)
    assert more["pass_rate_hours"] > 1.5 * found["pass_rate_hours"] > 0 == plain["pass_rate_hours"]
    # 1797 × 4 completions in forward passes of 64: 113 of them, each 256 steps of 36 layers (at least .9 ms).
    assert found["pass_rate_hours"] * 3600 > 112 * 256 * 36 * 0.9e-3


def test_a_folder_that_is_not_prepared_is_refused_with_the_command_to_type(tmp_path):
    with pytest.raises(UsageError, match="not a prepared dataset") as raised:
        estimate(config(), Facts(model="Qwen2.5-VL-3B", data=tmp_path))
    assert raised.value.hint.startswith("medgrpo preprocess")


def test_the_bare_command_says_what_it_took(capsys):
    command_line.app(["estimate-time", "--json", "--alternatives"], standalone_mode=False)
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    keys = {
        "hours", "hours_low", "hours_high", "s_per_prompt", "prompts_per_hour", "steps", "epochs", "image_tokens",
        "memory_gib", "fits", "advice", "phases", "source",
    }  # fmt: skip
    assert keys <= found.keys()
    log = {"prepare", "vision", "sync", "prefill", "rollout", "reward", "logprobs"}
    assert set(found["phases"]) == log | {"forward", "backward", "optimizer", "communication"}
    assert found["model"] == "Qwen2.5-VL-3B"
    assert found["rows"] == 1797
    assert "1797 rows taken" in captured.err
    this = [entry for entry in found["alternatives"] if entry["is_this"]]
    assert len(this) == 1
    assert this[0]["hours"] == found["hours"]  # the same rows as the headline
    assert this[0]["s_per_prompt"] == found["s_per_prompt"]
    assert len(found["alternatives"]) >= 12


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [("Qwen/Qwen3-VL-30B-A3B-Instruct", 30.5e9, 3.3e9), ("Qwen3-VL-235B-A22B-Thinking", 235e9, 22e9)],
)
def test_a_mixture_of_experts_weighs_all_of_them_and_computes_with_a_few(name, total, active):
    from medgrpo.estimate.shapes import find_shape

    shape = find_shape(name)
    assert shape.language_parameters == pytest.approx(total, rel=0.02)
    assert shape.active_parameters == pytest.approx(active, rel=0.06)
    assert shape.active_parameters <= shape.read_parameters(1) * 1.001
    assert shape.read_parameters(1) < shape.read_parameters(64) < shape.language_parameters


def test_a_mixture_of_experts_is_read_from_its_config(tmp_path):
    from medgrpo.estimate.shapes import find_shape

    text = {
        **{"num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4},
        **{"head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768, "vocab_size": 151_936},
        **{"num_experts": 128, "num_experts_per_tok": 8},
    }
    vision = {"hidden_size": 1152, "depth": 27, "intermediate_size": 4304}
    config = {"model_type": "qwen3_vl_moe", "text_config": text, "vision_config": vision}
    (tmp_path / "config.json").write_text(json.dumps(config))
    read, known = find_shape(str(tmp_path)), find_shape("Qwen3-VL-30B-A3B")
    assert read.language_parameters == known.language_parameters
    assert read.active_parameters == known.active_parameters
    assert read.patches_per_token == known.patches_per_token


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("lingshu-medical-mllm/Lingshu-7B", "Qwen2.5-VL-7B"),
        ("UCSC-VLAA/MedVLThinker-32B-RL_m23k", "Qwen2.5-VL-32B"),
        ("FreedomIntelligence/HuatuoGPT-Vision-7B", "Qwen2-VL-7B"),
        ("ByteDance/Sa2VA-8B", "InternVL3-8B"),
        ("ByteDance/Sa2VA-Qwen2_5-VL-3B", "Qwen2.5-VL-3B"),
        ("acme/chest-qwen2.5-vl-7b-v2", "Qwen2.5-VL-7B"),
        ("google/medgemma-27b-it", "MedGemma-27B"),
        ("Qwen/Qwen3-VL-32B-Thinking", "Qwen3-VL-32B"),
        ("Qwen/Qwen2.5-14B-Instruct", "Qwen2.5-14B"),
    ],
)
def test_models_are_found_by_what_they_are_built_on(name, like):
    assert find_shape(name).parameters == SHAPES[like].parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen2.5-VL-72B", 73.4),
        ("Qwen3-VL-32B", 33.4),
        ("Qwen2.5-14B", 14.8),
        ("MedGemma-27B", 27.4),
        ("Qwen2.5-0.5B", 0.49),
    ],
)
def test_more_shapes_give_the_published_parameter_counts(name, billions):
    assert SHAPES[name].parameters / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize("size", ["650M", "3B", "13b", "40"])
def test_a_model_of_a_size_has_that_many_weights(size):
    from medgrpo.estimate.shapes import shape_of_size

    wanted = float(size.rstrip("MBb")) * (1e6 if size.endswith("M") else 1e9)
    assert shape_of_size(size).parameters == pytest.approx(wanted, rel=0.02)
    with pytest.raises(UsageError, match="no number of weights"):
        shape_of_size("large")


def test_a_deepspeed_file_says_whether_weights_are_shared_out(tmp_path):
    from medgrpo.config.sharing import zero_stage

    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    assert [zero_stage(name) for name in (None, "zero2", "zero3", str(file))] == [0, 2, 3, 3]


def test_weights_that_are_gathered_for_rollouts_count_whole():
    words = ("launch.deepspeed=zero3", "rollout.engine=transformers")
    shared = document(*words, model="Qwen2.5-VL-7B", gpus=8)
    weights = 2 * SHAPES["Qwen2.5-VL-7B"].parameters / 2**30
    assert shared["memory_gib"]["weights"] < weights / 7
    assert shared["memory_by_phase_gib"]["rollout"] > weights
    assert shared["memory_by_phase_gib"]["before"] > weights  # validation before training, on one GPU
    assert shared["host_memory_gib"] > 8 * weights
    with_vllm = document("launch.deepspeed=zero3", "rollout.engine=vllm", model="Qwen2.5-VL-7B", gpus=8)
    assert with_vllm["memory_by_phase_gib"]["sync"] > weights + 0.3 * 80


def test_a_processor_gets_hours_of_its_own_and_no_advice_about_gpus():
    found = document(gpu="cpu", model="Qwen3-0.6B")
    assert found["gpu"] == "CPU"
    assert found["hours"] > 20 * document(gpu="A100", model="Qwen3-0.6B")["hours"]
    assert not any(word in one["change"] for one in found["advice"] for word in ("vllm", "gpus", "qlora"))
