"""Predicted masks: found, read, and measured against the reference by the reward core."""

from __future__ import annotations

import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import UsageError
from medgrpo.figures import LESS, direction
from medgrpo.files import check_regular
from medgrpo.pictures import image_of
from medgrpo.rewards.mask_prompts import Prompted, prompted_mask
from medgrpo.rewards.mask_text import asks_by_points, mask_from_text
from medgrpo.rewards.masks import Reference, measure
from medgrpo.rows import Row

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MEASURED = {
    "dice": "dice",
    "mask_recall": "recall",
    "mask_precision": "precision",
    "mask_iou": "iou",
    "cldice": "cldice",
    "betti0_error": "betti0_error",
    "betti1_error": "betti1_error",
    "hausdorff95": "hausdorff95",
}
"""Score -> measure of the reward core."""
COLUMN = "mask_prediction"
"""Column of a predictions file with the path of the predicted mask."""
SUFFIXES = (".png", ".gif", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".npy", ".npz")
LOSSY = (".jpg", ".jpeg")
PANELS = 3
"""Pictures of some programs show picture, reference and prediction one above the other."""
MOST_VALUES = 200_000_000
"""Of an array that is a mask, as of a picture."""
_HASH = re.compile(r"-[0-9a-f]{8}$")


@dataclass(frozen=True)
class MaskFiles:
    """Where masks lie: the references of the rows, and the predictions if they are files."""

    resolve: Callable[[str], Path]
    """The file of a row's `mask`, `mask2` or `fov`."""
    predicted: Sequence[Path | None] | None = None
    """One for each row, None where there is none; without any, completions describe the masks."""
    prompted: Prompted | None = None
    """Makes masks of the boxes and points in completions; None: boxes are filled, points are no mask."""


@dataclass(frozen=True)
class MaskScores:
    """What measuring the masks of all rows gave."""

    scores: dict[str, Floats]
    """Score -> (n,), NaN for rows without a reference mask; `mask_failed` is 1 where there is no prediction."""
    observer: dict[str, Floats]
    """The same of the second observer's masks; NaN where there is none."""
    failures: dict[str, int]
    """Why there is no prediction -> rows."""
    is_inside_fov: bool
    """Whether some rows have a field of view, outside of which nothing counts."""


def score_masks(rows: Sequence[Row], completions: Sequence[str], files: MaskFiles) -> MaskScores:
    """Measures of every row that has a reference mask.

    A failed prediction (no file, unreadable, of another shape, no mask in the completion) scores 0 and
    has the Betti errors and the distance of an empty mask.

    Raises:
        UsageError: a reference mask cannot be read.
    """
    names = [*MEASURED, "mask_failed"]
    scores = {name: np.full(len(rows), np.nan) for name in names}
    observer = {name: np.full(len(rows), np.nan) for name in MEASURED}
    failures: Counter[str] = Counter()
    inside = False
    for index, row in enumerate(rows):
        if not row.get("mask"):
            continue
        reference = _reference(files.resolve(str(row["mask"])))
        fov = _reference(files.resolve(str(row["fov"]))) if row.get("fov") else None
        inside |= fov is not None
        predicted, why = _prediction(row, completions[index], index, files, reference.shape)
        if why:
            failures[why] += 1
        prepared = Reference(reference[None], fov=None if fov is None else fov[None])
        for name, value in _measured(predicted, prepared).items():
            failed_share = why is not None and direction(name) != LESS
            scores[name][index] = 0.0 if failed_share else value
        scores["mask_failed"][index] = float(why is not None)
        if row.get("mask2"):
            second = _reference(files.resolve(str(row["mask2"])))
            for name, value in _measured(second, prepared).items():
                observer[name][index] = value
    return MaskScores(scores, observer, dict(failures.most_common()), inside)


def _measured(predicted: Mask, reference: Reference) -> dict[str, float]:
    found = measure(predicted[None], reference, MEASURED.values())
    return {name: float(found[measured][0]) for name, measured in MEASURED.items()}


def _reference(path: Path) -> Mask:
    try:
        return read_mask(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the reference mask {path} cannot be read: {error}") from error


def overlay(row: Row, completion: str, index: int, files: MaskFiles, picture: Any) -> Any:
    """The picture (PIL, RGB) with the masks on it: hits white, what was missed orange, what is too much blue."""
    from PIL import Image

    reference = _reference(files.resolve(str(row["mask"])))
    predicted, _ = _prediction(row, completion, index, files, reference.shape)
    size = (reference.shape[1], reference.shape[0])
    canvas = np.asarray(picture.resize(size), dtype=np.uint8) // 2
    for where, colour in (
        (reference & predicted, HIT),
        (reference & ~predicted, MISSED),
        (~reference & predicted, EXTRA),
    ):
        canvas[where] = colour
    return Image.fromarray(canvas)


HIT, MISSED, EXTRA = (255, 255, 255), (230, 159, 0), (86, 180, 233)


def _prediction(
    row: Row, completion: str, index: int, files: MaskFiles, shape: tuple[int, ...]
) -> tuple[Mask, str | None]:
    """The predicted mask, and why it is empty where there is none."""
    height, width = shape
    empty = np.zeros((height, width), dtype=bool)
    if files.predicted is None:
        described = _described(row, completion, files, (height, width))
        if described is not None:
            return described, None
        if files.prompted is None and asks_by_points(completion):
            return empty, "points, which only a segmenter makes a mask of (--sam MODEL)"
        return empty, "no mask in the completion"
    path = files.predicted[index]
    if path is None or not path.is_file():
        return empty, "no file"
    try:
        mask = read_mask(path, (height, width))
    except (OSError, ValueError):
        return empty, "file not readable"
    return (empty, "another shape than the picture") if mask.shape != shape else (mask, None)


def _described(row: Row, completion: str, files: MaskFiles, shape: tuple[int, int]) -> Mask | None:
    """The mask that a completion describes, or asks a segmenter for."""
    if files.prompted is None:
        return mask_from_text(completion, shape, row)
    return prompted_mask(completion, shape, row, files.prompted, str(files.resolve(row["images"][0])))


def read_mask(path: Path, shape: tuple[int, int] | None = None) -> Mask:
    """The mask in a picture or an array file, (height, width).

    Pictures may be 0/1, 0/255, labels, colours or probabilities (foreground above 127); arrays bool, integers
    (0/1, or above 127) or probabilities (above .5).

    Args:
        path: a file with one of `SUFFIXES`.
        shape: brought to this height and width if the sides are in the same ratio within 2 %; of three panels
            of that size one above the other the lowest is the prediction.
    Raises:
        OSError, ValueError: the file cannot be read, or is no mask.
    """
    try:
        check_regular(path)
        return _read_mask(path, shape)
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they stumble over
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read_mask(path: Path, shape: tuple[int, int] | None) -> Mask:
    from PIL import Image

    from medgrpo.data.binary_masks import binary, resize_mask

    if path.suffix.lower() in (".npy", ".npz"):
        picture = Image.fromarray(_array(path).astype(np.uint8) * 255)
    else:
        with image_of(path) as opened:
            whole: Image.Image = opened
            if shape is not None and opened.size == (shape[1], PANELS * shape[0]):
                whole = opened.crop((0, (PANELS - 1) * shape[0], shape[1], PANELS * shape[0]))
            picture = binary(whole, is_lossy=path.suffix.lower() in LOSSY)
    if shape is not None and picture.size != (shape[1], shape[0]):
        ratio = (picture.size[0] * shape[0]) / (picture.size[1] * shape[1])
        if abs(ratio - 1) <= 0.02:
            picture = resize_mask(picture, (shape[1], shape[0]))
    mask: Mask = np.asarray(picture) != 0
    return mask


def _array(path: Path) -> Mask:
    _check_claim(path)
    loaded = np.load(path, allow_pickle=False)
    array = np.squeeze(loaded[loaded.files[0]] if path.suffix.lower() == ".npz" else loaded)
    if array.ndim != 2:
        raise ValueError(f"an array of shape {array.shape} is no mask")
    if array.dtype.kind == "f":
        return np.asarray(array > 0.5)
    if array.dtype.kind not in "bui":
        raise ValueError(f"an array of {array.dtype} is no mask")
    return np.asarray(array > 127 if array.max(initial=0) > 1 else array > 0)


def _check_claim(path: Path) -> None:
    """Refuse an array that would be larger than any picture, by its header alone: a packed one is small on the disk."""
    with ExitStack() as stack:
        if path.suffix.lower() == ".npz":
            members = stack.enter_context(zipfile.ZipFile(path))
            names = members.namelist()
            if not names:
                raise ValueError("it holds no array")
            # NumPy takes `a` for `a.npy` where both are there: another one than is looked at here.
            if len({name.removesuffix(".npy") for name in names}) < len(names):
                raise ValueError("it holds two arrays of one name")
            name = names[0]
            stream: IO[bytes] = stack.enter_context(members.open(name))
        else:
            stream = stack.enter_context(path.open("rb"))
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(stream)
    values = math.prod(shape)
    if values > MOST_VALUES or kind.itemsize > 16:
        raise ValueError(f"it claims {values:,} values, over the limit of {MOST_VALUES:,}")


def find_masks(folder: Path, rows: Sequence[Row]) -> list[Path | None]:
    """The file of each row in a folder of predicted masks, None where there is none.

    Names are compared with the row's id, its image's name and `image_id`: equal, else as a part of the file's
    name that stands by itself (`01_stack.png` and `prediction01.png` for `01`).

    Raises:
        UsageError: no such folder, no masks in it, none that belongs to a row, or two for one row.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder of masks at {folder}", expected="a folder of " + ", ".join(SUFFIXES))
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        by_stem.setdefault(path.stem.lower(), []).append(path)
    found = [_file_of(row, by_stem) for row in rows]
    if not any(found):
        raise UsageError(
            f"none of {sum(map(len, by_stem.values()))} masks in {folder} belongs to a row by its name",
            expected=f"names such as {_names(rows[0])[0]}.png" if rows else None,
            hint=f"or a predictions file with the columns id and {COLUMN}",
        )
    return found


def _file_of(row: Row, by_stem: dict[str, list[Path]]) -> Path | None:
    names = _names(row)
    for name in names:
        if name in by_stem:
            return _only(by_stem[name], name)
    for name in names:
        edge = r"\d" if name[:1].isdigit() and name[-1:].isdigit() else r"[^\W_]"
        pattern = re.compile(rf"(?<!{edge}){re.escape(name)}(?!{edge})")
        matches = [path for stem, paths in by_stem.items() if pattern.search(stem) for path in paths]
        if matches:
            return _only(matches, name)
    return None


def _only(paths: Sequence[Path], name: str) -> Path:
    if len(paths) > 1:
        raise UsageError(
            f"{len(paths)} masks could be the prediction of {name}: {', '.join(path.name for path in paths[:3])}",
            hint=f"a predictions file with the columns id and {COLUMN} says which",
        )
    return paths[0]


def _names(row: Row) -> list[str]:
    """What a row's mask may be called, lower case, the surest name first."""
    names = [str(row.get("id") or "")]
    images = row.get("images") or []
    if images:
        stem = Path(str(images[0])).stem
        names += [stem, _HASH.sub("", stem)]
    if row.get("image_id"):
        names.append(str(row["image_id"]).rsplit("/", 1)[-1])
    return list(dict.fromkeys(name.lower() for name in names if name))


def listed_masks(rows: Sequence[Any], folder: Path) -> list[Path | None]:
    """The files that a predictions file names in `mask_prediction`, relative to the file's folder.

    Raises:
        UsageError: one lies outside of that folder.
    """
    return [own_mask(folder, str(row[COLUMN])) if row.get(COLUMN) else None for row in rows]


def own_mask(folder: Path, name: str) -> Path:
    """The mask that a predictions file in `folder` names, a prediction or a reference; it need not be there.

    Such a file may come from others: it must not have another folder's files measured and shown on a page.

    Raises:
        UsageError: the name leads out of the folder, also by a link, or is no path.
    """
    try:
        root = folder.resolve()
        file = (root / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a zero in it, a link to itself
        raise UsageError(
            f"{name!r:.120}, a mask that the predictions file names, is no path: {error}"
        ) from error
    if not file.is_relative_to(root):
        raise UsageError(
            f"{name!r:.120}, a mask that the predictions file names, lies outside of {folder}",
            expected="paths below the folder of the predictions file",
            hint="put the file into the folder that holds the masks, or name a folder of predicted masks: --predictions FOLDER",
        )
    return file
