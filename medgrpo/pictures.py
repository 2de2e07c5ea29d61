"""Stored pictures, opened: whatever a decoder raises over a damaged file names that file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import IO, TYPE_CHECKING

from medgrpo.errors import MedgrpoError
from medgrpo.files import check_regular

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "MPO", "JPEG2000", "TIFF", "BMP", "DIB", "GIF", "WEBP", "AVIF", "HEIF", "PPM", "ICO", "PCX", "SGI", "TGA")  # fmt: skip
"""What is looked for in a picture file, whatever it is called. Pillow knows thirty more; of PostScript it lets Ghostscript make
a picture, which is a program in the file, run by a program of the machine."""

CHANGED = "the dataset was changed after it was prepared: prepare it again"


def image_of(source: Path | str | IO[bytes]) -> Image:
    """The picture in a file, not yet decoded: the one way in which pictures of others are opened.

    Raises:
        OSError: it is none of `FORMATS`, or cannot be read; decoders raise other things as well.
        MedgrpoError: it is a pipe, a device or a hole, which may never end.
    """
    from PIL import Image

    if isinstance(source, Path | str):
        check_regular(Path(source))
    Image.init()
    return Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])


def stored_file(folder: Path | str, name: Path | str) -> Path:
    """The picture, mask or field of view that a row of the dataset in `folder` names; it need not be there.

    A mixture names files of its parts absolutely, and has looked at them; rows of a dataset cannot (`check_names`).

    Raises:
        MedgrpoError: the name leads out of the folder, also by a link, or is no path.
    """
    if Path(name).is_absolute():
        return Path(name)
    try:
        root = Path(folder).resolve()
        file = (root / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a zero in it, a link to itself
        raise MedgrpoError(
            f"{str(name)!r:.120}, which a row of {folder} names, is no path: {error}", hint=CHANGED
        ) from error
    if not file.is_relative_to(root):
        raise MedgrpoError(f"{str(name)!r} leads out of the dataset {folder}", hint=CHANGED)
    return file


def check_names(folder: Path | str, names: Iterable[object]) -> None:
    """Refuse the names of a row of a dataset that are absolute or go up, without a look at the disk.

    Raises:
        MedgrpoError: one does.
    """
    for name in names:
        if (
            isinstance(name, str)
            and (name[:1] in "/\\~" or ".." in name or ":" in name[:2])
            and leads_out(name)
        ):
            raise MedgrpoError(f"{name!r:.120} leads out of the dataset {folder}", hint=CHANGED)


def leads_out(name: str) -> bool:
    """Whether a name that stands for a file of a folder is absolute, or goes up, on any system."""
    return (
        Path(name).is_absolute() or PureWindowsPath(name).is_absolute() or ".." in PureWindowsPath(name).parts
    )


def within(folder: Path, name: Path | str) -> Path | None:
    """The file that a run or a dataset of others names in its own folder; None where it is none, or lies elsewhere.

    A page is shared: a name that goes up, or a link, would put a picture of this machine into it.
    """
    try:
        file = (folder / name).resolve()
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a zero in it, a link to itself
        return None


@contextmanager
def opened_picture(path: Path | str, *, of: str = "") -> Iterator[Image]:
    """The picture in a file; decode it within, as Pillow reads pixels only when they are asked for.

    Args:
        of: what it belongs to, for the message: `row 'a'`.
    Raises:
        MedgrpoError: there is no such file, or it is no picture, or damaged.
    """
    whose = f"{of}: " if of else ""
    hint = "prepare the dataset again, or copy it again from where it is whole"
    try:
        with image_of(path) as image:
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
