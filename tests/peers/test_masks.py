"""Masks beside scikit-image, scipy, MONAI and torchmetrics, on generated masks."""

import numpy as np
import pytest
from scipy import ndimage

from medgrpo.rewards import masks

morphology = pytest.importorskip("skimage.morphology")
measure = pytest.importorskip("skimage.measure")

CASES = 3000
EIGHT = np.ones((3, 3))


def mask(rng):
    """Noise of any density, blobs, lines or a few pixels; up to 80 × 150."""
    height, width = (int(rng.integers(1, 40)), int(rng.integers(1, 80)))
    if rng.random() < 0.1:
        height, width = 2 * height, 150
    kind = rng.integers(4)
    if kind == 0:
        return rng.random((height, width)) < rng.random()
    if kind == 1:
        return ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0.7, 4)) > 0
    found = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(0, 6))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if kind == 2:
            found[y : y + int(rng.integers(1, 9)), x : x + int(rng.integers(1, 30))] = True
        else:
            found[y, x] = True
    return found


def pairs(seed, count=CASES):
    """Masks, and what might be predicted for them: moved, with noise, other, or nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        one = mask(rng)
        other = np.roll(one, rng.integers(-3, 4, 2), axis=(0, 1)) ^ (rng.random(one.shape) < 0.02)
        if rng.random() < 0.2:
            other = rng.random(one.shape) < rng.random()
        made.append((one, other & (rng.random() > 0.05)))
    return made


@pytest.fixture(scope="module")
def cases():
    return pairs(1)


def test_skeletons_are_scikit_images(cases):
    for found, (one, _) in zip(masks.skeletonize([one for one, _ in cases]), cases, strict=True):
        np.testing.assert_array_equal(found, morphology.skeletonize(one))


def test_components_holes_and_euler_numbers_are_scikit_images_and_scipys(cases):
    batch = [one for one, _ in cases]
    betti, euler = masks.betti(batch), masks.euler(batch)
    for row, one in enumerate(batch):
        padded = np.pad(one, 1)
        assert betti[row, 0] == ndimage.label(one, structure=EIGHT)[1]
        assert betti[row, 1] == ndimage.label(~padded)[1] - 1
        assert euler[row] == measure.euler_number(padded, connectivity=2)
        assert betti[row, 0] == measure.label(one, connectivity=2).max()


def outline(one):
    return one & ~ndimage.binary_erosion(one)


def scipy_distances(prediction, reference, spacing):
    """Directed distances by scipy's exact transform."""
    edges = outline(prediction), outline(reference)
    fields = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


def test_distances_are_those_of_scipys_exact_transform(cases):
    names = [*masks.DIRECTIONS.values(), "average_surface_distance"]
    for spacing in ((1.0, 1.0), (0.7, 2.3)):
        kept = [pair for pair in cases if pair[0].any() and pair[1].any()]
        kept = kept if spacing == (1.0, 1.0) else kept[::4]
        found = masks.measure([p for _, p in kept], [r for r, _ in kept], names, spacing=spacing)
        for row, (reference, prediction) in enumerate(kept):
            there, back = scipy_distances(prediction, reference, spacing)
            directed = np.percentile(there, 95), np.percentile(back, 95)
            wanted = [
                max(directed), np.percentile(np.hstack([there, back]), 95), *directed, np.hstack([there, back]).mean(),
            ]  # fmt: skip
            np.testing.assert_allclose([found[name][row] for name in names], wanted, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own
def test_hausdorff_and_dice_are_monais(cases):
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed: pip install 'medgrpo[test]'")
    torch = pytest.importorskip("torch")
    kept = [pair for pair in cases if pair[0].any() and pair[1].any() and min(pair[0].shape) > 2][:250]
    hausdorff = masks.hausdorff95([p for _, p in kept], [r for r, _ in kept])
    dice = masks.dice([p for _, p in kept], [r for r, _ in kept])
    average = masks.average_surface_distance([p for _, p in kept], [r for r, _ in kept])
    for row, (reference, prediction) in enumerate(kept):
        tensors = [torch.as_tensor(one[None, None].astype(np.float32)) for one in (prediction, reference)]
        # MONAI cuts to the masks' box and pads by a pixel: outlines at the border of the picture stay.
        theirs = monai.compute_hausdorff_distance(*tensors, include_background=True, percentile=95)
        assert hausdorff[row] == pytest.approx(float(theirs), abs=1e-5)
        assert dice[row] == pytest.approx(float(monai.compute_dice(*tensors)), abs=1e-6)
        there, back = scipy_distances(prediction, reference, (1, 1))
        one_way = monai.compute_average_surface_distance(*tensors, include_background=True)
        assert float(one_way) == pytest.approx(there.mean(), abs=1e-4)
        if row < 40:
            both = monai.compute_average_surface_distance(*tensors, include_background=True, symmetric=True)
            assert average[row] == pytest.approx(float(both), abs=1e-4)
        assert average[row] == pytest.approx((there.sum() + back.sum()) / (len(there) + len(back)), abs=1e-9)


def test_overlap_is_torchmetrics(cases):
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    kept = [pair for pair in cases if pair[0].any() and pair[1].any()][:300]
    found = masks.measure([p for _, p in kept], [r for r, _ in kept], ["dice", "iou", "recall", "precision"])
    peers = {
        "dice": classification.binary_f1_score, "iou": classification.binary_jaccard_index,
        "recall": classification.binary_recall, "precision": classification.binary_precision,
    }  # fmt: skip
    for row, (reference, prediction) in enumerate(kept):
        tensors = [torch.as_tensor(one.astype(int)) for one in (prediction, reference)]
        for name, peer in peers.items():
            assert found[name][row] == pytest.approx(float(peer(*tensors)), abs=1e-6), name


def test_cldice_is_its_formula_over_scikit_images_skeletons(cases):
    kept = [pair for pair in cases if (pair[0] & pair[1]).any()][:1500]
    found = masks.cldice([p for _, p in kept], [r for r, _ in kept])
    for row, (reference, prediction) in enumerate(kept):
        thin_r, thin_p = morphology.skeletonize(reference), morphology.skeletonize(prediction)
        precision, recall = (
            (thin_p & reference).sum() / thin_p.sum(),
            (thin_r & prediction).sum() / thin_r.sum(),
        )
        wanted = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert found[row] == pytest.approx(wanted, abs=1e-12)
