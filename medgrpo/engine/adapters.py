"""LoRA layers in fewer steps: the same sum, added up inside the matrix product that spreads it, forwards and backwards.

PEFT 0.21 casts a layer's whole input to the adapter's float32, autocast casts it back, and scale and sum go over the
whole output once each: four steps through memory around two small products, for every adapted layer, forwards,
recomputed and backwards.
"""

from __future__ import annotations

from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def fuse(model: Any) -> int:
    """Let the plain LoRA layers of a model on CUDA compute so; how many there are.

    Weights, gradients and optimiser stay float32 where they are; only the arithmetic is the base's.
    """
    layers = [layer for layer in _lora_layers(model) if is_plain(layer)]
    for layer in layers:
        layer.forward = MethodType(fused_forward, layer)
    return len(layers)


def _lora_layers(model: Any) -> list[Any]:
    from peft.tuners.lora import Linear

    return [module for module in model.modules() if isinstance(module, Linear)]


def is_plain(layer: Any) -> bool:
    """Whether a layer is LoRA and nothing more: no dropout, DoRA, bias or other variant, a base that is not quantised and not trained."""
    import torch

    base = layer.get_base_layer()
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and not getattr(layer, "lora_variant", None)
        and not getattr(layer, "fan_in_fan_out", False)
        and not any(getattr(layer, "lora_bias", {}).values())
        and all(isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
    )


def fused_forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """As `peft.tuners.lora.Linear.forward`, for a plain layer: (…, in) to (…, out)."""
    if self.disable_adapters or self.merged or len(self.active_adapters) != 1 or kwargs.get("adapter_names"):
        found: torch.Tensor = type(self).forward(self, x, *args, **kwargs)
        return found
    name = self.active_adapters[0]
    base = self.get_base_layer()
    if name not in self.lora_A:
        plain: torch.Tensor = base(x)
        return plain
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    output: torch.Tensor = _added().apply(x, base.weight, base.bias, down, up, self.scaling[name])
    return output


@lru_cache(maxsize=1)
def _added() -> Any:
    """The layer as one step of autograd: both products are added up where their sum is kept."""
    import torch
    from torch.nn.functional import linear

    def flat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(-1, tensor.shape[-1])

    class Added(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            x: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            down: torch.Tensor,
            up: torch.Tensor,
            scale: float,
        ) -> torch.Tensor:
            with torch.autocast(x.device.type, enabled=False):
                given = x.to(weight.dtype)
                small = linear(given, down.to(weight.dtype)).mul_(scale)
                output = linear(given, weight, bias)
                flat(output).addmm_(flat(small), up.to(weight.dtype).t())
            ctx.save_for_backward(given, small, weight, down, up)
            ctx.scale, ctx.type = scale, x.dtype
            return output

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            given, small, weight, down, up = ctx.saved_tensors
            kind = weight.dtype
            with torch.autocast(gradient.device.type, enabled=False):
                rows = flat(gradient).to(kind)
                of_small = (rows @ up.to(kind)).mul_(ctx.scale)
                of_up = (rows.t() @ flat(small)).to(up.dtype) if ctx.needs_input_grad[4] else None
                of_down = (of_small.t() @ flat(given)).to(down.dtype) if ctx.needs_input_grad[3] else None
                of_x = None
                if ctx.needs_input_grad[0]:
                    of_x = (rows @ weight).addmm_(of_small, down.to(kind)).view(given.shape).to(ctx.type)
            return of_x, None, None, of_down, of_up, None

    return Added
