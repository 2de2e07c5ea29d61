from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.demo import Carelessness, Phantom, careless_completion, demo_texts
from medgrpo.models.demo import TAGS, DemoModelConfig, build_demo_model, train_tokenizer


@pytest.fixture(scope="module")
def opened(demo_model):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(demo_model), AutoProcessor.from_pretrained(demo_model)


def test_the_folder_opens_as_an_ordinary_qwen2_5_vl(opened):
    model, processor = opened
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"


def test_the_model_has_between_half_a_million_and_five_million_weights(opened):
    model, _ = opened
    assert 500_000 <= sum(weight.numel() for weight in model.parameters()) <= 5_000_000


def test_head_dim_is_one_that_vllm_takes(opened):
    model, _ = opened
    text, vision = model.config.text_config, model.config.vision_config
    assert text.hidden_size // text.num_attention_heads in (32, 64)
    assert vision.hidden_size // vision.num_heads in (32, 64)


def test_the_first_weights_spread_as_the_config_says(opened):
    model, _ = opened
    # The sample deviation of over 4,096 weights lies within 5 % of the true one.
    for module in (model.model.visual.patch_embed.proj, model.model.language_model.layers[0].mlp.up_proj):
        assert float(module.weight.detach().std()) == pytest.approx(0.1, rel=0.05)


def test_the_same_seed_gives_the_same_files_and_another_seed_other_weights(demo_model, tmp_path):
    again = build_demo_model(tmp_path / "again", demo_texts(), seed=3)
    other = build_demo_model(tmp_path / "other", demo_texts(), seed=4)
    for name in ("model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"):
        assert (again / name).read_bytes() == (demo_model / name).read_bytes(), name
    assert (other / "model.safetensors").read_bytes() != (demo_model / "model.safetensors").read_bytes()


def test_building_leaves_the_random_state_alone(tmp_path):
    import torch

    torch.manual_seed(11)
    before = torch.rand(1)
    torch.manual_seed(11)
    build_demo_model(tmp_path / "m", ["a"], seed=0)
    assert torch.equal(torch.rand(1), before)


def test_each_tag_is_one_token(opened):
    _, processor = opened
    for tag in TAGS:
        for written in (f"<{tag}>", f"</{tag}>"):
            assert len(processor.tokenizer(written)["input_ids"]) == 1


def test_tags_survive_decoding_without_special_tokens(opened):
    _, processor = opened
    text = (
        "<think>CT，横断面，无病灶。</think><answer>没有</answer><plane>横断面</plane><modality>CT</modality>"
    )
    tokens = processor.tokenizer(text)["input_ids"]
    assert processor.tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_completions_of_the_demo_take_at_most_32_tokens(opened):
    _, processor = opened
    rng = np.random.default_rng(5)
    longest = Phantom("X-ray", "sagittal", 2, "right", False)
    for language in ("en", "zh"):
        text = careless_completion(longest, "side", language, Carelessness(0, 0, 0, 0, 0), rng)
        assert len(processor.tokenizer(text)["input_ids"]) + 1 <= 32


def test_text_that_the_tokenizer_never_saw_comes_back_unchanged():
    tokenizer = train_tokenizer(["lesion"], vocab_size=300)
    text = "Größe 3,5 mm – 右肺上叶结节?"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_picture_of_56_px_is_four_image_tokens_between_the_vision_marks(opened):
    _, processor = opened
    picture = Image.fromarray(np.zeros((56, 56), np.uint8)).convert("RGB")
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a lesion?"}]}
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[[picture]], return_tensors="pt")
    assert processor.decode(inputs["input_ids"][0]) == (
        "<|im_start|>user\n<|vision_start|>"
        + 4 * "<|image_pad|>"
        + "<|vision_end|>Is there a lesion?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_plain_string_messages_and_a_system_message_are_templated_too(opened):
    _, processor = opened
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_sizes_can_be_chosen(tmp_path):
    from transformers import AutoConfig

    config = DemoModelConfig(hidden_size=256, num_heads=4, num_layers=3)
    folder = build_demo_model(Path(tmp_path / "m"), ["lesion"], config=config)
    assert AutoConfig.from_pretrained(folder).text_config.num_hidden_layers == 3
