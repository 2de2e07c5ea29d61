"""An adapter of a mask model merged into its base, and proof that both give the same masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import write_json
from medgrpo.locks import new_folder, refuse_used
from medgrpo.models.folders import METADATA
from medgrpo.models.weights import Weights
from medgrpo.segmentation.examples import Example
from medgrpo.segmentation.predicting import open_segmenter

TOLERANCE = 1e-3
"""Largest difference of a logit that rounding may make, in units of the logits' spread."""


@dataclass(frozen=True)
class MaskMerge:
    """What a merge did."""

    output: Path
    base: str
    changed_tensors: int
    max_logit_difference: float
    """Of mask logits, between base with adapter and the reloaded merged model."""
    pixel_agreement: float
    """Share of pixels on the same side of 0."""


def merge_mask_adapter(
    weights: Weights,
    output: Path,
    *,
    dtype: str = "float32",
    verify: int = 2,
    force_base: bool = False,
    trust_remote_code: bool = False,
) -> MaskMerge:
    """Writes base + adapter as a folder that `--model` opens.

    Raises:
        UsageError: there is no adapter, or the output exists.
        MedgrpoError: the merged model gives other masks; nothing is left behind.
    """
    import torch

    if weights.adapter is None:
        raise UsageError(f"{weights.base} has no adapter: there is nothing to merge")
    refuse_used(output)
    segmenter = open_segmenter(
        weights, dtype=dtype, force_base=force_base, trust_remote_code=trust_remote_code
    )
    pictures = [_drawn(seed) for seed in range(max(1, verify))]
    with torch.no_grad():
        expected = segmenter.logits(segmenter.model, pictures)
    before = {name: value.clone() for name, value in segmenter.model.get_base_model().state_dict().items()}
    segmenter.model = segmenter.model.merge_and_unload(safe_merge=True)
    after = segmenter.model.state_dict()
    changed = sum(
        1
        for name, value in after.items()
        if _was(before, name) is None or not torch.equal(value, _was(before, name))
    )
    with new_folder(output, "merge into") as partial:
        segmenter.save(partial)
        if (weights.adapter / METADATA).is_file():
            write_json(partial / METADATA, weights.metadata)
        again = open_segmenter(
            Weights(str(partial), metadata=weights.metadata),
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        with torch.no_grad():
            found = again.logits(again.model, pictures)
        difference = max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))
        spread = max(float(one.std()) for one in expected)
        if dtype == "float32" and difference > TOLERANCE * max(1.0, spread):
            raise MedgrpoError(
                f"the merged model's mask logits differ by up to {difference:.2g}: it is not written"
            )
    agreement = float(
        np.mean(
            [
                float(((one > 0) == (other > 0)).float().mean())
                for one, other in zip(found, expected, strict=True)
            ]
        )
    )
    return MaskMerge(output, weights.base, changed, difference, agreement)


def _was(before: dict[str, Any], name: str) -> Any:
    """The base's tensor of that name; while an adapter sits on it PEFT calls it base_layer or original_module."""
    place, _, leaf = name.rpartition(".")
    for old in (name, f"{place}.base_layer.{leaf}"):
        if old in before:
            return before[old]
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        old = ".".join([*parts[:cut], "original_module", *parts[cut:]])
        if old in before:
            return before[old]
    return None


def _drawn(seed: int) -> Example:
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 112, 3), dtype=np.uint8)
    return Example("", pixels, None)
