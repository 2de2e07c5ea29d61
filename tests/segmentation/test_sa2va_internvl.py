"""Released Sa2VA on InternVL: every name finds its place, and what was one matrix is cut where it belongs."""

import json

import numpy as np
import pytest
import torch

from medgrpo.errors import UsageError
from medgrpo.segmentation.sa2va.internvl import internvl_config, place_of
from medgrpo.segmentation.sa2va.keys import from_released, missing_names
from tests.segmentation.test_sa2va import released

LAYERS = 2
OF_26B = {
    "model_type": "sa2va_chat",
    "downsample_ratio": 0.5,
    "force_image_size": 448,
    "select_layer": -1,
    "ps_version": "v2",
    "template": "internlm2_chat",
    "vision_config": {"hidden_size": 3200, "num_hidden_layers": LAYERS, "num_attention_heads": 25, "intermediate_size": 12800,
                      "image_size": 448, "patch_size": 14, "qkv_bias": False, "qk_normalization": True, "norm_type": "rms_norm"},
    "llm_config": {"architectures": ["InternLM2ForCausalLM"], "hidden_size": 6144, "num_hidden_layers": LAYERS, "num_attention_heads": 48,
                   "num_key_value_heads": 8, "intermediate_size": 16384, "vocab_size": 92558, "rope_theta": 1000000, "bias": False,
                   "rope_scaling": {"type": "dynamic", "factor": 3.0}, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5},
}  # fmt: skip
"""Sizes of Sa2VA-26B (InternViT-6B and InternLM2.5-20B), two layers of each."""
OF_1B = {
    **OF_26B,
    "template": "qwen_chat",
    "vision_config": {"hidden_size": 1024, "num_hidden_layers": LAYERS, "num_attention_heads": 16, "intermediate_size": 4096,
                      "image_size": 448, "patch_size": 14, "qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm"},
    "llm_config": {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 896, "num_hidden_layers": LAYERS, "num_attention_heads": 14,
                   "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151682, "rope_theta": 1000000.0, "rope_scaling": None},
}  # fmt: skip


def public_names(stored):
    """Name and shape of every tensor of the vision-language model, as the public classes list them."""
    eyes, text = stored["vision_config"], stored["llm_config"]
    width, inner = eyes["hidden_size"], eyes["intermediate_size"]
    found = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.position_embedding": (1, 1025, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "vision_model.embeddings.patch_embedding.bias": (width,),
    }
    for layer in range(LAYERS):
        at = f"vision_model.encoder.layers.{layer}."
        found |= {f"{at}ls1": (width,), f"{at}ls2": (width,), f"{at}attn.qkv.weight": (3 * width, width)}
        found |= {f"{at}attn.proj.weight": (width, width), f"{at}attn.proj.bias": (width,)}
        found |= {f"{at}mlp.fc1.weight": (inner, width), f"{at}mlp.fc1.bias": (inner,)}
        found |= {f"{at}mlp.fc2.weight": (width, inner), f"{at}mlp.fc2.bias": (width,)}
        found |= {f"{at}norm1.weight": (width,), f"{at}norm2.weight": (width,)}
        if eyes["qkv_bias"]:
            found[f"{at}attn.qkv.bias"] = (3 * width,)
        if eyes["qk_normalization"]:
            found |= {f"{at}attn.q_norm.weight": (width,), f"{at}attn.k_norm.weight": (width,)}
        if eyes["norm_type"] == "layer_norm":
            found |= {f"{at}norm1.bias": (width,), f"{at}norm2.bias": (width,)}
    hidden, words = text["hidden_size"], text["vocab_size"]
    found |= {"mlp1.0.weight": (4 * width,), "mlp1.0.bias": (4 * width,)}
    found |= {"mlp1.1.weight": (hidden, 4 * width), "mlp1.1.bias": (hidden,)}
    found |= {"mlp1.3.weight": (hidden, hidden), "mlp1.3.bias": (hidden,)}
    found |= {"text_hidden_fcs.0.weight": (hidden, hidden), "text_hidden_fcs.0.bias": (hidden,)}
    found |= {"text_hidden_fcs.2.weight": (256, hidden), "text_hidden_fcs.2.bias": (256,)}
    found["language_model.model.norm.weight"] = (hidden,)
    heads, shared, far = text["num_attention_heads"], text["num_key_value_heads"], text["intermediate_size"]
    part = hidden // heads
    for layer in range(LAYERS):
        at = f"language_model.model.layers.{layer}."
        if text["architectures"] == ["InternLM2ForCausalLM"]:
            found |= {
                f"{at}attention.wqkv.weight": ((heads + 2 * shared) * part, hidden),
                f"{at}attention.wo.weight": (hidden, hidden),
            }
            found |= {
                f"{at}feed_forward.w1.weight": (far, hidden),
                f"{at}feed_forward.w3.weight": (far, hidden),
            }
            found |= {
                f"{at}feed_forward.w2.weight": (hidden, far),
                f"{at}attention_norm.weight": (hidden,),
                f"{at}ffn_norm.weight": (hidden,),
            }
        else:
            for letter, rows in (("q", hidden), ("k", shared * part), ("v", shared * part)):
                found |= {
                    f"{at}self_attn.{letter}_proj.weight": (rows, hidden),
                    f"{at}self_attn.{letter}_proj.bias": (rows,),
                }
            found[f"{at}self_attn.o_proj.weight"] = (hidden, hidden)
            found |= {f"{at}mlp.gate_proj.weight": (far, hidden), f"{at}mlp.up_proj.weight": (far, hidden)}
            found |= {
                f"{at}mlp.down_proj.weight": (hidden, far),
                f"{at}input_layernorm.weight": (hidden,),
                f"{at}post_attention_layernorm.weight": (hidden,),
            }
    if text["architectures"] == ["InternLM2ForCausalLM"]:
        return found | {
            "language_model.model.tok_embeddings.weight": (words, hidden),
            "language_model.output.weight": (words, hidden),
        }
    return found | {"language_model.model.embed_tokens.weight": (words, hidden), "language_model.lm_head.weight": (words, hidden)}  # fmt: skip


@pytest.mark.parametrize("stored", [OF_26B, OF_1B], ids=["26B", "1B"])
def test_every_released_name_finds_its_place_with_its_shape(stored):
    from medgrpo.segmentation.sa2va.loading import SAM_LARGE
    from medgrpo.segmentation.sa2va.model import Sa2VA, Sa2VAConfig

    config = internvl_config(stored, image_token=7)
    with torch.device("meta"):
        model = Sa2VA(Sa2VAConfig(config, dict(SAM_LARGE), seg_token_id=9))
    mapped = from_released(released(public_names(stored)), lambda name, value: place_of(name, value, config))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert mapped.unknown == []
    assert missing_names(expected, mapped, is_tied=False) == []
    assert {name: tuple(value.shape) for name, value in mapped.weights.items()} == expected


def test_a_matrix_of_query_key_and_value_is_cut_by_groups_of_heads():
    text = {**OF_26B["llm_config"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = internvl_config({**OF_26B, "llm_config": text}, image_token=7)
    # Of InternLM2: two query heads, one key head and one value head of width 2, twice.
    kinds = np.repeat(["q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"], 2)
    codes = torch.arange(16.0)[:, None].expand(16, 8)
    placed = place_of("language_model.model.layers.1.attention.wqkv.weight", codes, config)
    for letter, wanted in (("q", ["q0", "q1", "q2", "q3"]), ("k", ["k0", "k1"]), ("v", ["v0", "v1"])):
        rows = placed[f"vlm.model.language_model.layers.1.self_attn.{letter}_proj.weight"][:, 0]
        assert list(dict.fromkeys(kinds[rows.long()])) == wanted
    eyes = place_of("vision_model.encoder.layers.0.attn.qkv.bias", torch.arange(6.0), config)
    assert eyes["vlm.model.vision_tower.encoder.layer.0.attention.k_proj.bias"].tolist() == [2.0, 3.0]


def test_a_language_model_that_internvl_has_not_is_refused():
    with pytest.raises(UsageError, match="Phi3ForCausalLM"):
        internvl_config({**OF_26B, "llm_config": {"architectures": ["Phi3ForCausalLM"]}}, image_token=7)
    assert place_of("language_model_of_another.weight", torch.zeros(1), internvl_config(OF_1B, 7)) == {}


def test_a_released_folder_on_internvl_is_opened_and_segments(tmp_path, monkeypatch):
    """A tiny one under released names, with a tokenizer of ours: opened, saved in our form, opened again, equal masks."""
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, Sam2Config

    from medgrpo.models.demo import build_demo_model
    from medgrpo.segmentation.examples import Example
    from medgrpo.segmentation.sa2va import loading
    from medgrpo.segmentation.sa2va.demo import tiny_sam
    from medgrpo.segmentation.sa2va.inputs import ANSWER, PROMPT
    from medgrpo.segmentation.sa2va.model import Sa2VA, Sa2VAConfig
    from medgrpo.segmentation.segmenters import load_segmenter

    monkeypatch.setattr(loading, "SAM_LARGE", Sam2Config(**tiny_sam(128)).to_dict())
    folder = tmp_path / "released"
    build_demo_model(tmp_path / "words", [PROMPT, ANSWER])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "words")
    tokenizer.add_tokens(
        ["<IMG_CONTEXT>", "<img>", "</img>", "[SEG]", "<|im_start|>", "<|im_end|>"], special_tokens=True
    )
    tokenizer.save_pretrained(folder)
    text = {
        **OF_1B["llm_config"],
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "vocab_size": len(tokenizer),
    }
    eyes = {**OF_1B["vision_config"], "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    stored = {**OF_1B, "llm_config": text, "vision_config": eyes, "force_image_size": 56}
    (folder / "config.json").write_text(json.dumps(stored))
    (tmp_path / "eyes").mkdir()
    torch.manual_seed(0)
    config = internvl_config(stored, tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))
    model = Sa2VA(
        Sa2VAConfig(config, loading.SAM_LARGE, seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"))
    )
    names = public_names(stored) | {"vision_model.embeddings.position_embedding": (1, 17, 16)}
    names["text_hidden_fcs.2.weight"], names["text_hidden_fcs.2.bias"] = (32, 32), (32,)
    weights = {name: torch.randn(shape) * 0.05 for name, shape in names.items()}
    save_file(weights, folder / "model.safetensors")
    # SAM's names are mapped elsewhere: here its weights are given under ours.
    sam = {name: value for name, value in model.state_dict().items() if name.startswith("sam.")}
    plain = loading.from_released

    def with_sam(weights, place):
        mapped = plain(weights, place)
        mapped.weights |= {name: value.clone() for name, value in sam.items()}
        return mapped

    monkeypatch.setattr(loading, "from_released", with_sam)
    example = Example("", np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8), None)
    first = load_segmenter(str(folder), dtype="float32")
    with torch.no_grad():
        expected = first.logits(first.model, [example])[0]
    assert expected.shape == (60, 90)
    assert first.processor.image_seq_length == 4
    first.save(tmp_path / "ours")
    second = load_segmenter(str(tmp_path / "ours"), dtype="float32")
    with torch.no_grad():
        torch.testing.assert_close(second.logits(second.model, [example])[0], expected, atol=1e-6, rtol=1e-4)
    other = Example("", np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8), None)
    with torch.no_grad():
        together = second.logits(second.model, [example, other])
        alone = second.logits(second.model, [other])[0]
    torch.testing.assert_close(together[0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1], alone, atol=1e-5, rtol=1e-4)
