"""Boxes from the stored picture to the form of a model's family, into words, and back to where they were."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgrpo.data.boxes import TypicalBox
from medgrpo.data.prompts import TEMPLATES, build_messages, build_target
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.evaluation.baseline import constant_completions
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import Predictions
from medgrpo.models.coordinates import (
    BoxCoordinates,
    PictureGrid,
    box_coordinates,
    family_box_format,
    recorded_coordinates,
)
from medgrpo.models.loading import limit_pixels
from medgrpo.rewards.boxes import box_f1, box_iou, stored_boxes
from medgrpo.training.trainers.scoring import row_columns

TEMPLATE = TEMPLATES["detection"]
SIDES = st.integers(60, 3000)


def qwen_processor(patch=14, max_pixels=602_112, min_pixels=3136):
    from transformers import Qwen2VLImageProcessor

    processor = SimpleNamespace(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": 3136, "longest_edge": 12_845_056}, patch_size=patch
        )
    )
    limit_pixels(processor, max_pixels=max_pixels, min_pixels=min_pixels)
    return processor


def detection_row(width, height, boxes):
    row = new_row(id="1", question="Find every lesion.", answer="lesion", language="en", image_id="1")
    row["boxes"] = json.dumps([{"box": box, "label": "lesion"} for box in boxes])
    return {**row, "width": width, "height": height, "images": ["1.png"]}


@st.composite
def rows(draw):
    width, height = draw(SIDES), draw(SIDES)
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        left, top = draw(st.integers(0, width - 20)), draw(st.integers(0, height - 20))
        boxes.append([left, top, draw(st.integers(left + 20, width)), draw(st.integers(top + 20, height))])
    return detection_row(width, height, boxes)


FORMS = {
    "qwen2_vl": box_coordinates("qwen2_vl", None),
    "qwen2_5_vl": BoxCoordinates("pixel", PictureGrid(28, 3136, 602_112)),
    "qwen2_5_vl, few pixels": BoxCoordinates("pixel", PictureGrid(28, 3136, 50_176)),
    "qwen3_vl": box_coordinates("qwen3_vl", None),
    "gemma3": box_coordinates("gemma3", None),
    "unit": BoxCoordinates("unit"),
    "stored pixels": BoxCoordinates("pixel"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(row=rows())
def test_a_target_read_back_is_the_reference_within_half_a_written_unit(form, row):
    placed = form.place(row)
    target = build_target(placed, TEMPLATE)
    found = stored_boxes(target, placed)
    seen = (placed["model_width"] or row["width"], placed["model_height"] or row["height"])
    units = {"pixel": seen, "thousand": (1000, 1000), "unit": (1000, 1000)}[form.box_format]
    half = [0.5 * row[side] / unit + 0.011 for side, unit in zip(("width", "height"), units, strict=True)] * 2
    for ours, reference in zip(found, json.loads(row["boxes"]), strict=True):
        assert np.all(np.abs(np.array(ours["box"]) - reference["box"]) <= half)
        assert ours["label"] == reference["label"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(row=rows())
def test_a_target_earns_what_rounding_leaves_of_the_rewards(form, row):
    placed = form.place(row)
    columns = row_columns([placed])
    target = build_target(placed, TEMPLATE)
    seen = min(placed["model_width"] or row["width"], placed["model_height"] or row["height"], 1000)
    # An edge of at least 20 stored pixels moves by half a written unit on either side.
    shortest = 20 * seen / max(row["width"], row["height"])
    if shortest > 8:
        assert box_f1([target], **columns) == [1.0]
        assert box_iou([target], **columns)[0] > 1 - 4 / shortest


def test_rows_of_different_forms_are_scored_in_one_batch():
    stored = detection_row(200, 100, [[20, 10, 100, 90]])
    forms = [
        BoxCoordinates("thousand"),
        BoxCoordinates("pixel", PictureGrid(28, 3136, 12_544)),
        BoxCoordinates("unit"),
    ]
    placed = [form.place(stored) for form in forms]
    assert [(one["model_width"], one["model_height"]) for one in placed] == [
        (None, None),
        (140, 56),
        (None, None),
    ]
    targets = [build_target(one, TEMPLATE) for one in placed]
    # 20 of 200 px is 100 of 1000, 14 of 140 px, .1 of the width
    assert '"bbox_2d": [100, 100, 500, 900]' in targets[0]
    assert '"bbox_2d": [14, 6, 70, 50]' in targets[1]
    assert '"bbox_2d": [0.1, 0.1, 0.5, 0.9]' in targets[2]
    assert box_f1(targets, **row_columns(placed)) == [1.0, 1.0, 1.0]
    crossed = box_f1([targets[1], targets[2], targets[0]], **row_columns(placed))
    assert crossed == [0.0, 0.0, 0.0]
    detection = evaluate_predictions(Predictions(placed, targets), tags=TEMPLATE.tags).document["detection"]
    assert (detection["map_50"]["value"], detection["map"]["value"]) == (1.0, pytest.approx(1.0))


@settings(deadline=None)  # the first call imports transformers
@given(width=SIDES, height=SIDES)
def test_the_grid_is_the_size_that_the_processor_makes(width, height):
    for patch in (14, 16):
        processor = qwen_processor(patch)
        grid = box_coordinates("anything", processor, "pixel").grid
        patches = processor.image_processor.get_number_of_image_patches(height, width, {})
        across, down = grid.size(width, height)
        assert across * down == patches * patch**2
        assert (across % (2 * patch), down % (2 * patch)) == (0, 0)


def test_each_family_writes_as_it_was_trained():
    assert family_box_format("qwen2_5_vl") == "pixel"
    for name in ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "internvl", "gemma3", "llava"):
        assert family_box_format(name) == "thousand"


def test_pixels_are_refused_where_the_model_sees_tiles():
    from transformers import GotOcr2ImageProcessor

    tiles = SimpleNamespace(image_processor=GotOcr2ImageProcessor(size={"height": 448, "width": 448}))
    with pytest.raises(UsageError, match="do not suit internvl") as caught:
        box_coordinates("internvl", tiles, "pixel")
    assert caught.value.hint == "--box-format thousand (train: --set data.box_format=thousand)"


def test_the_form_is_recorded_and_read_back():
    for form in FORMS.values():
        assert recorded_coordinates(json.loads(json.dumps(form.to_dict()))) == form
    assert recorded_coordinates({"max_pixels": 1}) is None


@pytest.mark.parametrize(
    ("form", "words"),
    [("pixel", "pixels of the image"), ("thousand", "from 0 to 1000"), ("unit", "from 0 to 1 ")],
)
def test_the_prompt_says_what_the_numbers_are(form, words):
    placed = BoxCoordinates(form).place(detection_row(100, 100, [[1, 2, 30, 40]]))
    assert words in build_messages(placed, TEMPLATE)[-1]["content"][-1]["text"]
    assert "oordinates" not in build_messages(placed, TEMPLATES["structured"])[-1]["content"][-1]["text"]


def test_what_is_said_without_looking_is_the_median_box_and_not_the_answer():
    train = [
        detection_row(100, 200, [[10, 20, 30, 60]]),
        detection_row(200, 100, [[40, 20, 80, 40], [80, 40, 120, 60]]),
    ]
    # shares: left .1 .2 .4, top .1 .2 .4, right .3 .4 .6, bottom .3 .4 .6
    assert TypicalBox.of(train) == TypicalBox((0.2, 0.2, 0.4, 0.4), "lesion")
    asked = BoxCoordinates("thousand").place(detection_row(50, 50, [[0, 0, 50, 50]]))
    (said,) = constant_completions([asked], train, ("boxes",), "blind")
    assert stored_boxes(said, asked) == [{"box": [10.0, 10.0, 20.0, 20.0], "label": "lesion"}]
    assert TypicalBox.of([detection_row(10, 10, [])]) is None


def test_the_validation_s_blind_baseline_does_not_hold_the_answer():
    train = [detection_row(100, 100, [[10, 10, 30, 30]])]
    asked = BoxCoordinates("thousand").place(detection_row(100, 100, [[60, 60, 90, 90]]))
    assert box_iou(constant_completions([asked], train, TEMPLATE.tags, "blind"), **row_columns([asked])) == [
        0.0
    ]
