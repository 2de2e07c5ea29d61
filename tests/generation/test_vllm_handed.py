"""vLLM is handed the very prompt that Transformers reads, each picture as the chat template writes it."""

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.generation.generate import encode_prompts
from medgrpo.generation.vllm import VllmEngine, by_picture
from medgrpo.models.loading import load_model
from medgrpo.training.trainers.vllm import picture_tokens, prompts_for_vllm
from tests.families import TINY_FAMILIES


@pytest.mark.parametrize("family", TINY_FAMILIES.values(), ids=TINY_FAMILIES)
def test_the_ids_handed_over_are_those_of_the_transformers_engine(family, tmp_path):
    model = load_model(str(family.build(tmp_path / "model")), max_pixels=28 * 28 * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (280, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    template, engine = load_template("structured"), VllmEngine(None, model.processor)
    for images in ([], ["a.png"], ["a.png", "a.png"]) if family.is_vision else ([],):
        row = new_row(
            id="1",
            question="Is there a lesion?",
            answer="no",
            images=images,
            source="s",
            source_file="f",
            source_row=0,
        )
        handed = engine._prompt(row, template, lambda name: tmp_path / name)
        read = encode_prompts([row], template, model.processor, lambda name: tmp_path / name)
        ids = [int(token) for token in read["input_ids"][0]]
        pictures = handed.get("multi_modal_data", {}).get("image", [])
        assert len(pictures) == len(images)
        tokens = picture_tokens(model.model, model.processor)
        assert handed["prompt_token_ids"] == prompts_for_vllm([ids], [pictures], tokens)[0]
        begin = model.tokenizer.bos_token_id
        if family.name == "gemma3":
            assert ids.count(begin) == 1


def test_rows_about_one_picture_are_handed_over_one_after_the_other():
    names = (["a"], ["b"], [], ["a"], ["b", "a"], [], ["b"], ["a"], ["b", "a"])
    rows = [{"id": str(number), "images": images} for number, images in enumerate(names)]
    assert by_picture(rows) == [0, 3, 7, 1, 6, 2, 4, 8, 5]
    assert by_picture(rows[:3]) == [0, 1, 2]
