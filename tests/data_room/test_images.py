"""One picture: decoding, upright, eight bits, resizing, storing."""

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from medgrpo.data.binary_masks import binary, resize_mask
from medgrpo.data.images import ImageJob, ImageSettings, store, target_size
from medgrpo.data.outline import perceptual_hash
from medgrpo.data.source import ImageRef


def photograph(seed: int, width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height)).filter(ImageFilter.GaussianBlur(2))


def opened(path):
    with Image.open(path) as picture:
        return picture.copy()


def stored(tmp_path, name, kind="image", part="", size=None, **settings_):
    (tmp_path / "out" / "images").mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / "masks").mkdir(parents=True, exist_ok=True)
    job = ImageJob(tmp_path, ImageRef(name, part), tmp_path / "out", kind, ImageSettings(**settings_), size)
    result = store(job)
    return result, (None if result.problem else opened(tmp_path / "out" / result.path))


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.none() | st.integers(16, 2048),
    st.none() | st.integers(1024, 10**6),
    st.sampled_from([1, 14, 28, 32]),
)
def test_target_sizes_obey_every_limit(width, height, size_px, max_pixels, unit):
    columns, lines = target_size(
        width, height, ImageSettings(size_px=size_px, max_pixels=max_pixels, multiple_px=unit)
    )
    assert columns % unit == 0
    assert lines % unit == 0
    if size_px is not None:
        assert max(columns, lines) <= max(size_px, unit)
    if max_pixels is not None and unit > 1:
        assert columns * lines <= max_pixels or min(columns, lines) == unit
    if size_px is None and max_pixels is None and unit == 1:
        assert (columns, lines) == (width, height)


def test_the_longest_side_becomes_the_size_and_the_shape_is_kept(tmp_path):
    photograph(1, 800, 600).save(tmp_path / "a.jpg", quality=95)
    result, picture = stored(tmp_path, "a.jpg", size_px=224)
    assert picture.size == (224, 168)
    assert (result.source_width, result.source_height) == (800, 600)


def test_pictures_are_never_enlarged(tmp_path):
    photograph(1, 100, 50).save(tmp_path / "a.png")
    assert stored(tmp_path, "a.png", size_px=224)[1].size == (100, 50)


@pytest.mark.parametrize("size", [(400, 300), (1000, 750), (1200, 900)])
def test_a_reduced_jpeg_looks_like_one_that_was_decoded_in_full(tmp_path, size):
    photograph(2, 500, 375).resize((2000, 1500)).save(tmp_path / "a.jpg", quality=95)
    _, picture = stored(tmp_path, "a.jpg", size_px=size[0])
    plain = opened(tmp_path / "a.jpg").resize(size, Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(picture, int) - np.asarray(plain, int))
    assert difference.mean() < 1.5


def test_a_jpeg_that_fits_is_copied_byte_for_byte_unless_it_carries_metadata(tmp_path):
    photograph(3, 100, 80).save(tmp_path / "plain.jpg", quality=80)
    stored(tmp_path, "plain.jpg")
    copies = [path.read_bytes() for path in (tmp_path / "out/images").glob("plain*")]
    assert copies == [(tmp_path / "plain.jpg").read_bytes()]
    photograph(3, 100, 80).save(tmp_path / "named.jpg", quality=80, comment=b"Jane Doe, born 1970")
    (tmp_path / "longer.jpg").write_bytes((tmp_path / "plain.jpg").read_bytes() + b"Jane Doe")
    for name in ("named.jpg", "longer.jpg"):
        result, _ = stored(tmp_path, name)
        assert b"Jane Doe" not in (tmp_path / "out" / result.path).read_bytes()


def test_exif_rotation_is_applied_and_exif_is_left_behind(tmp_path):
    picture = Image.new("RGB", (60, 40), "black")
    picture.paste("white", (0, 0, 30, 40))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the left becomes the top
    exif[0x010E] = "Jane Doe"
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    for options in ({}, {"size_px": 30}):
        result, shown = stored(tmp_path, "a.jpg", **options)
        assert (result.source_width, result.source_height) == (40, 60)
        assert shown.size[0] < shown.size[1]
        grey = np.asarray(shown.convert("L"))
        assert grey[: len(grey) // 3].mean() > 240
        assert grey[-len(grey) // 3 :].mean() < 15
        assert not shown.getexif()


@pytest.mark.parametrize(
    ("mode", "name", "expected"),
    [
        ("1", "a.png", "L"),
        ("L", "a.png", "L"),
        ("P", "a.png", "RGB"),
        ("RGBA", "a.png", "RGB"),
        ("LA", "a.png", "L"),
        ("CMYK", "a.tif", "RGB"),
        ("I;16", "a.png", "L"),
        ("F", "a.tif", "L"),
    ],
)
def test_every_mode_becomes_eight_bit_grey_or_colour(tmp_path, mode, name, expected):
    source = photograph(4, 64, 48)
    if mode == "I;16":
        deep = np.asarray(source.convert("L"), np.uint16) * 16 + 1000
        source = Image.fromarray(deep)
    elif mode == "F":
        source = Image.fromarray(np.asarray(source.convert("L"), np.float32) / 255)
    else:
        source = source.convert(mode)
    source.save(tmp_path / name)
    result, picture = stored(tmp_path, name)
    assert picture.mode == expected
    assert result.path.endswith(".png")


def test_sixteen_bits_are_windowed_by_percentiles_not_cut_at_255(tmp_path):
    ramp = np.linspace(1000, 5000, 256 * 8).reshape(8, 256).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    _, picture = stored(tmp_path, "a.png")
    values = np.asarray(picture)
    assert values.min() == 0
    assert values.max() == 255
    assert 120 < values.mean() < 135


def test_transparency_is_laid_over_black(tmp_path):
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "a.png")
    assert np.asarray(stored(tmp_path, "a.png")[1]).max() == 0


def test_of_an_animation_the_first_frame_is_taken_and_noted(tmp_path):
    frames = [Image.new("L", (16, 16), value) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    result, picture = stored(tmp_path, "a.gif")
    assert np.asarray(picture.convert("L")).mean() == 50
    assert "first frame of several" in result.notes


def test_a_panel_of_a_stack_is_cut_out(tmp_path):
    stack = np.repeat(np.array([10, 128, 250], np.uint8), 20)[:, None].repeat(30, axis=1)
    Image.fromarray(stack).save(tmp_path / "a.png")
    for number, value in ((1, 10), (2, 128), (3, 250)):
        result, picture = stored(tmp_path, "a.png", part=f"panel:{number}/3")
        assert picture.size == (30, 20)
        assert (result.source_width, result.source_height) == (30, 20)
        assert set(np.unique(np.asarray(picture))) == {value}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "image empty"),
        (b"not a picture", "image unreadable"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image unreadable"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    result, _ = stored(tmp_path, "a.jpg")
    assert result.reason == reason
    assert "a.jpg" in result.problem


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"size_px": 64}), ("a.jpg", {}), ("a.png", {})])
def test_a_truncated_picture_is_refused(tmp_path, name, options):
    photograph(5, 400, 300).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert stored(tmp_path, name, **options)[0].reason == "image damaged"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")  # 900 megapixels in about 110 kB
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    assert stored(tmp_path, "bomb.png", size_px=224)[0].reason == "image too large"


def test_the_same_pixels_have_the_same_hash_and_others_have_not(tmp_path):
    photograph(6, 100, 80).save(tmp_path / "a.png")
    photograph(7, 100, 80).save(tmp_path / "b.png")
    first, again, other = (stored(tmp_path, name)[0] for name in ("a.png", "a.png", "b.png"))
    assert first.pixels_hash == again.pixels_hash != other.pixels_hash
    assert first.source_hash == again.source_hash != other.source_hash
    assert stored(tmp_path, "a.png", size_px=50)[0].source_hash == first.source_hash


def test_the_perceptual_hash_survives_recompression_and_tells_pictures_apart():
    import io

    picture = photograph(8, 500, 400)
    buffer = io.BytesIO()
    picture.resize((400, 320)).save(buffer, "JPEG", quality=60)
    near = imagehash.hex_to_hash(perceptual_hash(picture)) - imagehash.hex_to_hash(
        perceptual_hash(opened(buffer))
    )
    far = imagehash.hex_to_hash(perceptual_hash(picture)) - imagehash.hex_to_hash(
        perceptual_hash(photograph(9, 500, 400))
    )
    assert near <= 6
    assert far > 60


# Masks


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 255]], np.uint8),
        np.array([[0, 1]], np.uint8),
        np.array([[4, 254]], np.uint8),  # black and white of an old GIF palette
        np.array([[0, 3]], np.uint8),  # a class number
        np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8),  # a class colour
        np.array([[[0, 0, 0], [0, 0, 128]]], np.uint8),
    ],
)
def test_masks_are_found_whatever_their_values(values):
    assert np.asarray(binary(Image.fromarray(values))).tolist() == [[0, 255]]


def test_an_empty_mask_stays_empty_and_a_full_one_full():
    for value, expected in ((0, 0), (255, 255), (1, 255)):
        mask = binary(Image.fromarray(np.full((4, 4), value, np.uint8)))
        assert np.unique(np.asarray(mask)).tolist() == [expected]


def test_ringing_of_a_jpeg_mask_is_not_foreground(tmp_path):
    truth = np.zeros((64, 64), np.uint8)
    truth[20:40, 30:34] = 255
    Image.fromarray(truth).save(tmp_path / "m.jpg", quality=70)
    _, mask = stored(tmp_path, "m.jpg", kind="mask")
    wrong = (np.asarray(mask) > 0) != (truth > 0)
    assert wrong.mean() < 0.01


def test_drive_palette_masks_of_the_second_observer_are_vessels(shared_data, tmp_path):
    picture = opened(shared_data / "vessels/drive/manual2/01_manual2.gif")
    assert picture.mode == "P"
    truth = np.asarray(picture) > 0
    from medgrpo.data.eight_bit import eight_bit

    mask = np.asarray(binary(eight_bit(picture))) > 0
    assert np.array_equal(mask, truth)
    assert 0.08 < mask.mean() < 0.12


def test_real_masks_of_every_file_kind_have_a_vessel_share(shared_data, tmp_path):
    for folder in ("chase_db1/manual", "stare/manual", "drive/manual", "drive/pred_av", "hrf/manual_av"):
        path = sorted((shared_data / "vessels" / folder).iterdir())[0]
        (tmp_path / path.name).write_bytes(path.read_bytes())
        _, mask = stored(tmp_path, path.name, kind="mask")
        assert 0.05 < (np.asarray(mask) > 0).mean() < 0.16, folder


@settings(deadline=None, max_examples=60)
@given(
    st.integers(40, 300),
    st.integers(40, 300),
    st.sampled_from([32, 64, 100, 224]),
    st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.05, 1), st.floats(0.05, 1)),
)
def test_boxes_and_masks_after_resizing_agree_with_resizing_a_rendered_box(width, height, size_px, shares):
    import json

    from medgrpo.data.boxes import boxes_column, scaled_boxes
    from medgrpo.data.images import StoredImage

    left, top = int(shares[0] * width), int(shares[1] * height)
    right, bottom = (
        min(width, left + 1 + int(shares[2] * width)),
        min(height, top + 1 + int(shares[3] * height)),
    )
    columns, lines = target_size(width, height, ImageSettings(size_px=size_px))
    picture = StoredImage("k", "p", columns, lines, width, height)
    moved = json.loads(
        scaled_boxes(boxes_column([{"box": [left, top, right, bottom], "label": "x"}]), picture)
    )
    x1, y1, x2, y2 = moved[0]["box"]

    rendered = np.zeros((height, width), np.uint8)
    rendered[top:bottom, left:right] = 255
    mask = np.asarray(resize_mask(Image.fromarray(rendered), (columns, lines))) > 0
    if not mask.any():  # the box is smaller than half a stored pixel
        assert min(x2 - x1, y2 - y1) < 1
        return
    ys, xs = np.nonzero(mask)
    edges = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert np.abs(edges - np.array([x1, y1, x2, y2])).max() <= 1.0
