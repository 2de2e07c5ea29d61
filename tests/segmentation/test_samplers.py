"""The score-function identity: what a sampler says of its draws gives the gradient of the expected reward."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from medgrpo.errors import UsageError
from medgrpo.segmentation.samplers import (
    SAMPLERS,
    Cells,
    Independent,
    Segments,
    Smooth,
    Threshold,
    sampler_of,
)

LOGITS = torch.tensor([[0.3, -0.8, 1.2], [-0.2, 0.5, -1.5], [0.9, -0.4, 0.1]])
ALL = torch.tensor(list(itertools.product([False, True], repeat=9))).view(-1, 3, 3)


def reward(masks):
    """Neither linear nor symmetric: Dice with an L, and a bonus where the middle column is whole."""
    truth = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0]], dtype=torch.bool)
    hits = (masks & truth).flatten(1).sum(1)
    dice = 2 * hits / (masks.flatten(1).sum(1) + truth.sum())
    return dice + 0.3 * masks[:, :, 1].all(1) - 0.2 * masks[:, 0, 2]


def exact_given(noise, temperature):
    """Expected reward over all 512 masks, for each row of noise (n, 3, 3)."""
    chances = torch.sigmoid((LOGITS_LEAF + noise) / temperature)[:, None]
    likely = torch.where(ALL, chances, 1 - chances).flatten(2).prod(2)
    return (likely * reward(ALL)).sum(1)


LOGITS_LEAF = LOGITS.clone().requires_grad_()


def estimated(sampler, count, seed=0):
    logits = LOGITS.clone().requires_grad_()
    draw = sampler.draw(logits, count, torch.Generator().manual_seed(seed))
    earned = reward(draw.masks)
    score = sampler.log_prob(logits, draw).flatten(1).sum(1)
    ((earned - earned.mean()) * score).mean().backward()
    return logits.grad


def exact_gradient(noise, weights, temperature):
    LOGITS_LEAF.grad = None
    (exact_given(noise, temperature) * weights).sum().backward()
    return LOGITS_LEAF.grad


def logistic_quantiles(count, scale):
    middle = (torch.arange(count) + 0.5) / count
    return scale * torch.logit(middle)


def test_independent_coins_give_the_exact_gradient():
    exact = exact_gradient(torch.zeros(1, 3, 3), torch.ones(1), 1.0)
    torch.testing.assert_close(estimated(Independent(), 200_000), exact, atol=4e-3, rtol=0)


def test_a_threshold_drawn_for_all_gives_the_exact_gradient():
    noise = logistic_quantiles(2000, 1.0)[:, None, None].expand(-1, 3, 3)
    exact = exact_gradient(noise, torch.full((2000,), 1 / 2000), 0.3)
    torch.testing.assert_close(estimated(Threshold(), 400_000), exact, atol=1e-2, rtol=0)


def test_cells_give_the_exact_gradient():
    # Cells of 2 px on a 3 x 3 field: the grid begins at one of four places, with up to four cells.
    nodes = logistic_quantiles(9, 1.0)
    grids = []
    for top, left in itertools.product(range(2), repeat=2):
        rows, columns = (torch.arange(3) + top) // 2, (torch.arange(3) + left) // 2
        cell = rows[:, None] * 3 + columns
        found, number = torch.unique(cell, return_inverse=True)
        drawn = torch.tensor(list(itertools.product(nodes.tolist(), repeat=len(found))))
        grids.append(drawn[:, number])
    weights = torch.cat([torch.full((len(grid),), 0.25 / len(grid)) for grid in grids])
    exact = exact_gradient(torch.cat(grids), weights, 0.6)
    found = estimated(Cells((2,), temperature=0.6), 400_000)
    torch.testing.assert_close(found, exact, atol=2e-2, rtol=0)


def test_smooth_noise_gives_the_gradient_given_its_own_field():
    sampler = Smooth(2, scale=1.0, temperature=0.5)
    noise = sampler.noise(LOGITS, 4000, torch.Generator().manual_seed(1))
    exact = exact_gradient(noise, torch.full((4000,), 1 / 4000), 0.5)
    torch.testing.assert_close(estimated(sampler, 400_000), exact, atol=3e-2, rtol=0)


def test_segments_give_the_exact_gradient_of_what_they_may_decide():
    # One grid cell holds all: uncertain are the two top corners (apart) and the bottom row (together).
    logits = torch.tensor([[0.5, -9.0, -0.4], [-9.0, -9.0, -9.0], [0.2, 0.9, -0.3]])
    sampler = Segments(100)
    leaf = logits.clone().requires_grad_()
    parts = [([0], [0]), ([0], [2]), ([2, 2, 2], [0, 1, 2])]
    means = torch.stack([leaf[rows, columns].mean() for rows, columns in parts])
    total = 0.0
    for kept in itertools.product([False, True], repeat=3):
        mask = logits > 3
        for is_kept, (rows, columns) in zip(kept, parts, strict=True):
            mask[rows, columns] = is_kept
        signs = torch.tensor([1.0 if one else -1.0 for one in kept])
        total = total + torch.sigmoid(means * signs).prod() * reward(mask[None])[0]
    total.backward()
    guess = logits.clone().requires_grad_()
    draws = [sampler.draw(guess, 50_000, torch.Generator().manual_seed(seed)) for seed in range(2)]
    for draw in draws:
        # A grid laid across the picture would part the stretches: with side 100 few draws are.
        whole = (draw.units[:, 2, 0] == draw.units[:, 2, 1]) & (draw.units[:, 2, 1] == draw.units[:, 2, 2])
        earned = reward(draw.masks)
        score = sampler.log_prob(guess, draw).sum(1)
        ((earned - earned.mean()) * score * whole).sum().div(whole.sum() * 2).backward()
    torch.testing.assert_close(guess.grad, leaf.grad, atol=8e-3, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_log_probabilities_are_those_of_the_logits_that_drew(name):
    sampler = sampler_of(name)
    logits = torch.randn(24, 40, generator=torch.Generator().manual_seed(0)) * 3
    first = sampler.draw(logits, 3, torch.Generator().manual_seed(5))
    again = sampler.draw(logits, 3, torch.Generator().manual_seed(5))
    assert torch.equal(first.masks, again.masks)
    log_prob = sampler.log_prob(logits, first)
    assert log_prob.shape[0] == 3
    assert bool((log_prob <= 0).all())
    assert float(log_prob.exp().mean()) > 0.5  # coins show their likelier side more often


def test_cells_move_together_and_independent_pixels_do_not():
    logits = torch.zeros(64, 64)

    def changes(sampler):
        masks = sampler.draw(logits, 8, torch.Generator().manual_seed(0)).masks.float()
        return float((masks[:, :, 1:] - masks[:, :, :-1]).abs().mean())

    assert changes(Cells((8,))) < 0.75 * changes(Independent())


def test_an_unknown_sampler_is_named_with_its_neighbour():
    with pytest.raises(UsageError, match="celss"):
        sampler_of("celss")


def test_wrong_sizes_are_refused():
    for make in (lambda: Cells(()), lambda: Smooth(0), lambda: Segments(1), lambda: Threshold(0)):
        with pytest.raises(ValueError, match=r"expected|above 0"):
            make()


def test_a_segment_is_connected_and_stays_within_its_cell():
    logits = torch.full((20, 20), -9.0)
    logits[3, 2:9] = 0.0
    logits[12:15, 5] = 0.0
    draw = Segments(100).draw(logits, 1, torch.Generator().manual_seed(0))
    numbers = draw.units[0]
    assert set(np.unique(numbers[logits < -1])) == {-1}
    assert len(set(numbers[12:15, 5].tolist())) == 1
