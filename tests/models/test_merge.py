import json

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.families import tower_of
from medgrpo.models.merge import adapter_folder, base_of, merge_adapter


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.language_model.layers.0.self_attn.q_proj.weight", "language"),
        ("model.visual.blocks.1.attn.qkv.weight", "vision"),
        ("model.visual.merger.mlp.0.weight", "aligner"),
        ("model.vision_tower.encoder.layer.0.weight", "vision"),
        ("model.multi_modal_projector.linear_1.weight", "aligner"),
        ("lm_head.weight", "language"),
    ],
)
def test_a_weight_belongs_to_a_tower_by_its_name(name, tower):
    assert tower_of(name) == tower


def test_a_run_folder_gives_its_best_adapter_before_its_final_one(tmp_path):
    for name in ("final_lora", "best_lora"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    assert adapter_folder(tmp_path).name == "best_lora"


def test_a_whole_model_is_told_from_an_adapter(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="whole model") as raised:
        adapter_folder(tmp_path)
    assert "lora" in raised.value.hint


def test_a_folder_with_neither_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no adapter"):
        adapter_folder(tmp_path)
    with pytest.raises(UsageError, match="no folder at"):
        adapter_folder(tmp_path / "nowhere")


def test_a_base_that_moved_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/gone/base"}))
    with pytest.raises(UsageError, match="/gone/base") as raised:
        base_of(tmp_path, None)
    assert raised.value.hint == "--base MODEL"
    assert base_of(tmp_path, "other") == "other"


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    from medgrpo.models.demo import build_demo_model

    folder = tmp_path_factory.mktemp("base") / "model"
    build_demo_model(folder, ["Which plane is shown?", "axial", "这张图像是什么模态？"], seed=0)
    return folder


def make_adapter(base, folder, *, scale):
    """A LoRA on the language model whose B matrices are drawn (scale > 0) or zero, as PEFT starts them."""
    import torch
    from peft import LoraConfig, get_peft_model

    from medgrpo.models.loading import load_model, lora_targets

    torch.manual_seed(0)
    model = load_model(str(base)).model
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=lora_targets(model)))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=scale) if scale else torch.nn.init.zeros_(weight)
    adapted.save_pretrained(folder)
    (folder / "medgrpo.json").write_text('{"prompt_template": {"name": "structured"}}')
    return folder


def test_the_merged_model_is_the_same_function_and_loads_without_peft(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.2)
    merge = merge_adapter(adapter, tmp_path / "merged", verify=4)
    # 2 language layers × 7 projections; the frozen towers stay as they were
    assert merge.changed_tensors == {"language": 14, "vision": 0, "aligner": 0}
    assert merge.max_logit_difference < 1e-4
    assert merge.top1_agreement == 1.0
    assert (
        json.loads((tmp_path / "merged" / "medgrpo.json").read_text())["prompt_template"]["name"]
        == "structured"
    )

    from medgrpo.models.loading import load_model

    assert load_model(str(tmp_path / "merged")).is_vision


def test_an_adapter_that_changes_nothing_is_an_error_and_leaves_nothing_behind(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.0)
    with pytest.raises(MedgrpoError, match="changes no weight"):
        merge_adapter(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_output_in_use_is_never_overwritten(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.2)
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine").touch()
    with pytest.raises(UsageError, match="exists and is not empty"):
        merge_adapter(adapter, tmp_path / "merged")
