"""Boxes: reading, IoU, one-to-one matching, average precision, and the rewards made of them."""

import itertools
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from medgrpo.errors import UsageError
from medgrpo.rewards import boxes
from medgrpo.rewards.boxes import (
    BoxMatches,
    assign,
    box_ap,
    box_count,
    box_f1,
    box_iou,
    from_model_boxes,
    iou_matrix,
    mean_average_precision,
    parse_boxes,
    to_model_boxes,
)

REFERENCE = [{"box": [0, 0, 10, 10], "label": "mass"}, {"box": [20, 0, 30, 10], "label": "cyst"}]


def written(found):
    return f"<think>…</think><boxes>{json.dumps(found)}</boxes>"


def one(reward, completion, reference=REFERENCE, **columns):
    return reward([completion], boxes=[reference], **{name: [value] for name, value in columns.items()})[0]


# -- the naive twins: written to be obviously right --


def naive_iou(a, b):
    """Counted over unit squares; corners must be whole numbers."""
    squares = [set(itertools.product(range(x1, x2), range(y1, y2))) for x1, y1, x2, y2 in (a, b)]
    union = len(squares[0] | squares[1])
    return len(squares[0] & squares[1]) / union if union else 0.0


def naive_ap(predicted, references, threshold):
    """COCO's average precision of one picture without labels: [(corners, score)] against [corners]."""
    free = list(references)
    hits = []
    for corners, _ in sorted(predicted, key=lambda box: -box[1]):
        best = max(free, key=lambda reference: naive_iou(corners, reference), default=None)
        hit = best is not None and naive_iou(corners, best) >= threshold
        hits.append(hit)
        if hit:
            free.remove(best)
    points = [(sum(hits[: n + 1]) / len(references), sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
    total = 0.0
    for step in range(101):
        total += max((precision for recall, precision in points if recall >= step / 100), default=0.0)
    return total / 101


corner_boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(st.lists(corner_boxes, max_size=4), st.lists(corner_boxes, max_size=4))
def test_iou_agrees_with_counting_squares(first, second):
    expected = np.array([[naive_iou(a, b) for b in second] for a in first]).reshape(len(first), len(second))
    np.testing.assert_allclose(iou_matrix(np.array(first), np.array(second)), expected, atol=1e-12)


gains = st.tuples(st.integers(0, 12), st.integers(0, 12)).flatmap(
    lambda shape: arrays.arrays(np.float64, shape, elements=st.floats(-1, 1))
)


@given(gains)
def test_the_matching_has_the_sum_of_scipys(matrix):
    rows, columns = assign(matrix)
    their_rows, their_columns = linear_sum_assignment(matrix, maximize=True)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(matrix.shape)
    assert matrix[rows, columns].sum() == pytest.approx(matrix[their_rows, their_columns].sum(), abs=1e-9)


def test_the_matching_is_scipys_where_it_is_unique():
    rng = np.random.default_rng(0)
    for _ in range(200):
        matrix = rng.random(rng.integers(1, 40, 2))
        np.testing.assert_array_equal(assign(matrix), linear_sum_assignment(matrix, maximize=True))


@given(st.lists(st.tuples(corner_boxes, st.floats(0, 1)), max_size=5, unique_by=lambda box: box[1]),
       st.lists(corner_boxes, min_size=1, max_size=4, unique=True))  # fmt: skip
def test_average_precision_agrees_with_the_definition(predicted, references):
    found = [{"box": corners, "score": score} for corners, score in predicted]
    expected = naive_ap(predicted, references, 0.5)
    assert one(box_ap, written(found), [list(box) for box in references]) == pytest.approx(expected, abs=1e-9)


def test_mean_average_precision_agrees_with_pycocotools():
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(1)
    labels = ["mass", "cyst", "node"]
    truth, found = coco.COCO(), []
    annotations, completions, references = [], [], []
    for image in range(30):
        boxes_here, predictions = [], []
        for _ in range(rng.integers(1, 5)):
            x, y = rng.integers(0, 60, 2)
            w, h = rng.integers(8, 40, 2)
            label = int(rng.integers(3))
            boxes_here.append({"box": [int(x), int(y), int(x + w), int(y + h)], "label": labels[label]})
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": label, "iscrowd": 0,
                 "bbox": [int(x), int(y), int(w), int(h)], "area": int(w * h)}
            )  # fmt: skip
            shift = rng.integers(-4, 5, 4)
            score = float(rng.random())
            moved = [float(v) for v in (x + shift[0], y + shift[1], x + w + shift[2], y + h + shift[3])]
            if rng.random() < 0.8:
                predictions.append({"box": moved, "label": labels[label], "score": score})
                found.append(
                    {"image_id": image, "category_id": label, "score": score,
                     "bbox": [moved[0], moved[1], moved[2] - moved[0], moved[3] - moved[1]]}
                )  # fmt: skip
        references.append(boxes_here)
        completions.append(written(predictions))
    truth.dataset = {
        "images": [{"id": image} for image in range(30)],
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(labels)],
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = mean_average_precision(completions, references)
    assert ours["map"] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert ours["map_50"] == pytest.approx(evaluation.stats[1], abs=1e-6)
    assert ours["map_75"] == pytest.approx(evaluation.stats[2], abs=1e-6)


# -- worked by hand --


def test_right_boxes_in_any_order_earn_everything():
    for reward in (box_iou, box_f1, box_ap, box_count):
        assert one(reward, written(REFERENCE[::-1])) == 1.0


def test_half_a_box_and_one_missing():
    found = [{"box": [0, 0, 10, 5], "label": "mass"}]
    assert one(box_iou, written(found)) == 0.25  # IoU 1/2 over two boxes
    assert one(box_f1, written(found)) == pytest.approx(2 / 3)  # 2·1 / (1 + 2)
    assert one(box_count, written(found)) == 0.5


def test_each_box_too_many_costs():
    twice = written(REFERENCE * 2)
    assert one(box_iou, twice) == 0.5
    assert one(box_f1, twice) == pytest.approx(2 / 3)  # 2·2 / (4 + 2)
    assert one(box_count, twice) == 0.5


def test_the_matching_takes_the_best_sum_not_the_nearest_pair():
    # greedy takes (second, first reference), IoU .9, and leaves nothing for the first
    references = [[0, 0, 10, 10], [9, 0, 19, 10]]
    found = [[0, 0, 10, 9], [1, 0, 11, 10]]
    matrix = iou_matrix(np.array(found), np.array(references))
    best = max(matrix[0, 0] + matrix[1, 1], matrix[0, 1] + matrix[1, 0])
    assert one(box_iou, written(found), references) == pytest.approx(best / 2)


def test_labels_must_agree_unless_told_otherwise():
    exchanged = [{**REFERENCE[0], "label": "cyst"}, {**REFERENCE[1], "label": "mass"}]
    assert one(box_f1, written(exchanged)) == 0.0
    assert box_f1([written(exchanged)], boxes=[REFERENCE], use_labels=False) == [1.0]
    assert one(box_f1, written([[0, 0, 10, 10]]), [{"box": [0, 0, 10, 10], "label": "Mass"}]) == 1.0


@pytest.mark.parametrize("bad", ["[10, 0, 0, 10]", "[0, 0, NaN, 10]", "[0, 0, 10]", "[5, 5, 5, 9]", '"left"'])
def test_a_bad_box_counts_and_matches_nothing(bad):
    completion = f'<boxes>[{{"box": [0,0,10,10], "label": "mass"}}, {{"box": {bad}}}]</boxes>'
    assert one(box_iou, completion, REFERENCE[:1]) == 0.5
    assert one(box_count, completion, REFERENCE[:1]) == 0.5


def test_boxes_are_clipped_to_the_frame():
    reference = [{"box": [0, 0, 10, 10]}]
    assert one(box_iou, written([[-50, -50, 10, 10]]), reference, width=20, height=20) == 1.0
    assert one(box_iou, written([[-50, -50, 10, 10]]), reference) < 0.1
    assert one(box_iou, written([[30, 30, 40, 40]]), reference, width=20, height=20) == 0.0


def test_an_empty_list_is_an_answer_and_silence_is_none():
    assert one(box_iou, "<boxes>[]</boxes>", []) == 1.0
    assert one(box_iou, "<boxes></boxes>", []) == 0.0
    assert one(box_iou, "", []) == 0.0
    assert one(box_iou, "<boxes>[]</boxes>") == 0.0


def test_rows_without_references_are_not_judged():
    assert box_iou(["[]", "[]"], boxes=[None, math.nan]) == [None, None]
    assert box_iou(["[]"]) == [None]
    assert box_iou([], boxes=[]) == []


def test_the_boxes_stand_in_their_tag_or_after_the_thinking():
    box = "[0, 0, 10, 10]"
    reference = [[0, 0, 10, 10]]
    for completion in (
        box,
        f"<boxes>{box}</boxes>",
        f"<answer>{box}</answer>",
        f"<think>[1,2,3,4]</think>{box}",
    ):
        assert one(box_iou, completion, reference) == 1.0, completion
    for completion in (f"<boxes>{box}", f"<boxes>[1,2,3,4]</boxes><boxes>{box}</boxes>"):
        assert one(box_iou, completion, reference) == 0.0, completion


def test_references_are_lists_or_their_json():
    for reference in (
        json.dumps(REFERENCE),
        [[0, 0, 10, 10], [20, 0, 30, 10]],
        [{"bbox": [10, 10, 0, 0]}, [20, 0, 30, 10]],
    ):
        assert box_f1([written(REFERENCE)], boxes=[reference], use_labels=False) == [1.0]


def test_a_reference_that_is_no_box_names_the_row():
    with pytest.raises(ValueError, match="row 1"):
        box_iou(["[]", "[]"], boxes=[[], [{"box": [1, 2]}]])
    with pytest.raises(ValueError, match="boxes has 1 rows"):
        box_iou(["[]", "[]"], boxes=[[]])
    with pytest.raises(ValueError, match="needs the columns width and height"):
        box_iou(["[]"], boxes=[[]], box_format="thousand")


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        iou_matrix(np.zeros((2, 3)), np.zeros((1, 4)))


@pytest.mark.parametrize(
    ("box_format", "found"), [("thousand", [0, 0, 100, 50]), ("unit", [0, 0, 0.1, 0.05])]
)
def test_relative_coordinates_are_scaled_to_the_stored_picture(box_format, found):
    columns = {"width": [100], "height": [200], "box_format": box_format}
    assert box_iou([written([found])], boxes=[[[0, 0, 10, 10]]], **columns) == [1.0]


def test_pixels_of_the_resized_picture_are_scaled_to_the_stored_one():
    columns = {"width": [100], "height": [100], "model_width": [56], "model_height": [28]}
    assert box_iou([written([[0, 0, 28, 28]])], boxes=[[[0, 0, 50, 100]]], **columns) == [1.0]


@given(st.lists(corner_boxes, min_size=1), st.sampled_from(["pixel", "thousand", "unit"]))
def test_boxes_survive_the_way_to_the_model_and_back(found, box_format):
    stored, seen = (512, 384), (504, 364)
    there = to_model_boxes(np.array(found), box_format, stored, seen)
    np.testing.assert_allclose(from_model_boxes(there, box_format, stored, seen), found, atol=1e-9)
    if box_format == "pixel":  # rounding, as models write it, moves an edge by at most half a model pixel
        back = from_model_boxes(np.round(there), box_format, stored, seen)
        assert np.abs(back - found).max() <= 0.5 * 384 / 364 + 1e-9


def test_an_unknown_box_format_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="'pixels'"):
        box_iou(["[]"], boxes=[[]], width=[1], height=[1], box_format="pixels")


def test_mean_average_precision_without_references_is_not_a_number():
    assert math.isnan(mean_average_precision(["[]"], [[]])["map"])
    assert math.isnan(mean_average_precision([], [])["map"])


def test_parsed_boxes_carry_label_and_score():
    assert parse_boxes('[{"box": [1, 2, 3, 4], "label": "Mass", "score": 0.5}]') == [
        boxes.Box((1.0, 2.0, 3.0, 4.0), "mass", 0.5)
    ]
    assert parse_boxes("none seen") is None
    assert parse_boxes("\ud800[1,2,3,4]") is not None


@given(st.text())
def test_any_text_gets_a_score(text):
    for reward in (box_iou, box_f1, box_ap, box_count):
        value = one(reward, text)
        assert 0.0 <= value <= 1.0


def test_a_large_batch_is_scored_in_the_same_order_on_any_number_of_threads():
    completions = [written(REFERENCE[: row % 3]) for row in range(2000)]
    assert box_count(completions, boxes=[REFERENCE] * 2000) == [0.0, 0.5, 1.0] * 666 + [0.0, 0.5]


@pytest.mark.parametrize("reward", [box_iou, box_f1, box_ap, box_count])
def test_the_rewards_can_be_pickled(reward):
    assert one(pickle.loads(pickle.dumps(reward)), written(REFERENCE)) == 1.0


# -- BoxMatches; tests/peers compares it with pycocotools --


def square(x, side=10):
    return [x, 0, x + side, side]


def test_crowds_ignored_references_and_areas_by_hand():
    # One square found, a crowd around two more detections, an ignored one found: only the first counts.
    found = [{"boxes": [square(0), square(101, 4), square(106, 4), square(300)], "scores": [0.5, 0.9, 0.8, 0.7], "labels": [1] * 4}]  # fmt: skip
    truth = [{"boxes": [square(0), square(100, 20), square(300)], "labels": [1] * 3, "iscrowd": [0, 1, 0], "ignore": [0, 0, 1]}]  # fmt: skip
    summary = BoxMatches.of_boxes(found, truth).summary()
    assert summary["map"] == summary["map_small"] == summary["mar_100"] == 1.0
    assert math.isnan(summary["map_large"])
    # Without the crowd's flag two of the three before the right one are wrong, and the crowd is missed.
    plain = [{**truth[0], "iscrowd": [0, 0, 0], "ignore": [0, 0, 0]}]
    assert BoxMatches.of_boxes(found, plain, thresholds=[0.5]).recall()[0, 0] == pytest.approx(2 / 3)


def test_references_in_rows_carry_crowds_and_ignored_boxes_which_rewards_do_not_see():
    boxes_here = [
        {"box": square(0), "label": "mass"},
        {"box": square(100, 20), "label": "mass", "iscrowd": 1},
        {"box": square(300), "label": "mass", "ignore": True},
    ]
    found = [{"box": square(x, side), "label": "mass"} for x, side in ((0, 10), (101, 4), (300, 10))]
    assert mean_average_precision([written(found)], [boxes_here])["map"] == 1.0
    assert box_iou([written(found[:1])], boxes=[boxes_here]) == [1.0]


def test_exchanged_corners_are_left_out_by_coco_and_wrong_for_a_reward():
    found = [
        {"box": [30, 0, 20, 10], "label": "mass", "score": 0.9},
        {"box": square(0), "label": "mass", "score": 0.5},
    ]
    truth = [{"box": square(0), "label": "mass"}]
    assert mean_average_precision([written(found)], [truth])["map"] == 1.0
    assert box_ap([written(found)], boxes=[truth]) == [0.5]


def test_voc_takes_no_second_best_reference():
    # The second detection overlaps the taken square most: COCO gives it the other, VOC calls it wrong.
    found = [{"boxes": [square(0), square(1)], "scores": [0.9, 0.8], "labels": [1, 1]}]
    truth = [{"boxes": [square(0), square(4)], "labels": [1, 1]}]
    assert BoxMatches.of_boxes(found, truth, thresholds=[0.5]).recall()[0, 0] == 1.0
    voc = BoxMatches.of_boxes(found, truth, thresholds=[0.5], rules="voc")
    assert voc.recall()[0, 0] == voc.precision()[0, 0] == 0.5


@pytest.mark.parametrize("side", [100_000, 100_001, 250_000, 2**60])
def test_a_box_as_large_as_a_slide_counts_wherever_the_rules_are_not_cocos(side):
    """COCO counts no reference above 1e10 square pixels."""
    slide, third = [0, 0, side, side], [0, 0, side, side // 3]
    truth = [{"box": slide, "label": "tumour"}]
    assert box_ap([written([{"box": slide, "label": "tumour"}])], boxes=[truth]) == [1.0]
    assert box_ap([written([{"box": third, "label": "tumour"}])], boxes=[truth]) == [0.0]
    found = [{"boxes": [slide], "scores": [1.0], "labels": [1]}]
    given = [{"boxes": [slide], "labels": [1]}]
    voc = BoxMatches.of_boxes(found, given, rules="voc").summary()
    assert voc["map"] == voc["map_large"] == voc["mar_1"] == 1.0
    coco = BoxMatches.of_boxes(found, given).summary()
    assert coco["map"] == 1.0 if side == 100_000 else math.isnan(coco["map"])


def test_seven_of_twenty_found_read_thirty_five_points():
    truth = [{"boxes": [square(20 * n) for n in range(20)], "labels": [1] * 20}]
    found = [{"boxes": [square(20 * n) for n in range(7)], "scores": [1.0] * 7, "labels": [1] * 7}]
    assert BoxMatches.of_boxes(found, truth).means()["map_50"] == pytest.approx(35 / 101)


def test_pictures_left_out_are_read_as_if_they_were_not_there():
    rng = np.random.default_rng(0)
    corners = [np.round(rng.uniform(0, 50, (5, 2))) for _ in range(12)]
    truth = [{"boxes": np.hstack([c, c + 20]), "labels": rng.integers(0, 3, 5)} for c in corners]
    found = [
        {
            "boxes": one["boxes"] + rng.integers(-5, 6, (5, 4)),
            "scores": rng.random(5),
            "labels": one["labels"],
        }
        for one in truth
    ]
    kept = rng.random(12) < 0.6
    part = [[one for one, keep in zip(side, kept, strict=True) if keep] for side in (found, truth)]
    assert BoxMatches.of_boxes(found, truth).summary(kept=kept) == BoxMatches.of_boxes(*part).summary()
    with pytest.raises(ValueError, match="12 pictures"):
        BoxMatches.of_boxes(found, truth).means(kept=kept[:3])


def test_labels_keep_their_type_and_must_be_of_one():
    empty = {"boxes": [], "scores": [], "labels": []}
    one = {"boxes": [square(0)], "scores": [1.0], "labels": [7]}
    assert BoxMatches.of_boxes([empty, one], [empty, one]).labels == [7]
    with pytest.raises(ValueError, match="texts on one side"):
        BoxMatches.of_boxes([one], [{**one, "labels": ["mass"]}])
    with pytest.raises(ValueError, match="references of picture 0: 1 boxes but 2 labels"):
        BoxMatches.of_boxes([one], [{**one, "labels": [1, 2]}])
    with pytest.raises(TypeError, match="predictions of picture 0 is a generator"):
        BoxMatches.of_boxes([{**one, "boxes": (box for box in [square(0)])}], [one])


BOX = [[0, 0, 9, 9]]


@pytest.mark.parametrize(
    ("picture", "truth", "message"),
    [
        ({"labels": [None]}, {"labels": [None]}, "picture 0: a label is neither a number nor a text"),
        ({"labels": [b"a"]}, {"labels": ["a"]}, "a label is neither"),  # bytes equal no text
        ({"labels": [math.nan]}, {"labels": [math.nan]}, "a label is neither"),
        ({"labels": [1]}, {}, "labels are given on one side only"),
        ({"labels": [1], "scores": ["sure"]}, {"labels": [1]}, "scores of type <U4, expected numbers"),
        ({"labels": [1]}, {"labels": [1], "iscrowd": ["0"]}, "iscrowd of type <U1"),  # not false, but a text
        ({"labels": [1]}, {"labels": [1], "ignore": [math.nan]}, "ignore is NaN"),
        ({"labels": [1]}, {"labels": [1], "boxes": [[0, 0, math.inf, 9]]}, "references of picture 0: box 0 is"),
    ],
)  # fmt: skip
def test_what_no_box_can_have_is_refused_by_its_picture(picture, truth, message):
    with pytest.raises(ValueError, match=message):
        BoxMatches.of_boxes([{"boxes": BOX} | picture], [{"boxes": BOX} | truth])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": [math.nan]}, "a threshold is nan"), ({"thresholds": [1.5]}, "a threshold is 1.5"),
        ({"max_detections": (0,)}, "whole numbers from 1"), ({"max_detections": (-1,)}, "whole numbers from 1"),
        ({"max_detections": (1.5,)}, "whole numbers from 1"),
    ],
)  # fmt: skip
def test_what_no_evaluation_can_be_asked_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BoxMatches.of_boxes([{"boxes": BOX}], [{"boxes": BOX}], **settings)


def test_labels_in_an_array_of_objects_and_one_range_of_areas_are_taken():
    objects = {"boxes": BOX, "labels": np.array(["mass"], dtype=object)}
    found = BoxMatches.of_boxes(
        [objects], [{"boxes": BOX, "labels": ["mass"]}], areas=("small",), max_detections=5
    )
    assert found.summary() == {"map_small": 1.0, "mar_small": 1.0}


def test_marks_of_references_may_be_text():
    """VOC's XML and CSV hold "0" and "1"."""

    def counted(**marks):
        found = BoxMatches.of_completions([written([])], [[{"box": BOX[0], **marks}]], use_labels=False)
        return int(found.references().sum())

    assert [counted(difficult=mark) for mark in ("0", "false", "", None, 0, False)] == [1] * 6
    assert [counted(difficult=mark) for mark in ("1", "True", 1, True)] == [0] * 4
    with pytest.raises(ValueError, match="row 0: iscrowd of a box is 'maybe'"):
        counted(iscrowd="maybe")
    with pytest.raises(ValueError, match=r"row 0: .* not finite"):
        BoxMatches.of_completions([written([])], [[[0, 0, math.inf, 9]]])
