"""COCO and YOLO boxes, from the source's pixels to the stored ones."""

import json
from pathlib import Path

import pytest
from PIL import Image

from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.readers import Problems, Source, read_source, yolo
from medgrpo.errors import MedgrpoError

HALF = PrepareOptions(images=ImageSettings(size_px=100))


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (200, 100), (number * 60, 0, 0)).save(folder / "images" / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 200, "height": 100} for n in range(3)],
        "categories": [{"id": 7, "name": "nodule"}, {"id": 9, "name": "mass"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, "bbox": [20, 10, 40, 30]},
            {"id": 2, "image_id": 0, "category_id": 9, "bbox": [190, 90, 40, 40]},
            {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def rows_by_image(dataset):
    rows = (row for split in dataset.splits for row in dataset.rows(split))
    return {Path(row["image_id"]).stem: row for row in rows}


def test_coco_boxes_are_moved_to_the_stored_size_and_cut_at_the_border(coco, tmp_path):
    dataset, _ = prepare(coco, tmp_path / "out", HALF, workers=1)
    assert dataset.info["task"] == "detection"
    rows = rows_by_image(dataset)
    # 200 x 100 is stored at 100 x 50: x, y, w, h = 20, 10, 40, 30 becomes 10, 5, 30, 20
    assert json.loads(rows["0"]["boxes"]) == [
        {"box": [10.0, 5.0, 30.0, 20.0], "label": "nodule"},
        {"box": [95.0, 45.0, 100.0, 50.0], "label": "mass"},
    ]
    assert rows["0"]["answer"] == "mass, nodule"


def test_pictures_without_boxes_are_rows_too_and_crowds_are_left_out(coco, tmp_path):
    rows = rows_by_image(prepare(coco, tmp_path / "out", HALF, workers=1)[0])
    assert (rows["1"]["boxes"], rows["1"]["answer"]) == ("[]", "none")
    assert "nodule, mass" in rows["2"]["question"]


def test_the_size_of_the_stored_picture_does_not_change_the_content_hash(coco, tmp_path):
    small, _ = prepare(coco, tmp_path / "small", HALF, workers=1)
    full, _ = prepare(coco, tmp_path / "full", PrepareOptions(), workers=1)
    assert small.info["hash"] == full.info["hash"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [20, 10, -4, 30]}, "no area"),
        ({"bbox": [20, 10, 40]}, r"\[x, y, width, height\]"),
        ({"bbox": [500, 500, 10, 10]}, "no area inside the picture"),
        ({"category_id": 3}, "the id of a category"),
    ],
)
def test_a_wrong_annotation_names_file_row_and_field(coco, tmp_path, change, words):
    content = json.loads((coco / "instances.json").read_text())
    content["annotations"][0] |= change
    (coco / "instances.json").write_text(json.dumps(content))
    with pytest.raises(MedgrpoError, match=rf"(?s)instances.json, row 1, field.*{words}"):
        prepare(coco, tmp_path / "out", HALF, workers=1)


def test_yolo_shares_become_pixels(tmp_path):
    folder = tmp_path / "source"
    for part in ("images/train", "images/val", "labels/train", "labels/val"):
        (folder / part).mkdir(parents=True)
    Image.new("L", (200, 100)).save(folder / "images/train/a.png")
    Image.new("L", (100, 200), 9).save(folder / "images/val/b.png")
    (folder / "labels/train/a.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    (folder / "data.yaml").write_text("path: .\nnames:\n  0: mass\n  1: nodule\n")
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(split="official"), workers=1)
    rows = rows_by_image(dataset)
    assert json.loads(rows["a"]["boxes"]) == [{"box": [80.0, 30.0, 120.0, 70.0], "label": "nodule"}]
    assert rows["b"]["boxes"] == "[]"
    assert dataset.count("validation") == 1


def test_a_table_beside_the_folders_of_yolo_is_the_one_that_was_named(tmp_path):
    asked_of_yaml(tmp_path, "names: [cyst]\n")
    (tmp_path / "rows.jsonl").write_text('{"question": "Is it dark?", "answer": "yes"}\n')
    items, formats = read_source(Source(tmp_path / "rows.jsonl"), Problems())
    assert (formats, items[0].row["question"]) == (["question-answer"], "Is it dark?")


def asked_of_yaml(folder, content):
    """The question that a data.yaml leads to."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    Image.new("L", (50, 50)).save(folder / "images/a.png")
    (folder / "labels/a.txt").write_text("0 .5 .5 .2 .2\n")
    (folder / "data.yaml").write_text(content, encoding="utf-8")
    items, _ = read_source(Source(folder), Problems())
    return items[0].row["question"].removeprefix("Find every ").partition(" in this")[0]


@pytest.mark.parametrize(
    "content",
    [
        "# two classes\nnames: [囊肿, 'no']  # flow\n",
        "---\nnames:\n- 囊肿\n- no\nroboflow:\n  license: CC BY 4.0\n",
        "all: &all [囊肿,\n  no]\nnames: *all\n",
        'names: {"1": no, "0": 囊肿}\n',
        "names: !!python/tuple [囊肿, no]\n",
    ],
    ids=["flow", "block", "anchor over two lines", "numbers as texts", "a tag, which is not followed"],
)
def test_classes_are_the_same_however_yaml_writes_them(tmp_path, content):
    assert set(asked_of_yaml(tmp_path, content).split(", ")) == {"囊肿", "no"}


@pytest.mark.parametrize("way", ["absolute", "up", "a link"])
def test_a_data_yaml_has_no_file_outside_of_the_source_read(tmp_path, monkeypatch, way):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "list.txt").write_text("images/a.png\n")
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to(outside)
    path = {"absolute": str(outside), "up": "../outside", "a link": "link"}[way]
    read = []
    original = yolo.read_text
    monkeypatch.setattr(yolo, "read_text", lambda file: read.append(file.resolve()) or original(file))
    asked_of_yaml(source, f"path: {path}\ntrain: list.txt\nnames: [cyst]\n")
    assert read
    assert all(file.is_relative_to(source) for file in read)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("names: [cyst]\nnames: [mass]\n", "the key 'names' is written twice"),
        ("names: {0: cyst, 0: mass}\n", "the key '0' is written twice"),
        ("names: [cyst]\n---\nnames: [mass]\n", "single document"),
        ("names:\n\t- cyst\n", "cannot start any token"),
        ("names: cyst\n", "a list of names"),
    ],
)
def test_a_data_yaml_that_says_two_things_is_refused(tmp_path, content, words):
    with pytest.raises(MedgrpoError, match=words):
        asked_of_yaml(tmp_path, content)


@pytest.mark.parametrize(
    ("line", "words"), [("1 0.5 0.5", "class x y width height"), ("4 .5 .5 .1 .1", "class 4 of 2")]
)
def test_a_wrong_yolo_line_is_shown(tmp_path, line, words):
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    Image.new("L", (50, 50)).save(folder / "images/a.png")
    (folder / "labels/a.txt").write_text(line)
    (folder / "classes.txt").write_text("mass\nnodule\n")
    with pytest.raises(MedgrpoError, match=f"(?s)labels/a.txt.*{words}"):
        prepare(folder, tmp_path / "out", PrepareOptions(), workers=1)


def test_each_coco_file_has_its_own_pictures_and_ids(tmp_path):
    for split, shade in (("train", 10), ("val", 200)):
        (tmp_path / "coco" / f"{split}2017").mkdir(parents=True)
        Image.new("RGB", (50, 50), (shade, 0, 0)).save(tmp_path / "coco" / f"{split}2017" / "0.png")
        content = {
            "images": [{"id": 0, "file_name": "0.png", "width": 50, "height": 50}],
            "categories": [{"id": 1, "name": "nodule"}],
            "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        }
        (tmp_path / "coco" / "annotations").mkdir(exist_ok=True)
        (tmp_path / "coco" / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    dataset, _ = prepare(tmp_path / "coco", tmp_path / "out", PrepareOptions(), workers=1)
    rows = [row for split in dataset.splits for row in dataset.rows(split)]
    assert {row["image_id"] for row in rows} == {"train2017/0.png", "val2017/0.png"}
