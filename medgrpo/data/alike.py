"""Pictures that look alike: copies, other sizes, other compression. They stay in one split.

The hash is that of an outline, the means of blocks of source pixels, so that it is nearly the same at whatever scale
a JPEG was decoded. Which pictures count as alike must not depend on the stored size at all (a dataset prepared at
another size has the same splits): pairs that may be alike are settled by outlines decoded for the purpose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.data.source import ImageRef
from medgrpo.data.workers import spread

if TYPE_CHECKING:
    from PIL.Image import Image

    from medgrpo.data.images import StoredImage

HASH_BITS = 256
HASHED_PX = 64
"""The hash looks at a picture of this many pixels across and down."""
SLACK = 6
"""Bits by which the distance of two outlines may differ from that of exact ones. Over 170 radiology and fundus
pictures, each at two sizes and decoded at every scale, the hash of an outline was off by 0.4 bits on average, at
most by 2."""


def block_px(size: tuple[int, int]) -> int:
    """Side of the blocks of an outline in source pixels: 8, the blocks of a JPEG, or less for small pictures."""
    return next((block for block in (8, 4, 2) if min(size) // block >= HASHED_PX), 1)


def outline(decoded: Image, size: tuple[int, int]) -> Image | None:
    """The means of blocks of `block_px` source pixels.

    Args:
        decoded: the picture, decoded in full or at 1/2, 1/4 or 1/8.
        size: (width, height) of the source picture.

    Returns:
        The outline, without blocks that the right and lower edge cut; None if `decoded` is too small for it.
    """
    block = block_px(size)
    reduction = round(size[0] / decoded.width)
    if reduction > block:
        return None
    step = block // reduction
    whole = decoded.crop((0, 0, size[0] // block * step, size[1] // block * step))
    return whole.reduce(step) if step > 1 else whole


def perceptual_hash(picture: Image) -> str:
    """256-bit DCT hash (64 hex digits).

    On VQA-RAD a picture and its smaller, recompressed copy differ in at
    most 6 bits, two pictures in at least 74."""
    import imagehash
    from PIL.Image import Resampling

    grey = picture.convert("L").resize((HASHED_PX, HASHED_PX), Resampling.LANCZOS)
    return str(imagehash.phash(grey, hash_size=16))  # finds 64 × 64 pixels and leaves them as they are


def alike(
    stored: Mapping[str, StoredImage], root: Path, distance: int, workers: int = 1
) -> list[tuple[str, str]]:
    """Pairs of keys of different pictures whose exact perceptual hashes differ in at most `distance` bits; of copies
    of one file only the first is looked at."""
    originals = {stored[key].source_hash: key for key in sorted(stored, reverse=True)}
    keys = sorted(originals.values())
    hashes = {key: int(stored[key].perceptual_hash, 16) for key in keys}
    pairs = [(keys[one], keys[other]) for one, other in near_hashes(list(hashes.values()), distance + SLACK)]
    unsettled = [pair for pair in pairs if _bits(hashes, pair) > distance - SLACK]
    inexact = sorted({key for pair in unsettled for key in pair if not stored[key].hash_is_exact})
    exact = dict(hashes)
    for chunk, found in spread(partial(_exact_hashes, root), inexact, workers):
        exact.update(zip(chunk, found, strict=True))
    settled = {pair for pair in unsettled if _bits(exact, pair) > distance}
    return [pair for pair in pairs if pair not in settled]


def _bits(hashes: Mapping[str, int], pair: tuple[str, str]) -> int:
    return (hashes[pair[0]] ^ hashes[pair[1]]).bit_count()


def _exact_hashes(root: Path, keys: Sequence[str]) -> list[int]:
    """The perceptual hashes of source pictures, whatever size they are stored at."""
    from medgrpo.data.cells import read_bytes
    from medgrpo.data.decode import open_picture

    found = []
    for key in keys:
        path, _, part = key.partition("#")
        ref = ImageRef(path, part)
        found.append(int(perceptual_hash(open_picture(read_bytes(root, ref), ref).outline()), 16))
    return found


def near_hashes(hashes: Sequence[int], distance: int) -> list[tuple[int, int]]:
    """Pairs of indices of hashes that differ in at most `distance` of their 256 bits.

    Hashes are filed under each of `distance + 1` slices of their bits: two that differ in at most
    `distance` bits agree in at least one slice, so that only few have to be compared.
    """
    slices = distance + 1
    edges = [HASH_BITS * i // slices for i in range(slices + 1)]
    pairs: set[tuple[int, int]] = set()
    for first, last in pairwise(edges):
        filed: dict[int, list[int]] = defaultdict(list)
        for index, value in enumerate(hashes):
            bucket = filed[(value >> first) & ((1 << (last - first)) - 1)]
            pairs.update(
                (other, index) for other in bucket if (value ^ hashes[other]).bit_count() <= distance
            )
            bucket.append(index)
    return sorted(pairs)
