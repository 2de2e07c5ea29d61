"""Prompts counted with the model's own tokenizer and chat template."""

import json
import shutil

import pytest

from medgrpo.data.budget import Budget, check, fitting_pixels, prompt_tokens
from medgrpo.data.chat import ModelText
from medgrpo.data.images import ImageSettings, target_size
from medgrpo.data.prepare import BudgetOptions, PrepareOptions, prepare
from medgrpo.data.prompts import TEMPLATES, build_messages
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.models.image_tokens import image_tokens

TEMPLATE = TEMPLATES["structured"]


@pytest.fixture(scope="module")
def model(shared_data):
    return ModelText.load(shared_data / "qwen2_5_vl")


@pytest.fixture(scope="module")
def processor(shared_data, tmp_path_factory):
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2TokenizerFast,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    folder = tmp_path_factory.mktemp("qwen")
    for path in (shared_data / "qwen2_5_vl").iterdir():
        shutil.copy(path, folder)
    tokenizer = Qwen2TokenizerFast.from_pretrained(folder)
    template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    size = {"shortest_edge": 56 * 56, "longest_edge": 602112}
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size), tokenizer, Qwen2VLVideoProcessor(), chat_template=template
    )


def row(**fields):
    return new_row(**{"id": "1", "question": "Is there a mass?", "answer": "no", "images": ["a"]} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"question": "图中有没有异常？", "language": "zh"},
        {"options": '{"A": "lung", "B": "heart"}', "image_title": "Chest pain"},
        {"images": []},
    ],
)
def test_the_count_equals_that_of_the_model_s_processor(model, processor, fields):
    from PIL import Image

    example = row(**fields)
    messages = build_messages(example, TEMPLATE)
    sizes = [(640, 480)] if example["images"] else []
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert model.render(messages) == text
    pictures = [Image.new("RGB", size) for size in sizes] or None
    expected = len(processor(text=[text], images=pictures)["input_ids"][0])
    assert prompt_tokens(example, sizes, TEMPLATE, Budget(model, 2048)) == expected


def test_rows_over_the_budget_are_named(model):
    rows = [(row(id=str(n)), [(28 * n, 28 * n)]) for n in (4, 10, 20)]
    report = check(rows, TEMPLATE, Budget(model, 500, 100))
    assert report.too_long == ["20"]
    assert report.longest_id == "20"
    text = report.longest - image_tokens(560, 560, model.family)
    assert report.median == text + 100


def test_the_fitting_area_is_the_largest_that_fits(model):
    budget = Budget(model, 500, 100, max_pixels=None)
    sizes = [(1200, 900)]
    assert prompt_tokens(row(), sizes, TEMPLATE, budget) > 400
    pixels = fitting_pixels(row(), sizes, TEMPLATE, budget)
    text = prompt_tokens(row(), sizes, TEMPLATE, budget) - image_tokens(1200, 900, model.family)
    stored = target_size(1200, 900, ImageSettings(max_pixels=pixels))
    larger = target_size(1200, 900, ImageSettings(max_pixels=pixels + 40 * 28 * 28))
    assert text + image_tokens(*stored, model.family) <= 400
    assert text + image_tokens(*larger, model.family) > 400


def test_a_row_that_is_too_long_by_its_text_cannot_be_made_to_fit(model):
    budget = Budget(model, 500, 100)
    assert fitting_pixels(row(question="word " * 600), [(900, 900)], TEMPLATE, budget) is None


@pytest.mark.parametrize(
    ("policy", "rows", "over"), [("keep", 120, 120), ("drop", 0, 120), ("downscale", 120, 0)]
)
def test_over_long_rows_are_kept_left_out_or_their_pictures_made_smaller(
    vqa_folder, tmp_path, shared_data, policy, rows, over, model
):
    from medgrpo.errors import MedgrpoError

    # the structured prompt alone has about 110 tokens; a picture of 120 x 80 px has 12
    text = prompt_tokens(row(question="Is finding 0 present?"), [], TEMPLATE, Budget(model, 2048))
    length = text + 6 + 16 + 2
    options = PrepareOptions(
        images=ImageSettings(size_px=120),
        budget=BudgetOptions(str(shared_data / "qwen2_5_vl"), length, 16, None, policy),
    )
    if rows == 0:
        with pytest.raises(MedgrpoError, match="prompt too long"):
            prepare(vqa_folder, tmp_path / "out", options, workers=1)
        return
    dataset, _ = prepare(vqa_folder, tmp_path / "out", options, workers=1)
    found = [row for split in dataset.splits for row in dataset.rows(split)]
    assert len(found) == rows
    sizes = {row["id"]: [(row["width"], row["height"])] for row in found}
    budget = Budget(model, length, 16, None)
    report = check(((row, sizes[row["id"]]) for row in found), TEMPLATE, budget)
    assert len(report.too_long) == over
    assert dataset.info["budget"]["over_budget"] == 120
    assert dataset.info["budget"]["images_made_smaller"] == (40 if policy == "downscale" else 0)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no tokenizer"):
        ModelText.load(tmp_path)
    with pytest.raises(UsageError, match="no model folder"):
        ModelText.load(tmp_path / "nothing")
