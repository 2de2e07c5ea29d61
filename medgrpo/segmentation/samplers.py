"""Masks drawn from a field of logits, each with the exact log-probability of what was drawn.

A sampler turns one logit per pixel into a policy over masks. It draws *actions* (one per unit: a pixel, a cell, a
segment) and the mask follows from them without further chance, so that

    ∇ E[R(mask)] = E[R(mask) Σ_units ∇ log π(action of the unit)]

holds for the parameters that the docstring of each sampler names. Units are drawn independently of each other; a
unit of many pixels moves them together, which is what makes a drawn mask look like a mask: single pixels drawn
alone are noise, thin vessels fall apart in it, and no topology can be judged.

Logits, draws and masks are (height, width) of one picture; a group of G masks is drawn at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medgrpo.errors import choice_error

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CERTAIN = 3.0
"""A logit beyond ±3 (probability .953) is certain: `segments` neither keeps nor drops such a pixel."""


@dataclass(frozen=True)
class Draw:
    """A group of masks and the actions that made them."""

    masks: Tensor
    """bool, (group, height, width)."""
    levels: tuple[Tensor, ...]
    """int64, (group, height, width) each: the unit of every pixel, -1 for none. Most samplers have one level."""
    units: int
    """Units of one mask; unit numbers are below it and no two levels share one."""
    actions: Tensor
    """(group, units): what was drawn, as the sampler keeps it."""
    weights: tuple[Tensor, ...] = field(default=())
    """(group, height, width) each, where a unit's location is a weighted mean of its pixels' logits: the weights,
    which sum to 1 in each unit. They are constants of the draw, not parameters."""


class MaskSampler(ABC):
    """A policy over masks, given logits."""

    name: str

    @abstractmethod
    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """A group of masks.

        Args:
            logits: (height, width), no gradient is taken.
            group: how many masks.
        """

    @abstractmethod
    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """Log-probability (or log-density) of every unit's action, (group, units), differentiable in the logits."""


class Independent(MaskSampler):
    """Every pixel is a coin of its own: P(on) = sigmoid(logit).

    log π = Σ_pixels logsigmoid(±logit), exact in every logit. Unbiased. The variance is the largest of all
    samplers: H·W coins share one reward, and a drawn mask is speckled along every vessel's border.
    """

    name = "independent"

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        shape = (group, *logits.shape)
        uniform = torch.rand(shape, generator=generator, device=logits.device)
        masks = uniform < torch.sigmoid(logits.float())
        units = torch.arange(logits.numel(), device=logits.device).view(logits.shape).expand(shape)
        return Draw(masks, (units,), logits.numel(), masks.flatten(1).float())

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """logsigmoid(logit) where the pixel is on, logsigmoid(-logit) where it is off."""
        from torch.nn.functional import logsigmoid

        flat = logits.float().flatten()
        return logsigmoid(flat * (2 * draw.actions - 1))


class Cells(MaskSampler):
    """One draw for each square cell: its logits move up or down together.

    The location of a cell is the mean of its logits weighted by p(1 - p), the pixels that can still change.
    Action a = location + scale·λ with λ logistic; a pixel is on where logit + a - location > 0. With scale 1 that is
    one uniform number per cell against which the probabilities of its pixels are held. The grid is laid anew for
    every mask, so that no border between cells stays where it is. Several sizes add up: a vessel's whole
    stretch moves with the coarse cells, its border with the fine ones.

    log π = Σ_cells log logistic((a - location) / scale) - log scale, exact and unbiased in the locations. What lies inside of a cell
    (the difference of its pixels to the location) is held fixed: its gradient is left out, and comes from the
    other places of the grid. Variance: 1 / (size²) of the coins of `Independent`.

    Args:
        sizes: sides of the cells in pixels, one level each.
        scale: of the logistic noise, in logits, shared by the levels (each gets scale / √levels).
    """

    name = "cells"

    def __init__(self, sizes: Sequence[int] = (8,), scale: float = 1.0) -> None:
        if not sizes or min(sizes) < 1 or scale <= 0:
            raise ValueError(f"cells of sizes {list(sizes)} and scale {scale}: expected sizes of 1 or more, a scale above 0")
        self.sizes, self.scale = tuple(sizes), scale / len(sizes) ** 0.5

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        logits = logits.detach().float()
        levels, first = [], 0
        for size in self.sizes:
            level, count = _grid(logits, size, group, generator)
            levels.append(level + first)
            first += count
        weights = tuple(_weights(logits, level, first) for level in levels)
        locations = _locations(logits, levels, weights, first)
        uniform = torch.rand(locations.shape, generator=generator, device=logits.device)
        noise = self.scale * torch.logit(uniform, eps=1e-7)
        shift = sum(noise.gather(1, level.flatten(1)).view(level.shape) for level in levels)
        return Draw(logits + shift > 0, tuple(levels), first, locations + noise, weights)

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """Logistic log-density of the actions around the cells' locations."""
        import math

        from torch.nn.functional import logsigmoid

        distance = (draw.actions - _locations(logits.float(), draw.levels, draw.weights, draw.units)) / self.scale
        return logsigmoid(distance) + logsigmoid(-distance) - math.log(self.scale)


class Smooth(MaskSampler):
    """Gaussian noise on a coarse lattice, bilinear between its nodes, added to the logits.

    Action a = location + scale·ε at each node, ε normal; the location is the mean of the logits near the node
    weighted by p(1 - p); a pixel is on where logit + interpolated (a - location) > 0.

    log π = Σ_nodes log normal(a; location, scale²), exact and unbiased in the locations; what lies between
    nodes is held fixed, as in `Cells`. No borders between cells, but a node's own share of a pixel blurs the credit.
    """

    name = "smooth"

    def __init__(self, size: int = 8, scale: float = 1.5) -> None:
        if size < 1 or scale <= 0:
            raise ValueError(f"smooth noise of size {size} and scale {scale}: expected 1 or more, and above 0")
        self.size, self.scale = size, scale

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch
        from torch.nn.functional import interpolate

        logits = logits.detach().float()
        height, width = logits.shape
        rows, columns = -(-height // self.size), -(-width // self.size)
        level, count = _grid(logits, self.size, group, None, is_shifted=False)
        weights = _weights(logits, level, count)
        locations = _locations(logits, [level], [weights], count)
        noise = self.scale * torch.randn(locations.shape, generator=generator, device=logits.device)
        field_of_nodes = noise.view(group, 1, rows, columns)
        large = interpolate(field_of_nodes, scale_factor=self.size, mode="bilinear", align_corners=False)
        return Draw(logits + large[:, 0, :height, :width] > 0, (level,), count, locations + noise, (weights,))

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """Normal log-density of the actions around the nodes' locations."""
        import math

        distance = draw.actions - _locations(logits.float(), draw.levels, draw.weights, draw.units)
        return -0.5 * (distance / self.scale) ** 2 - math.log(self.scale * math.sqrt(2 * math.pi))


class Segments(MaskSampler):
    """Keeps or drops connected stretches of uncertain pixels as a whole.

    Uncertain is |logit| < `CERTAIN`; the stretches are the 8-connected components of the uncertain pixels inside
    each cell of a grid laid anew for every mask. P(keep) = sigmoid(mean logit of the stretch); pixels that are certain are what they are.

    log π = Σ_stretches logsigmoid(±mean logit), exact and unbiased in the mean logits while the partition
    stands; that a pixel may become certain or join another stretch is left out (it happens in jumps, whose
    gradient is 0 almost everywhere). Few units, hence low variance: what is asked is "is this stretch a vessel?".
    """

    name = "segments"

    def __init__(self, size: int = 16, certain: float = CERTAIN) -> None:
        if size < 2 or certain <= 0:
            raise ValueError(f"segments of size {size}, certain from {certain}: expected 2 or more, and above 0")
        self.size, self.certain = size, certain

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        logits = logits.detach().float()
        uncertain = (logits.abs() < self.certain).expand(group, *logits.shape)
        cells, _ = _grid(logits, self.size, group, generator)
        level, count = _components(uncertain, cells)
        inside = level.clamp(min=0)
        size = torch.zeros(group, count, device=logits.device).scatter_add_(1, inside.flatten(1), uncertain.float().flatten(1))
        weights = uncertain / size.gather(1, inside.flatten(1)).view(level.shape).clamp(min=1)
        keep_logit = _locations(logits, [level], [weights], count)
        keep = torch.rand(keep_logit.shape, generator=generator, device=logits.device) < torch.sigmoid(keep_logit)
        kept = keep.gather(1, inside.flatten(1)).view(level.shape)
        masks = torch.where(uncertain, kept, (logits > 0).expand_as(kept))
        return Draw(masks, (level,), count, keep.float(), (weights,))

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """logsigmoid(±mean logit) of every stretch."""
        from torch.nn.functional import logsigmoid

        mean = _locations(logits.float(), draw.levels, draw.weights, draw.units)
        return logsigmoid(mean * (2 * draw.actions - 1))


class Threshold(MaskSampler):
    """One draw for the whole mask: where the probabilities are cut.

    `Cells` with a single cell: log π is one logistic log-density, exact and unbiased in the picture's location. The
    lowest variance, and nothing but the overall level can be learned from it.
    """

    name = "threshold"

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError(f"scale is {scale}: expected a number above 0")
        self.scale = scale

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        logits = logits.detach().float()
        level = torch.zeros((group, *logits.shape), dtype=torch.int64, device=logits.device)
        weights = _weights(logits, level, 1)
        location = _locations(logits, [level], [weights], 1)
        uniform = torch.rand(location.shape, generator=generator, device=logits.device)
        noise = self.scale * torch.logit(uniform, eps=1e-7)
        return Draw(logits + noise[:, :, None] > 0, (level,), 1, location + noise, (weights,))

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """Logistic log-density of the cut."""
        return Cells((1,), self.scale).log_prob(logits, draw)


def sampler_of(name: str, *, size: int | None = None, scale: float | None = None) -> MaskSampler:
    """A sampler by its name.

    Args:
        name: independent, cells, scales (cells of three sizes), smooth, segments, threshold.
        size: side of a cell in pixels, where the sampler has one; None: its own.
        scale: of the noise in logits, where the sampler has one; None: its own.
    Raises:
        UsageError: no such sampler.
    """
    noise = {} if scale is None else {"scale": scale}
    if name == "independent":
        return Independent()
    if name == "cells":
        return Cells((size or 8,), **noise)
    if name == "scales":
        smallest = size or 4
        return Cells((smallest, 4 * smallest, 16 * smallest), **noise)
    if name == "smooth":
        return Smooth(size or 8, **noise)
    if name == "segments":
        return Segments(size or 16)
    if name == "threshold":
        return Threshold(**noise)
    raise choice_error("mask sampler", name, SAMPLERS)


SAMPLERS = ("independent", "cells", "scales", "smooth", "segments", "threshold")


def _grid(
    logits: Tensor, size: int, group: int, generator: torch.Generator | None, *, is_shifted: bool = True
) -> tuple[Tensor, int]:
    """The cell of every pixel for each mask, (group, height, width), and their number.

    Each mask's grid begins at a place of its own if `is_shifted`.
    """
    import torch

    height, width = logits.shape
    device = logits.device
    rows = -(-height // size) + is_shifted
    columns = -(-width // size) + is_shifted
    offset = torch.zeros(2, group, dtype=torch.int64, device=device)
    if is_shifted:
        offset = torch.randint(0, size, (2, group), generator=generator, device=device)
    row = (torch.arange(height, device=device) + offset[0, :, None]) // size
    column = (torch.arange(width, device=device) + offset[1, :, None]) // size
    return row[:, :, None] * columns + column[:, None, :], rows * columns


def _weights(logits: Tensor, level: Tensor, units: int) -> Tensor:
    """p(1 - p) of every pixel, divided by its unit's sum."""
    import torch

    chance = torch.sigmoid(logits)
    spread = (chance * (1 - chance) + 1e-6).expand(level.shape).flatten(1)
    sums = torch.zeros(level.shape[0], units, device=logits.device).scatter_add_(1, level.flatten(1), spread)
    return (spread / sums.gather(1, level.flatten(1))).view(level.shape)


def _locations(logits: Tensor, levels: Sequence[Tensor], weights: Sequence[Tensor], units: int) -> Tensor:
    """Weighted mean of each unit's logits, (group, units)."""
    import torch

    group = levels[0].shape[0]
    sums = torch.zeros(group, units, device=logits.device)
    for level, weight in zip(levels, weights, strict=True):
        sums = sums.scatter_add(1, level.clamp(min=0).flatten(1), (logits * weight).flatten(1))
    return sums


def _components(inside: Tensor, cells: Tensor) -> tuple[Tensor, int]:
    """Numbers of the 8-connected components of `inside` within each cell, (group, height, width), -1 outside.

    The largest pixel number of a component spreads over it, one pixel further in each round.
    """
    import torch
    from torch.nn.functional import pad

    group, height, width = inside.shape
    number = torch.arange(1, height * width + 1, device=inside.device).view(height, width).expand(inside.shape)
    label = torch.where(inside, number, torch.zeros_like(number))
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    edge = pad(cells, (1, 1, 1, 1), value=-1)
    same = [edge[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] == cells for dy, dx in steps]
    while True:
        around = pad(label, (1, 1, 1, 1))
        spread = label
        for (dy, dx), is_same in zip(steps, same, strict=True):
            neighbour = around[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            spread = torch.maximum(spread, neighbour * is_same)
        spread = spread * inside
        if torch.equal(spread, label):
            break
        label = spread
    level, most = torch.full_like(label, -1), 1
    for index in range(group):
        found, numbers = torch.unique(label[index][inside[index]], return_inverse=True)
        level[index][inside[index]] = numbers
        most = max(most, len(found))
    return level, most
