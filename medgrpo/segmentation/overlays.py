"""A picture with its masks on it: what was found, what was missed, what is too much, and the skeleton."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgrpo.files import written_aside
from medgrpo.rewards.masks import skeletonize

Mask = NDArray[np.bool_]
HIT, MISSED, EXTRA, SKELETON = (255, 255, 255), (230, 159, 0), (86, 180, 233), (0, 114, 178)
"""Found, missed, too much; colours that most colour-blind eyes tell apart (Okabe and Ito)."""


def overlay(
    picture: NDArray[np.uint8], predicted: Mask, reference: Mask | None, fov: Mask | None = None
) -> NDArray[np.uint8]:
    """The darkened picture with the prediction on it, (height, width, 3).

    Without a reference what was predicted is blue. The skeleton of the prediction is drawn over it.
    """
    canvas = (picture // 2).astype(np.uint8)
    inside = predicted if fov is None else predicted & fov
    truth = np.zeros_like(inside) if reference is None else reference
    for where, colour in ((truth & inside, HIT), (truth & ~inside, MISSED), (~truth & inside, EXTRA)):
        canvas[where] = colour
    canvas[np.asarray(skeletonize(np.ascontiguousarray(inside)[None])[0])] = SKELETON
    return canvas


def write_overlay(path: Path, canvas: NDArray[np.uint8]) -> None:
    """As PNG, whole or absent."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as partial:
        Image.fromarray(canvas).save(partial, format="PNG")
