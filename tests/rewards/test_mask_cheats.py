"""Mask cheats, and what they earn from raw and guarded rewards."""

import numpy as np
import pytest
from scipy import ndimage

from medgrpo.errors import UsageError
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.mask_cheats import MASK_CHEATS, audit_masks, dilated


def vessels():
    """Two pictures with branching lines of 3 and 5 px."""
    masks = np.zeros((2, 96, 96), dtype=bool)
    masks[0, 40:43, 5:90] = masks[0, 10:80, 50:53] = True
    masks[1, 20:25, 5:90] = masks[1, 20:90, 30:35] = True
    return list(masks)


def means(weights, **options):
    report = audit_masks(vessels(), CompositeReward(weights), **options)
    return report, {cheat.name: cheat.mean for cheat in report.cheats}


def test_dilation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    mask = rng.random((40, 30)) < 0.02
    np.testing.assert_array_equal(dilated(mask, 2), ndimage.binary_dilation(mask, np.ones((5, 5))))


def test_the_truth_earns_everything_and_nothing_earns_nothing():
    report, cheats = means("multi_objective")
    assert report.honest == pytest.approx(1.0)
    assert cheats["all_off"] == 0.0
    assert set(cheats) == set(MASK_CHEATS)


def test_recall_alone_pays_for_every_pixel_and_the_guard_takes_it_away():
    raw, guarded = means("recall_focused")[1], means("recall_focused_guarded")[1]
    assert raw["all_on"] > 0.7
    assert guarded["all_on"] < 0.2
    assert guarded["dilated"] < raw["dilated"]


def test_the_guard_lowers_the_best_cheat_of_the_sum():
    raw, guarded = means("multi_objective")[0], means("multi_objective_guarded")[0]
    assert guarded.best.mean < raw.best.mean


def test_honest_masks_are_scored_on_the_same_pictures():
    masks = vessels()
    report = audit_masks(masks, CompositeReward("simple_dice"), predictions=[masks[0], None])
    assert report.honest == pytest.approx(0.5)  # one perfect, one failed
    assert report.honest_source == "completions"


def test_pictures_of_different_sizes_are_audited():
    masks = [vessels()[0], vessels()[1][:50, :60]]
    assert audit_masks(masks, CompositeReward("simple_dice")).honest == pytest.approx(1.0)


def test_no_masks_cannot_be_audited():
    with pytest.raises(UsageError, match="no masks"):
        audit_masks([], CompositeReward("simple_dice"))
