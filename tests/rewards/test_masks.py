"""Mask measures: worked by hand, at the edges, against naive twins and better known libraries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medgrpo.rewards import masks
from tests.reference_masks import betti_by_flood, dice_over_sets, pixels, share_over_sets

EMPTY, FULL = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
AGREEMENTS = ["dice", "iou", "recall", "precision", "cldice", "skeleton_precision", "skeleton_recall"]


def mask_pairs():
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
    return shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))


def test_overlap_worked_by_hand():
    prediction = np.array([[[1, 1, 0, 0], [1, 0, 0, 0]]], bool)  # 3 pixels
    reference = np.array([[[1, 1, 1, 0], [0, 0, 0, 1]]], bool)  # 4 pixels, 2 of them shared
    assert masks.dice(prediction, reference)[0] == 4 / 7
    assert masks.iou(prediction, reference)[0] == 2 / 5
    assert masks.recall(prediction, reference)[0] == 2 / 4
    assert masks.precision(prediction, reference)[0] == 2 / 3
    assert masks.measure(prediction, reference, ["area_ratio"])["area_ratio"][0] == 3 / 4


@pytest.mark.parametrize("name", AGREEMENTS)
def test_two_empty_masks_agree_and_one_empty_mask_does_not(name):
    def value(prediction, reference):
        return masks.measure(prediction, reference, [name])[name][0]

    assert value(EMPTY, EMPTY) == 1.0
    assert value(EMPTY, FULL) == 0.0
    assert value(FULL, EMPTY) == 0.0


def test_cldice_of_masks_that_never_meet_is_zero():
    left, right = np.zeros((2, 1, 8, 8), bool)
    left[0, :, 1], right[0, :, 6] = True, True
    assert masks.cldice(left, right)[0] == 0.0


def test_betti_numbers_of_a_ring_beside_a_dot():
    ring = np.zeros((1, 5, 7), bool)
    ring[0, :5, :5] = True
    ring[0, 2, 2] = False
    ring[0, 4, 6] = True
    np.testing.assert_array_equal(masks.betti(ring), [[2, 1]])
    np.testing.assert_array_equal(masks.components(ring), [2])
    np.testing.assert_array_equal(masks.euler(ring), [1])


def test_pixels_that_touch_at_a_corner_are_one_component_and_close_a_hole():
    diamond = np.array([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]], bool)
    np.testing.assert_array_equal(masks.betti(diamond), [[1, 1]])


@given(mask_pairs())
def test_overlap_agrees_with_the_definition_over_sets(pair):
    prediction, reference = pair
    assert masks.dice([prediction], [reference])[0] == pytest.approx(dice_over_sets(*pair))
    p, r = pixels(prediction), pixels(reference)
    assert masks.recall([prediction], [reference])[0] == pytest.approx(share_over_sets(p, r))
    assert masks.precision([prediction], [reference])[0] == pytest.approx(share_over_sets(r, p))


@settings(max_examples=200)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)))
def test_betti_numbers_agree_with_a_flood_fill(mask):
    assert tuple(masks.betti([mask])[0]) == betti_by_flood(mask)
