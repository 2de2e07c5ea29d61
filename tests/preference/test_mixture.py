"""Pairs of a mixture are a dataset like any other: with their own pictures and masks, wherever they are moved."""

import json

import numpy as np
import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.mixture import open_data
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.data.schema import FILE_COLUMNS, new_row
from medgrpo.preference.sources import from_files
from medgrpo.rewards.composite import CompositeReward


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A demo set, and one with a mask and a picture of the same name as one of the demo's."""
    folder = tmp_path_factory.mktemp("parts")
    demo = write_demo_dataset(folder / "demo", seed=1, size=DemoSize(8, 4, 4))
    name = next(demo.rows("train"))["images"][0]
    with PreparedWriter(folder / "masks") as writer:
        for path, value in {name: 90, "masks/m.png": 255, "masks/m2.png": 0}.items():
            (writer.folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28), value, np.uint8)).save(writer.folder / path)
        row = new_row(
            id="v1", question="Is it?", answer="yes", language="en", source="s", source_file="f", source_row=1
        )
        row |= {"images": [name], "mask": "masks/m.png", "mask2": "masks/m2.png", "image_id": "v"}
        writer.write("train", [row])
        writer.finish({"name": "masks", "task": "vessels", "hash": "h", "images": 1})
    return folder


def pairs_of(parts, tmp_path, data):
    rows = list(open_data(data, seed=3).rows("train"))
    file = tmp_path / "answers.jsonl"
    good = "<think>x</think><answer>{answer}</answer>"
    lines = [
        {"id": row["id"], "completion": text}
        for row in rows
        for text in (good.format(**row), "nothing at all")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "pairs"
    arguments = [
        "--from",
        "models",
        "--data",
        data,
        "--weights",
        "answer_match=1",
        "-o",
        str(output),
        "--quiet",
    ]
    with pytest.raises(SystemExit) as stop:
        main(["make-dpo", str(file), *arguments])
    assert stop.value.code == 0
    return rows, PreparedDataset.open(output)


def test_pairs_of_a_mixture_bring_their_pictures_and_masks(parts, tmp_path):
    rows, pairs = pairs_of(parts, tmp_path, f"{parts / 'demo'}:0.5,{parts / 'masks'}")
    made = [row for split in pairs.splits for row in pairs.rows(split)]
    assert len(made) == len(rows)
    shades = {}
    for row in made:
        named = [*row["images"], *(row[column] for column in FILE_COLUMNS if row[column])]
        assert named
        for path in named:
            assert not path.startswith("/")
            assert (pairs.path / path).is_file()
            assert pairs.image_path(path).is_file()
        if row["mask"]:
            shades = {
                column: Image.open(pairs.image_path(row[column])).getpixel((0, 0))
                for column in ("mask", "mask2")
            }
            assert (
                Image.open(pairs.image_path(row["images"][0])).getpixel((0, 0)) == 90
            )  # not the demo's of that name
    assert shades == {"mask": 255, "mask2": 0}
    assert pairs.info["images"] == len({path for row in made for path in row["images"]})


def test_pairs_of_one_dataset_keep_the_names_of_their_files(parts, tmp_path):
    rows, pairs = pairs_of(parts, tmp_path, str(parts / "masks"))
    (row,) = pairs.rows("train")
    assert [row[name] for name in ("images", "mask", "mask2")] == [
        rows[0][name] for name in ("images", "mask", "mask2")
    ]
    assert all((pairs.path / row[name]).is_file() for name in ("mask", "mask2"))


def test_answers_to_any_draw_of_a_mixture_find_their_rows(parts, tmp_path):
    text = f"{parts / 'demo'}:0.25"
    drawn = {seed: [row["id"] for row in open_data(text, seed=seed).rows("train")] for seed in (0, 1, 2, 3)}
    assert len({tuple(ids) for ids in drawn.values()}) > 1
    for ids in drawn.values():
        file = tmp_path / "a.jsonl"
        file.write_text("".join(json.dumps({"id": name, "completion": "x"}) + "\n" for name in ids))
        found = from_files([file], text, CompositeReward({"answer_match": 1}))
        assert [one.prompt_id for one in found.candidates] == ids


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--samples", "4"], "--samples is for --from sample"),
        (["run", "--weights", "balanced"], "--weights is for --from sample and models"),
        (["a.jsonl", "--from", "models", "--data", "d", "--limit", "3"], "--limit is for --from sample"),
        (["run", "--export-review", "r.csv", "-o", "pairs"], "is not written with --export-review"),
    ],
)
def test_what_a_source_cannot_use_is_refused(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["make-dpo", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
