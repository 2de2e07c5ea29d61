"""What a colocated vLLM is handed, and when a run stops because sampler and trainer disagree."""

import inspect

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.models.picture_tokens import PictureTokens, collapse_image_tokens
from medgrpo.training.trainers.vllm import check_gap, prompts_for_vllm

IMAGE = 9


def test_each_run_of_image_tokens_becomes_one():
    # <start> image×3 <end> text <start> image×2 <end>
    assert collapse_image_tokens([1, 9, 9, 9, 2, 5, 1, 9, 9, 2], IMAGE, images=2) == [1, 9, 2, 5, 1, 9, 2]


def test_what_the_processor_puts_around_a_run_goes_with_it():
    # 1 and 2 around a run are InternVL's <img> and </img>; elsewhere they stay
    assert collapse_image_tokens([1, 9, 9, 2, 5, 1, 2, 1, 9, 2], IMAGE, images=2, around=(1, 2)) == [
        9,
        5,
        1,
        2,
        9,
    ]


def test_a_single_image_token_stays():
    assert collapse_image_tokens([1, 9, 2], IMAGE, images=1) == [1, 9, 2]


def test_pictures_that_cannot_be_told_apart_are_refused():
    with pytest.raises(MedgrpoError, match="2 pictures has 1 runs"):
        collapse_image_tokens([1, 9, 9, 2], IMAGE, images=2)


def test_prompts_without_pictures_are_left_alone():
    written = PictureTokens(IMAGE)
    assert prompts_for_vllm([[1, 9, 9, 2], [5, 6]], [["picture"], None], written) == [[1, 9, 2], [5, 6]]
    assert prompts_for_vllm([[5, 6]], None, written) == [[5, 6]]
    assert prompts_for_vllm([[5, 6]], [["picture"]], None) == [[5, 6]]


def test_several_pictures_are_collapsed_alike_with_and_without_an_adapter(tmp_path):
    """What vLLM is handed is read off the model, which an adapter wraps."""
    from peft import LoraConfig, get_peft_model
    from PIL import Image

    from medgrpo.models.demo import build_demo_model
    from medgrpo.models.loading import load_model, lora_targets
    from medgrpo.training.trainers.vllm import picture_tokens

    loaded = load_model(str(build_demo_model(tmp_path / "m", ["which differs?"], seed=0)))
    pictures = [Image.new("RGB", size) for size in ((56, 56), (112, 56), (56, 140))]
    parts = [{"type": "image"}] * 3 + [{"type": "text", "text": "which differs?"}]
    text = loaded.processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    expanded = loaded.processor(text=[text], images=pictures)["input_ids"][0]
    as_written = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(expanded) > len(as_written)
    adapted = get_peft_model(loaded.model, LoraConfig(target_modules=lora_targets(loaded.model)))
    for model in (loaded.model, adapted):
        written = picture_tokens(model, loaded.processor)
        assert prompts_for_vllm([expanded], [pictures], written) == [as_written]


def test_a_gap_above_the_limit_stops_with_the_reason():
    check_gap(None, 0.3)
    check_gap(0.03, 0.3)
    with pytest.raises(MedgrpoError, match=r"1\.03 per token"):
        check_gap(1.03, 0.3)


def test_trl_still_hands_vllm_the_expanded_prompt():
    """When this fails TRL has changed what it hands over: measure the gap without the collapse, then drop it."""
    from trl import GRPOTrainer
    from trl.generation.vllm_generation import VLLMGeneration

    assert "prompts=prompt_ids,\n                images=images" in inspect.getsource(
        GRPOTrainer._generate_single_turn
    )
    colocate = inspect.getsource(VLLMGeneration.generate).split('self.mode == "colocate":')[-1]
    assert "prompt_token_ids" in colocate
    assert "image_token" not in colocate
    assert "_place_features" not in colocate
