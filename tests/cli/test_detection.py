"""Boxes through the command line: from a COCO folder to mAP, and back to the picture."""

import json

import pytest
from PIL import Image, ImageDraw

from medgrpo.cli.main import main
from medgrpo.data.prepared import PreparedDataset
from tests.families import TINY_FAMILIES

SIZE = (100, 70)
"""Seen at 112 x 56 px by Qwen2.5-VL: its pixels are not those of the file."""


def exit_code(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = exit_code(*arguments)
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A COCO folder of twenty pictures, a bright square in each."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    pictures, annotations = [], []
    for number in range(20):
        picture = Image.new("RGB", SIZE, (90, 90, 90))
        left, top = 3 * number, 2 * number
        ImageDraw.Draw(picture).rectangle((left, top, left + 29, top + 19), fill=(240, 240, 240))
        picture.save(folder / "images" / f"{number}.png")
        pictures.append(
            {"id": number, "file_name": f"images/{number}.png", "width": SIZE[0], "height": SIZE[1]}
        )
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [left, top, 30, 20]})
    content = {"images": pictures, "annotations": annotations, "categories": [{"id": 1, "name": "lesion"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def data(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    assert exit_code("preprocess", source, folder, "--split", ".5,.1,.4", "--quiet") == 0
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return TINY_FAMILIES["qwen2_5_vl"].build(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def right(data, tmp_path):
    """Predictions of the test split that are right, in the form of 0-1000."""
    lines = []
    for row in PreparedDataset.open(data).rows("test"):
        (box,) = json.loads(row["boxes"])
        scaled = [1000 * edge / SIZE[place % 2] for place, edge in enumerate(box["box"])]
        written = json.dumps([{"bbox_2d": [round(edge) for edge in scaled], "label": "lesion"}])
        lines.append({"id": row["id"], "completion": f"<think>t</think><boxes>{written}</boxes>"})
    file = tmp_path / "right.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def test_ready_predictions_are_read_in_the_form_that_is_named(capsys, data, right):
    figures = {}
    for form in ("thousand", "pixel"):
        code, out, _ = run(
            capsys, "eval", data, "--predictions", right, "--box-format", form, "--json", "--quiet"
        )
        assert code == 0
        figures[form] = json.loads(out)["detection"]["map"]
    # rounding to a thousandth moves no edge by more than .05 px, so IoU stays above .95
    assert figures["thousand"]["value"] == pytest.approx(1.0)
    assert figures["thousand"]["blind_baseline"] < 0.5
    assert figures["pixel"]["value"] == 0.0


def test_an_unknown_form_is_answered_with_those_there_are(capsys, data, right):
    code, _, err = run(capsys, "eval", data, "--predictions", right, "--box-format", "pixels")
    assert code == 2
    assert "pixel, thousand" in err


def test_score_reads_sizes_and_form_from_the_file_or_the_option(capsys, data, right, tmp_path):
    rows = {row["id"]: row for row in PreparedDataset.open(data).rows("test")}
    lines = [json.loads(line) for line in right.read_text().splitlines()]
    columns = ("boxes", "width", "height")
    file = tmp_path / "file.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({**line, **{name: rows[line["id"]][name] for name in columns}}) for line in lines
        )
    )
    options = ("--rewards", "box_f1", "--tags", "think,boxes", "--json", "--quiet")
    code, out, err = run(capsys, "score", file, *options)
    assert code == 0, err
    assert json.loads(out)["rewards"]["box_f1"]["mean"] == 0
    code, out, _ = run(capsys, "score", file, *options, "--box-format", "thousand")
    assert code == 0
    assert json.loads(out)["rewards"]["box_f1"]["mean"] == 1


def test_boxes_of_real_vessels_survive_preparing_and_the_form_of_0_to_1000(capsys, shared_data, tmp_path):
    from benchmarks.detection import coco, vessels
    from medgrpo.data.prompts import TEMPLATES, build_target
    from medgrpo.models.coordinates import BoxCoordinates

    coco(tmp_path / "coco", vessels(shared_data), ["vessel"])
    annotations = json.loads((tmp_path / "coco" / "instances.json").read_text())["annotations"]
    assert len(annotations) > 60
    assert run(capsys, "preprocess", tmp_path / "coco", tmp_path / "data", "--size", 512, "--quiet")[0] == 0
    dataset = PreparedDataset.open(tmp_path / "data")
    rows = [BoxCoordinates("thousand").place(row) for row in dataset.rows("train")]
    file = tmp_path / "right.jsonl"
    lines = [{"id": row["id"], "completion": build_target(row, TEMPLATES["detection"])} for row in rows]
    file.write_text("\n".join(map(json.dumps, lines)))
    options = ("--split", "train", "--box-format", "thousand", "--json", "--quiet")
    code, out, _ = run(capsys, "eval", tmp_path / "data", "--predictions", file, *options)
    assert code == 0
    found = json.loads(out)["detection"]
    assert found["map_50"]["value"] == 1.0
    assert found["map_50"]["blind_baseline"] < 0.9


@pytest.mark.slow
def test_a_run_records_the_form_and_eval_and_ask_read_it(capsys, data, model, tmp_path):
    code, out, err = run(
        capsys, "train", "--preset", "detection", "--model", model, "--data", data, "--output", tmp_path / "run",
        *(word for one in (
            "training.max_steps=1", "stages.sft.max_steps=1", "rollout.num_generations=2", "training.prompts_per_step=2",
            "rollout.max_completion_length=8", "model.context_length=1024", "stages.sft.prompts_per_step=2",
            "validation.rows=1", "logging.report_to=[]",
        ) for word in ("--set", one)),
        "--json", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    assert "blind" in json.loads(out)["validation"]
    about = json.loads((tmp_path / "run" / "final_lora" / "medgrpo.json").read_text())
    assert about["box_format"] == "pixel"
    assert about["box_grid"] == {"factor": 28, "min_pixels": 3136, "max_pixels": 602_112}

    results = tmp_path / "evaluation"
    limits = ("--limit", "2", "--max-new-tokens", "4", "--json", "--quiet")
    code, out, err = run(capsys, "eval", tmp_path / "run", data, "--output", results, *limits)
    assert code == 0, err
    assert json.loads(out)["detection"]["map_50"]["n"] == 2
    assert "box_format" not in err
    code, out, _ = run(
        capsys,
        "score",
        results / "predictions.parquet",
        "--rewards",
        "box_iou",
        "--tags",
        "think,boxes",
        *limits[-2:],
    )
    assert code == 0
    from pyarrow import parquet

    (first, *_) = parquet.read_table(results / "predictions.parquet").to_pylist()
    assert (first["box_format"], first["model_width"], first["model_height"]) == ("pixel", 112, 56)

    picture = next((data / "images").rglob("*.png"))
    code, out, _ = run(capsys, "ask", tmp_path / "run", picture, "Find every lesion.", *limits[2:])
    assert code == 0
    answer = json.loads(out)
    assert (answer["box_format"], answer["boxes"]) == ("pixel", None)
    assert "Coordinates are pixels of the image." in answer["prompt"]


def test_a_model_that_medgrpo_did_not_train_is_read_as_its_family_writes_and_it_is_said(
    capsys, data, model, tmp_path
):
    code, out, err = run(
        capsys, "eval", model, data, "--prompt", "detection", "--limit", "1", "--max-new-tokens", "2",
        "--output", tmp_path / "e", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert "no box_format in medgrpo.json: boxes are read as qwen2_5_vl models write them (pixel;" in err
    assert json.loads(out)["detection"]["map"]["value"] == 0


def test_pairs_from_predictions_are_scored_in_the_form_they_were_written(data, tmp_path):
    from medgrpo.preference.sources import from_files
    from medgrpo.rewards.composite import CompositeReward

    row = next(iter(PreparedDataset.open(data).rows("train")))
    (box,) = json.loads(row["boxes"])
    scaled = [round(1000 * edge / SIZE[place % 2]) for place, edge in enumerate(box["box"])]
    completion = f"<think>t</think><boxes>{json.dumps([{'bbox_2d': scaled, 'label': 'lesion'}])}</boxes>"
    line = {"id": row["id"], "completion": completion, "samples": [completion]}
    for form, total in (("thousand", 1.0), (None, 0.0)):
        file = tmp_path / f"{form}.jsonl"
        file.write_text(json.dumps({**line, "box_format": form}))
        found = from_files([file], data, CompositeReward("box_f1=1"), "detection")
        assert [candidate.reward for candidate in found.candidates] == [total, total]
