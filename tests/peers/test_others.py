"""Assignment beside scipy, token F1 beside torchmetrics' SQuAD, calibration beside torchmetrics."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from medgrpo.evaluation.calibration import brier_score, expected_calibration_error
from medgrpo.rewards import text
from medgrpo.rewards.boxes import assign, iou_matrix

WORDS = [
    "the", "a", "an", "The", "left", "Left", "lung", "lungs", "x-ray", "xray", "X-Ray", "3.5", "cm", "3.5cm", "no",
    "(T2)", "T2", "it's", "its", "…", "—", "结节", "左肺", "a/b", "ab", ",", ".", "U.S.", "us", "A", "an.", "²",
]  # fmt: skip


def test_assignments_have_the_sum_of_scipys():
    rng = np.random.default_rng(0)
    for _ in range(2500):
        shape = rng.integers(1, 30, 2) if rng.random() < 0.95 else rng.integers(50, 150, 2)
        gains = rng.random(shape)
        kind = rng.integers(4)
        if kind == 1:
            gains = np.round(gains * 3)  # ties
        elif kind == 2:
            gains = np.maximum(0, gains - 0.8)  # mostly nothing
        elif kind == 3:
            gains = (gains - 0.5) * 10.0 ** rng.integers(-6, 9)
        mine, its = assign(gains), linear_sum_assignment(gains, maximize=True)
        assert len(set(mine[0].tolist())) == len(set(mine[1].tolist())) == min(gains.shape)
        assert gains[mine].sum() == pytest.approx(gains[its].sum(), rel=1e-12, abs=1e-9)


def test_token_f1_is_torchmetrics_squad():
    squad = pytest.importorskip("torchmetrics.functional.text")
    rng = np.random.default_rng(0)
    for _ in range(1000):
        said, *wanted = (
            "".join(rng.choice(WORDS) + rng.choice([" ", " ", "", "  "]) for _ in range(rng.integers(1, 6)))
            for _ in range(2)
        )
        target = {
            "answers": {"answer_start": [0], "text": [wanted[0]]},
            "id": "1",
        }
        theirs = squad.squad({"prediction_text": said, "id": "1"}, target)["f1"] / 100
        ours = text.token_f1([said], answers=[wanted], plain=True)[0]
        assert ours == pytest.approx(float(theirs), abs=1e-6), (said, wanted)


def test_overlaps_are_torchvisions():
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = (
            np.concatenate([corner, corner + rng.integers(1, 20, corner.shape)], axis=1).astype(np.float64)
            for corner in (rng.integers(0, 40, (int(rng.integers(1, 9)), 2)) for _ in range(2))
        )
        theirs = ops.box_iou(torch.as_tensor(first), torch.as_tensor(second)).numpy()
        np.testing.assert_allclose(iou_matrix(first, second), theirs, atol=1e-12)


def test_ece_is_torchmetrics_away_from_the_edges_of_bins():
    """Its bins are closed on the left and its arithmetic is float32; within bins both agree."""
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(300):
        size, bins = int(rng.integers(1, 200)), int(rng.choice([5, 10, 15]))
        certain = (rng.integers(0, bins, size) + rng.uniform(0.05, 0.95, size)) / bins
        certain = 0.5 + certain / 2  # binary: the confidence of what was said
        place = certain * bins
        certain = np.where(np.abs(place - np.round(place)) < 0.02, certain - 0.03 / bins, certain)
        right = rng.integers(0, 2, size)
        theirs = classification.binary_calibration_error(
            torch.as_tensor(certain), torch.as_tensor(right), n_bins=bins, norm="l1"
        )
        assert expected_calibration_error(certain, right, bins) == pytest.approx(float(theirs), abs=2e-5)


def test_brier_score_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(200):
        certain, right = rng.random(30), rng.integers(0, 2, 30)
        assert brier_score(certain, right) == pytest.approx(
            metrics.brier_score_loss(right, certain, pos_label=1), abs=1e-12
        )
