"""Pictures that look alike: found whatever size they are stored at."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from medgrpo.data.alike import SLACK, near_hashes
from medgrpo.data.decode import open_picture
from medgrpo.data.images import ImageSettings
from medgrpo.data.outline import HASHED_PX, block_px, outline, perceptual_hash
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.source import ImageRef


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """A smooth colour picture, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height)).filter(ImageFilter.GaussianBlur(2))


def bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([1, 2, 4, 8]))
@settings(deadline=None, max_examples=40)
def test_the_outline_has_the_same_size_at_whatever_scale_a_picture_was_decoded(width, height, scale):
    decoded = Image.new("L", (-(-width // scale), -(-height // scale)))
    found = outline(decoded, (width, height))
    block = block_px((width, height))
    if round(width / decoded.width) > block:
        assert found is None
    else:
        assert found.size == (width // block, height // block)
    assert block == 1 or min(width, height) // block >= HASHED_PX


def test_outlines_of_real_jpegs_at_every_scale_have_nearly_the_same_hash(shared_data):
    apart = []
    for path in sorted((shared_data / "vqa_rad" / "images").iterdir())[::12]:
        opened = open_picture(path.read_bytes(), ImageRef(path.name))
        exact = perceptual_hash(opened.outline())
        for scale in (1, 2, 4, 8):
            again = open_picture(path.read_bytes(), ImageRef(path.name))
            width, height = (side // scale for side in opened.size)
            decoded = again.reduced((width * 4 // 5, height * 4 // 5))
            if (seen := outline(decoded, opened.size)) is not None:
                apart.append(bits(exact, perceptual_hash(seen)))
    assert len(apart) > 40
    assert max(apart) <= SLACK // 2  # two pictures may both be off


def test_which_pictures_are_alike_does_not_depend_on_the_stored_size(tmp_path):
    """Copies changed little by little, so that their distances lie on both sides of the limit."""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = ["image,question,answer"]
    for seed in range(12):
        picture = np.asarray(photograph(seed, 520, 390), float)
        other = np.asarray(photograph(100 + seed, 520, 390), float)
        for step in range(6):
            name = f"{seed}-{step}.jpg"
            mixed = picture + (other - picture) * 0.02 * step
            Image.fromarray(mixed.astype(np.uint8)).save(folder / name, quality=70 + 5 * step)
            rows.append(f"{name},Is it {seed}?,yes")
    (folder / "rows.csv").write_text("\n".join(rows))
    found = {}
    for size in (24, 64, 150, 250, None):
        options = PrepareOptions(images=ImageSettings(size_px=size), split=".8,.1,.1")
        dataset, _ = prepare(folder, tmp_path / f"{size}", options, workers=1)
        found[size] = (dataset.info["near_duplicates"], dataset.info["hash"])
    assert 12 <= found[24][0]["pairs"] < 12 * 15
    assert all(value == found[24] for value in found.values())


@given(st.lists(st.integers(0, 2**256 - 1), max_size=30), st.data())
def test_near_hashes_are_found_exactly(values, data):
    for _ in range(data.draw(st.integers(0, 5))):
        if values:
            base = data.draw(st.sampled_from(values))
            flips = data.draw(st.lists(st.integers(0, 255), max_size=14))
            values.append(base ^ sum({1 << bit for bit in flips}))
    expected = [
        (i, j)
        for i, j in itertools.combinations(range(len(values)), 2)
        if (values[i] ^ values[j]).bit_count() <= 10
    ]
    assert near_hashes(values, 10) == expected


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_turned_copy_is_alike_the_upright_one(tmp_path, orientation):
    picture = photograph(3, 400, 300)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    stored.save(tmp_path / "a.jpg", quality=90, exif=exif)
    picture.save(tmp_path / "b.jpg", quality=80)
    hashes = [
        perceptual_hash(open_picture((tmp_path / name).read_bytes(), ImageRef(name)).outline())
        for name in ("a.jpg", "b.jpg")
    ]
    assert bits(*hashes) <= 10
