"""Every function that takes arrays gives of any layout, order of bytes and type what it gives of the plain twin, or says why not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgrpo.rewards import masks
from medgrpo.rewards.box_precision import BoxMatches
from medgrpo.rewards.boxes import assign, from_model_boxes, iou_matrix, to_model_boxes
from medgrpo.rewards.mask_cheats import dilated


def _shifted(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    moved = memory[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


LAYOUTS = {
    "plain": lambda a: a,
    "backwards": lambda a: a[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "rows backwards": lambda a: a[..., ::-1, :].copy()[..., ::-1, :],
    "batch backwards": lambda a: a[::-1].copy()[::-1],
    "every other column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "every third row": lambda a: np.repeat(a, 3, axis=-2)[..., ::3, :],
    "part of more": lambda a: np.pad(a, 2)[tuple(slice(2, -2) for _ in range(a.ndim))],
    "fortran": np.asfortranarray,
    "turned": lambda a: a.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "turned backwards": lambda a: a.swapaxes(-1, -2)[..., ::-1, ::-1].copy()[..., ::-1, ::-1].swapaxes(-1, -2),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "not aligned": _shifted,
}  # fmt: skip
TYPES = ["?", "u1", "i1", "u2", ">u2", "i4", ">i4", "u8", ">i8", "f2", ">f2", "f4", ">f4", "f8", ">f8", "g"]


def in_type(mask, kind, rng):
    """The mask in a type, foreground of any value that is one: negative and huge labels, large floats, infinity."""
    dtype = np.dtype(kind)
    if dtype.kind == "b":
        return mask.copy()
    if dtype.kind == "f":
        high = rng.choice(np.array([0.501, 1.0, 255.0, 6e4, np.inf]), mask.shape)
        low = rng.choice(np.array([0.5, 0.0, -0.0, -7.0, -np.inf, np.nan]), mask.shape)
        return np.where(mask, high, low).astype(dtype)
    ends = np.iinfo(dtype)
    labels = np.array([1, ends.max, ends.max - 1, ends.min if ends.min else 2], dtype)
    return np.where(mask, rng.choice(labels, mask.shape), dtype.type(0)).astype(dtype)


def everything(prediction, reference):
    """All public figures of a pair of batches, as one list of arrays."""
    names = ["area", "components", "holes", "euler", "skeleton_length", "largest_share"]
    prepared = masks.Reference(reference)
    return [
        *masks.measure(prediction, reference, masks.MEASURES).values(),
        *masks.measure(prediction, prepared, masks.MEASURES).values(),
        *(function(prediction, reference) for function in (masks.dice, masks.iou, masks.recall, masks.precision)),
        *masks.describe(prediction, names).values(),
        np.asarray(masks.skeletonize(prediction)),
        prepared.area, prepared.betti, prepared.skeleton_length,
        np.asarray(masks.multi_objective(prediction, mask=reference), float),
        masks.dice(prediction, prediction, fov=reference),
    ]  # fmt: skip


SHAPES = st.tuples(st.integers(1, 3), st.integers(0, 21), st.integers(0, 140))


@settings(max_examples=60, deadline=None)
@given(
    SHAPES, st.sampled_from(TYPES), st.sampled_from(TYPES), st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(sorted(LAYOUTS)), st.integers(0, 2**32),
)  # fmt: skip
def test_masks_of_every_type_and_layout_are_their_plain_twins(shape, one, other, lies, leans, seed):
    rng = np.random.default_rng(seed)
    prediction, reference = (rng.random(shape) < rng.random() for _ in range(2))
    given_prediction = LAYOUTS[lies](in_type(prediction, one, rng))
    given_reference = LAYOUTS[leans](in_type(reference, other, rng))
    before = given_prediction.copy()
    found = everything(given_prediction, given_reference)
    for ours, wanted in zip(found, everything(prediction, reference), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    np.testing.assert_array_equal(given_prediction, before)
    each = [everything(list(given_prediction), list(given_reference))[0], found[0]]
    np.testing.assert_array_equal(*each)


@pytest.mark.parametrize("name", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"])
def test_tensors_of_every_type_and_layout_are_their_plain_twins(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    prediction, reference = (rng.random((3, 37, 70)) < 0.4 for _ in range(2))
    wanted = everything(prediction, reference)
    its = torch.as_tensor(reference).to(getattr(torch, name))
    plain = torch.as_tensor(prediction).to(getattr(torch, name))
    wide = torch.zeros((3, 37, 140), dtype=plain.dtype)
    wide[:, :, ::2] = plain
    views = [plain, wide[:, :, ::2], plain.mT.contiguous().mT, plain.flip(1).flip(1), plain[:, None][:, 0]]
    if plain.is_floating_point():
        views.append(plain.clone().requires_grad_())
    for view in views:
        for ours, right in zip(everything(view, its), wanted, strict=True):
            np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("threshold", [0, 0.5, 1, 127, 127.5, 255, 300, 65535, 2**53, 2**53 + 1, 2**62])
@pytest.mark.parametrize("kind", ["?", "u1", "i1", "u2", "i4", "i8", "u8", "f8"])
def test_a_threshold_is_exact_for_every_label_and_leaves_bool_alone(kind, threshold):
    dtype = np.dtype(kind)
    values = [
        0,
        1,
        126,
        127,
        128,
        254,
        255,
        256,
        300,
        301,
        65535,
        2**53,
        2**53 + 1,
        2**53 + 2,
        2**62,
        2**62 + 1,
        -1,
    ]
    if kind == "?":
        values, wanted = [False, True], 1
    else:
        if dtype.kind in "iu":
            values = [v for v in values if np.iinfo(dtype).min <= v <= np.iinfo(dtype).max]
        wanted = sum(int(np.array(v, dtype)) > threshold for v in values)
    grid = np.array(values, dtype).reshape(1, 1, -1)
    assert masks.describe(grid, "area", threshold=threshold)["area"][0] == wanted
    assert masks.describe([grid[0]], "area", threshold=threshold)["area"][0] == wanted


FOUR = np.array([[[True, False], [False, True]]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: masks.dice(np.array(1), FOUR), ValueError, r"prediction has shape \(\): expected \(batch"),
        (lambda: masks.dice([np.array(1)], FOUR), ValueError, r"prediction 0 has shape \(\): expected \(height"),
        (lambda: masks.dice([[[1, 0], [1]]], FOUR), ValueError, "prediction 0 .* rows of one length"),
        (lambda: masks.dice(FOUR, np.ma.array(FOUR, mask=FOUR)), TypeError, "reference is a masked array"),
        (lambda: masks.dice(FOUR.astype(object), FOUR), TypeError, "prediction is of type object"),
        (lambda: masks.dice(FOUR, FOUR, threshold="127"), TypeError, "threshold is '127'"),
        (lambda: masks.dice(FOUR * 255, FOUR, fov=FOUR.astype("u1"), threshold=127), ValueError, "field of view 0 holds"),
        (lambda: masks.skeletonize(FOUR, out=np.zeros((1, 2, 4), bool)[:, :, ::2]), ValueError, "not C-contiguous"),
        (lambda: masks.skeletonize(FOUR, out=LAYOUTS["read-only"](FOUR)), ValueError, "out is read-only"),
        (lambda: masks.skeletonize(FOUR, out=FOUR), ValueError, "out shares memory"),
        (lambda: masks.skeletonize(list(FOUR), out=np.zeros((1, 2, 2), bool)), ValueError, "not with a list"),
        (lambda: assign(np.ones(3)), ValueError, r"gains has shape \(3,\)"),
        (lambda: assign(np.eye(2, dtype=complex)), TypeError, "gains is of type complex128"),
        (lambda: assign([["a"]]), TypeError, "gains is of type <U1"),
        (lambda: iou_matrix([0, 0, 1, 1], [[0, 0, 1, 1]]), ValueError, r"predicted has shape \(4,\)"),
        (lambda: iou_matrix([[0, 0, 1, 1]], [[0, 0, 1]]), ValueError, r"references has shape \(1, 3\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("lies", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", ["u1", ">i4", "f2", ">f4", "f8", ">f8", "g"])
def test_boxes_and_gains_of_every_type_and_layout_are_their_plain_twins(kind, lies):
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 90, (12, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 60, (12, 2))], axis=1).astype(np.float64)
    made = LAYOUTS[lies](boxes.astype(kind))
    np.testing.assert_array_equal(iou_matrix(made, made[3:]), iou_matrix(boxes, boxes[3:]))
    for function in (to_model_boxes, from_model_boxes):
        np.testing.assert_array_equal(
            function(made, "thousand", (640.0, 480.0)), function(boxes, "thousand", (640.0, 480.0))
        )
    for gains in (boxes, boxes.T, boxes[:1], boxes[:, :1]):
        np.testing.assert_array_equal(assign(LAYOUTS[lies](gains.astype(kind))), assign(gains))
    truth = {"boxes": boxes[::2], "labels": np.arange(6)}
    told = [
        BoxMatches.of_boxes(
            [{"boxes": given, "labels": np.repeat(np.arange(6), 2), "scores": np.linspace(0, 1, 12)}], [truth]
        ).summary()
        for given in (made, boxes)
    ]
    np.testing.assert_equal(*told)


def test_cheats_and_dilation_read_any_layout():
    rng = np.random.default_rng(1)
    mask = rng.random((1, 40, 70)) < 0.2
    for name, lie in LAYOUTS.items():
        np.testing.assert_array_equal(dilated(lie(mask)[0]), dilated(mask[0]), err_msg=name)
