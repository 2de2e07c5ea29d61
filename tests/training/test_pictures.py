"""Passes without pictures on several processes: every layer is reached, and nothing is learned from it."""

import pytest
import torch

from medgrpo.models.loading import load_model
from medgrpo.training.pictures import look_at_blank_pictures
from tests.families import TINY_FAMILIES

VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]


@pytest.mark.parametrize("name", VISION)
def test_a_pass_without_pictures_reaches_the_vision_tower_and_gives_the_same_logits(name, tmp_path):
    loaded = load_model(str(TINY_FAMILIES[name].build(tmp_path / name)))
    model, ids = loaded.model.train(), torch.arange(5, 15).reshape(2, 5)
    before = model(input_ids=ids).logits
    look_at_blank_pictures(model, loaded.processor)
    after = model(input_ids=ids).logits
    assert torch.equal(before, after)
    after.sum().backward()
    left_out = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not left_out
    vision = [weight.grad for name, weight in model.named_parameters() if "vis" in name]
    assert vision
    assert all(gradient.abs().max() == 0 for gradient in vision)
