"""LoRA layers in fewer steps: the same sum, added up inside the matrix product that spreads it.

PEFT 0.21 casts a layer's whole input to the adapter's float32, autocast casts it back, and scale and sum go over the
whole output once each: four steps through memory around two small products, for every adapted layer, forwards,
recomputed and backwards.
"""

from __future__ import annotations

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
    """Whether a layer is LoRA and nothing more: no dropout, DoRA, bias or other variant, an unquantised base."""
    import torch

    base = layer.get_base_layer()
    return (
        type(base) is torch.nn.Linear
        and not getattr(layer, "lora_variant", None)
        and not getattr(layer, "fan_in_fan_out", False)
        and not any(getattr(layer, "lora_bias", {}).values())
        and all(isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
    )


def fused_forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """As `peft.tuners.lora.Linear.forward`, for a plain layer: (…, in) to (…, out)."""
    import torch

    if self.disable_adapters or self.merged or len(self.active_adapters) != 1 or kwargs.get("adapter_names"):
        found: torch.Tensor = type(self).forward(self, x, *args, **kwargs)
        return found
    result: torch.Tensor = self.base_layer(x)
    name = self.active_adapters[0]
    if name not in self.lora_A:
        return result
    down, up = self.lora_A[name].weight.to(result.dtype), self.lora_B[name].weight.to(result.dtype)
    small = torch.nn.functional.linear(x.to(result.dtype), down) * self.scaling[name]
    flat = torch.addmm(result.reshape(-1, result.shape[-1]), small.reshape(-1, small.shape[-1]), up.t())
    return flat.view(result.shape)
