"""A prepared dataset may be the source of another, and a person may say which field is which."""

import json

import pytest

from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.prepared import prepared_name
from medgrpo.data.readers.named_columns import guessed_roles
from medgrpo.errors import UsageError
from medgrpo.rewards.columns import parse_columns


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
        ({}, "--columns image=bild,question=frage,answer=antwort"),
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


@pytest.mark.parametrize(
    ("record", "given", "guess"),
    [
        (
            {"Bild": "a.jpg", "Frage": "Is it CT?", "Antwort": "yes"},
            {},
            "image=Bild,question=Frage,answer=Antwort",
        ),
        ({"nr": 3, "r": "no", "q": "Which plane is this"}, {}, "question=q,answer=r"),
        ({"问": "这是CT吗？", "答": "是", "图": "b.PNG"}, {}, "image=图,question=问,answer=答"),
        (
            {"image": "a.jpg", "question": "x", "Antwort": "yes"},
            {"image": "Bild", "question": "Frage"},
            "image=Bild,question=Frage,answer=Antwort",
        ),
        ({"only": "Is it?"}, {}, "question=only,answer=FIELD"),
    ],
)
def test_fields_that_nobody_knows_are_guessed_for_the_hint(record, given, guess):
    assert guessed_roles(record, given) == guess


def test_columns_by_spaces_are_answered_with_commas():
    with pytest.raises(UsageError) as caught:
        parse_columns("image=Bild question=Frage answer=A")
    assert caught.value.hint == "with commas: --columns image=Bild,question=Frage,answer=A"
    assert parse_columns("answer=Die Antwort") == {"answer": "Die Antwort"}


def test_the_place_that_is_proposed_for_a_dataset_is_never_inside_its_source(tmp_path, monkeypatch):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "rows.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert str(prepared_name("mine")) == "mine-prepared"
    assert str(prepared_name("mine/rows.csv")) == "rows-prepared"
    monkeypatch.chdir(tmp_path / "mine" / "deep")
    assert prepared_name("..") == tmp_path / "mine-prepared"
