"""What a colocated vLLM is handed, and when a run stops because sampler and trainer disagree."""

import inspect

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.training.vllm import PictureTokens, check_gap, collapse_image_tokens, prompts_for_vllm

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
