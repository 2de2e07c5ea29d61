"""Augmentation of pictures at training time that leaves the answer true.

Brightness, contrast and a crop of the border are harmless for most questions. A flip swaps left and right:
it is made only where no side word occurs in the question, the answers and the options, and nothing else in
the row depends on the side; or, where asked for, the side words are swapped with it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from medgrpo.json_in import json_value
from medgrpo.rows import Row, as_row, columns

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDES = re.compile(
    r"\b(left|right|lefts|rights|left-sided|right-sided|l|r|lt|rt|lll|lul|rll|rul|rml|llq|luq|rlq|ruq|"
    r"dextro\w*|sinistr\w*|levo\w*|laterali[sz]\w*|side|sides|sided|unilateral\w*|contralateral\w*|ipsilateral\w*|"
    r"clockwise|counterclockwise|o'clock|situs|heart|cardiac|aort\w*|liver|hepatic|stomach|gastric|spleen|splenic|"
    r"cec\w*|caec\w*|appendi\w*|gallbladder|descending|ascending|sigmoid|orientation|marker|normal|abnormal\w*)\b"
    r"|[左右侧]|心|肝|胃|脾|阑尾|胆|主动脉|正常|异常",
    re.IGNORECASE,
)
"""Words that name a side, or an organ whose side is part of being normal."""
_SWAPPABLE = re.compile(r"\b(left|right)\b|[左右]", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "左": "右", "右": "左"}
_COUNTED_EDGES = re.compile(
    r"\b(how many|count|border|edge|margin|corner|periph\w*|top|bottom)\b|多少|几|边缘", re.I
)
"""Questions for which the border of the picture matters: not cropped."""

Flip = Literal["never", "safe", "swap"]


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied, each time they are shown."""

    brightness: float = 0.15
    """Largest relative change."""
    contrast: float = 0.15
    """Largest relative change."""
    crop: float = 0.06
    """Largest share of each border that is cut away."""
    flip: Flip = "safe"
    """`never`; `safe`: where no side word occurs; `swap`: also where left and right are the only side words,
    which are then exchanged in question, answers and options."""


NAMED: Mapping[str, Augmentation | None] = MappingProxyType(
    {
        "none": None,
        "light": Augmentation(flip="never"),
        "flip": Augmentation(flip="safe"),
        "swap": Augmentation(flip="swap"),
    }
)
"""What `data.augment` may say."""


def can_flip(row: Row) -> bool:
    """True if mirroring the picture leaves question and answer true: no side word, no organ that lies on one
    side, no boxes or masks that would have to be mirrored too."""
    if row.get("boxes") or row.get("mask") or row.get("caption") or row.get("chosen"):
        return False
    return not _SIDES.search(_text(row))


def can_swap(row: Row) -> bool:
    """True if left and right, and nothing else that depends on the side, occur in the row."""
    if row.get("boxes") or row.get("mask") or row.get("caption") or row.get("chosen"):
        return False
    text = _text(row)
    return bool(_SWAPPABLE.search(text)) and not _SIDES.search(_SWAPPABLE.sub(" ", text))


def can_crop(row: Row) -> bool:
    """True if the border of the picture does not matter: no boxes, masks, counts or edges."""
    return not (row.get("boxes") or row.get("mask") or _COUNTED_EDGES.search(_text(row)))


def _text(row: Row) -> str:
    texts = [row["question"], *row["answers"], row.get("options"), row.get("context"), row.get("image_title")]
    return " ".join(str(text) for text in texts if text)


def swap_sides(text: str) -> str:
    """The text with left and right exchanged, capitals kept.

    >>> swap_sides("Left lung, not the right; 左肺")
    'Right lung, not the left; 右肺'
    """

    def other(match: re.Match[str]) -> str:
        word = match.group(0)
        swapped = _OTHER[word.lower()]
        if word.isupper() and len(word) > 1:
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SWAPPABLE.sub(other, text)


def augment(
    pictures: Sequence[Image], row: Row, settings: Augmentation, draw: random.Random
) -> tuple[list[Image], Row]:
    """The pictures of a row varied, and the row that is true of them (a changed copy where sides were swapped).

    All pictures of a row are mirrored or none; each has its own brightness, contrast and border.

    Args:
        pictures: mode L or RGB; they come back in the same mode and size.
        draw: decides; the same state gives the same result.
    """
    from PIL import Image as PillowImage

    flips = draw.random() < 0.5
    is_cropped = settings.crop > 0 and can_crop(row)
    varied = [_varied(picture, settings, draw, is_cropped=is_cropped) for picture in pictures]
    if not flips or settings.flip == "never":
        return varied, row
    if not can_flip(row):
        if settings.flip != "swap" or not can_swap(row):
            return varied, row
        row = _swapped(row)
    return [picture.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT) for picture in varied], row


def _varied(picture: Image, settings: Augmentation, draw: random.Random, *, is_cropped: bool) -> Image:
    """The picture in another light and, where it may be cropped, with other borders."""
    from PIL import Image as PillowImage
    from PIL import ImageEnhance

    brightness = 1 + draw.uniform(-settings.brightness, settings.brightness)
    contrast = 1 + draw.uniform(-settings.contrast, settings.contrast)
    left, top, right, bottom = (draw.uniform(0, settings.crop) for _ in range(4))
    varied = ImageEnhance.Brightness(picture).enhance(brightness)
    varied = ImageEnhance.Contrast(varied).enhance(contrast)
    if not is_cropped:
        return varied
    width, height = varied.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return varied.resize((width, height), PillowImage.Resampling.BICUBIC, box=box)


def _swapped(row: Row) -> Row:
    named = columns(row)
    changed = {
        name: swap_sides(named[name])
        for name in ("question", "answer", "context", "image_title")
        if named.get(name)
    }
    if row.get("options"):
        options = {letter: swap_sides(text) for letter, text in json_value(named["options"]).items()}
        changed["options"] = json.dumps(options, ensure_ascii=False)
    return as_row({**row, **changed, "answers": [swap_sides(text) for text in row["answers"]]})
