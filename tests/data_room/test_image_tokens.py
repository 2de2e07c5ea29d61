"""Image-token arithmetic against transformers' own image processors."""

import pytest

from medgrpo.errors import UsageError
from medgrpo.models.families import image_family
from medgrpo.models.image_tokens import image_tokens, smart_resize

SIZES = [
    (1024, 1024),
    (512, 512),
    (640, 480),
    (333, 777),
    (57, 900),
    (28, 28),
    (20, 31),
    (1999, 1001),
    (4000, 300),
]


@pytest.mark.parametrize(
    ("size", "family", "max_pixels", "tokens"),
    [
        (1024, "qwen2.5-vl", None, 1369),  # round(1024 / 28) = 37, 37 squared
        (1024, "qwen2.5-vl", 1024**2, 1296),  # 1036 squared is above the cap: 36 squared
        (1024, "qwen2.5-vl", 602112, 729),  # 775.9 / 28 = 27.7: 27 squared
        (1024, "qwen3-vl", None, 1024),  # 1024 / 32 = 32
        (512, "qwen2.5-vl", None, 324),  # round(18.3) = 18
        (512, "qwen3-vl", None, 256),
        (1024, "gemma-3", None, 256),
        (1024, "internvl", None, 2560),  # 3 x 3 tiles and a thumbnail of 256 tokens each
        (448, "internvl", None, 256),
    ],
)
def test_tokens_of_known_sizes(size, family, max_pixels, tokens):
    assert image_tokens(size, size, image_family(family), max_pixels) == tokens


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("max_pixels", [None, 602112, 28 * 28 * 64])
@pytest.mark.parametrize("name", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"])
def test_qwen_counts_equal_those_of_the_image_processor(size, max_pixels, name):
    from transformers import Qwen2VLImageProcessor

    family = image_family(name)
    cap = min(family.max_pixels, max_pixels or family.max_pixels)
    processor = Qwen2VLImageProcessor(
        patch_size=family.patch_px,
        merge_size=family.merge,
        size={"shortest_edge": min(family.min_pixels, cap), "longest_edge": cap},
    )
    width, height = size
    patches = processor.get_number_of_image_patches(height, width, {})
    assert image_tokens(width, height, family, max_pixels) == patches // family.merge**2


def test_a_processed_picture_has_as_many_tokens_as_counted():
    import numpy as np
    from PIL import Image
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 602112})
    picture = Image.fromarray(np.zeros((300, 1000, 3), np.uint8))
    grid = processor(images=[picture], return_tensors="np")["image_grid_thw"][0]
    assert grid.prod() // 4 == image_tokens(1000, 300, image_family("qwen2.5-vl"), 602112)


@pytest.mark.parametrize("size", [*SIZES, (896, 448), (448, 1344), (1344, 896)])
def test_internvl_counts_equal_those_of_the_image_processor(size):
    from transformers import GotOcr2ImageProcessor

    family = image_family("internvl")
    processor = GotOcr2ImageProcessor(
        crop_to_patches=True,
        min_patches=1,
        max_patches=family.max_tiles,
        size={"height": family.tile_px, "width": family.tile_px},
    )
    width, height = size
    tiles = processor.get_number_of_image_patches(height, width, {"crop_to_patches": True})
    assert image_tokens(width, height, family) == tiles * family.tile_tokens


def test_gemma_spends_its_fixed_number_of_tokens():
    from transformers.models.gemma3.configuration_gemma3 import Gemma3Config

    assert Gemma3Config().mm_tokens_per_image == image_family("gemma-3").tile_tokens


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2.5-vl"),
        ("qwen2_5_vl", "qwen2.5-vl"),
        ("Qwen/Qwen2-VL-2B-Instruct", "qwen2-vl"),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl"),
        ("OpenGVLab/InternVL3-2B-hf", "internvl"),
        ("google/gemma-3-4b-it", "gemma-3"),
    ],
)
def test_a_model_s_name_tells_its_family(name, family):
    assert image_family(name).name == family


def test_an_unknown_model_lists_the_families():
    with pytest.raises(UsageError, match=r"qwen2\.5-vl"):
        image_family("llama")


def test_too_narrow_pictures_are_refused():
    with pytest.raises(UsageError, match="too narrow"):
        smart_resize(5000, 20, factor=28)
