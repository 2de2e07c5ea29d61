"""Mask rewards of completions that describe masks in words: polygons, boxes, run lengths.

The same rewards as for masks that are drawn, so that a language model learns to write masks by ordinary GRPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.pictures import opened_picture, stored_file
from medgrpo.rewards.mask_prompts import Prompted, prompted_mask
from medgrpo.rewards.mask_rewards import MaskReward
from medgrpo.rewards.mask_text import mask_from_text

Mask = NDArray[np.bool_]
CACHED = 64
PLACING = ("box_format", "model_width", "model_height")
"""Columns that say how the model writes coordinates."""


@dataclass(frozen=True)
class WrittenMasks:
    """A mask reward with TRL's signature for texts.

    A completion that describes no mask earns 0. Masks that are given as arrays (an audit's) are judged as they are.
    """

    reward: MaskReward
    prompted: Prompted | None = None
    """Makes masks of boxes and points that are written; None: boxes are filled, points are no mask."""

    @property
    def __name__(self) -> str:
        """The name that TRL logs."""
        return self.reward.__name__

    def __call__(
        self,
        completions: Sequence[Any],
        mask: Sequence[Any],
        fov: Sequence[Any] | None = None,
        data_folder: str | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per completion.

        Args:
            completions: texts, chat messages, or masks.
            mask: reference masks, or their paths relative to `data_folder`; None where there is none.
            fov: fields of view, likewise.
            columns: `box_format`, `model_width`, `model_height` of each row, and `images` where masks are prompted for.
        Returns:
            In [0, 1]; 0 where no mask is described, None without a reference.
        """
        truths = [_read(one, data_folder) for one in mask]
        views = None if fov is None else [_read(one, data_folder) for one in fov]
        predicted: list[Any] = []
        for place, (completion, truth) in enumerate(zip(completions, truths, strict=True)):
            if truth is None or isinstance(completion, np.ndarray) or completion is None:
                predicted.append(completion if truth is not None else None)
                continue
            row = {name: columns[name][place] for name in PLACING if columns.get(name) is not None}
            text, shape = _text(completion), (truth.shape[0], truth.shape[1])
            if self.prompted is None:
                predicted.append(mask_from_text(text, shape, row))
                continue
            picture = _place(data_folder, columns["images"][place][0])
            predicted.append(prompted_mask(text, shape, row, self.prompted, picture))
        if views is not None and any(view is None for view in views):
            everywhere = [np.ones_like(truth) if truth is not None else None for truth in truths]
            views = [all_of if view is None else view for view, all_of in zip(views, everywhere, strict=True)]
        return self.reward(predicted, mask=truths, fov=views)  # type: ignore[arg-type]


def _text(completion: Any) -> str:
    """The words of a completion, whether it is a text or a list of chat messages."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def _read(value: Any, folder: str | None) -> Mask | None:
    if value is None or isinstance(value, np.ndarray):
        return value
    return _file(_place(folder, value))


def _place(folder: str | None, name: Any) -> str:
    """Of a file of a dataset's row; a caller without a dataset names files of their own."""
    return str(name) if folder is None else str(stored_file(folder, str(name)))


@lru_cache(maxsize=CACHED)
def _file(path: str) -> Mask:
    with opened_picture(path) as opened:
        mask: Mask = np.asarray(opened.convert("L")) > 127
    return mask
