"""Sa2VA: the map from released names, saving and loading, adapters and merging."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from medgrpo.segmentation.examples import Example
from medgrpo.segmentation.sa2va.keys import SAM, from_released, missing_names
from medgrpo.segmentation.segmenters import load_segmenter

NAMES = Path(__file__).with_name("sam2_large_names.tsv.gz")
"""Name and shape of every tensor of the SAM 2 in a released Sa2VA, as the public class lists them."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    from medgrpo.segmentation.sa2va.demo import build_demo_sa2va

    return build_demo_sa2va(tmp_path_factory.mktemp("sa2va") / "model", sam_side=128)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(tiny, tmp_path):
    from medgrpo.segmentation.sa2va.demo import build_demo_sa2va

    torch.rand(7)
    again = build_demo_sa2va(tmp_path / "again", sam_side=128)
    assert (again / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()


def released(vlm_names):
    """A released checkpoint's names and shapes, without memory."""
    found = {}
    for line in gzip.decompress(NAMES.read_bytes()).decode().splitlines():
        name, sides = line.split("\t")
        shape = tuple(map(int, sides.split("x"))) if sides else ()
        found[f"grounding_encoder.{name}"] = torch.empty(shape, device="meta")
    found.update({name: torch.empty(shape, device="meta") for name, shape in vlm_names.items()})
    return found


def large():
    """Sa2VA-Qwen2.5-VL-3B's sizes, without memory."""
    from transformers import Qwen2_5_VLConfig

    from medgrpo.segmentation.sa2va.loading import SAM_LARGE
    from medgrpo.segmentation.sa2va.model import Sa2VA, Sa2VAConfig

    text = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 2, "num_attention_heads": 16,
            "num_key_value_heads": 2, "vocab_size": 151672, "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}  # fmt: skip
    vision = {"depth": 2, "hidden_size": 1280, "out_hidden_size": 2048}
    vlm = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    with torch.device("meta"):
        return Sa2VA(Sa2VAConfig(vlm, dict(SAM_LARGE), seg_token_id=151665))


@pytest.mark.parametrize("layout", ["since 4.52", "before 4.52"])
def test_every_released_name_finds_its_place_with_its_shape(layout):
    model = large()
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {
        "since 4.52": ("model.model.language_model.", "model.model.visual."),
        "before 4.52": ("model.model.", "model.visual."),
    }
    text, eyes = theirs[layout]
    names = {}
    for name, shape in expected.items():
        if name.startswith("vlm.model.language_model."):
            names[text + name.removeprefix("vlm.model.language_model.")] = shape
        elif name.startswith("vlm.model.visual."):
            names[eyes + name.removeprefix("vlm.model.visual.")] = shape
        elif name == "vlm.lm_head.weight":
            names["model.lm_head.weight"] = shape
        elif name.startswith("text_hidden_fcs."):
            names[name] = shape
    mapped = from_released(released(names))
    assert mapped.unknown == []
    assert missing_names(expected, mapped, is_tied=False) == []
    assert {name: tuple(value.shape) for name, value in mapped.weights.items()} == expected
    assert len(mapped.dropped) == 157
    assert all(name.startswith(SAM) for name in mapped.dropped)


def test_an_unknown_or_missing_name_is_said():
    mapped = from_released({"something.else": torch.zeros(1)})
    assert mapped.unknown == ["something.else"]
    assert missing_names(["vlm.lm_head.weight", "text_hidden_fcs.0.weight"], mapped, is_tied=True) == [
        "text_hidden_fcs.0.weight"
    ]


def picture(seed=0, side=48):
    return Example(
        "", np.random.default_rng(seed).integers(0, 255, (side, side - 8, 3), dtype=np.uint8), None
    )


def test_saving_and_loading_gives_the_same_masks(tiny, tmp_path):
    first = load_segmenter(str(tiny), dtype="float32")
    first.save(tmp_path / "again")
    second = load_segmenter(str(tmp_path / "again"), dtype="float32")
    with torch.no_grad():
        masks = [one.logits(one.model, [picture()])[0] for one in (first, second)]
    assert masks[0].shape == (48, 40)
    torch.testing.assert_close(masks[0], masks[1], atol=0, rtol=0)


def test_a_released_folder_loads_without_its_code(tiny, tmp_path):
    """The tiny model under released names: what load_released reads, at the size it is given."""
    import json

    from safetensors.torch import save_file

    from medgrpo.segmentation.sa2va import loading

    segmenter = load_segmenter(str(tiny), dtype="float32")
    model, folder = segmenter.model, tmp_path / "released"
    folder.mkdir()
    renamed = {}
    for name, value in model.state_dict().items():
        if name.startswith("vlm."):
            renamed["model." + name.removeprefix("vlm.")] = value.clone()
        elif name.startswith("text_hidden_fcs."):
            renamed[name] = value.clone()
    save_file(renamed, folder / "model.safetensors")
    segmenter.processor.save_pretrained(folder)
    stored = model.config.vlm_config.to_dict() | {"model_type": "sa2va_chat", "template": "qwen_chat"}
    (folder / "config.json").write_text(json.dumps(stored))
    assert loading.is_released(stored)
    from medgrpo.errors import MedgrpoError

    with pytest.raises(MedgrpoError, match="weights are missing"):
        loading.load_released(folder, dtype=torch.float32)


def test_merging_an_adapter_gives_equal_masks(tiny):
    from peft import LoraConfig, get_peft_model

    segmenter = load_segmenter(str(tiny), dtype="float32")
    config = LoraConfig(r=4, target_modules=segmenter.adapter_pattern, modules_to_save=["text_hidden_fcs"])
    adapted = get_peft_model(segmenter.model, config)
    hit = {name.split(".")[-1] for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert hit == {"weight"}
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        segmenter.model = adapted
        expected = segmenter.logits(adapted, [picture()])[0]
        merged = adapted.merge_and_unload()
        segmenter.model = merged
        found = segmenter.logits(merged, [picture()])[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_state_at_the_seg_token_moves_the_mask_and_gets_gradient(tiny):
    segmenter = load_segmenter(str(tiny), dtype="float32")
    logits = segmenter.logits(segmenter.model, [picture()])[0]
    logits.mean().backward()
    grads = {
        name: p.grad is not None and bool(p.grad.abs().sum() > 0)
        for name, p in segmenter.model.named_parameters()
    }
    assert grads["text_hidden_fcs.0.weight"]
    assert grads["vlm.model.language_model.layers.0.self_attn.q_proj.weight"]
    assert (
        len(segmenter.text_log_prob()) == len(segmenter.processor.tokenizer("Sure, [SEG].")["input_ids"]) + 1
    )


def test_pictures_that_go_through_together_get_what_each_gets_alone(tiny):
    """Sizes with as many tokens share a pass, others do not; masks and words stay in the pictures' order."""
    segmenter = load_segmenter(str(tiny), dtype="float32")
    calls = []
    counted = segmenter.model.register_forward_hook(lambda *_: calls.append(1))
    sizes = [(48, 40), (168, 28), (48, 40), (40, 48)]
    rng = np.random.default_rng(1)
    examples = [Example("", rng.integers(0, 255, (*size, 3), dtype=np.uint8), None) for size in sizes]
    with torch.no_grad():
        together = segmenter.logits(segmenter.model, examples)
        said = segmenter.text_log_prob()
        passes = len(calls)
        alone = [segmenter.logits(segmenter.model, [example])[0] for example in examples]
        said_alone = segmenter.text_log_prob()
    counted.remove()
    assert passes < len(sizes)
    assert [tuple(one.shape) for one in together] == sizes
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(said, said_alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[2])
