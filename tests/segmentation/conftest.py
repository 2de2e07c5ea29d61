"""A very small dataset of drawn vessels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw


def drawn(number, side=48):
    """A noisy disc with dark curved lines in it, and the lines."""
    rng = np.random.default_rng(number)
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    for _ in range(3):
        ends = rng.integers(4, side - 4, (3, 2))
        pen.line([tuple(map(int, end)) for end in ends], fill=255, width=int(rng.integers(2, 4)))
    lines = np.asarray(mask) > 0
    pixels = rng.normal(150, 12, (side, side, 3)) - 70 * lines[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), mask


@pytest.fixture(scope="session")
def vessels(tmp_path_factory):
    """The folder of a prepared dataset: pictures of 48 px, each of a patient of its own, in three splits."""
    from medgrpo.data.prepare import PrepareOptions, prepare

    source = tmp_path_factory.mktemp("source")
    for role in ("image", "manual"):
        (source / role).mkdir()
    for number in range(14):
        picture, mask = drawn(number)
        picture.save(source / "image" / f"{number:02d}.png")
        mask.save(source / "manual" / f"{number:02d}.png")
    dataset, _ = prepare(
        source,
        tmp_path_factory.mktemp("data") / "drawn",
        PrepareOptions(task="vessels", split=".6,.2,.2", near_duplicate_bits=0),
        workers=1,
    )
    return dataset.path
