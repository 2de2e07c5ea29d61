"""A prepared dataset may be the source of another, and a person may say which field is which."""

import json

import pytest

from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.errors import UsageError


def by_question(dataset):
    return {
        (row["question"], row["image_id"]): (split, row["answer"], row["answers"], row["width"])
        for split in dataset.splits
        for row in dataset.rows(split)
    }


def test_a_dataset_prepared_again_keeps_rows_and_splits_at_another_size(vqa_folder, tmp_path):
    first, _ = prepare(vqa_folder, tmp_path / "one", PrepareOptions(split=".6,.2,.2"), workers=1)
    again, _ = prepare(
        tmp_path / "one", tmp_path / "two", PrepareOptions(images=ImageSettings(size_px=32)), workers=1
    )
    before, after = by_question(first), by_question(again)
    assert {key: value[:3] for key, value in before.items()} == {
        key: value[:3] for key, value in after.items()
    }
    assert {value[3] for value in after.values()} == {32}
    assert {value[3] for value in before.values()} != {32}
    assert again.info["formats"] == ["prepared dataset"]
    assert again.info["rows"] == first.info["rows"]


def test_boxes_are_scaled_with_the_picture(tmp_path):
    from PIL import Image

    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (200, 100), 90).save(source / name)
    rows = [
        {
            "image": name,
            "question": "Where?",
            "answer": "here",
            "objects": {"bbox": [[20, 10, 60, 50]], "ref": ["x"]},
        }
        for name in ("a.png", "b.png")
    ]
    coco = {
        "images": [
            {"id": i, "file_name": row["image"], "width": 200, "height": 100} for i, row in enumerate(rows)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [20, 10, 40, 40]} for i in range(2)
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    (source / "annotations.json").write_text(json.dumps(coco))
    prepare(source, tmp_path / "one", PrepareOptions(split="1,0,0"), workers=1)
    again, _ = prepare(
        tmp_path / "one", tmp_path / "two", PrepareOptions(images=ImageSettings(size_px=100)), workers=1
    )
    row = next(iter(again.rows("train")))
    assert json.loads(row["boxes"])[0]["box"] == [10, 5, 30, 25]


@pytest.fixture
def german(tmp_path):
    from PIL import Image

    folder = tmp_path / "mit Leerzeichen 数据"
    folder.mkdir()
    Image.new("L", (64, 64), 80).save(folder / "eins.png")
    (folder / "zeilen.csv").write_text("bild,frage,antwort,question\neins.png,Was ist das?,CT,not this\n")
    return folder


NAMED = {"question": "frage", "answer": "antwort", "image": "bild"}


def test_fields_are_read_as_the_person_names_them(german, tmp_path):
    dataset, _ = prepare(german, tmp_path / "out", PrepareOptions(split="1,0,0", columns=NAMED), workers=1)
    (row,) = dataset.rows("train")
    assert (row["question"], row["answer"], len(row["images"])) == ("Was ist das?", "CT", 1)
    assert "question (not in --columns)" in dataset.info["unread_fields"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "--columns question=bild,answer=frage,image=FIELD"),
        ({**NAMED, "question": "fragen"}, "did you mean 'frage'?"),
    ],
)
def test_an_unknown_field_is_answered_with_the_fields_that_there_are(german, tmp_path, columns, words):
    german.joinpath("zeilen.csv").write_text("bild,frage,antwort\neins.png,Was ist das?,CT\n")
    with pytest.raises(UsageError) as refused:
        prepare(german, tmp_path / "out", PrepareOptions(columns=columns), workers=1)
    assert words in str(refused.value)
    assert "bild, frage, antwort" in str(refused.value)


def test_a_folder_of_pictures_alone_is_told_what_is_missing(german, tmp_path):
    german.joinpath("zeilen.csv").unlink()
    with pytest.raises(
        UsageError, match=r"1 pictures? \(\.png\), and no file with their questions"
    ) as refused:
        prepare(german, tmp_path / "out", PrepareOptions(), workers=1)
    assert "image,question,answer (image: eins.png)" in str(refused.value.hint)
