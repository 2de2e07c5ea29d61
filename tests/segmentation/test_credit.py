"""Credit by pixel is the same gradient with less noise; sums of pixels give the reward core's measures."""

import numpy as np
import pytest
import torch

from medgrpo.rewards.masks import MaskReward, measure, multi_objective, multi_objective_guarded
from medgrpo.segmentation.credit import SUMS, Truth, judge, local_credit, measures_of_sums, whole_credit
from medgrpo.segmentation.samplers import Cells, Independent, Segments, Threshold


def truth_of(seed=0, side=40):
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), bool)
    for _ in range(4):
        row, column = rng.integers(2, side - 6, 2)
        mask[row : row + 3, 2 : side - 2] |= rng.random() < 0.7
        mask[2 : side - 2, column : column + 2] = True
    return mask


def group_of(truth, count=6, seed=0):
    return truth ^ (np.random.default_rng(seed).random((count, *truth.shape)) < 0.06)


@pytest.mark.parametrize("has_fov", [False, True])
def test_judging_by_sums_equals_the_reward_core(has_fov):
    mask = truth_of()
    fov = np.hypot(*np.mgrid[-20:20, -20:20]) < 17 if has_fov else None
    masks = group_of(mask)
    judged = judge(masks, Truth.of(mask, fov), multi_objective_guarded)
    names = ["dice", "recall", "precision", "cldice", "area_ratio", "length_agreement"]
    expected = measure(list(masks), [mask] * 6, names, fov=None if fov is None else [fov] * 6)
    for name in names:
        np.testing.assert_allclose(judged.measures[name], expected[name], err_msg=name)
    rewards = multi_objective_guarded(list(masks), mask=[mask] * 6, fov=None if fov is None else [fov] * 6)
    np.testing.assert_allclose(judged.rewards, rewards)


def test_empty_masks_are_judged_as_the_reward_core_judges_them():
    empty, some = np.zeros((9, 9), bool), np.pad(np.ones((3, 3), bool), 3)
    for truth in (empty, some):
        masks = np.stack([empty, some])
        judged = judge(masks, Truth.of(truth), multi_objective)
        np.testing.assert_allclose(judged.rewards, multi_objective(list(masks), mask=[truth] * 2))


def test_a_slope_is_what_one_pixel_more_changes():
    mask = truth_of()
    judged = judge(group_of(mask), Truth.of(mask), multi_objective)
    truth = Truth.of(mask)
    for row in range(len(SUMS)):
        more = judged.sums.copy()
        more[row] += 1
        changed = multi_objective.combine(
            measures_of_sums(dict(zip(SUMS, more, strict=True)), truth.area, truth.length)
        )
        np.testing.assert_allclose(changed - judged.rewards, judged.slopes[row], rtol=0.1, atol=1e-6)


def gradients(credit, draws=400, group=4):
    """Mean and spread of the gradient of the logits over many groups."""
    mask = truth_of(side=16)
    truth = Truth.of(mask)
    reward = MaskReward(
        dice=0.0, recall=1.0, topology=0.0, length=0.0, recall_target=1.0
    )  # linear in the pixels
    logits = torch.from_numpy(np.where(mask, 0.8, -1.0)).float().requires_grad_()
    found = []
    for seed in range(draws):
        draw = Independent().draw(logits, group, torch.Generator().manual_seed(seed))
        judged = judge(draw.masks.numpy(), truth, reward)
        log_prob = Independent().log_prob(logits, draw)
        if credit == "local":
            shared = local_credit(draw, judged, truth)
        else:
            # The mean with the mask itself in it shrinks the gradient by 1 - 1/G.
            centred = whole_credit(judged.rewards, is_scaled=False) * group / (group - 1)
            shared = torch.from_numpy(centred)[:, None, None]
        (gradient,) = torch.autograd.grad((shared * log_prob).flatten(1).sum(1).mean(), logits)
        found.append(gradient)
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.std(0).mean(), logits.detach(), truth


def test_local_credit_has_the_exact_gradient_and_far_less_noise():
    mean, noise, logits, truth = gradients("local")
    chance = torch.sigmoid(logits)
    exact = torch.from_numpy(truth.mask) * chance * (1 - chance) / truth.area  # of hits / area
    torch.testing.assert_close(mean, exact.float(), atol=4e-4, rtol=0)
    other, more_noise, *_ = gradients("whole")
    torch.testing.assert_close(other.float(), exact.float(), atol=1.5e-2, rtol=0)
    assert more_noise > 8 * noise


def test_credit_of_segments_is_the_sum_of_their_pixels():
    mask = truth_of()
    logits = torch.from_numpy(np.where(mask, 1.0, -4.0)).float()
    draw = Segments(8).draw(logits, 4, torch.Generator().manual_seed(0))
    judged = judge(draw.masks.numpy(), Truth.of(mask), multi_objective)
    credit = local_credit(draw, judged, Truth.of(mask))
    assert credit.shape == draw.keeps.shape
    assert bool(
        (credit[draw.keeps == 1] >= -1e-6).float().mean() > 0.9
    )  # they are vessels: keeping them pays


def test_outside_of_the_field_of_view_nothing_is_learned():
    mask = truth_of()
    fov = np.zeros_like(mask)
    fov[:, :20] = True
    logits = torch.zeros(mask.shape)
    draw = Cells((4,)).draw(logits, 4, torch.Generator().manual_seed(0))
    truth = Truth.of(mask, fov)
    judged = judge(draw.masks.numpy(), truth, multi_objective_guarded)
    assert not local_credit(draw, judged, truth)[:, :, 24:].any()


def test_a_group_of_one_cannot_be_compared():
    mask = truth_of()
    draw = Independent().draw(torch.zeros(mask.shape), 1)
    with pytest.raises(ValueError, match="two or more"):
        local_credit(draw, judge(draw.masks.numpy(), Truth.of(mask), multi_objective), Truth.of(mask))


def test_weighing_both_states_has_the_same_mean_and_still_less_noise():
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged, policy_loss

    mask = truth_of(side=16)
    truth = Truth.of(mask)
    reward = MaskReward(dice=0.0, recall=1.0, topology=0.0, length=0.0, recall_target=1.0)
    objective = MaskObjective(Independent(), reward, CompositeReward("simple_dice"), group=4)
    logits = torch.from_numpy(np.where(mask, 0.8, -1.0)).float().requires_grad_()
    found = []
    for seed in range(20):
        draw = draw_masks(objective, logits, torch.Generator().manual_seed(seed))
        group = drawn(objective, draw, logits, judged(objective, draw, truth), truth)
        loss, clipped = policy_loss(objective, group, logits)
        assert clipped == 0
        found.append(-torch.autograd.grad(loss, logits)[0])
    stacked = torch.stack(found)
    chance = torch.sigmoid(logits.detach())
    exact = torch.from_numpy(mask) * chance * (1 - chance) / truth.area
    torch.testing.assert_close(stacked.mean(0), exact.float(), atol=1e-6, rtol=0)
    assert float(stacked.std(0).max()) < 1e-6  # recall is linear: nothing is left to chance


def test_a_ratio_beyond_the_clip_range_has_no_gradient():
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged, policy_loss

    mask = truth_of(side=16)
    truth = Truth.of(mask)
    objective = MaskObjective(Cells((4,)), multi_objective, CompositeReward("multi_objective"), group=4)
    logits = torch.from_numpy(np.where(mask, 0.5, -0.5)).float()
    draw = draw_masks(objective, logits, torch.Generator().manual_seed(0))
    group = drawn(objective, draw, logits, judged(objective, draw, truth), truth)
    # Far in the direction that pays: every ratio that gains is beyond 1.2.
    moved = (logits + torch.from_numpy(np.where(mask, 3.0, -3.0))).float().requires_grad_()
    loss, clipped = policy_loss(objective, group, moved)
    assert clipped > 0.3
    before = torch.autograd.grad(loss, moved)[0].abs().sum()
    near = logits.clone().requires_grad_()
    assert before < 0.5 * torch.autograd.grad(policy_loss(objective, group, near)[0], near)[0].abs().sum()


def skeleton_gradients(draws=60, group=256):
    """Gradients of the skeleton's part by the logits over many groups on 3 x 3 pixels that the window sees whole, and the exact one."""
    import itertools

    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.masks import skeletonize
    from medgrpo.segmentation.credit import Judged
    from medgrpo.segmentation.objective import MaskObjective, drawn, policy_loss

    truth = Truth.of(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool))
    logits = torch.tensor([[0.3, -0.8, 1.2], [-0.2, 2.5, -1.5], [0.9, -0.4, 0.1]], requires_grad=True)
    sampler = Threshold(temperature=1.0)  # one number for the mask: its two halves are weighed exactly below
    sampler.noise = lambda logits, count, generator: torch.where(
        torch.rand((count, 1, 1), generator=generator) < 0.5, -2.0, 2.0
    ).expand(count, 3, 3)
    objective = MaskObjective(sampler, multi_objective, CompositeReward("simple_dice"), group, window=5)

    def earned(skeletons):  # skeleton on the truth earns 0.3 a pixel, beside it -0.2
        return (skeletons * np.where(truth.mask, 0.3, -0.2)).sum((1, 2))

    found = []
    for seed in range(draws):
        draw = sampler.draw(logits, group, torch.Generator().manual_seed(seed))
        skeletons = np.asarray(skeletonize(draw.masks.numpy()))
        slopes = np.zeros((5, group))
        slopes[3], slopes[4] = -0.2, 0.5
        rewards = earned(skeletons)
        judged = Judged(rewards, {}, np.zeros((5, group)), slopes, skeletons)
        drew = drawn(objective, draw, logits, (rewards, {}, judged), truth)
        loss, _ = policy_loss(objective, drew, logits)
        found.append(-torch.autograd.grad(loss, logits)[0])
    every = np.array(list(itertools.product([False, True], repeat=9))).reshape(-1, 3, 3)
    worth = torch.from_numpy(earned(np.asarray(skeletonize(every))))
    chance = torch.sigmoid(logits + torch.tensor([-2.0, 2.0])[:, None, None])[:, None]
    likely = torch.where(torch.from_numpy(every), chance, 1 - chance).flatten(2).prod(2)
    (exact,) = torch.autograd.grad((likely * worth).sum() / 2, logits)
    return torch.stack(found).mean(0), exact


def test_the_gradient_of_the_skeleton_is_exact_where_the_window_sees_all():
    mean, exact = skeleton_gradients()
    torch.testing.assert_close(mean, exact, atol=6e-3, rtol=0)
    assert float(exact.abs().max()) > 0.03


@pytest.mark.parametrize("sampler", [Cells((4,)), Independent()])
def test_a_group_that_is_used_once_has_the_gradient_of_its_ratios(sampler):
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged, policy_loss

    mask = truth_of()
    fov = np.hypot(*np.mgrid[-20:20, -20:20]) < 17
    truth = Truth.of(mask, fov)
    objective = MaskObjective(sampler, multi_objective_guarded, CompositeReward("simple_dice"), group=4)
    noise = torch.randn(mask.shape, generator=torch.Generator().manual_seed(1))
    logits = (torch.from_numpy(np.where(mask, 0.8, -1.0)).float() + noise).requires_grad_()
    draw = draw_masks(objective, logits, torch.Generator().manual_seed(0))
    earned = judged(objective, draw, truth)
    found = []
    for is_used_once in (True, False):
        group = drawn(objective, draw, logits, earned, truth, is_used_once=is_used_once)
        found.append(torch.autograd.grad(policy_loss(objective, group, logits)[0], logits)[0])
    torch.testing.assert_close(found[0], found[1], atol=1e-9, rtol=1e-4)
    assert float(found[0].abs().max()) > 1e-5


def test_counting_on_the_device_gives_the_same_judgement():
    from medgrpo.segmentation.credit import judge_on_device
    from medgrpo.segmentation.objective import to_host

    mask = truth_of()
    truth = Truth.of(mask, np.hypot(*np.mgrid[-20:20, -20:20]) < 17)
    masks = group_of(mask)
    here = judge(masks, truth, multi_objective_guarded)
    there = judge_on_device(torch.from_numpy(masks), truth, multi_objective_guarded, to_host)
    for name in ("rewards", "sums", "slopes"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    np.testing.assert_array_equal(here.skeletons, there.skeletons.numpy())


@pytest.mark.filterwarnings("error")
def test_arrays_that_cannot_be_written_to_are_no_cause_for_warnings():
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.segmentation.examples import Example
    from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged
    from medgrpo.training.trainers.masks import supervised

    truth = Truth.of(truth_of(side=16), np.ones((16, 16), bool))
    for array in (truth.mask, truth.skeleton, truth.fov):
        array.setflags(write=False)
    objective = MaskObjective(Cells((4,)), multi_objective_guarded, CompositeReward("simple_dice"), group=2)
    logits = torch.zeros(16, 16)
    draw = draw_masks(objective, logits, torch.Generator().manual_seed(0))
    drawn(objective, draw, logits, judged(objective, draw, truth), truth)
    supervised("bce_dice", logits, Example("", np.zeros((16, 16, 3), np.uint8), truth))
