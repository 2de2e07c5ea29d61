"""Detection: precision over the dataset, and what is not asked is not scored."""

import json

import pytest

from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import Predictions


def row(index, *boxes):
    return {
        "id": index, "question": "Find the lesions.", "answer": "", "image_id": f"i{index}", "width": 100, "height": 100,
        "boxes": json.dumps([{"box": box, "label": "lesion"} for box in boxes]),
    }  # fmt: skip


def said(*boxes):
    found = json.dumps([{"bbox_2d": box, "label": "lesion"} for box in boxes])
    return f"<think>t</think><boxes>{found}</boxes>"


def measured(rows, completions):
    return evaluate_predictions(Predictions(rows, completions), tags=("think", "boxes")).document


def test_perfect_boxes_have_map_one_and_no_certainty():
    rows = [row(i, [10, 10, 30, 30]) for i in range(30)]
    found = measured(rows, [said([10, 10, 30, 30])] * 30)
    assert found["detection"]["map_50"]["value"] == 1
    assert found["detection"]["map_50"]["low"] < 0.9
    assert found["box_f1"]["value"] == 1
    assert found["format"]["value"] == 1


def test_half_of_the_boxes_found_by_hand():
    # 15 of 30 boxes found, no false ones: precision 1 up to recall .5. COCO's 101 recall points: 51/101.
    rows = [row(i, [10, 10, 30, 30]) for i in range(30)]
    found = measured(rows, [said([10, 10, 30, 30]) if i % 2 else said() for i in range(30)])
    one = found["detection"]["map_50"]
    assert one["value"] == pytest.approx(51 / 101)
    assert 0.2 < one["low"] < 51 / 101 < one["high"] < 0.8
    assert one["n"] == 30


def test_an_answer_that_was_not_asked_for_is_not_scored():
    found = measured([row(0, [1, 1, 5, 5])], [said([1, 1, 5, 5])])
    assert found["answer_match"]["n"] == 0
    assert "unanswered" not in found
    assert "too few images" in found["detection"]["map"]["note"]


def test_datasets_without_boxes_have_no_detection():
    found = evaluate_predictions(Predictions([{"question": "Is it?", "answer": "yes"}], ["yes"])).document
    assert "detection" not in found
