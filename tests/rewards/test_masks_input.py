"""What masks may look like when they come in: types, strides, sizes, threads, and what is refused."""

import numpy as np
import pytest

from medgrpo.rewards import masks

RANDOM = np.random.default_rng(0)
BATCH = RANDOM.random((5, 37, 70)) < 0.4
OTHER = RANDOM.random((5, 37, 70)) < 0.4


def values_of(prediction, reference, **options):
    return np.stack(list(masks.measure(prediction, reference, masks.MEASURES, **options).values()))


EXPECTED = values_of(BATCH, OTHER)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "i8", "f2", "f4", "f8", ">f4", ">i2"])
def test_every_number_type_means_the_same_mask(dtype):
    np.testing.assert_array_equal(values_of(BATCH.astype(dtype), OTHER), EXPECTED)


def test_bytes_of_0_and_255_are_the_same_as_0_and_1():
    np.testing.assert_array_equal(values_of(BATCH * np.uint8(255), OTHER), EXPECTED)


def test_a_threshold_separates_probabilities_and_grey_values_and_leaves_bool_alone():
    grey = np.where(BATCH, 128, 127).astype(np.uint8)
    np.testing.assert_array_equal(values_of(grey, OTHER, threshold=127), EXPECTED)
    np.testing.assert_array_equal(values_of(grey.astype(np.int32), OTHER, threshold=127), EXPECTED)
    probability = np.where(BATCH, 0.31, 0.3)
    np.testing.assert_array_equal(values_of(probability, OTHER, threshold=0.3), EXPECTED)


def test_not_a_number_is_background():
    assert masks.describe(np.full((1, 3, 70), np.nan), ["area"])["area"][0] == 0


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
        lambda a: a[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        lambda a: np.pad(a, 3)[3:-3, 3:-3, 3:-3],
    ],
    ids=["fortran", "every other column", "backwards", "inside a larger array"],
)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_strided_arrays_give_the_same_values(view, dtype):
    np.testing.assert_array_equal(values_of(view(BATCH.astype(dtype)), view(OTHER.astype(dtype))), EXPECTED)


def test_read_only_arrays_are_read():
    frozen = BATCH.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(values_of(frozen, OTHER), EXPECTED)
    np.testing.assert_array_equal(masks.skeletonize(frozen), masks.skeletonize(BATCH))


def test_masks_are_never_written_to():
    before = BATCH.copy()
    masks.skeletonize(BATCH)
    values_of(BATCH, BATCH)
    np.testing.assert_array_equal(BATCH, before)


def test_a_list_may_hold_masks_of_different_sizes_and_types():
    mixed = [BATCH[0], OTHER[1, :5, :9].astype(np.float32), np.zeros((1, 1), np.uint8)]
    np.testing.assert_array_equal(masks.dice(mixed, mixed), [1, 1, 1])
    assert [skeleton.shape for skeleton in masks.skeletonize(mixed)] == [(37, 70), (5, 9), (1, 1)]


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 0), (3, 0, 5), (3, 5, 0), (1, 1, 1)])
def test_empty_batches_and_empty_masks_have_values(shape):
    nothing = np.zeros(shape, bool)
    np.testing.assert_array_equal(masks.dice(nothing, nothing), np.ones(shape[0]))
    assert masks.skeletonize(nothing).shape == shape
    np.testing.assert_array_equal(masks.betti(nothing), np.zeros((shape[0], 2)))


def test_a_prepared_reference_serves_groups_of_predictions():
    reference = masks.Reference(OTHER)
    grouped = np.repeat(BATCH, 3, axis=0)
    np.testing.assert_array_equal(values_of(grouped, reference), np.repeat(EXPECTED, 3, axis=1))
    np.testing.assert_array_equal(values_of(grouped, OTHER), np.repeat(EXPECTED, 3, axis=1))
    np.testing.assert_array_equal(reference.area, OTHER.sum((1, 2)))
    np.testing.assert_array_equal(reference.betti, masks.betti(OTHER))
    np.testing.assert_array_equal(reference.skeleton_length, masks.skeletonize(OTHER).sum((1, 2)))


def test_what_lies_outside_the_field_of_view_does_not_count():
    fov = np.zeros((37, 70), bool)
    fov[5:30, 10:66] = True
    expected = values_of(BATCH & fov, OTHER & fov)
    np.testing.assert_array_equal(values_of(BATCH, OTHER, fov=fov), expected)
    np.testing.assert_array_equal(values_of(BATCH, masks.Reference(OTHER, fov=fov)), expected)
    # A threshold for grey values leaves a bool field of view alone.
    grey = BATCH * np.uint8(200), OTHER * np.uint8(200)
    np.testing.assert_array_equal(values_of(*grey, fov=fov, threshold=127), expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    batch = RANDOM.random((33, 90, 130)) < 0.5
    alone, skeletons = values_of(batch, batch[::-1]), masks.skeletonize(batch)
    masks.set_num_threads(threads)
    try:
        assert masks.num_threads() == threads
        np.testing.assert_array_equal(values_of(batch, batch[::-1]), alone)
        np.testing.assert_array_equal(masks.skeletonize(batch), skeletons)
    finally:
        masks.set_num_threads(0)


def test_skeletons_can_be_written_to_an_array_used_before():
    out = np.ones(BATCH.shape, bool)
    assert masks.skeletonize(BATCH, out=out) is out
    np.testing.assert_array_equal(out, masks.skeletonize(BATCH))


@pytest.mark.slow
def test_a_mask_of_16_384_pixels_a_side_is_measured():
    side = 1 << 14
    grid = np.zeros((1, side, side), np.uint8)
    for start in range(0, side, 512):  # lines five pixels thick: 32 × 32 crossings
        grid[0, start : start + 5] = 1
        grid[0, :, start : start + 5] = 1
    np.testing.assert_array_equal(masks.betti(grid), [[1, 31 * 31]])
    assert masks.cldice(grid, grid)[0] == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: masks.dice(BATCH, OTHER[:, :, :-1]), r"mask 0: .* 37×70 .* reference is 37×69"),
        (lambda: masks.dice(BATCH, OTHER[:3]), "5 predictions do not fit 3 references"),
        (lambda: masks.dice(BATCH, OTHER, fov=OTHER[0, :4]), "field of view is 4×70"),
        (lambda: masks.dice(BATCH[0], OTHER), r"prediction has shape \(37, 70\): expected \(batch"),
        (lambda: masks.dice([BATCH], [OTHER]), r"prediction 0 has shape .* expected \(height, width\)"),
        (lambda: masks.measure(BATCH, OTHER, ["dise"]), "no measure called 'dise'"),
        (lambda: masks.describe(BATCH, ["size"]), "no trait called 'size'"),
        (lambda: masks.dice(BATCH, OTHER, threshold=-1), "threshold is -1: expected a number ≥ 0"),
        (lambda: masks.hausdorff95(BATCH, OTHER, spacing=(0, 1)), "expected two lengths above 0"),
        (lambda: masks.skeletonize(BATCH, out=np.zeros((5, 37, 71), bool)), "out is bool"),
    ],
)
def test_a_wrong_call_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bad", [np.zeros((1, 2, 2), complex), np.full((1, 2, 2), "x")])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(TypeError, match="expected bool, an integer or a float type"):
        masks.dice(bad, np.zeros((1, 2, 2)))
