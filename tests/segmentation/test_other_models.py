"""Mask models of Transformers with random weights: each trains by reward, is saved, opened again and measured; and patches."""

import json

import pytest
import torch

from medgrpo.config.presets import resolve_run
from medgrpo.records import json_objects
from medgrpo.segmentation.segmenters import is_mask_model, load_segmenter
from tests.segmentation.test_train_masks import TINY
from tests.training.conftest import run


def segformer(folder):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(num_labels=2, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], decoder_hidden_size=16, num_attention_heads=[1, 1, 2, 2])  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def sam(folder):
    from transformers import Sam2Config, Sam2Model

    from medgrpo.segmentation.sa2va.demo import tiny_sam

    Sam2Model(Sam2Config(**tiny_sam(128))).save_pretrained(folder)


def clipseg(folder):
    from transformers import (
        CLIPSegConfig,
        CLIPSegForImageSegmentation,
        CLIPSegProcessor,
        CLIPTokenizer,
        ViTImageProcessor,
    )

    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]  # fmt: skip
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPSegConfig(text_config={**size, "vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
                           vision_config={**size, "image_size": 64, "patch_size": 16}, projection_dim=16, reduce_dim=16,
                           extract_layers=[0, 1], conditional_layer=0, decoder_num_attention_heads=2, decoder_intermediate_size=24)  # fmt: skip
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    pictures = ViTImageProcessor(size={"height": 64, "width": 64})
    CLIPSegProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("build", [segformer, sam, clipseg])
def test_a_model_of_transformers_learns_by_reward_under_an_adapter(build, vessels, tmp_path):
    torch.manual_seed(0)
    build(tmp_path / "model")
    assert is_mask_model(str(tmp_path / "model"))
    words = (*TINY, f"data.path={vessels}", "tuning.method=lora", "training.max_steps=1", "stages.warm.max_steps=1",
             "validation.steps=0")  # fmt: skip
    config = resolve_run(model=str(tmp_path / "model"), assignments=words)[0].config
    result = run(config, tmp_path / "run")
    assert result.status == "finished"
    entry = json_objects(tmp_path / "run" / "log.jsonl")[0]
    assert 0 <= entry["reward"] <= 1
    assert entry["grad_norm"] > 0
    assert (tmp_path / "run" / "final_lora" / "adapter_config.json").is_file()


def test_a_sam_released_for_videos_is_a_mask_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    assert is_mask_model(str(tmp_path))


def test_patches_are_trained_on_and_whole_pictures_stitched(vessels, tmp_path):
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.segmentation.examples import Examples
    from medgrpo.segmentation.measuring import predicted_logits

    words = (*TINY, f"data.path={vessels}", "masks.patch_size=24", "training.max_steps=2", "validation.steps=0",
             "masks.keep=all")  # fmt: skip
    result = run(resolve_run(model="unet", assignments=words)[0].config, tmp_path / "run")
    assert result.status == "finished"
    from medgrpo.runs.store import read_completions

    drawn = json.loads(read_completions(tmp_path / "run").to_pylist()[0]["completion"])
    assert drawn["size"] == [24, 24]
    described = json.loads((tmp_path / "run" / "final_model" / "medgrpo.json").read_text())
    assert described["masks"]["patch_size"] == 24
    rows = list(PreparedDataset.open(vessels).rows("validation"))[:1]
    segmenter = load_segmenter(str(tmp_path / "run" / "final_model"))
    examples = Examples(rows, vessels)
    whole, stitched = (predicted_logits(segmenter, segmenter.model, examples, side)[0] for side in (None, 24))
    assert whole.shape == stitched.shape == (48, 48)
    assert abs(whole - stitched).mean() < abs(whole).mean()
