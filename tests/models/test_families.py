"""What differs between model families: the arithmetic of pictures, prompts, towers, and what vLLM is handed."""

import re

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.prompts import TEMPLATES, build_messages
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.evaluation.generate import encode_prompts
from medgrpo.models.loading import freeze_towers, load_model, lora_targets
from medgrpo.training.datasets import RowSource, open_image, prompt_lengths
from tests.families import TINY_FAMILIES

VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]
LIMITS = {"max_pixels": 28 * 28 * 6, "min_pixels": 28 * 28 * 4}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A function: family -> its tiny model, loaded once with the picture limits of a run."""
    opened = {}

    def get(name):
        if name not in opened:
            folder = TINY_FAMILIES[name].build(tmp_path_factory.mktemp("families") / name)
            opened[name] = load_model(str(folder), **LIMITS)
        return opened[name]

    return get


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, size in {"wide": (120, 80), "tall": (40, 100), "small": (20, 20)}.items():
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def row(*names, folder=None):
    made = new_row(id="1", question="Is there a lesion?", answer="yes", language="en")
    made["images"] = [f"{name}.png" for name in names]
    if len(names) == 1:
        made["width"], made["height"] = open_image(str(folder / made["images"][0])).size
    return made


def as_trl_tokenises(processor, asked, template, folder):
    """Ids of a prompt as TRL 1.16's GRPO trainer makes them."""
    messages = build_messages(asked, template, parts=True)
    opened = iter([open_image(str(folder / name)) for name in asked["images"]])
    for message in messages:
        message["content"] = [
            {"type": "image", "image": next(opened)} if part["type"] == "image" else part
            for part in message["content"]
        ]
    encoded = processor.apply_chat_template(
        conversation=[messages], tokenize=True, add_generation_prompt=True, return_dict=True, padding=False
    )
    return list(encoded["input_ids"][0])


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("shown", [("wide",), ("tall",), ("small",), ("wide", "small")])
def test_evaluation_and_training_give_a_model_the_same_prompt(name, shown, loaded, pictures):
    model, template = loaded(name), TEMPLATES["structured"]
    asked = row(*shown, folder=pictures)
    evaluated = encode_prompts([asked], template, model.processor, lambda path: pictures / path)
    assert evaluated["input_ids"][0].tolist() == as_trl_tokenises(
        model.processor, asked, template, pictures
    )


@pytest.mark.parametrize("name", VISION)
def test_prompt_lengths_are_counted_without_processing_a_picture(name, loaded, pictures):
    model, template = loaded(name), TEMPLATES["structured"]
    rows = [row(shown, folder=pictures) for shown in ("wide", "tall", "small")]
    counted = list(prompt_lengths(RowSource(rows, pictures, template, True), model.processor))
    truth = [len(as_trl_tokenises(model.processor, one, template, pictures)) for one in rows]
    assert counted == truth


@pytest.mark.parametrize("name", TINY_FAMILIES)
@pytest.mark.parametrize("tower", ["language", "vision", "aligner"])
def test_an_adapter_takes_every_linear_layer_of_a_tower_and_no_other(name, tower, loaded):
    import torch
    from peft import LoraConfig, get_peft_model

    model = loaded(name).model
    marks = {"language": "language_model.layers" if name in VISION else "model.layers", "vision": ".blocks.|.encoder."}
    marks["aligner"] = "merger|multi_modal_projector"
    linear = [one for one, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    expected = {one for one in linear if re.search(marks[tower], one)}
    if not expected:
        with pytest.raises(UsageError, match=f"{tower} tower"):
            lora_targets(model, [tower])
        return
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=lora_targets(model, [tower])))
    taken = {one.removeprefix("base_model.model.") for one in adapted.targeted_module_names}
    adapted.unload()
    assert taken == expected


@pytest.mark.parametrize("name", VISION)
def test_freezing_leaves_the_language_model_alone_to_learn(name, loaded):
    model = loaded(name).model.requires_grad_(True)
    frozen = freeze_towers(model, ["language"])
    learning = {one for one, weight in model.named_parameters() if weight.requires_grad}
    assert frozen > 0
    assert all(one.startswith(("model.language_model.", "lm_head")) for one in learning)
    assert len(learning) == sum(1 for _ in model.model.language_model.parameters()) + (
        "lm_head.weight" in learning
    )
    model.requires_grad_(True)
