"""How often the 95 % intervals of `medgrpo eval` hold the true value: the tables of docs/evaluation.md.

    python benchmarks/interval_coverage.py          # 2,000 simulated test sets a cell, about 8 minutes
    python benchmarks/interval_coverage.py 500

With one question an image the coverage is computed exactly, and beside it stands the coverage nearest to
95 % that any non-randomised interval can have there: right answers are whole numbers, so the answers that an
interval accepts at p are a run of them, and their chances add up to what they add up to.
"""

import sys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medgrpo.evaluation.statistics import ClusterSums, proportion_interval

SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
IMAGES = (20, 30, 60, 150)
ALL_IMAGES = (20, 22, 25, 28, 30, 35, 40, 50, 60, 80, 100, 150)
DESIGNS = {
    "4, .0": (lambda rng, shape: np.full(shape, 4), 0.0),
    "4, .3": (lambda rng, shape: np.full(shape, 4), 0.3),
    "1–5, .1": (lambda rng, shape: rng.integers(1, 6, shape), 0.1),
    "1–5, .4": (lambda rng, shape: rng.integers(1, 6, shape), 0.4),
    "1–15, .1": (lambda rng, shape: rng.integers(1, 16, shape), 0.1),
    "1–15, .3": (lambda rng, shape: rng.integers(1, 16, shape), 0.3),
    "1–60, .2": (
        lambda rng, shape: np.minimum(1 + rng.geometric(0.25, shape) * rng.choice([1, 1, 1, 5], shape), 60),
        0.2,
    ),
}
"""Questions an image, and how alike the answers about one image are (intraclass correlation)."""

UNEQUAL = {
    "4, half": (4, 4, 0.5),
    "4, a quarter": (4, 4, 0.25),
    "4, a tenth": (4, 4, 0.1),
    "4, three quarters": (4, 4, 0.75),
    "3, a third": (3, 3, 1 / 3),
    "1–5, half": (1, 5, 0.5),
    "8, a fifth": (8, 8, 0.2),
    "8, half": (8, 8, 0.5),
}
"""Fewest and most questions an image, and the share of images that are all right or all wrong; the others' answers
are independent."""

Floats = NDArray[np.float64]


def binomial(count: int, share: float) -> Floats:
    """Chance of 0 … count right answers, (count + 1,)."""
    chances = np.zeros(count + 1)
    chances[0] = 1.0
    for _ in range(count):
        chances[1:] = chances[1:] * (1 - share) + chances[:-1] * share
        chances[0] *= 1 - share
    return chances


@lru_cache
def limits(count: int) -> Floats:
    """The interval for 0 … count right answers to one question an image, (count + 1, 2)."""
    marks = [np.repeat([1.0, 0.0], [right, count - right]) for right in range(count + 1)]
    return np.array([proportion_interval(ClusterSums(one, np.ones(count))) for one in marks])


def exact_coverage(count: int, share: float) -> float:
    """Coverage with `count` images of one question each."""
    low, high = limits(count).T
    return float(binomial(count, share)[(low <= share) & (share <= high)].sum())


def closest_coverage(count: int, share: float) -> float:
    """The coverage nearest to .95 of any interval whose limits rise with the number of right answers."""
    below = np.concatenate([[0.0], np.cumsum(binomial(count, share))])
    reachable = (below[None, :] - below[:, None]).ravel()
    return float(reachable[np.argmin(np.abs(reachable - 0.95))])


def over_all_shares() -> str:
    """Mean coverage over p from .5 to .98, and how much of it lies outside 93–97 %, beside the nearest reachable."""
    cells = [(count, share) for count in ALL_IMAGES for share in np.arange(500, 981) / 1000]
    lines = []
    for name, coverage in (("these intervals", exact_coverage), ("the nearest", closest_coverage)):
        found = np.array([coverage(count, share) for count, share in cells])
        lines.append(
            f"{name}: mean {100 * found.mean():.1f} %, below 93 % at {100 * (found < 0.93).mean():.1f} % of p, "
            f"above 97 % at {100 * (found > 0.97).mean():.1f} %"
        )
    return "\n".join(lines)


def simulated_coverage(images: int, design: str, share: float, runs: int) -> float:
    """Coverage over `runs` test sets: the chance of a right answer differs from image to image (beta), or some images
    are all right or all wrong."""
    rng = np.random.default_rng(20261121)
    if design in UNEQUAL:
        fewest, most, whole = UNEQUAL[design]
        sizes = rng.integers(fewest, most + 1, (runs, images))
        right = rng.binomial(sizes, share)
        count = round(whole * images)
        right[:, :count] = sizes[:, :count] * (rng.random((runs, count)) < share)
    else:
        sizes_of, correlation = DESIGNS[design]
        sizes = sizes_of(rng, (runs, images))
        chances = np.full((runs, images), share)
        if correlation:
            spread = (1 - correlation) / correlation
            chances = rng.beta(share * spread, (1 - share) * spread, (runs, images))
        right = rng.binomial(sizes, chances)
    covered = 0
    for sums, counts in zip(right.astype(float), sizes.astype(float), strict=True):
        low, high = proportion_interval(ClusterSums(sums, counts))
        covered += low <= share <= high
    return covered / runs


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def percent(share: float) -> str:
    """95.1, in bold outside 93–97."""
    shown = f"{100 * share:.1f}"
    return shown if 0.93 <= share <= 0.97 else f"**{shown}**"


def main(runs: int) -> None:
    """Prints both tables."""
    print("One question an image, exact; in brackets the nearest that any interval reaches\n")
    rows = [
        [
            str(images),
            *(
                f"{percent(exact_coverage(images, share))} ({100 * closest_coverage(images, share):.1f})"
                for share in SHARES
            ),
        ]
        for images in IMAGES
    ]
    print(table(["images", *(f"p = {share}" for share in SHARES)], rows))
    print(f"{over_all_shares()} ({', '.join(map(str, ALL_IMAGES))} images, p from .5 to .98 by .001)\n")
    for title, designs in (
        ("Several questions an image", DESIGNS),
        ("Some images all right or all wrong, the others' answers independent", UNEQUAL),
    ):
        print(f"{title}, {runs} runs, standard error {100 * (0.0475 / runs) ** 0.5:.1f}\n")
        head = "correlation" if designs is DESIGNS else "images all or nothing"
        rows = [
            [
                str(images),
                design,
                *(percent(simulated_coverage(images, design, share, runs)) for share in SHARES),
            ]
            for design in designs
            for images in IMAGES
        ]
        print(table(["images", f"questions, {head}", *(f"p = {share}" for share in SHARES)], rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
