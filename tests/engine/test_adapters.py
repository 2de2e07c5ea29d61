"""A fused LoRA layer gives what PEFT's gives, forwards and backwards."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from medgrpo.engine.adapters import fuse, fused_forward


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(12, 20), torch.nn.Linear(20, 6, bias=False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def adapted(**options):
    torch.manual_seed(0)
    model = get_peft_model(
        Small(), LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], **options)
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return model


def outcome(model, x):
    model.zero_grad(set_to_none=True)
    output = model(x)
    output.square().sum().backward()
    return [output.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def test_output_and_gradients_are_those_of_peft():
    model, x = adapted(), torch.randn(2, 5, 12)
    before = outcome(model, x)
    assert fuse(model) == 2
    for one, other in zip(outcome(model, x), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_disabled_adapter_is_left_out():
    model, x = adapted(), torch.randn(4, 12)
    fuse(model)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), model.get_base_model()(x))
        plain = model(x)
    assert not torch.allclose(plain, model(x))


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_what_is_more_than_lora_stays_as_it_is(options):
    model = adapted(**options)
    assert fuse(model) == 0
    assert all(getattr(module.forward, "__func__", None) is not fused_forward for module in model.modules())
