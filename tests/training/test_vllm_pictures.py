"""vLLM must see the picture that the trainer sees, although it opens a processor of its own."""

import pytest

from medgrpo.models.demo import build_demo_model
from medgrpo.models.loading import limit_pixels, load_processor
from medgrpo.training.trainers.vllm import pictures_for_vllm


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return str(build_demo_model(tmp_path_factory.mktemp("model") / "m", ["a question"], seed=0))


@pytest.mark.parametrize("size", [(300, 300), (640, 90), (20, 33)])
def test_a_processor_with_other_limits_makes_the_same_tokens_of_what_vllm_gets(model_folder, size):
    from PIL import Image

    trainer = load_processor(model_folder, is_vision=True, max_pixels=12_544, min_pixels=3_136)
    vllm = load_processor(model_folder, is_vision=True)
    limit_pixels(vllm, max_pixels=12_845_056)
    picture = Image.new("RGB", size, "gray")

    def tokens(processor, image):
        return processor.image_processor(images=[image], return_tensors="pt")["image_grid_thw"].tolist()

    ((resized,),) = pictures_for_vllm([[picture]], trainer)
    assert tokens(vllm, resized) == tokens(trainer, picture)
    if size == (300, 300):
        assert tokens(vllm, picture) != tokens(trainer, picture)  # else there would be nothing to mend


def test_prompts_without_pictures_stay_as_they_are(model_folder):
    processor = load_processor(model_folder, is_vision=True)
    assert pictures_for_vllm(None, processor) is None
    assert pictures_for_vllm([None, []], processor) == [None, []]
