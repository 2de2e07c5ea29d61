"""Mask code against scikit-image, scipy and cc3d, on random masks and on all real vessel masks."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from medgrpo import _reward_core as core
from medgrpo.rewards import masks
from tests.reference_masks import directed_distances, outline
from tests.vessels import coloured, prediction_sets

EIGHT = np.ones((3, 3))
LEVELS = ["portable", "sse2", "avx2", "avx512"]


@pytest.fixture(params=LEVELS)
def instruction_set(request):
    before = core.instruction_set()
    if core.set_instruction_set(request.param) != request.param:
        core.set_instruction_set(before)
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    core.set_instruction_set(before)


def random_mask(random: np.random.Generator) -> np.ndarray:
    """Noise of any density, or smooth blobs of any size, 1 to 149 pixels a side."""
    height, width = random.integers(1, 150, 2)
    noise = random.random((height, width))
    if random.random() < 0.5:
        return noise < random.random()
    smooth = ndimage.gaussian_filter(noise, random.uniform(0.5, 6))
    return smooth > np.quantile(smooth, random.random())


def assert_equal_to_libraries(batch: list[np.ndarray]) -> None:
    skeletons, betti = masks.skeletonize(batch), masks.betti(batch)
    lengths = masks.describe(batch, ["skeleton_length"])["skeleton_length"]
    for mask, skeleton, (components, holes), length in zip(batch, skeletons, betti, lengths, strict=True):
        expected = skeletonize(mask)
        np.testing.assert_array_equal(skeleton, expected)
        assert length == expected.sum()
        assert components == ndimage.label(mask, EIGHT)[1]
        assert holes == ndimage.label(~np.pad(mask, 1))[1] - 1
        assert components - holes == euler_number(mask, connectivity=2)


def test_random_masks_equal_scikit_image_and_scipy(instruction_set):
    random = np.random.default_rng(LEVELS.index(instruction_set))
    assert_equal_to_libraries([random_mask(random) for _ in range(400)])


@pytest.mark.slow
def test_twenty_thousand_random_masks_equal_scikit_image_and_scipy(instruction_set):
    random = np.random.default_rng(100 + LEVELS.index(instruction_set))
    assert_equal_to_libraries([random_mask(random) for _ in range(5_000)])


def test_components_equal_cc3d():
    cc3d = pytest.importorskip("cc3d", reason="connected-components-3d is not installed")
    random = np.random.default_rng(5)
    batch = [random_mask(random) for _ in range(200)]
    expected = [int(cc3d.connected_components(mask.astype(np.uint8), connectivity=8).max()) for mask in batch]
    np.testing.assert_array_equal(masks.components(batch), expected)


def test_the_largest_share_equals_scipys(instruction_set):
    random = np.random.default_rng(6)
    batch = [random_mask(random) for _ in range(200)]

    def share(mask):
        sizes = np.bincount(ndimage.label(mask, EIGHT)[0].ravel())[1:]
        return sizes.max() / sizes.sum() if sizes.size else 1.0

    np.testing.assert_allclose(masks.largest_share(batch), [share(mask) for mask in batch])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_distances_equal_their_naive_twin(spacing):
    random = np.random.default_rng(7)
    for _ in range(60):
        shape = random.integers(1, 24, 2)
        prediction, reference = random.random((2, *shape)) < random.random((2, 1, 1))
        ends = outline(prediction), outline(reference)
        values = masks.measure(
            [prediction], [reference], ["hausdorff95", "average_surface_distance"], spacing=spacing
        )
        if not ends[0] or not ends[1]:
            diagonal = np.hypot(shape[0] * spacing[0], shape[1] * spacing[1])
            expected = [0.0, 0.0] if ends[0] == ends[1] else [diagonal, diagonal]
        else:
            there = directed_distances(*ends, spacing)
            back = directed_distances(*ends[::-1], spacing)
            expected = [max(np.percentile(there, 95), np.percentile(back, 95)), np.mean(there + back)]
        np.testing.assert_allclose(
            [values["hausdorff95"][0], values["average_surface_distance"][0]], expected
        )


def cldice_recipe(prediction, reference):
    """The authors' code (github.com/jocpae/clDice, cldice_metric), which is NaN for empty masks."""

    def cl_score(volume, skeleton):
        return np.sum(volume * skeleton) / np.sum(skeleton)

    tprec = cl_score(prediction, skeletonize(reference))
    tsens = cl_score(reference, skeletonize(prediction))
    return 2 * tprec * tsens / (tprec + tsens)


MEAN_DICE = {
    "LadderNet": 0.8115,
    "A/V network": 0.7901,
    "second observer on DRIVE": 0.7843,
    "U-Net on STARE": 0.7284,
    "SGL on CHASE_DB1": 0.8554,
    "second observer on CHASE_DB1": 0.7634,
}


@pytest.mark.parametrize("name", MEAN_DICE)
def test_mean_dice_of_real_predictions_is_as_published_with_the_data(shared_data, name):
    pairs = prediction_sets(shared_data)[name]
    values = masks.dice([p for p, _ in pairs], [r for _, r in pairs], threshold=127)
    assert values.mean() == pytest.approx(MEAN_DICE[name], abs=0.001)


def test_cldice_of_real_predictions_equals_the_authors_recipe_to_the_last_bit(shared_data):
    pairs = [pair for folder in prediction_sets(shared_data).values() for pair in folder]
    pairs = [(p > 127, r > 127) for p, r in pairs if (p > 127).any()]
    values = masks.cldice([p for p, _ in pairs], [r for _, r in pairs])
    np.testing.assert_array_equal(values, [cldice_recipe(p, r) for p, r in pairs])


@pytest.mark.slow
def test_all_real_vessel_masks_equal_scikit_image_and_scipy(shared_data, instruction_set):
    pairs = [pair for folder in prediction_sets(shared_data).values() for pair in folder]
    batch = [picture > 127 for pair in pairs for picture in pair]
    if instruction_set == "avx512":  # 3504×2336 pixels: once is enough
        batch += [coloured(path) > 0 for path in sorted((shared_data / "vessels/hrf/manual_av").iterdir())]
    assert_equal_to_libraries(batch)
