"""A small U-Net: for the demo, for teaching, and to compare methods on a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import interpolate, pad, pixel_shuffle, pixel_unshuffle
from transformers import PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from torch import Tensor


class UNetConfig(PretrainedConfig):  # type: ignore[misc]
    """Widths of the levels, and how many pixels the first of them takes together."""

    model_type = "medgrpo_unet"

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48), fold: int = 2, **rest: Any) -> None:
        super().__init__(**rest)
        self.widths = tuple(widths)
        self.fold = fold


class UNet(PreTrainedModel):  # type: ignore[misc]
    """Pictures (batch, 3, height, width) in [0, 1] to logits (batch, height, width); any size.

    Squares of `fold` pixels become channels before the first level and pixels again after the last: a third of the time at
    the same resolution. Two 3x3 convolutions with group normalisation a level, maximum downwards, bilinear upwards.
    """

    config_class = UNetConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self.down = nn.ModuleList(
            _block(before, after)
            for before, after in zip((3 * config.fold**2, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(below + beside, beside)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], config.fold**2, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.head:
            nn.init.zeros_(module.weight)
            nn.init.constant_(self.head.bias, -2.0)  # type: ignore[arg-type]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The logits."""
        fold, (height, width) = self.config.fold, pixel_values.shape[-2:]
        padded = pad(pixel_values, (0, -width % fold, 0, -height % fold), mode="replicate")
        field, kept = pixel_unshuffle((padded - 0.5) * 4, fold), []
        for index, block in enumerate(self.down):
            field = block(field if index == 0 else nn.functional.max_pool2d(field, 2, ceil_mode=True))
            kept.append(field)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            large = interpolate(field, size=beside.shape[-2:], mode="bilinear", align_corners=False)
            field = block(torch.cat([large, beside], dim=1))
        return pixel_shuffle(self.head(field), fold)[:, 0, :height, :width]


def _block(before: int, after: int) -> nn.Sequential:
    groups = 4 if after % 4 == 0 else 1
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(groups, after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(groups, after),
        nn.ReLU(),
    )
