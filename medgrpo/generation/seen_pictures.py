"""Pictures that several questions are asked about: the vision tower looks at each once.

What it made of a picture is kept in the host's memory until the last question about it is answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medgrpo.engine.features import handed_over, keep_features
from medgrpo.engine.inner import base_of, inner_of, picture_ids
from medgrpo.engine.kept import KeptFeatures
from medgrpo.engine.shown import Shown
from medgrpo.engine.support import PICTURE_FAMILIES
from medgrpo.rows import Row

KEPT_BYTES = 2**30
"""Most that is kept: 190 pictures of 1024 px of a Qwen2.5-VL-3B in bfloat16. Beyond it those asked about longest ago go."""


class SeenPictures:
    """The pictures of the rows that a model is asked about; `why_not` says why it looks at one for each question.

    Args:
        model: as it generates: nothing of it learns meanwhile.
        rows: all that it is asked. Within them a path means one picture.
    """

    def __init__(self, model: Any, rows: Sequence[Row]) -> None:
        self._left = Counter(_names(row) for row in rows if row["images"])
        self._kept = KeptFeatures(KEPT_BYTES)
        self._model = model
        self.asked = self.looked = 0
        """Questions with pictures so far, and how often the tower looked for them."""
        self.why_not = self._reason() if self._left.total() > len(self._left) else None
        self.is_on = self.why_not is None and self._left.total() > len(self._left)

    @property
    def note(self) -> str | None:
        """What a user is told; None where no picture was asked about twice."""
        if self.why_not is not None:
            return f"each question has its own look at its picture: {self.why_not}"
        return f"the model looked {self.looked} times for {self.asked} questions" if self.is_on else None

    def _reason(self) -> str | None:
        kind = base_of(self._model).config.model_type
        if kind not in PICTURE_FAMILIES:
            return f"how the family {kind} hands on what it sees is not known here"
        if any(hasattr(weight, "ds_id") or _is_shared_out(weight) for weight in self._model.parameters()):
            return "the model is shared out, and all processes have to look together"
        return None

    @contextmanager
    def shown(self, rows: Sequence[Row], inputs: Any) -> Iterator[None]:
        """Inside, the model takes the pictures of these rows as it saw them before.

        Args:
            inputs: what the processor made of the rows, pictures included.
        """
        asked = sum(bool(row["images"]) for row in rows)
        self.asked += asked
        if not self.is_on or not asked:
            self.looked += asked
            yield
            return
        pixels = len(inputs["pixel_values"])
        shown = self._looked_at(rows, inputs)
        # Where a row has several completions, older versions of Transformers copy its pictures before they look.
        with handed_over(inner_of(self._model), shown, lambda length: length // pixels):
            yield

    def _looked_at(self, rows: Sequence[Row], inputs: Any) -> list[Shown]:
        """The pictures of each row with their features; rows about the same share an entry."""
        device = next(self._model.parameters()).device
        parts = _by_row(rows, inputs, picture_ids(self._model))
        found: dict[tuple[str, ...], Shown] = {}
        for row, part in zip(rows, parts, strict=True):
            names = _names(row)
            self._left[names] -= 1
            if names in found:
                continue
            found[names] = part
            held = self._kept.take(_key(names), device) if names else None
            if held is not None:
                part["features"] = held
            elif names:
                self.looked += 1
        keep_features(inner_of(self._model), list(found.values()), device)
        for names, one in found.items():
            if names and self._left[names] > 0:
                self._kept.put(_key(names), one["features"])
            else:
                self._kept.drop(_key(names))
        return [found[_names(row)] for row in rows]


def _names(row: Row) -> tuple[str, ...]:
    return tuple(row["images"])


def _key(names: tuple[str, ...]) -> bytes:
    return "\0".join(names).encode("utf-8", "surrogateescape")


def _is_shared_out(weight: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(weight, DTensor)


def _by_row(rows: Sequence[Row], inputs: Any, image_tokens: Sequence[int]) -> list[Shown]:
    """What the processor made of each row's pictures, cut out of the batch."""
    import torch

    pixels, grid = inputs["pixel_values"], inputs.get("image_grid_thw")
    pictures = [len(row["images"]) for row in rows]
    if grid is not None:  # one entry a patch
        patches = grid.prod(dim=1).split(pictures)
        pieces = [int(part.sum()) for part in patches]
    elif len(pixels) == sum(pictures):
        pieces = pictures
    else:  # tiles, each of equally many tokens
        is_picture = torch.isin(inputs["input_ids"], torch.tensor(list(image_tokens)))
        tokens = is_picture.sum(dim=1)
        pieces = (tokens * len(pixels) // tokens.sum()).tolist()
    found = []
    grids = [None] * len(rows) if grid is None else grid.split(pictures)
    for images, part, of_row in zip(pictures, pixels.split(pieces), grids, strict=True):
        named = {"pixel_values": part} | ({} if of_row is None else {"image_grid_thw": of_row})
        nothing = torch.zeros(0, dtype=torch.long)
        found.append(
            Shown(
                prompt_ids=nothing,
                positions=nothing,
                token_fields={},
                pictures=named if images else {},
                images=images,
            )
        )
    return found
