"""Naive twins of the mask measures: written to be obviously right, not quick."""

from itertools import product
from math import inf

import numpy as np

Pixel = tuple[int, int]

# Bit 0 is the north-western neighbour, then clockwise.
NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]


def pixels(mask):
    """The foreground as a set of (row, column)."""
    return {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}


def dice_over_sets(prediction, reference):
    p, r = pixels(prediction), pixels(reference)
    return 2 * len(p & r) / (len(p) + len(r)) if p or r else 1.0


def share_over_sets(part, whole):
    """Share of `whole` inside `part`; an empty whole counts 1 if the part is empty too, else 0."""
    if not whole:
        return 0.0 if part else 1.0
    return len(whole & part) / len(whole)


def components_by_flood(points, steps):
    """Connected parts of a set of pixels for the given steps to neighbours."""
    left, parts = set(points), []
    while left:
        front, part = [left.pop()], set()
        while front:
            r, c = front.pop()
            part.add((r, c))
            for dr, dc in steps:
                if (r + dr, c + dc) in left:
                    left.remove((r + dr, c + dc))
                    front.append((r + dr, c + dc))
        parts.append(part)
    return parts


def betti_by_flood(mask):
    """8-connected parts of the foreground, and 4-connected parts of the background but for the outer one."""
    mask = np.asarray(mask)
    h, w = mask.shape
    foreground = pixels(mask)
    everything = set(product(range(-1, h + 1), range(-1, w + 1)))
    straight = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    return (
        len(components_by_flood(foreground, NEIGHBOURS)),
        len(components_by_flood(everything - foreground, straight)) - 1,
    )


def outline(mask):
    """Foreground pixels with a 4-neighbour that is not foreground."""
    foreground = pixels(mask)
    return {
        (r, c)
        for r, c in foreground
        if any((r + dr, c + dc) not in foreground for dr, dc in [(-1, 0), (0, 1), (1, 0), (0, -1)])
    }


def directed_distances(start, end, spacing):
    """Distance from each pixel of one set to the nearest of the other."""
    sy, sx = spacing
    return [
        min((((r - y) * sy) ** 2 + ((c - x) * sx) ** 2 for y, x in end), default=inf) ** 0.5 for r, c in start
    ]
