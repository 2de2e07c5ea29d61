"""A name that stands twice in one object, with two values: every door to JSON of others says so, with the file or the row."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.errors import MedgrpoError
from medgrpo.json_in import TwoValues, json_value

ROOT = Path(__file__).parent.parent
OWN = {"install.py", "bundle.py", "models/demo.py"}
"""Modules that decode what an installer or a library of this process wrote."""
ROW = {"id": "a", "question": "Is it big?", "answer": "no", "completion": "<answer>no</answer>"}


def twice(document: object, name: str) -> str:
    """The document with one more value for the first of its fields of this name."""
    found = f'"{name}": '
    text = json.dumps(document)
    assert found in text
    return text.replace(found, f'{found}"another", {found}', 1)


def said_by(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(end.value.code or 0), " ".join((printed.out + printed.err).split())


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"b": [{"a": 1, "c": 0, "a": "1"}]}', '{"a": 1, "a": true}']
)
def test_two_values_for_a_name_are_refused_and_one_value_twice_is_not(text):
    with pytest.raises(TwoValues, match="the object has two values for 'a'"):
        json_value(text)
    with pytest.raises(TwoValues):
        json_value(text.encode())
    assert json_value('{"a": NaN, "a": NaN, "b": [1], "b": [1]}')["b"] == [1]


def test_json_is_decoded_in_one_place():
    """`json.loads` takes the last of two values; what this process wrote itself may be read so."""
    found = {
        f"{path.relative_to(ROOT / 'medgrpo')}: {line.strip()}"
        for path in (ROOT / "medgrpo").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"json\.loads?\(", line)
        and "json.loads(json.dumps(" not in line
        and not (path.name == "json_in.py" or str(path.relative_to(ROOT / "medgrpo")) in OWN)
    }
    assert found == {"runs/readers/decode.py: found = orjson.loads(text)"}  # compared with the text there


LOGS = {
    "trainer_state.json": {
        "global_step": 3,
        "log_history": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}],
    },
    "log.json": {"config": {}, "history": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]},
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_log_in_one_document(name, indent, tmp_path, capsys):
    file = tmp_path / name
    text = twice(LOGS[name], "loss")
    file.write_text(text if indent is None else text.replace("{", "{\n "))
    code, said = said_by(capsys, "health", file)
    assert code != 0
    assert f"{name}': the object has two values for 'loss'" in said


@pytest.mark.parametrize("spaced", [": ", ":", " : "])
def test_a_line_of_a_log_is_counted(spaced, tmp_path, capsys):
    lines = [json.dumps({"step": step, "loss": 0.5, "note": 'x": y'}) for step in range(1, 6)]
    lines[2] = '{"step": 3, "loss": 0.5, "loss": 0.1, "note": "x"}'
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(line.replace('": ', f'"{spaced}') for line in lines))
    _, said = said_by(capsys, "health", file)
    assert "unreadable" in said or "1 line" in said, said


SOURCES = {
    "rows.json": [ROW],
    "keyed.json": {"a": {**ROW}},
    "listed.json": {"data": [ROW]},
    "coco.json": {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 9, 9]}],
        "categories": [{"id": 3, "name": "mass"}],
    },
    "labelme.json": {
        "imagePath": "a.png",
        "imageWidth": 40,
        "imageHeight": 40,
        "shapes": [{"label": "mass", "shape_type": "rectangle", "points": [[1, 2], [9, 9]]}],
    },
    "dataset_info.json": {
        "mine": {"file_name": "rows.jsonl", "columns": {"prompt": "question", "response": "answer"}}
    },
}
TWICE = {"coco.json": "bbox", "labelme.json": "label", "dataset_info.json": "prompt"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_of_rows(name, tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    Image.new("L", (40, 40), 90).save(source / "a.png")
    (source / "rows.jsonl").write_text(json.dumps({**ROW, "image": "a.png"}))
    if name != "dataset_info.json":
        (source / "rows.jsonl").unlink()
    field = TWICE.get(name, "answer")
    (source / name).write_text(twice(SOURCES[name], field))
    code, said = said_by(capsys, "preprocess", source, tmp_path / "out")
    assert code != 0, said
    assert name in said
    assert f"two values for '{field}'" in said


CELLS = {
    "image": '[{"path": "a.png", "path": "b.png"}]',
    "options": '{"A": "yes", "A": "no", "B": "x"}',
    "messages": '[{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "no"}]',
}


@pytest.mark.parametrize("field", CELLS)
def test_json_in_a_cell_is_a_bad_row(field, tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    Image.new("L", (40, 40), 90).save(source / "a.png")
    good = {"id": "b", "question": "Is it?", "answer": "yes", "image": "a.png"}
    bad = {**good, "id": "a", field: CELLS[field]}
    if field == "messages":
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "no"}]
        good, bad = {"messages": json.dumps(talk)}, {"messages": CELLS[field]}
    (source / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in (good, bad)))
    code, said = said_by(capsys, "preprocess", source, tmp_path / "out")
    assert code != 0, said
    assert "two values for" in said


@pytest.mark.parametrize("form", ["list", "lines"])
def test_completions(form, tmp_path, capsys):
    file = tmp_path / "completions.jsonl"
    file.write_text(twice([ROW] if form == "list" else ROW, "completion"))
    code, said = said_by(capsys, "score", file)
    assert code != 0
    assert file.name in said
    assert "two values for 'completion'" in said


def header_twice(folder: Path) -> Path:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = twice({"a": tensor}, "shape").encode()
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return file


def _doors() -> dict[str, tuple[Callable[[Path], object], str, object, str]]:
    from medgrpo.config.presets import resolve_run
    from medgrpo.data.mixture import open_data
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import load_template
    from medgrpo.estimate.shapes import find_shape
    from medgrpo.files import read_json
    from medgrpo.models.adapter_files import recorded_metadata
    from medgrpo.models.context import context_of_folder
    from medgrpo.models.loading import check_model
    from medgrpo.models.tensor_files import read_config, weight_files
    from medgrpo.preference.sources import dataset_of_run

    config = {"model_type": "qwen2_5_vl", "hidden_size": 8}
    return {
        "a model's config.json": (lambda f: check_model(str(f)), "config.json", config, "hidden_size"),
        "its settings": (lambda f: read_config(f / "config.json"), "config.json", config, "hidden_size"),
        "its shape": (lambda f: find_shape(str(f)), "config.json", config, "hidden_size"),
        "its context": (context_of_folder, "config.json", config, "hidden_size"),
        "its index": (
            weight_files,
            "model.safetensors.index.json",
            {"weight_map": {"a": "x.safetensors"}},
            "a",
        ),
        "medgrpo.json": (recorded_metadata, "medgrpo.json", {"max_pixels": 1}, "max_pixels"),
        "medgrpo.json of a run's model": (
            lambda f: resolve_run("balanced", model=str(f)),
            "medgrpo.json",
            {"max_pixels": 1},
            "max_pixels",
        ),
        "a template": (
            lambda f: load_template(f / "medgrpo.json"),
            "medgrpo.json",
            {"prompt_template": {"name": "a"}},
            "name",
        ),
        "dataset.json": (PreparedDataset.open, "dataset.json", {"rows": {"train": 1}}, "train"),
        "a registry": (
            lambda f: open_data(str(f / "datasets.json")),
            "datasets.json",
            {"a": {"path": "x"}},
            "path",
        ),
        "a file of a run": (
            lambda f: read_json(f / "environment.json"),
            "environment.json",
            {"data": 1},
            "data",
        ),
        "a run's dataset": (dataset_of_run, "environment.json", {"data": {"path": "x"}}, "path"),
    }


@pytest.mark.parametrize("door", range(12))
def test_files_of_models_datasets_and_runs(door, tmp_path):
    call, name, document, field = list(_doors().values())[door]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    if name == "model.safetensors.index.json":
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_text(twice(document, field))
    with pytest.raises((MedgrpoError, TwoValues)) as raised:
        call(tmp_path)
    said = f"{getattr(raised.value, 'problem', raised.value)}"
    assert f"two values for '{field}'" in said
    from medgrpo.foreign import fault_of_input

    worded = raised.value if isinstance(raised.value, MedgrpoError) else fault_of_input(raised.value)
    assert worded is not None, "it would be worded as a bug"
    assert str(tmp_path) in worded.problem


def test_the_header_of_weights(tmp_path):
    from medgrpo.models.tensor_files import read_header

    with pytest.raises(MedgrpoError, match=r"model\.safetensors .*two values for 'shape'"):
        read_header(header_twice(tmp_path))


def test_rows_of_parquet(tmp_path):
    """A stored column that holds JSON."""
    from medgrpo.rewards.box_rows import reference_boxes

    with pytest.raises(ValueError, match="two values for 'box'"):
        reference_boxes('[{"box": [1, 2, 3, 4], "box": [5, 6, 7, 8]}]', 3)


def test_an_answer_of_a_server():
    from medgrpo.web import _document, _TryAgain

    with pytest.raises(_TryAgain):
        _document('{"choices": [], "choices": [1]}')
