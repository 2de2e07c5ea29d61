"""Masks of a trained model for a split, as files that `medgrpo eval` measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.models.weights import Weights, check_fingerprints, check_trust
from medgrpo.pictures import image_of
from medgrpo.rewards.masks import dice
from medgrpo.segmentation.examples import Example, Examples
from medgrpo.segmentation.measuring import cut_at, predicted_logits
from medgrpo.segmentation.segmenters import Sa2VASegmenter, load_segmenter

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.segmentation.segmenters import Segmenter

HALF = 0.5
"""Threshold of a model that nothing is recorded of."""


@dataclass
class PredictedMasks:
    """What predicting a split gave."""

    rows: list[Any]
    files: list[Path | None]
    """One for each row; None where the answer asked for no mask."""
    threshold: float
    ceiling: float | None
    """Mean Dice of the references themselves on the grid that the model's masks come on; None: the picture's own grid."""
    notes: list[str] = field(default_factory=list)


def open_segmenter(
    weights: Weights, *, dtype: str = "auto", force_base: bool = False, trust_remote_code: bool = False
) -> Segmenter:
    """The model with its adapter, on the GPU where there is one.

    Raises:
        UsageError: base or adapter are not those that were trained.
    """
    import torch

    described = (weights.metadata or {}).get("masks") or {}
    segmenter = load_segmenter(
        weights.base,
        dtype=dtype,
        prompt=described.get("prompt"),
        sam=described.get("sam"),
        seed=int(described.get("seed") or 0),
        max_pixels=weights.metadata.get("max_pixels"),
        trust_remote_code=check_trust(weights, is_given=trust_remote_code, option="--trust-remote-code"),
        revision=weights.revision,
    )
    if weights.adapter is not None:
        from medgrpo.models.adapters import load_adapter

        segmenter.notes += check_fingerprints(weights, force=force_base)
        segmenter.model = load_adapter(segmenter.model, weights.adapter, base=weights.base).eval()
    if torch.cuda.is_available():
        segmenter.model.to("cuda")
    return segmenter


def predict_masks(
    weights: Weights,
    dataset: PreparedDataset,
    split: str,
    folder: Path,
    *,
    limit: int | None = None,
    dtype: str = "auto",
    force_base: bool = False,
    trust_remote_code: bool = False,
    on_row: Callable[[int], None] | None = None,
) -> PredictedMasks:
    """Writes a mask of every row with a reference, at the stored picture's size.

    Threshold, size and patches are those of training (`medgrpo.json`). A threshold is never chosen here: the split may be the test.

    Args:
        folder: of the PNG files, made when absent.
        on_row: told each row that is done.
    """
    from PIL import Image

    segmenter = open_segmenter(
        weights, dtype=dtype, force_base=force_base, trust_remote_code=trust_remote_code
    )
    described: dict[str, Any] = (weights.metadata or {}).get("masks") or {}
    rows = [row for row in dataset.rows(split) if row.get("mask") and row.get("images")][:limit]
    examples = Examples(rows, dataset.path, described.get("image_size"))
    stored = Examples(rows, dataset.path)
    threshold = float(described.get("threshold") or HALF)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path | None] = []
    ceilings: list[float] = []
    for number, row in enumerate(rows):
        target = stored.whole(number)
        logits = _logits(segmenter, examples, number, described)
        files.append(None)
        if logits is not None:
            path = folder / f"{number:06d}.png"
            Image.fromarray(cut_at(_at(logits, target.size), threshold)).save(path)
            files[-1] = path
        ceilings += (
            [] if segmenter.native_side is None else [resolution_ceiling(target, segmenter.native_side)]
        )
        if on_row is not None:
            on_row(1)
        del row
    notes = list(segmenter.notes)
    if not described.get("threshold"):
        notes.append(f"no threshold is recorded beside the weights: {threshold} is taken")
    return PredictedMasks(rows, files, threshold, float(np.mean(ceilings)) if ceilings else None, notes)


def _logits(
    segmenter: Segmenter, examples: Examples, number: int, described: dict[str, Any]
) -> NDArray[np.float32] | None:
    """Of one picture; None where a model that chooses its answer asks for no mask."""
    import torch

    if described.get("text") != "sampled" or not isinstance(segmenter, Sa2VASegmenter):
        return predicted_logits(
            segmenter, segmenter.model, examples, described.get("patch_size"), numbers=[number]
        )[0]
    example = examples.whole(number)
    answer = segmenter.answers(segmenter.model, example, 1, is_greedy=True)[0]
    if not segmenter.has_mask(answer):
        return None
    with torch.no_grad():
        logits = segmenter.mask_of(segmenter.model, example, answer).float().cpu().numpy()
    segmenter.text_log_prob()
    return np.asarray(logits)


def _at(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Logits at another (height, width), bilinear."""
    import torch
    from torch.nn.functional import interpolate

    if logits.shape == size:
        return logits
    field = torch.from_numpy(logits)[None, None]
    return np.asarray(interpolate(field, size=size, mode="bilinear", align_corners=False)[0, 0].numpy())


def resolution_ceiling(example: Example, side: int) -> float:
    """Dice of the reference with itself, brought to a square grid of `side` and back: what no mask on that grid exceeds by much.

    SAM 2's masks have a quarter of the side that it sees (256 of 1024).
    """
    import torch
    from torch.nn.functional import interpolate

    truth = example.truth
    assert truth is not None
    field = torch.from_numpy(truth.mask)[None, None].float()
    coarse = interpolate(field, size=(side, side), mode="area")
    back = interpolate(coarse, size=example.size, mode="bilinear", align_corners=False)[0, 0] > HALF
    return float(dice([back.numpy()], [truth.mask])[0])


def overlays_of(
    found: PredictedMasks, dataset: PreparedDataset, folder: Path, count: int = 8
) -> Sequence[Path]:
    """Pictures with prediction, reference and skeleton on them, of the first rows."""

    from medgrpo.segmentation.overlays import overlay, write_overlay

    stored, written = Examples(found.rows, dataset.path), []
    for number, file in enumerate(found.files[:count]):
        if file is None:
            continue
        example = stored.whole(number)
        assert example.truth is not None
        with image_of(file) as opened:
            mask = np.asarray(opened) != 0
        path = folder / f"{number:06d}.png"
        write_overlay(path, overlay(example.picture, mask, example.truth.mask, example.truth.fov))
        written.append(path)
    return written
