import json
import shutil

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.families import is_lora_target, tower_of
from medgrpo.models.loading import (
    check_model,
    freeze_towers,
    limit_pixels,
    load_model,
    load_processor,
    lora_targets,
)


@pytest.fixture(scope="module")
def loaded(demo_model):
    return load_model(str(demo_model), max_pixels=56 * 56)


def test_a_model_folder_gives_model_and_processor_in_evaluation_mode(loaded):
    assert loaded.is_vision
    assert not loaded.model.training
    assert loaded.tokenizer is loaded.processor.tokenizer


def test_max_pixels_reaches_the_processor(loaded):
    from PIL import Image

    picture = Image.new("RGB", (224, 224))
    inputs = loaded.processor.image_processor([picture], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]  # 56 × 56 px in patches of 14


def test_max_pixels_below_the_models_own_smallest_picture_lowers_that_too(demo_model):
    processor = load_processor(str(demo_model), is_vision=True, max_pixels=28 * 28)
    assert dict(processor.image_processor.size)["shortest_edge"] == 28 * 28


def test_a_smallest_picture_larger_than_the_largest_is_refused(loaded):
    with pytest.raises(UsageError, match="larger than max_pixels"):
        limit_pixels(loaded.processor, max_pixels=1000, min_pixels=2000)


def test_dtype_is_float32_on_a_cpu_and_as_asked_otherwise(demo_model):
    import torch

    assert load_model(str(demo_model), dtype="bfloat16").model.dtype == torch.bfloat16
    if not torch.cuda.is_available():
        assert load_model(str(demo_model)).model.dtype == torch.float32


def test_a_missing_path_is_no_model():
    with pytest.raises(UsageError, match=r"no model at \./nowhere"):
        check_model("./nowhere")


def test_a_hub_name_is_left_to_the_hub():
    assert check_model("Qwen/Qwen2.5-VL-3B-Instruct") is None


def test_a_mistyped_run_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "balanced-1").mkdir(parents=True)
    assert check_model("runs/balanced-2") is None  # as good a name as any
    (tmp_path / "runs" / "balanced-1" / "training_info.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no model at runs/balanced-2"):
        check_model("runs/balanced-2")


def test_a_hub_name_that_cannot_be_reached_says_which_model_and_what_to_do():
    with pytest.raises(MedgrpoError, match="nobody/no-such-model cannot be loaded") as caught:
        load_model("nobody/no-such-model")
    assert "path of a downloaded model" in (caught.value.hint or "")


def test_a_folder_without_config_names_the_model_inside_it(demo_model, tmp_path):
    shutil.copytree(demo_model, tmp_path / "outer" / "inner")
    with pytest.raises(UsageError, match=r"no config\.json") as caught:
        check_model(str(tmp_path / "outer"))
    assert "inner" in (caught.value.hint or "")


def test_an_adapter_folder_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="an adapter, not a whole model"):
        check_model(str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    with pytest.raises(UsageError, match="no weights"):
        check_model(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_config_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        check_model(str(tmp_path))


def test_a_file_is_no_model(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(UsageError, match="is a file"):
        check_model(str(file))


def test_broken_weights_say_that_the_model_cannot_be_loaded(demo_model, tmp_path):
    folder = shutil.copytree(demo_model, tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(MedgrpoError, match="cannot be loaded"):
        load_model(str(folder))


def test_a_model_without_chat_template_is_refused(demo_model, tmp_path):
    folder = shutil.copytree(demo_model, tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(MedgrpoError, match="no chat template"):
        load_processor(str(folder), is_vision=True)


def test_lora_reaches_all_seven_projections_of_each_language_layer_and_nothing_visual(loaded):
    import re

    pattern = lora_targets(loaded.model)
    hit = [name for name, _ in loaded.model.named_modules() if re.fullmatch(pattern, name)]
    assert len(hit) == 7 * loaded.model.config.text_config.num_hidden_layers
    assert not [name for name in hit if "visual" in name]


def test_peft_takes_the_pattern_and_trains_the_language_model_only(loaded, demo_model):
    from peft import LoraConfig, get_peft_model

    model = load_model(str(demo_model)).model
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=lora_targets(model)))
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 14
    assert all("language_model" in name for name in trained)


def test_vision_and_aligner_can_be_adapted_when_asked_for(loaded):
    import re

    pattern = lora_targets(loaded.model, ["vision", "aligner"])
    hit = [
        name
        for name, module in loaded.model.named_modules()
        if re.fullmatch(pattern, name) and not list(module.children())
    ]
    assert hit
    assert all("visual" in name for name in hit)
    assert any("merger" in name for name in hit)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.3.self_attn.q_proj", True),  # text-only models
        ("model.language_model.layers.0.mlp.down_proj", True),
        ("base.language_model.model.layers.11.self_attn.o_proj", True),  # LLaVA
        ("model.visual.blocks.0.mlp.gate_proj", False),
        ("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", False),
        ("model.language_model.embed_tokens", False),
        ("lm_head", False),
    ],
)
def test_language_layers_are_told_from_others_by_path(name, expected):
    assert is_lora_target(name, "language") is expected


def test_freezing_all_but_the_language_tower_leaves_it_to_train(demo_model):
    model = load_model(str(demo_model)).model
    frozen = freeze_towers(model, ("language",))
    visual = sum(weight.numel() for weight in model.model.visual.parameters())
    assert frozen == visual > 0
    assert not any(weight.requires_grad for weight in model.model.visual.parameters())
    assert all(weight.requires_grad for weight in model.model.language_model.parameters())


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "language"),
        ("lm_head.weight", "language"),
        ("base_model.model.model.visual.blocks.1.attn.qkv.lora_A.default.weight", "vision"),
        ("model.visual.merger.mlp.0.weight", "aligner"),
        ("model.visual.deepstack_merger_list.2.linear_fc1.weight", "aligner"),
        ("model.vision_tower.encoder.layer.0.attention.q_proj.weight", "vision"),
        ("model.multi_modal_projector.linear_1.weight", "aligner"),
    ],
)
def test_every_weight_belongs_to_one_tower(name, tower):
    assert tower_of(name) == tower


def with_other_picture_token(demo_model, folder, change):
    """The demo model with changed tokens in `tokenizer.json`."""
    shutil.copytree(demo_model, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf-8"))
    change(tokenizer)
    file.write_text(json.dumps(tokenizer), "utf-8")
    return folder


def test_a_tokenizer_without_the_models_picture_token_is_refused_before_anything_is_loaded(
    demo_model, tmp_path
):
    number = json.loads((demo_model / "config.json").read_text())["image_token_id"]

    def left_out(tokenizer):
        tokenizer["added_tokens"] = [one for one in tokenizer["added_tokens"] if one["id"] != number]

    folder = with_other_picture_token(demo_model, tmp_path / "m", left_out)
    with pytest.raises(UsageError, match=rf"no token {number} for a picture") as raised:
        check_model(str(folder))
    assert str(folder / "tokenizer.json") in raised.value.problem
    assert f"--local-dir {folder}" in raised.value.hint


@pytest.mark.parametrize("fault", ["other token", "template"])
def test_a_tokenizer_that_writes_another_token_for_a_picture_is_refused(fault, demo_model, tmp_path):
    def exchanged(tokenizer):
        names = {"<|image_pad|>": "<|video_pad|>", "<|video_pad|>": "<|image_pad|>"}
        for one in tokenizer["added_tokens"]:
            one["content"] = names.get(one["content"], one["content"])
        vocabulary = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {names.get(word, word): number for word, number in vocabulary.items()}

    folder = with_other_picture_token(
        demo_model, tmp_path / "m", exchanged if fault == "other token" else lambda _: None
    )
    if fault == "template":
        (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    check_model(str(folder))  # its files alone do not tell
    words = "for a picture, and its config" if fault == "other token" else "writes no token for a picture"
    with pytest.raises(MedgrpoError, match=words):
        load_model(str(folder))
