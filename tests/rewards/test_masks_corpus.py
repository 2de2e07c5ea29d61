"""The adversarial mask corpus: edges, honest predictions, single defects, and cheats that must not pay."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.morphology import skeletonize

from medgrpo.rewards import masks

CASES = json.loads((Path(__file__).parent.parent / "data/adversarial_masks.json").read_text())["cases"]
REWARDS = {
    "multi_objective": masks.multi_objective,
    "multi_objective_guarded": masks.multi_objective_guarded,
}


def box(mask, top, left, bottom, right):
    """The pixels of a rectangle, both ends included."""
    return mask[top : bottom + 1, left : right + 1]


def line(mask, top, left, bottom, right, width):
    picture = Image.fromarray(mask.astype(np.uint8))
    ImageDraw.Draw(picture).line([(left, top), (right, bottom)], fill=1, width=width)
    return np.asarray(picture) > 0


def disk(mask, row, column, radius):
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def specks(mask, count):
    """Single pixels on a coarse grid, each away from the mask."""
    far = ndimage.binary_dilation(mask, np.ones((3, 3)))
    places = [(r, c) for r in range(6, 128, 12) for c in range(6, 128, 12) if not far[r, c]][:count]
    dotted = mask.copy()
    for place in places:
        dotted[place] = True
    return dotted


def draw(steps, size, reference=None):  # noqa: PLR0912 (one branch per drawing step)
    mask = np.zeros(size, bool)
    for name, *values in steps:
        rows, columns = np.indices(size)
        match name:
            case "reference":
                mask = reference.copy()
            case "rect":
                box(mask, *values)[...] = True
            case "erase_rect":
                box(mask, *values)[...] = False
            case "pixel":
                mask[tuple(values)] = True
            case "erase_pixel":
                mask[tuple(values)] = False
            case "line":
                mask |= line(mask, *values)
            case "disk":
                mask |= disk(mask, *values)
            case "erase_disk":
                mask &= ~disk(mask, *values)
            case "skeleton":
                mask = skeletonize(mask)
            case "dilate":
                mask = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=values[0])
            case "shift":
                mask = np.roll(mask, values, (0, 1))
            case "invert":
                mask = ~mask
            case "checker":
                mask = (rows // values[0] + columns // values[0]) % 2 == 0
            case "stripes":
                mask = rows % values[0] == 0
            case "speckle":
                mask = np.random.default_rng(values[0]).random(size) < values[1]
            case "specks":
                mask = specks(mask, *values)
            case _:
                raise ValueError(f"no drawing step called {name!r}")
    return mask


def value_of(name, prediction, reference):
    if name in REWARDS:
        return REWARDS[name]([prediction], mask=[reference])[0]
    return masks.measure([prediction], [reference], [name])[name][0]


def test_the_corpus_holds_at_least_sixty_cases_each_with_its_reason():
    assert len({case["name"] for case in CASES}) == len(CASES) >= 60
    assert all(case["reason"] for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_case_scores_as_expected(case):
    reference = draw(case["reference"], case["size"])
    prediction = draw(case["prediction"], case["size"], reference)
    for name, expected in case["expect"].items():
        value = value_of(name, prediction, reference)
        match expected:
            case ["at_least", bound]:
                assert value >= bound, name
            case ["at_most", bound]:
                assert value <= bound, name
            case ["below_honest", share]:
                assert value <= share * value_of(name, reference, reference), name
            case number:
                assert value == pytest.approx(number, abs=1e-9), name
