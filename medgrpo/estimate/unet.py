"""The built-in U-Net's step: its convolutions counted, its masks drawn and judged."""

from __future__ import annotations

from medgrpo.estimate.constants import Constants
from medgrpo.estimate.workload import Workload
from medgrpo.models.shape import ModelShape

PASSES = 9.0
"""How often a convolution's output is read or written forward, with normalisation and ReLU after it."""
KEPT = 4.0
"""Copies of a convolution's output that its backward pass needs, in float32."""
LAUNCHES = 6
"""Kernels of a convolution with what follows it, forward."""


def convolutions(shape: ModelShape) -> list[tuple[int, int, float]]:
    """Of a U-Net: channels in, channels out, and places it is computed at, as a share of the picture's pixels."""
    widths, fold = shape.widths, shape.fold
    found = []
    before = 3 * fold**2
    for level, width in enumerate(widths):
        found += [(count, width, (fold * 2**level) ** -2.0) for count in (before, width)]
        before = width
    for level in range(len(widths) - 2, -1, -1):
        beside = widths[level]
        found += [
            (count, beside, (fold * 2**level) ** -2.0) for count in (widths[level + 1] + beside, beside)
        ]
    return found


def parameters(shape: ModelShape) -> int:
    """Weights of a U-Net, normalisation and biases apart."""
    return sum(9 * before * after for before, after, _ in convolutions(shape))


def pixels(work: Workload) -> float:
    """Of one picture as the model sees it; where nobody says, of 512 px a side."""
    masks = work.config.masks
    return float((masks.patch_size or masks.image_size or 512) ** 2)


def forward_seconds(work: Workload) -> float:
    """One picture through the network."""
    constants, places = work.constants, pixels(work)
    flops = sum(18.0 * before * after * share for before, after, share in convolutions(work.shape)) * places
    moved = sum(PASSES * 4 * after * share for _, after, share in convolutions(work.shape)) * places
    launches = len(convolutions(work.shape)) * LAUNCHES * _launch(constants, work)
    rate = 1e12 * (work.gpu.fp32_tflops or work.gpu.bf16_tflops) * constants.convolution
    return max(flops / rate + moved / (work.bytes_per_s * constants.bandwidth), launches)


def kept_bytes(work: Workload) -> float:
    """What one picture's forward pass keeps for the backward pass."""
    return sum(KEPT * 4 * after * share for _, after, share in convolutions(work.shape)) * pixels(work)


def drawn_bytes(work: Workload) -> float:
    """What the masks of one picture hold while they are drawn and judged, in float32."""
    return work.generations * pixels(work) * 4 * 6 if work.method.samples else 0.0


def _launch(constants: Constants, work: Workload) -> float:
    """Seconds of one kernel's launch: a decoder layer has about forty."""
    return constants.layer_s / 40 * (constants.cpu_op if work.gpu.is_cpu else 1.0)
