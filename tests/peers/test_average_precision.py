"""Average precision beside pycocotools, faster-coco-eval and torchmetrics, on generated datasets."""

import contextlib
import io

import numpy as np
import pytest

from medgrpo.rewards.box_precision import AREA_RANGES, BoxMatches
from tests.peers.coco_files import coco_dataset

coco = pytest.importorskip("pycocotools.coco")
from pycocotools.cocoeval import COCOeval  # noqa: E402

FIGURES = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
"""COCO's twelve, in its order."""


def dataset(seed):
    """(predictions, references) of a few pictures, with crowds, equal scores, areas on the borders, bad boxes."""
    rng = np.random.default_rng(seed)
    labels, side = int(rng.integers(1, 5)), float(rng.choice([20, 60, 200]))
    crowds, bad = rng.choice([0.0, 0.1, 0.4]), rng.choice([0.0, 0.0, 0.1])
    whole = rng.random() < 0.7  # whole coordinates, where overlaps hit thresholds exactly
    predictions, references = [], []
    for _ in range(rng.integers(1, 9)):
        count = int(rng.integers(0, 8))
        corner = rng.uniform(0, side, (count, 2))
        size = rng.uniform(1, side, (count, 2))
        if rng.random() < 0.2:
            size[:] = rng.choice([32.0, 96.0])
        truth = np.concatenate([corner, corner + size], axis=1)
        crowd = rng.random(count) < crowds
        copies = rng.integers(0, 4) if rng.random() < 0.95 else 40  # sometimes more than 100
        found = np.repeat(truth, copies, axis=0) + rng.normal(
            0, 0.1 * side * rng.random(), (count * copies, 4)
        )
        found = np.concatenate([found, rng.uniform(0, side, (int(rng.integers(0, 4)), 4))])
        if whole:
            truth, found = np.round(truth), np.round(found)
        found[:, 2:] = np.where(
            rng.random((len(found), 2)) < bad, found[:, 2:], np.maximum(found[:, 2:], found[:, :2] + 1)
        )
        scores = rng.random(len(found))
        if rng.random() < 0.5:
            scores = np.round(scores, 1)
        truth_labels = rng.integers(0, labels, count)
        found_labels = np.concatenate(
            [np.repeat(truth_labels, copies), rng.integers(0, labels + 1, len(found) - count * copies)]
        )
        area = (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])
        if rng.random() < 0.3:
            area = area * rng.uniform(0.5, 1.0, count)  # as of a segmentation
        order = rng.permutation(len(found))
        predictions.append({"boxes": found[order], "scores": scores[order], "labels": found_labels[order]})
        references.append({"boxes": truth, "labels": truth_labels, "iscrowd": crowd, "area": area})
    return predictions, references


def pycocotools_evaluation(predictions, references):
    """The evaluation after `summarize`, or None where pycocotools takes no dataset so empty."""
    truth = coco.COCO()
    truth.dataset, found = coco_dataset(predictions, references)
    if not found or not truth.dataset["annotations"]:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal(ours, theirs, message):
    theirs = np.where(np.asarray(theirs) < 0, np.nan, theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=0, err_msg=message)


def test_coco_figures_of_2000_datasets_are_those_of_pycocotools():
    compared = 0
    for seed in range(2060):
        predictions, references = dataset(seed)
        evaluation = pycocotools_evaluation(predictions, references)
        if evaluation is None:
            continue
        matches = BoxMatches.of_boxes(predictions, references)
        ours = matches.summary()
        assert_equal([ours[name] for name in FIGURES], evaluation.stats, f"dataset {seed}")
        precision = evaluation.eval["precision"][:, :, :, 0, 2].mean(axis=1)  # thresholds × labels
        assert_equal(matches.precision(), precision, f"dataset {seed}, by label")
        assert_equal(matches.recall(), evaluation.eval["recall"][:, :, 0, 2], f"dataset {seed}, by label")
        compared += 1
    assert compared >= 2000


def test_references_turned_round_and_scores_of_minus_zero_are_judged_as_in_pycocotools():
    """A reference with one pair of edges exchanged has an area below 0: nobody finds it, and it does not count."""
    compared = 0
    for seed in range(5000, 5120):
        predictions, references = dataset(seed)
        rng = np.random.default_rng(seed)
        for one, truth in zip(predictions, references, strict=True):
            turned = rng.random(len(truth["boxes"])) < 0.3
            truth["boxes"][turned] = truth["boxes"][turned][:, [2, 1, 0, 3]]
            truth["area"] = np.where(turned, -truth["area"], truth["area"])
            one["scores"] = rng.choice([0.5, 0.0, -0.0], len(one["scores"]))
        evaluation = pycocotools_evaluation(predictions, references)
        if evaluation is None:
            continue
        without_area = [{k: v for k, v in one.items() if k != "area"} for one in references]
        for given in (references, without_area):
            if given is without_area:
                evaluation = pycocotools_evaluation(predictions, given)
            ours = BoxMatches.of_boxes(predictions, given).summary()
            assert_equal([ours[name] for name in FIGURES], evaluation.stats, f"dataset {seed}")
        compared += 1
    assert compared > 100


def test_a_score_that_is_no_number_is_refused_by_its_picture():
    box = {"boxes": [[0, 0, 9, 9]], "labels": [1]}
    with pytest.raises(ValueError, match="predictions of picture 1: a score is NaN"):
        BoxMatches.of_boxes([box | {"scores": [0.5]}, box | {"scores": [np.nan]}], [box, box])


def test_every_point_is_the_whole_area_under_the_curve():
    """Against the curve of pycocotools read at its own recalls: the VOC area, where nothing is taken twice."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 12))
        corners = np.arange(count)[:, None] * np.array([40.0, 0.0, 40.0, 0.0]) + np.array([0, 0, 20, 20])
        right = rng.random(count) < 0.7
        wrong = rng.uniform(1000, 2000, (int(rng.integers(0, 6)), 1)) + np.array([0, 0, 20, 20])
        found = np.concatenate([corners[right], wrong])
        scores = rng.permutation(len(found)) / max(1, len(found))
        matches = BoxMatches.of_boxes(
            [{"boxes": found, "scores": scores, "labels": np.zeros(len(found))}],
            [{"boxes": corners, "labels": np.zeros(count)}], thresholds=[0.5], rules="voc",
        )  # fmt: skip
        hits = np.concatenate([np.ones(right.sum()), np.zeros(len(wrong))])[np.argsort(-scores)]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        assert matches.precision()[0, 0] == pytest.approx((envelope * hits).sum() / count, abs=1e-12)


def test_torchmetrics_gives_the_same_figures():
    detection = pytest.importorskip("torchmetrics.detection")
    torch = pytest.importorskip("torch")
    for seed in range(3000, 3040):
        predictions, references = dataset(seed)
        if not sum(len(one["boxes"]) for one in references):
            continue
        metric = detection.MeanAveragePrecision(  # its own default thresholds are rounded to float32
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(), rec_thresholds=np.linspace(0, 1, 101).tolist()
        )
        metric.warn_on_many_detections = False
        # float32 boxes: whole coordinates stay exact
        whole = [{**one, "boxes": np.round(one["boxes"])} for one in predictions]
        truth = [{**one, "boxes": np.round(one["boxes"])} for one in references]
        metric.update(
            [{name: torch.as_tensor(value) for name, value in one.items()} for one in whole],
            [
                {"boxes": torch.as_tensor(one["boxes"]), "labels": torch.as_tensor(one["labels"]),
                 "iscrowd": torch.as_tensor(one["iscrowd"].astype(int)), "area": torch.as_tensor(one["area"])}
                for one in truth
            ],
        )  # fmt: skip
        theirs = metric.compute()
        ours = BoxMatches.of_boxes(whole, truth).summary()
        for name in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100"):
            wanted = float(theirs[name])
            assert ours[name] == pytest.approx(wanted, abs=1e-6) or (np.isnan(ours[name]) and wanted == -1), (
                seed
            )


def test_faster_coco_eval_gives_the_same_figures():
    faster = pytest.importorskip("faster_coco_eval")
    for seed in range(4000, 4060):
        predictions, references = dataset(seed)
        truth, found = coco_dataset(predictions, references)
        if not found or not truth["annotations"]:
            continue
        theirs = faster.COCO(truth)
        evaluation = faster.COCOeval_faster(theirs, theirs.loadRes(found), "bbox")
        evaluation.run()
        ours = BoxMatches.of_boxes(predictions, references).summary()
        assert_equal([ours[name] for name in FIGURES], evaluation.stats[:12], f"dataset {seed}")


def test_areas_are_cocos():
    assert AREA_RANGES["small"] == (0, 1024)
    assert AREA_RANGES["medium"] == (1024, 9216)
