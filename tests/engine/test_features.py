"""A frozen vision tower is left alone by recomputation's hooks, and the adapter learns the same."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from medgrpo.engine.features import spare_frozen_tower
from medgrpo.engine.inner import inner_of
from tests.engine.conftest import batch_of, shown_prompts, stock_scores
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
