"""What masks may look like when they come in: types, strides, sizes, threads, and what is refused."""

import numpy as np
import pytest

from medgrpo import _reward_core as core
from medgrpo.errors import UsageError
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
        # Their squares are 0 and infinite: distances were 0 and NaN.
        (lambda: masks.hausdorff95(BATCH, OTHER, spacing=(1e-170, 1)), "from 1e-100 to 1e100"),
        (lambda: masks.hausdorff95(BATCH, OTHER, spacing=(1, 1e170)), "from 1e-100 to 1e100"),
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


def test_tensors_of_every_kind_are_moved_once():
    torch = pytest.importorskip("torch")
    tensor = torch.as_tensor(BATCH)
    for given in (
        tensor,
        tensor.float().requires_grad_(),
        tensor.to(torch.bfloat16),
        tensor.to(torch.float16),
        tensor.double(),
        list(tensor.float()),
        tensor.float().to_sparse(),
        tensor.permute(0, 2, 1).contiguous().permute(0, 2, 1),
        (tensor.float() + 0).mul(1.0).requires_grad_() * 1.0,
    ):
        np.testing.assert_array_equal(values_of(given, OTHER), EXPECTED)
        np.testing.assert_array_equal(values_of(BATCH, list(OTHER) if given is tensor else OTHER), EXPECTED)
    np.testing.assert_array_equal(masks.skeletonize(tensor.to(torch.bfloat16)), masks.skeletonize(BATCH))


@pytest.mark.parametrize(
    ("side", "given", "kind"),
    [
        ("prediction", (one for one in BATCH), "generator"),
        ("reference", iter(list(BATCH)), "list_iterator"),
        ("prediction", None, "NoneType"),
        ("reference", {"mask": 1}, "dict"),
        ("prediction", "mask.png", "str"),
    ],
)
def test_what_is_no_array_is_refused_by_name(side, given, kind):
    both = {"prediction": BATCH, "reference": OTHER} | {side: given}
    with pytest.raises(TypeError, match=f"{side} is a {kind}"):
        masks.dice(both["prediction"], both["reference"])


def test_a_tensor_without_values_is_refused_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="reference is a Tensor on meta"):
        masks.dice(BATCH, torch.empty(BATCH.shape, device="meta"))
    with pytest.raises(TypeError, match="prediction 1 is a Tensor on meta"):
        masks.dice([BATCH[0], torch.empty(BATCH[0].shape, device="meta")], [OTHER[0], OTHER[1]])


def test_half_floats_and_turned_masks_keep_their_threshold():
    levels = np.linspace(0, 1, 7 * 37 * 70, dtype=np.float16).reshape(7, 37, 70)
    for threshold in (0.0, 0.3, 0.5, 0.75, 1.0, 7e4):
        wanted = (levels.astype(np.float64) > threshold).sum(axis=(1, 2))
        for view in (levels, np.asfortranarray(levels), levels.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
            found = masks.describe(view, ["area"], threshold=threshold)["area"]
            np.testing.assert_array_equal(found, wanted)
    odd = np.array([[[np.nan, np.inf, -np.inf, -1.0, 0.5, 0.5004883]]], dtype=np.float16)
    assert masks.describe(odd, ["area"])["area"][0] == 2


def test_an_unknown_direction_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="'pool'"):
        masks.hausdorff95(BATCH, OTHER, directions="pool")


def test_the_directions_of_the_hausdorff_distance_by_hand():
    # Outlines: prediction columns 0 and 9, reference column 0: distances 0 and 9 there, 0 back.
    prediction, reference = np.zeros((1, 1, 10), bool), np.zeros((1, 1, 10), bool)
    prediction[0, 0, [0, 9]] = reference[0, 0, 0] = True
    found = {name: masks.hausdorff95(prediction, reference, directions=name)[0] for name in masks.DIRECTIONS}
    assert found == pytest.approx(
        {"larger": 0.95 * 9, "pooled": 0.9 * 9, "to_reference": 0.95 * 9, "to_prediction": 0.0}
    )


def test_the_core_names_a_type_that_it_does_not_read():
    with pytest.raises(TypeError, match="masks of type int32: expected uint8, float32, float64"):
        core.measure_masks(np.zeros((1, 2, 2), np.int32), BATCH[:1, :2, :2].view(np.uint8), ["dice"])
    with pytest.raises(TypeError, match="masks of type bool"):
        core.measure_masks([BATCH[0]], [BATCH[0].view(np.uint8)], ["dice"])
