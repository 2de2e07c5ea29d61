"""What QLoRA's 4 bits do to a weight: bitsandbytes' NF4 with double quantisation, there and back."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def is_available() -> bool:
    """Whether bitsandbytes is installed."""
    return find_spec("bitsandbytes") is not None


def four_bit(weight: torch.Tensor) -> torch.Tensor:
    """The weight as a QLoRA base computes with it, float32."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    values, state = quantize_4bit(weight.to(torch.bfloat16), quant_type="nf4", compress_statistics=True)
    whole: torch.Tensor = dequantize_4bit(values, state)
    return whole.float().reshape(weight.shape)


def four_bit_error(weight: torch.Tensor) -> torch.Tensor:
    """What 4 bits add to each value of the weight."""
    return four_bit(weight) - weight.float()
