"""A frozen vision tower is left alone by recomputation's hooks, and the adapter learns the same."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from medgrpo.engine.features import keep_features, spare_frozen_tower
from medgrpo.engine.inner import inner_of
from medgrpo.engine.kept import KeptFeatures
from medgrpo.engine.shown import content_of, shown_of
from tests.engine.conftest import batch_of, picture, shown_prompts, stock_scores
from tests.families import TINY_FAMILIES

VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]
HOOKED = {"qwen2_vl", "qwen2_5_vl", "internvl", "gemma3"}


def adapted(model, layers):
    torch.manual_seed(0)
    policy = get_peft_model(model, LoraConfig(r=2, target_modules=layers))
    policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.enable_input_require_grads()
    return policy.train()


@pytest.mark.parametrize("name", VISION)
def test_a_frozen_tower_gets_no_gradient_and_the_adapter_the_same(name, load):
    model, processor = load(name)
    shown = shown_prompts(model, processor, [1, 0])
    ids, mask, columns = batch_of(shown, [0, 0, 1], [4, 2, 3])
    policy = adapted(model, r".*language_model.*(q|v)_proj")
    inner, needed = inner_of(policy), []
    tower = next(one for key, one in inner.named_children() if "vis" in key)
    list(tower.modules())[-1].register_forward_hook(
        lambda module, words, output: needed.append(output.requires_grad)
    )
    gradients = []
    for is_spared in (False, True):
        if is_spared:
            assert (spare_frozen_tower(policy) > 0) == (name in HOOKED)
            assert spare_frozen_tower(policy) == 0
        policy.zero_grad(set_to_none=True)
        scores, _ = stock_scores(policy, ids, mask, columns, shown, [0, 0, 1])
        scores[mask[:, -columns:].bool()].sum().backward()
        gradients.append({key: one.grad for key, one in policy.named_parameters() if one.grad is not None})
    assert (needed[0], needed[-1]) == (name in HOOKED, False)
    assert gradients[0]
    for key, gradient in gradients[1].items():
        torch.testing.assert_close(gradient, gradients[0][key])
    assert gradients[0].keys() == gradients[1].keys()


def test_a_tower_that_learns_keeps_its_hooks(load):
    model, _ = load("qwen2_5_vl")
    assert spare_frozen_tower(adapted(model, r".*visual.*qkv")) == 0
    assert not spare_frozen_tower(torch.nn.Linear(2, 2))


def freshly_shown(model, processor, numbers):
    """Prompts as of a new step: other objects, these pictures."""
    images = [picture(number, (100, 90)) for number in numbers]
    asked = [[{"role": "user", "content": [{"type": "image", "image": image}]}] for image in images]
    found = []
    for image, messages in zip(images, asked, strict=True):
        made = processor.apply_chat_template(
            [messages], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        found.append({**shown_of(inner_of(model), dict(made), 1), "content": content_of([image])})
    return found


@pytest.mark.parametrize("name", VISION)
def test_features_kept_across_steps_are_those_that_the_tower_would_make_again(name, load):
    model, processor = load(name)
    inner, calls, device = inner_of(model), [], torch.device("cpu")
    tower = getattr(inner, "visual", None) or inner.vision_tower
    watch = tower.register_forward_hook(lambda *_: calls.append(1))
    kept = KeptFeatures(10**9)
    steps = [[1, 2], [2, 3, 2], [1]]
    seen = []
    for numbers in steps:
        shown = freshly_shown(model, processor, numbers)
        keep_features(inner, shown, device, kept=kept)
        seen += [one["features"] for one in shown]
    assert (len(calls), kept.hits, kept.misses, len(kept)) == (3, 2, 3, 3)
    assert kept.bytes == sum(part.numel() * 4 for one in (seen[0], seen[1], seen[3]) for part in tensors(one))
    for features, number in zip(seen, [number for numbers in steps for number in numbers], strict=True):
        alone = freshly_shown(model, processor, [number])
        keep_features(inner, alone, device)
        assert all(
            one.equal(other)
            for one, other in zip(tensors(features), tensors(alone[0]["features"]), strict=True)
        )
    assert not tensors(seen[0])[0].equal(tensors(seen[1])[0])
    watch.remove()
    # Room for two: the one asked for longest ago goes. Room for none: nothing is held.
    small = KeptFeatures(2 * kept.bytes // 3)
    for number, hits in ((1, 0), (2, 0), (1, 1), (3, 1), (1, 2), (2, 2)):
        keep_features(inner, freshly_shown(model, processor, [number]), device, kept=small)
        assert small.hits == hits
        assert small.bytes <= small.limit
    none = KeptFeatures(kept.bytes // 3 - 1)
    keep_features(inner, freshly_shown(model, processor, [1]), device, kept=none)
    assert (none.bytes, len(none)) == (0, 0)


def tensors(features):
    return [*features["pooled"], *(part for layer in features["deep"] for part in layer)]
