"""Stored pictures, opened: whatever a decoder raises over a damaged file names that file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError

if TYPE_CHECKING:
    from PIL.Image import Image


@contextmanager
def opened_picture(path: Path | str, *, of: str = "") -> Iterator[Image]:
    """The picture in a file; decode it within, as Pillow reads pixels only when they are asked for.

    Args:
        of: what it belongs to, for the message: `row 'a'`.
    Raises:
        MedgrpoError: there is no such file, or it is no picture, or damaged.
    """
    from PIL import Image

    whose = f"{of}: " if of else ""
    hint = "prepare the dataset again, or copy it again from where it is whole"
    try:
        with Image.open(path) as image:
            yield image
    except (MedgrpoError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise MedgrpoError(f"{whose}no image at {path}", hint=hint) from error
    except Exception as error:  # decoders raise whatever they stumble over
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise MedgrpoError(
            f"{whose}{path} cannot be read as an image: {said}",
            expected="a picture as `preprocess` stores it",
            hint=hint,
        ) from error
