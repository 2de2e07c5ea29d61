"""Predictions from files: our own, other people's, several samples of a question."""

import json

import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.outputs import prediction_columns
from medgrpo.evaluation.predictions import Predictions, read_predictions, write_predictions

ROWS = [
    {"id": "a", "question": "Is it?", "answer": "yes", "image_id": "1", "language": "en", "images": []},
    {"id": "b", "question": "Where?", "answer": "left", "image_id": "2", "language": "en", "images": []},
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_predictions_find_their_rows_by_id_in_any_order(tmp_path):
    file = write_lines(
        tmp_path / "p.jsonl", [{"id": "b", "completion": "left"}, {"id": "a", "completion": "no"}]
    )
    found = read_predictions(file, rows=ROWS)
    assert [(row["id"], text) for row, text in zip(found.rows, found.completions, strict=True)] == [
        ("b", "left"),
        ("a", "no"),
    ]


def test_predictions_without_ids_belong_by_place(tmp_path):
    file = write_lines(tmp_path / "p.jsonl", [{"completion": "yes"}, {"completion": "left"}])
    assert [row["id"] for row in read_predictions(file, rows=ROWS).rows] == ["a", "b"]
    short = write_lines(tmp_path / "q.jsonl", [{"completion": "yes"}])
    with pytest.raises(UsageError, match="1 rows and the dataset's split has 2"):
        read_predictions(short, rows=ROWS)


def test_ids_of_another_split_are_refused(tmp_path):
    file = write_lines(tmp_path / "p.jsonl", [{"id": "z", "completion": "yes"}])
    with pytest.raises(UsageError, match=r"no row of .* is in this split"):
        read_predictions(file, rows=ROWS)


def test_rows_without_a_prediction_are_counted(tmp_path):
    file = write_lines(
        tmp_path / "p.jsonl", [{"id": "a", "completion": "yes"}, {"id": "z", "completion": "x"}]
    )
    notes = " ".join(read_predictions(file, rows=ROWS).notes)
    assert "1 predictions have no row" in notes
    assert "1 of 2 rows of the split have no prediction" in notes


def test_entries_with_the_same_id_are_samples(tmp_path):
    file = write_lines(
        tmp_path / "p.jsonl",
        [
            {"id": "a", "question": "Is it?", "answer": "yes", "completion": text}
            for text in ("yes", "no", "yes")
        ],
    )
    found = read_predictions(file)
    assert found.completions == ["yes"]
    assert found.samples == [["yes", "no", "yes"]]
    samples = evaluate_predictions(found).document["samples"]
    assert samples["mean"]["value"] == pytest.approx(2 / 3)
    assert samples["majority"]["value"] == 1


def test_an_id_that_stands_for_different_questions_is_no_id(tmp_path):
    file = write_lines(
        tmp_path / "p.jsonl",
        [
            {"id": "chest", "question": "Is it?", "answer": "yes", "completion": "yes"},
            {"id": "chest", "question": "Where?", "answer": "left", "completion": "left"},
        ],
    )
    assert len(read_predictions(file)) == 2


def test_what_was_written_is_read_back_and_scores_the_same(tmp_path):
    result = evaluate_predictions(
        Predictions(ROWS, ["yes", "right"], samples=[["yes", "no"], ["left", "right"]])
    )
    write_predictions(tmp_path / "predictions.parquet", prediction_columns(result))
    again = read_predictions(tmp_path / "predictions.parquet")
    assert again.completions == ["yes", "right"]
    assert again.samples == [["yes", "no"], ["left", "right"]]
    first, second = result.document, evaluate_predictions(again).document
    for name in ("answer_match", "closed", "open", "samples", "images"):
        assert second[name] == first[name]


def test_the_written_columns_say_what_was_asked_said_and_decided(tmp_path):
    import pyarrow.parquet as pq

    write_predictions(
        tmp_path / "p.parquet", prediction_columns(evaluate_predictions(Predictions(ROWS, ["yes", "right"])))
    )
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[0]["verdict"] == "right"
    assert rows[1]["verdict"] == "wrong"
    assert rows[1]["rule"] == "side_differs"
    assert rows[1]["answer_match"] == 0
    assert "plane" not in rows[0]  # a score must not pass for a label


def test_scores_of_labels_are_not_written_as_labels(tmp_path):
    rows = [{**ROWS[0], "plane": "axial"}]
    predictions = Predictions(rows, ["<answer>yes</answer><plane>coronal</plane>"])
    columns = prediction_columns(evaluate_predictions(predictions, tags=("answer", "plane")))
    assert columns["plane"] == ["axial"]
    assert columns["plane_right"] == [0]


def test_stated_confidence_is_calibrated(tmp_path):
    rows = [
        {"id": f"{i}", "question": "Is it?", "answer": "yes", "completion": said, "confidence": share}
        for i, (said, share) in enumerate([("yes", 0.9), ("no", "0.9"), ("yes", None)])
    ]
    found = evaluate_predictions(read_predictions(write_lines(tmp_path / "p.jsonl", rows))).document
    # .9 twice, right once: gap .4; Brier (.01 + .81)/2
    assert found["stated_confidence"]["ece"] == pytest.approx(0.4)
    assert found["stated_confidence"]["brier"] == pytest.approx(0.41)
    assert found["stated_confidence"]["n"] == 2


@pytest.mark.parametrize("value", [90, "high", -0.1])
def test_a_confidence_that_is_no_share_is_refused(tmp_path, value):
    rows = [{"question": "Is it?", "answer": "yes", "completion": "yes", "confidence": value}]
    with pytest.raises(UsageError, match="row 0: confidence is"):
        read_predictions(write_lines(tmp_path / "p.jsonl", rows))


def test_a_limit_keeps_the_first_rows():
    assert Predictions(ROWS, ["yes", "right"]).head(1).completions == ["yes"]


FILES = [
    ("llava_med/answer-file.jsonl", 318, 144),
    ("llava_med/answer-file-1epoch.jsonl", 318, 144),
    ("llava_med/answer-file-llava-zeorshot.jsonl", 318, 144),
]


@pytest.mark.parametrize(("name", "questions", "images"), FILES)
def test_the_llava_med_files_are_measured_by_image(shared_data, name, questions, images):
    found = read_predictions(
        shared_data / "model_outputs" / name, references=shared_data / "vqa_rad/testset.json", join="row"
    )
    document = evaluate_predictions(found).document
    assert (document["n"], document["images"]) == (questions, images)
    assert document["closed"]["n"] + document["open"]["n"] == questions
    assert document["closed"]["low"] < document["closed"]["value"] < document["closed"]["high"]
    assert document["groups"]["organ"].keys() == {"ABD", "CHEST", "HEAD"}


def test_every_file_of_model_outputs_is_measured(shared_data):
    folder = shared_data / "model_outputs"
    references = {"llava_med": (shared_data / "vqa_rad/testset.json", "row")}
    without = ("llavamed_", "tinyllava_slake", "tinyllava_vqa_rad", "vilt_vqa_rad")
    measured = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.name.startswith(without):
            with pytest.raises(UsageError, match="no references"):
                read_predictions(file)
            continue
        other, join = references.get(file.parent.name, (None, None))
        document = evaluate_predictions(read_predictions(file, references=other, join=join)).document
        assert document["answer_match"]["n"] > 0, file.name
        measured += 1
    assert measured >= 12
