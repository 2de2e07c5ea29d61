"""Passes without pictures on several processes: the same layers in the same order, and nothing is learned from it."""

import pytest
import torch
from PIL import Image

from medgrpo.models.loading import load_model
from medgrpo.training.trainers.pictures import look_at_blank_pictures
from tests.families import TINY_FAMILIES

VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]


@pytest.fixture(params=VISION)
def loaded(request, tmp_path):
    return load_model(str(TINY_FAMILIES[request.param].build(tmp_path / "model")))


def inputs_of(processor, *pictures):
    parts = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": "yes no left"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    return processor(text=[text], images=[list(pictures)] if pictures else None, return_tensors="pt")


class Reached(torch.autograd.Function):
    """Notes on the way back that an output of a layer was reached, as DeepSpeed's hooks do."""

    @staticmethod
    def forward(context, note, value):
        context.note = note
        return value.view_as(value)

    @staticmethod
    def backward(context, gradient):
        context.note()
        return None, gradient


def layers_reached(model, inputs):
    """Names of the layers in the order in which a step reaches them, forwards and backwards."""
    trace, hooks = [], []
    for name, layer in model.named_modules():

        def back(_, __, output, name=name):
            note = lambda: trace.append(f"back {name}")  # noqa: E731
            if isinstance(output, torch.Tensor) and output.requires_grad:
                return Reached.apply(note, output)
            return None

        hooks.append(
            layer.register_forward_pre_hook(lambda _, __, name=name: trace.append(f"forward {name}"))
        )
        hooks.append(layer.register_forward_hook(back))
    model(**inputs).logits.sum().backward()
    for hook in hooks:
        hook.remove()
    return trace


def test_a_pass_without_pictures_gives_the_same_logits_and_no_gradient_to_the_vision_tower(loaded):
    model, inputs = loaded.model.train(), inputs_of(loaded.processor)
    before = model(**inputs).logits
    look_at_blank_pictures(model, loaded.processor)
    after = model(**inputs).logits
    assert torch.equal(before, after)
    after.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    vision = [weight.grad for name, weight in model.named_parameters() if "vis" in name]
    assert vision
    assert all(gradient.abs().max() == 0 for gradient in vision)


def test_every_layer_is_reached_in_the_same_order_with_and_without_pictures(loaded):
    model = loaded.model.train()
    look_at_blank_pictures(model, loaded.processor)
    model.enable_input_require_grads()
    for name, weight in model.named_parameters():
        weight.requires_grad_("vis" not in name)
    picture = Image.new("RGB", (100, 80), "gray")
    with_picture = layers_reached(model, inputs_of(loaded.processor, picture))
    assert any("vis" in name for name in with_picture)
    assert layers_reached(model, inputs_of(loaded.processor)) == with_picture
