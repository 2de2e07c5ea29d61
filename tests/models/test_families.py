"""What differs between model families: the arithmetic of pictures, prompts, towers, and what vLLM is handed."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medgrpo.config.presets import resolve_run
from medgrpo.data.prompts import TEMPLATES, build_messages
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.generation.generate import encode_prompts
from medgrpo.models.families import image_family
from medgrpo.models.loading import freeze_towers, limit_pixels, load_model, load_processor, lora_targets
from medgrpo.training.before.datasets import RowSource, open_image, prompt_lengths
from medgrpo.training.trainers.vllm import picture_tokens, pictures_for_vllm, prompts_for_vllm
from tests.families import TINY_FAMILIES

PUBLISHED = {  # image processors as the published models configure them
    "Qwen2-VL-2B": ("Qwen2VLImageProcessor", {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}),
    "Qwen2.5-VL-3B": ("Qwen2VLImageProcessor", {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}),
    "Qwen3-VL-4B": (
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16},
    ),
    "InternVL3-2B": (
        "GotOcr2ImageProcessor",
        {"size": {"height": 448, "width": 448}, "crop_to_patches": True, "max_patches": 12},
    ),
}
VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]
LIMITS = dict.fromkeys(TINY_FAMILIES, 70_000) | {"internvl": 28 * 28 * 6}
"""Largest picture of a run, in pixels; the tiny InternVL has tiles of 28 px."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A function: family -> its tiny model, loaded once with the picture limits of a run."""
    opened = {}

    def get(name):
        if name not in opened:
            folder = TINY_FAMILIES[name].build(tmp_path_factory.mktemp("families") / name)
            opened[name] = load_model(str(folder), max_pixels=LIMITS[name])
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
    assert evaluated["input_ids"][0].tolist() == as_trl_tokenises(model.processor, asked, template, pictures)


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
    marks = {
        "language": "language_model.layers" if name in VISION else "model.layers",
        "vision": ".blocks.|.encoder.",
    }
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


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("shown", [("wide",), ("wide", "small")])
def test_vllm_is_handed_the_prompt_as_the_template_writes_it(name, shown, loaded, pictures):
    model, template = loaded(name), TEMPLATES["structured"]
    asked = row(*shown, folder=pictures)
    expanded = as_trl_tokenises(model.processor, asked, template, pictures)
    text = model.processor.apply_chat_template(
        build_messages(asked, template, parts=True), add_generation_prompt=True, tokenize=False
    )
    written = picture_tokens(model.model, model.processor)
    ((collapsed),) = prompts_for_vllm([expanded], [asked["images"]], written)
    assert collapsed == model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(collapsed) < len(expanded)


@pytest.mark.parametrize("name", VISION)
def test_a_processor_without_the_run_s_limits_makes_as_many_tokens_of_what_vllm_gets(name, loaded, tmp_path):
    trainer = loaded(name).processor
    own = load_processor(str(TINY_FAMILIES[name].build(tmp_path)), is_vision=True)

    def tokens(processor, picture):
        text = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}]}], tokenize=False, add_generation_prompt=True
        )
        return processor(text=[text], images=[[picture]], return_tensors="pt")["input_ids"].shape[1]

    for size in [(300, 300), (640, 90), (90, 200), (113, 170)]:
        picture = Image.new("RGB", size, "gray")
        ((resized,),) = pictures_for_vllm([[picture]], trainer)
        assert tokens(own, resized) == tokens(trainer, picture), size


@pytest.mark.parametrize("max_pixels", [602_112, 1024**2, 12_845_056])
@pytest.mark.parametrize("size", [56, 224, 512, 1024, 1500])
@pytest.mark.parametrize("name", [*PUBLISHED, "Gemma-3-4B"])
def test_the_estimate_counts_the_image_tokens_that_the_processor_makes(name, size, max_pixels):  # S5.2
    import transformers

    found = estimate(
        resolve_run(model=name, assignments=(f"model.max_pixels={max_pixels}",))[0].config,
        Facts(size=size, gpu="A100"),
    ).document()
    if name == "Gemma-3-4B":
        assert found["image_tokens"] == 256
        return
    kind, settings = PUBLISHED[name]
    processor = SimpleNamespace(image_processor=getattr(transformers, kind)(**settings))
    limit_pixels(processor, max_pixels=max_pixels)
    options = {"crop_to_patches": True} if "tiles" in image_family(name).layout else {}
    pieces = processor.image_processor.get_number_of_image_patches(size, size, options)
    assert found["image_tokens"] == (pieces * 256 if options else pieces // 4)


@pytest.mark.parametrize(
    ("name", "size", "max_pixels", "tokens"),
    [
        ("Qwen2.5-VL-3B", 1024, 12_845_056, 1369),
        ("Qwen2.5-VL-3B", 1024, 1024**2, 1296),
        ("Qwen2.5-VL-3B", 1024, 602_112, 729),
        ("Qwen3-VL-4B", 1024, 1024**2, 1024),
        ("Qwen2.5-VL-3B", 512, 602_112, 324),
        ("Qwen3-VL-4B", 512, 602_112, 256),
        ("Qwen3-VL-4B", 56, 602_112, 64),  # enlarged to 256 x 256 px, its own smallest picture
        ("InternVL3-2B", 1024, 4 * 448**2, 1280),  # 2 x 2 tiles and the thumbnail
        ("InternVL3-2B", 1024, 602_112, 256),  # three tiles at most, and no grid of two or three is square
    ],
)
def test_the_estimate_s_tokens_of_known_sizes(name, size, max_pixels, tokens):  # S5.2
    config = resolve_run(model=name, assignments=(f"model.max_pixels={max_pixels}",))[0].config
    assert estimate(config, Facts(size=size, gpu="A100")).document()["image_tokens"] == tokens
