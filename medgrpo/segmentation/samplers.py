"""Masks drawn from a field of logits, each with the exact log-probability of what was drawn.

A sampler turns one logit per pixel into a policy over masks, so that

    ∇ E[R(mask)] = E[R(mask) · Σ ∇ log π(mask | noise)]

holds exactly for the logits that its docstring names. `noise` is drawn first and does not depend on the model: given it,
every pixel (or segment) is a coin of its own with a known probability. What the noise does is to move many pixels
together. Coins alone make speckle: a thin vessel falls apart in it, and no skeleton of it means anything. With shared noise and sharp
coins a drawn mask is what the model would answer at another threshold in each place, and looks like a mask.

Logits, noise and masks are (height, width) of one picture; a group of G masks is drawn at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medgrpo.errors import choice_error

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CERTAIN = 3.0
"""A logit beyond ±3 (probability .953) is certain: `segments` neither keeps nor drops such a pixel."""
SHARPNESS = 0.5
"""Temperature of the coins under shared noise: probabilities between .05 and .95 within ±1.5 of the threshold."""


@dataclass(frozen=True)
class Draw:
    """A group of masks, and what is needed to say how likely they were."""

    masks: Tensor
    """bool, (group, height, width)."""
    shift: Tensor | None = None
    """float, (group, height, width): the noise added to the logits; None: none."""
    units: Tensor | None = None
    """int64, (group, height, width): the segment of every pixel, -1 for none; None: every pixel is a unit."""
    keeps: Tensor | None = None
    """float, (group, segments): 1 where a segment was kept."""
    weights: Tensor | None = None
    """float, (group, height, width): share of a pixel in its segment's mean logit."""


class MaskSampler(ABC):
    """A policy over masks, given logits."""

    name: str

    @abstractmethod
    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """A group of masks.

        Args:
            logits: (height, width); no gradient is taken.
            group: how many masks.
        """

    @abstractmethod
    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """Log-probability of every unit's state given the noise, differentiable in the logits.

        Returns:
            (group, height, width) where pixels are the units, (group, segments) where segments are.
        """


class Coins(MaskSampler):
    """Every pixel is a coin: P(on) = sigmoid((logit + noise) / temperature). The samplers below choose the noise.

    log π = Σ_pixels logsigmoid(±(logit + noise) / temperature), exact and unbiased in every logit: the noise is drawn
    without the model, so the gradient of its own probability is 0.
    """

    temperature: float = SHARPNESS

    @abstractmethod
    def noise(self, logits: Tensor, group: int, generator: torch.Generator | None) -> Tensor | None:
        """What is added to the logits, (group, height, width); None: nothing."""

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        logits = logits.detach().float()
        shift = self.noise(logits, group, generator)
        chances = torch.sigmoid((logits if shift is None else logits + shift) / self.temperature)
        shape = (group, *logits.shape)
        uniform = torch.rand(shape, generator=generator, device=logits.device)
        return Draw(uniform < chances, shift)

    def coin_logits(self, logits: Tensor, draw: Draw) -> Tensor:
        """Logits of the coins, (group, height, width): P(on) = sigmoid of them."""
        moved = logits.float() if draw.shift is None else logits.float() + draw.shift
        return (moved / self.temperature).expand(draw.masks.shape)

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """logsigmoid of what each coin shows."""
        from torch.nn.functional import logsigmoid

        return logsigmoid(self.coin_logits(logits, draw) * (2.0 * draw.masks - 1.0))


class Independent(Coins):
    """Coins at temperature 1 without noise: P(on) = sigmoid(logit).

    The plain Bernoulli policy: exact and unbiased. Its drawn masks are speckled along every border, so that
    what is rewarded (above all clDice and connectedness) is not what the model answers at a threshold.
    """

    name = "independent"
    temperature = 1.0

    def noise(self, logits: Tensor, group: int, generator: torch.Generator | None) -> None:
        """None."""


class Cells(Coins):
    """One logistic number for all pixels of a square cell; the grid lies elsewhere for every mask.

    With scale 1 and sharp coins that is one uniform draw per cell against which the probabilities of its
    pixels are held. With less noise, as by default, drawn masks stay closer to the model's own. Several sizes add up: a vessel's stretch comes and goes with the coarse cells, its border with the fine ones.
    Exact and unbiased (see `Coins`). Variance: the coins near the threshold only; the noise itself adds some to the reward,
    which the group's mean and `credit.local_credit` take away.

    Args:
        sizes: sides of the cells, in pixels.
        scale: of the noise, in logits, shared out to the sizes (each has scale / √sizes).
    """

    name = "cells"

    def __init__(
        self, sizes: Sequence[int] = (8,), scale: float = 0.5, temperature: float = SHARPNESS
    ) -> None:
        if not sizes or min(sizes) < 1 or scale <= 0 or temperature <= 0:
            raise ValueError(
                f"cells of {list(sizes)} px, scale {scale}, temperature {temperature}: expected sides of 1 or more, "
                "scale and temperature above 0"
            )
        self.sizes, self.scale, self.temperature = tuple(sizes), scale / len(sizes) ** 0.5, temperature

    def noise(self, logits: Tensor, group: int, generator: torch.Generator | None) -> Tensor:
        """Constant in each cell."""
        import torch

        total = torch.zeros(group, *logits.shape, device=logits.device)
        for size in self.sizes:
            cell, count = _grid(logits, size, group, generator)
            uniform = torch.rand((group, count), generator=generator, device=logits.device)
            drawn = self.scale * torch.logit(uniform, eps=1e-6)
            total += drawn.gather(1, cell.flatten(1)).view(cell.shape)
        return total


class Smooth(Coins):
    """Gaussian numbers on a lattice, bilinear in between: no borders as between cells.

    Exact and unbiased (see `Coins`).

    Args:
        size: distance of the lattice's nodes, in pixels.
        scale: of the noise at a node, in logits.
    """

    name = "smooth"

    def __init__(self, size: int = 8, scale: float = 1.5, temperature: float = SHARPNESS) -> None:
        if size < 1 or scale <= 0 or temperature <= 0:
            raise ValueError(
                f"smooth noise of size {size}, scale {scale}, temperature {temperature}: expected a size of 1 or more, "
                "scale and temperature above 0"
            )
        self.size, self.scale, self.temperature = size, scale, temperature

    def noise(self, logits: Tensor, group: int, generator: torch.Generator | None) -> Tensor:
        """The interpolated field."""
        import torch
        from torch.nn.functional import interpolate

        height, width = logits.shape
        shape = (group, 1, height // self.size + 2, width // self.size + 2)
        nodes = self.scale * torch.randn(shape, generator=generator, device=logits.device)
        large = interpolate(nodes, scale_factor=self.size, mode="bilinear", align_corners=False)
        return large[:, 0, :height, :width]


class Threshold(Coins):
    """One logistic number for the whole mask: where the probabilities are cut.

    Exact and unbiased (see `Coins`). Drawn masks are the model's own at other thresholds, so that the level is judged as a
    whole; single places are never tried alone.
    """

    name = "threshold"

    def __init__(self, scale: float = 1.0, temperature: float = SHARPNESS) -> None:
        if scale <= 0 or temperature <= 0:
            raise ValueError(f"scale {scale}, temperature {temperature}: expected numbers above 0")
        self.scale, self.temperature = scale, temperature

    def noise(self, logits: Tensor, group: int, generator: torch.Generator | None) -> Tensor:
        """The same everywhere."""
        import torch

        uniform = torch.rand((group, 1, 1), generator=generator, device=logits.device)
        return (self.scale * torch.logit(uniform, eps=1e-6)).expand(group, *logits.shape)


class Segments(MaskSampler):
    """Keeps or drops connected stretches of uncertain pixels as a whole.

    Uncertain is |logit| < `CERTAIN`; the stretches are the 8-connected components of the uncertain pixels inside
    each cell of a grid that lies elsewhere for every mask. P(keep) = sigmoid(mean logit of the stretch); pixels that are certain
    are what they are.

    log π = Σ_stretches logsigmoid(±mean logit): exact and unbiased in the mean logits while the partition
    stands. That a pixel may become certain or join another stretch is left out (it happens in jumps, whose
    gradient is 0 almost everywhere), and so is the difference of pixels within a stretch. Few units, hence low variance: what is asked is
    "is this stretch a vessel?".
    """

    name = "segments"

    def __init__(self, size: int = 16, certain: float = CERTAIN) -> None:
        if size < 2 or certain <= 0:
            raise ValueError(
                f"segments of size {size}, certain from {certain}: expected 2 or more, and above 0"
            )
        self.size, self.certain = size, certain

    def draw(self, logits: Tensor, group: int, generator: torch.Generator | None = None) -> Draw:
        """See `MaskSampler.draw`."""
        import torch

        logits = logits.detach().float()
        uncertain = (logits.abs() < self.certain).expand(group, *logits.shape)
        cells, _ = _grid(logits, self.size, group, generator)
        units, count = _components(uncertain, cells)
        place = units.clamp(min=0).flatten(1)
        sizes = torch.zeros(group, count, device=logits.device)
        sizes.scatter_add_(1, place, uncertain.float().flatten(1))
        weights = uncertain / sizes.gather(1, place).view(units.shape).clamp(min=1)
        means = segment_sums(logits * weights, units, count)
        uniform = torch.rand(means.shape, generator=generator, device=logits.device)
        keeps = uniform < torch.sigmoid(means)
        kept = keeps.gather(1, place).view(units.shape)
        masks = torch.where(uncertain, kept, (logits > 0).expand_as(kept))
        return Draw(masks, None, units, keeps.float(), weights)

    def log_prob(self, logits: Tensor, draw: Draw) -> Tensor:
        """logsigmoid(±mean logit) of every stretch."""
        from torch.nn.functional import logsigmoid

        assert draw.units is not None
        assert draw.keeps is not None
        assert draw.weights is not None
        means = segment_sums(logits.float() * draw.weights, draw.units, draw.keeps.shape[1])
        return logsigmoid(means * (2 * draw.keeps - 1))


SAMPLERS = ("independent", "cells", "scales", "smooth", "segments", "threshold")


def sampler_of(
    name: str, *, size: int | None = None, scale: float | None = None, temperature: float | None = None
) -> MaskSampler:
    """A sampler by its name.

    Args:
        name: independent, cells, scales (cells of three sizes, each four times the last), smooth, segments, threshold.
        size: side of the (smallest) cell in pixels; None: the sampler's own.
        scale: of the noise in logits; None: the sampler's own.
        temperature: of the coins; None: the sampler's own.
    Raises:
        UsageError: no such sampler.
    """
    noise = {
        key: value for key, value in (("scale", scale), ("temperature", temperature)) if value is not None
    }
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


def segment_sums(field: Tensor, units: Tensor, count: int) -> Tensor:
    """The field's sum over each segment, (group, count)."""
    import torch

    group = units.shape[0]
    inside = (field * (units >= 0)).expand(units.shape).flatten(1)
    zeros = torch.zeros(group, count, dtype=inside.dtype, device=inside.device)
    return zeros.scatter_add(1, units.clamp(min=0).flatten(1), inside)


def _grid(logits: Tensor, size: int, group: int, generator: torch.Generator | None) -> tuple[Tensor, int]:
    """The cell of every pixel, (group, height, width), and their number; each mask's grid begins at a place of its own."""
    import torch

    height, width = logits.shape
    device = logits.device
    rows, columns = -(-height // size) + 1, -(-width // size) + 1
    offset = torch.randint(0, size, (2, group), generator=generator, device=device)
    row = (torch.arange(height, device=device) + offset[0, :, None]) // size
    column = (torch.arange(width, device=device) + offset[1, :, None]) // size
    return row[:, :, None] * columns + column[:, None, :], rows * columns


def _components(inside: Tensor, cells: Tensor) -> tuple[Tensor, int]:
    """Numbers of the 8-connected components of `inside` within each cell, (group, height, width), -1 outside.

    The largest pixel number of a component spreads over it, one pixel further in each round.
    """
    import torch
    from torch.nn.functional import pad

    group, height, width = inside.shape
    number = torch.arange(1, height * width + 1, device=inside.device).view(height, width)
    label = torch.where(inside, number, 0)
    steps = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2) if (dy, dx) != (1, 1)]
    edge = pad(cells, (1, 1, 1, 1), value=-1)
    same = [edge[:, dy : dy + height, dx : dx + width] == cells for dy, dx in steps]
    while True:
        around = pad(label, (1, 1, 1, 1))
        spread = label
        for (dy, dx), is_same in zip(steps, same, strict=True):
            spread = torch.maximum(spread, around[:, dy : dy + height, dx : dx + width] * is_same)
        spread = spread * inside
        if torch.equal(spread, label):
            break
        label = spread
    units, most = torch.full_like(label, -1), 1
    for index in range(group):
        found, numbers = torch.unique(label[index][inside[index]], return_inverse=True)
        units[index][inside[index]] = numbers
        most = max(most, len(found))
    return units, most
