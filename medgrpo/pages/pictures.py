"""Pictures that stand within a page, as small JPEGs."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from medgrpo.pages.markup import text

if TYPE_CHECKING:
    from PIL.Image import Image


def thumbnail(picture: Image, side_px: int, *, alt: object = "", css: str = "") -> str:
    """The picture as an inline image whose longer side is at most `side_px`; `alt` is escaped."""
    small = picture.convert("RGB")
    small.thumbnail((side_px, side_px))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    classes = f' class="{css}"' if css else ""
    return (
        f'<img{classes} alt="{text(alt)}" width="{small.width}" height="{small.height}" '
        f'src="data:image/jpeg;base64,{data}">'
    )
