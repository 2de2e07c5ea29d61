"""Supervised losses of mask logits: the surrogates that the policy gradient is compared with, and its anchor.

All take logits and a reference of the same shape (batch, height, width), and a field of view or None; pixels outside of
it count for nothing. Each gives one number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def bce(logits: Tensor, reference: Tensor, fov: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over the pixels of the field of view."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    each = binary_cross_entropy_with_logits(logits.float(), reference.float(), reduction="none")
    return each.mean() if fov is None else (each * fov).sum() / fov.sum().clamp(min=1)


def soft_dice(logits: Tensor, reference: Tensor, fov: Tensor | None = None) -> Tensor:
    """1 - Dice of the probabilities, mean over the pictures. Source: Milletari et al. 2016, arXiv:1606.04797."""
    import torch

    chance = _inside(torch.sigmoid(logits.float()), fov)
    truth = _inside(reference.float(), fov)
    hits = (chance * truth).flatten(1).sum(1)
    total = chance.flatten(1).sum(1) + truth.flatten(1).sum(1)
    return 1 - ((2 * hits + 1) / (total + 1)).mean()


def soft_cldice(
    logits: Tensor, reference: Tensor, fov: Tensor | None = None, *, share: float = 0.5, rounds: int = 8
) -> Tensor:
    """(1 - share)·soft Dice + share·(1 - clDice of soft skeletons), mean over the pictures.

    Soft skeletons by repeated erosion (min-pooling) and what an opening takes away; `rounds` is at least the
    half-width of the widest vessel in pixels. Source: Shit et al. 2021, arXiv:2003.07311.
    """
    import torch

    chance = _inside(torch.sigmoid(logits.float()), fov)
    truth = _inside(reference.float(), fov)
    skeleton, its = soft_skeleton(chance, rounds), soft_skeleton(truth, rounds)
    precision = ((skeleton * truth).flatten(1).sum(1) + 1) / (skeleton.flatten(1).sum(1) + 1)
    recall = ((its * chance).flatten(1).sum(1) + 1) / (its.flatten(1).sum(1) + 1)
    loss = 1 - (2 * precision * recall / (precision + recall)).mean()
    return (1 - share) * soft_dice(logits, reference, fov) + share * loss


def soft_skeleton(chance: Tensor, rounds: int) -> Tensor:
    """Differentiable skeleton of probabilities, (batch, height, width)."""
    from torch.nn.functional import max_pool2d, relu

    def eroded(field: Tensor) -> Tensor:
        return -max_pool2d(-field, 3, 1, 1)

    field = chance[:, None]
    skeleton = relu(field - max_pool2d(eroded(field), 3, 1, 1))
    for _ in range(rounds):
        field = eroded(field)
        lost = relu(field - max_pool2d(eroded(field), 3, 1, 1))
        skeleton = skeleton + relu(lost - skeleton * lost)
    return skeleton[:, 0]


def _inside(field: Tensor, fov: Tensor | None) -> Tensor:
    return field if fov is None else field * fov
