"""What a run, a log or a model of others names on this machine: nothing of it is shown, sampled from or written over."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import UsageError
from medgrpo.preference.sources import from_runs
from medgrpo.runs.before_after import keep_answers
from medgrpo.runs.comparison import compare_runs
from medgrpo.runs.report import write_run_page
from medgrpo.runs.report.write import render
from medgrpo.runs.store import Completion, CompletionStore
from medgrpo.runs.writer import RunWriter

PICTURE = 'src="data:image/jpeg;base64,'


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A dataset of the user."""
    return write_demo_dataset(tmp_path_factory.mktemp("home") / "mine", size=DemoSize(6, 4, 4))


def run_on(data, folder, *, fingerprint, completions=True):
    """A run that says it was trained on this dataset."""
    config = f'[run]\nseed = 0\n[training]\nmethod = "grpo"\n[data]\npath = "{data.path}"\n[rewards.weights]\nanswer_match = 1.0\n'
    writer = RunWriter.create(folder, folder.name, config, {}, logs=folder.parent / "logs")
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    for step in range(1, 9):
        writer.append(stage, {"step": step, "reward": 0.3, "loss": 0.01})
    if fingerprint is not None:
        (folder / "environment.json").write_text(
            json.dumps({"data": str(data.path), "data_hash": fingerprint})
        )
    rows = list(data.rows("train"))
    keep_answers(folder, "before", rows, ["yes"] * len(rows))
    keep_answers(folder, "after", rows, ["no"] * len(rows))
    if completions:
        store = CompletionStore(folder / "completions", steps_per_part=1)
        for row in rows[:2]:
            each = ("main", 1, row["id"], row["id"], row["images"], row["question"], row["answer"])
            store.add(
                [
                    Completion(*each, said, 4, False, reward, 0.0, {"answer_match": reward})
                    for said, reward in (("<answer>a</answer>", 1.0), ("<answer>b</answer>", 0.0))
                ]
            )
        store.close_part()
    writer.finish("finished")
    writer.release()
    return folder


@pytest.mark.parametrize("fingerprint", ["true", "0" * 64, None, ["x"], ""])
def test_pictures_are_shown_of_a_dataset_that_the_run_had_in_its_hands(fingerprint, mine, tmp_path):
    is_its = fingerprint == "true"
    run = run_on(mine, tmp_path / "run", fingerprint=mine.hash if is_its else fingerprint)
    page = write_run_page(run).read_text("utf-8")
    assert (PICTURE in page) == is_its
    assert ("pictures left out" in page) != is_its


def test_a_link_in_a_run_to_a_dataset_is_no_dataset_of_the_run(mine, tmp_path):
    run = run_on(mine, tmp_path / "run", fingerprint=None)
    (run / "config.toml").write_text("[training]\nmethod = 'grpo'\n")
    (run / "demo").mkdir()
    (run / "demo" / "data").symlink_to(mine.path)
    assert PICTURE not in write_run_page(run).read_text("utf-8")
    (run / "demo" / "data").unlink()
    shutil.copytree(mine.path, run / "demo" / "data")  # the demo's data, made by the run
    assert PICTURE in write_run_page(run).read_text("utf-8")


@pytest.mark.parametrize("fingerprint", ["0" * 64, None])
def test_pairs_are_made_of_rows_that_the_run_had_in_its_hands(fingerprint, mine, tmp_path):
    run = run_on(mine, tmp_path / "run", fingerprint=fingerprint)
    with pytest.raises(UsageError, match=r"names the dataset .*, whose rows are not those") as raised:
        from_runs([run], None)
    assert f"--data {mine.path}" in str(raised.value.hint)
    assert from_runs([run], mine.path).candidates  # named by the user
    own = run_on(mine, tmp_path / "own", fingerprint=mine.hash)
    assert from_runs([own], None).candidates


def test_a_log_of_others_shows_no_run_of_mine(mine, tmp_path):
    run = run_on(mine, tmp_path / "run", fingerprint=mine.hash)
    (copy,) = (tmp_path / "logs").glob("*.json")
    assert PICTURE in render(compare_runs([copy]))  # each names the other
    for place in (tmp_path / "theirs" / copy.name, tmp_path / "logs" / "theirs.json"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps({**json.loads(copy.read_text()), "run": str(run)}))
        page = render(compare_runs([place]))
        assert PICTURE not in page
        assert "<answer>" not in page
        assert "&lt;answer&gt;" not in page


def test_a_resumed_run_of_others_writes_over_no_file_of_mine(mine, tmp_path):
    run = run_on(mine, tmp_path / "run", fingerprint=mine.hash)
    (own,) = (tmp_path / "logs").glob("*.json")
    precious = tmp_path / "thesis.json"
    for content in ('{"title": "mine"}', '{"run": "elsewhere"}', "no JSON"):
        precious.write_text(content)
        info = json.loads((run / "training_info.json").read_text())
        (run / "training_info.json").write_text(json.dumps({**info, "log_copy": str(precious)}))
        writer = RunWriter.reopen(run, logs=tmp_path / "logs")
        writer.append(writer.stage(1, "grpo", "grpo", is_main=True), {"step": 9, "reward": 0.1})
        writer.finish("finished")
        writer.release()
        assert precious.read_text() == content
        assert any(entry.get("step") == 9 for entry in json.loads(own.read_text())["history"])


@pytest.mark.parametrize("fingerprint", ["0" * 64, None])
def test_a_model_of_others_is_not_evaluated_on_a_dataset_of_mine_that_it_names(
    fingerprint, mine, tmp_path, capsys
):
    from medgrpo.data.demo import demo_texts
    from medgrpo.models.demo import build_demo_model

    model = build_demo_model(tmp_path / "model", demo_texts(), seed=3)
    named = {"data": str(mine.path), "data_hash": fingerprint}
    (model / "medgrpo.json").write_text(json.dumps({"provenance": named}))
    with pytest.raises(SystemExit) as end:
        main(["eval", str(model), "--output", str(tmp_path / "out")])
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "whose rows are not those that it was trained on" in said
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_the_fingerprint_is_that_of_the_rows(mine, tmp_path):
    other = write_demo_dataset(tmp_path / "other", seed=5, size=DemoSize(6, 4, 4))
    assert other.hash != mine.hash
    assert PreparedDataset.open(mine.path).hash == mine.hash


SECRET = 201
"""The pixels of a picture beside the source."""


def _voc(place):
    head = f"<annotation><filename>{place}</filename><path>{place}</path><size><width>40</width><height>40</height></size>"
    return (
        head
        + "<object><name>mass</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )


ROW = {"id": "a", "question": "Is it?", "answer": "no"}
NAMING = {
    "rows.jsonl": lambda place: json.dumps({**ROW, "image": place}),
    "several.jsonl": lambda place: json.dumps({**ROW, "images": ["good.png", place]}),
    "masks.jsonl": lambda place: json.dumps({**ROW, "image": "good.png", "mask": place}),
    "chats.json": lambda place: json.dumps(
        [
            {
                "messages": [
                    {"role": "user", "content": "<image>Is it?"},
                    {"role": "assistant", "content": "no"},
                ],
                "images": [place],
            }
        ]
    ),
    "coco.json": lambda place: json.dumps(
        {
            "images": [{"id": 7, "file_name": place, "width": 40, "height": 40}],
            "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 9, 9]}],
            "categories": [{"id": 3, "name": "mass"}],
        }
    ),
    "labelme.json": lambda place: json.dumps(
        {
            "imagePath": place,
            "imageWidth": 40,
            "imageHeight": 40,
            "shapes": [{"label": "mass", "shape_type": "rectangle", "points": [[1, 2], [9, 9]]}],
        }
    ),
    "voc.xml": _voc,
    "cvat.xml": lambda place: (
        f'<annotations><version>1.1</version><image id="0" name="{place}" width="40" height="40">'
        '<box label="mass" xtl="1" ytl="2" xbr="9" ybr="9"/></image></annotations>'
    ),
    "dataset_info.json": lambda place: json.dumps(
        {
            "mine": {
                "file_name": place.replace("secret.png", "secret.jsonl"),
                "columns": {"prompt": "question", "response": "answer"},
            }
        }
    ),
}


@pytest.mark.parametrize("way", ["up", "absolute", "link", "folder", "home"])
@pytest.mark.parametrize("name", NAMING)
def test_a_source_of_others_takes_no_file_beside_it(name, way, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("L", (40, 40), SECRET).save(tmp_path / "secret.png")
    (tmp_path / "secret.jsonl").write_text(json.dumps({**ROW, "question": "secret?"}))
    source = tmp_path / "source"
    source.mkdir()
    Image.new("L", (40, 40), 90).save(source / "good.png")
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "far").symlink_to(tmp_path)
    place = {
        "up": "../secret.png",
        "absolute": str(tmp_path / "secret.png"),
        "link": "link.png",
        "folder": "far/secret.png",
        "home": "~/secret.png",
    }[way]
    (source / name).write_text(NAMING[name](place))
    with pytest.raises(SystemExit):
        main(["preprocess", str(source), str(tmp_path / "out"), "--on-bad-row", "skip"])
    said = capsys.readouterr()
    assert "looks like a bug" not in said.err
    for file in (tmp_path / "out").rglob("*"):
        if file.suffix in (".png", ".jpg", ".webp"):
            with Image.open(file) as picture:
                assert abs(picture.convert("L").getpixel((20, 20)) - SECRET) > 20, file
        elif file.is_file():
            assert b"secret?" not in file.read_bytes()


@pytest.mark.parametrize(
    "name", ["../other/model.safetensors", "/etc/hostname", "..\\\\x.safetensors", "C:/x.safetensors"]
)
def test_an_index_of_weights_names_files_of_its_model(name, tmp_path):
    from medgrpo.errors import MedgrpoError
    from medgrpo.models.tensor_files import weight_files

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(MedgrpoError, match="names a file outside of the model"):
        weight_files(model)


def test_every_place_of_the_list_is_held_by_a_test():
    """docs/security.md: what files of others name, the bound, and the test of it."""
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text("utf-8")
    part = page[page.index("## What files of others may name") :]
    rows = [line for line in part[: part.index("\n## ")].splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 12
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (Path(__file__).parents[1] / file).read_text("utf-8"), test
