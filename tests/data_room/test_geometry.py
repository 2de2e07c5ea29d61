"""Boxes against the pixels that they are drawn around."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.readers import Problems, read_source
from medgrpo.data.readers.base import BadRow
from medgrpo.data.readers.geometry import Frame, Placing, enclosing, frame_of
from medgrpo.data.source import ImageRef, Source
from medgrpo.errors import MedgrpoError


@given(orientation=st.integers(1, 8), width=st.integers(8, 40), height=st.integers(8, 40), data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_turned_box_is_drawn_around_the_turned_pixels(orientation, width, height, data):
    x, y = data.draw(st.integers(0, width - 3)), data.draw(st.integers(0, height - 3))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    raw = Image.new("L", (width, height))
    raw.paste(255, (x, y, x + w, y + h))
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw.info["exif"] = exif.tobytes()
    shown = np.asarray(ImageOps.exif_transpose(raw))
    down, across = np.nonzero(shown)
    frame = Frame(width, height, orientation)
    assert frame.upright == (shown.shape[1], shown.shape[0])
    (x1, y1), (x2, y2) = frame.turned(x, y), frame.turned(x + w, y + h)
    drawn = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    assert drawn == (across.min(), down.min(), across.max() + 1, down.max() + 1)


@pytest.mark.parametrize(
    ("stated", "frame", "words"),
    [
        ((32, 32), Frame(32, 24), "32 × 24"),
        ((32, 24), Frame(32, 24, 3), "before or after"),
        ((24, 24), Frame(24, 24, 6), "before or after"),
        (None, Frame(32, 24, 6), "before or after"),
    ],
)
def test_sizes_that_do_not_tell_where_a_box_lies_are_refused(stated, frame, words):
    with pytest.raises(BadRow, match=words):
        Placing(stated, frame, "width")


def test_a_box_made_for_the_upright_picture_stays():
    placing = Placing((24, 32), Frame(32, 24, 6), "width")
    assert placing.box((1, 2, 3, 4), "bbox") == [1, 2, 3, 4]
    assert placing.note is None


def test_the_box_around_a_polygon_needs_three_points():
    assert enclosing([2, 3, 12, 3, 12, 15], "x") == [2, 3, 12, 15]
    for points in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]):
        with pytest.raises(BadRow):
            enclosing(points, "x")


def test_the_frame_of_a_picture_without_orientation_is_upright(tmp_path):
    Image.new("L", (9, 5)).save(tmp_path / "a.png")
    assert frame_of(Source(tmp_path), ImageRef("a.png")) == Frame(9, 5, 1)


NUMBERS = (-20, 0, 3, 11, 23.5, 24, 32, 40, 700)


def _boxes_of(kind, folder, corners, orientation):
    folder.mkdir()
    (folder / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (32, 24)).save(folder / "images" / "a.jpg", exif=exif)
    left, top, right, bottom = corners
    if kind == "coco":
        box = [left, top, right - left, bottom - top]
        picture = {"id": 0, "file_name": "a.jpg", "width": 32, "height": 24}
        annotation = {"image_id": 0, "category_id": 1, "bbox": box}
        content = {"images": [picture], "annotations": [annotation], "categories": [{"id": 1, "name": "a"}]}
        (folder / "a.json").write_text(json.dumps(content))
    elif kind == "yolo":
        (folder / "labels").mkdir()
        shares = ((left + right) / 64, (top + bottom) / 48, (right - left) / 32, (bottom - top) / 24)
        (folder / "labels" / "a.txt").write_text("0 " + " ".join(map(str, shares)))
    else:
        turns = [
            {"role": "user", "content": "<image>Find the <ref-object>."},
            {"role": "assistant", "content": "<bbox>"},
        ]
        row = {"messages": turns, "images": ["a.jpg"], "objects": {"ref": ["cyst"], "bbox": [list(corners)]}}
        (folder / "a.jsonl").write_text(json.dumps(row))


@pytest.mark.parametrize("kind", ["coco", "yolo", "swift"])
def test_a_box_outside_its_stored_picture_is_never_written(kind, tmp_path):
    rng = np.random.default_rng(0)
    written = 0
    for number in range(12):
        corners = [float(value) for value in rng.choice(NUMBERS, 4)] if number > 2 else [3.0, 3.0, 11.0, 23.5]
        folder = tmp_path / str(number)
        _boxes_of(kind, folder, corners, int(rng.choice((1, 1, 3, 6, 8))) if number else 1)
        source = Source(folder)
        problems = Problems("skip")
        if not read_source(source, problems)[0]:
            continue
        with suppress(MedgrpoError):  # no row was left once the picture was decoded
            dataset, _ = prepare(
                folder, tmp_path / f"out{number}", PrepareOptions(on_bad_row="skip"), workers=1
            )
            written += _written_inside(dataset)
    assert written


def _written_inside(dataset):
    count = 0
    for split in dataset.splits:
        for row in dataset.rows(split):
            for box in json.loads(row["boxes"]):
                left, top, right, bottom = box["box"]
                assert 0 <= left < right <= row["width"]
                assert 0 <= top < bottom <= row["height"]
                count += 1
    return count
