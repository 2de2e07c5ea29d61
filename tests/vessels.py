"""Vessel masks for tests: the real ones, read from their files, and generated ones."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def grey(path: Path) -> np.ndarray:
    """A picture's grey values; palettes resolved, so that 1 in a palette of 0/1 stays what it shows."""
    with Image.open(path) as image:
        if image.mode == "P":  # DRIVE's second observer: indices 0 and 1
            return np.where(np.asarray(image) > 0, 255, 0).astype(np.uint8)
        return np.asarray(image.convert("L"))


def panel(path: Path, number: int, count: int = 3) -> np.ndarray:
    """One of several pictures stacked in a file."""
    stack = grey(path)
    height = stack.shape[0] // count
    return stack[number * height : (number + 1) * height]


def coloured(path: Path) -> np.ndarray:
    """Vessels drawn in any colour, as 0 and 255."""
    with Image.open(path) as image:
        return (np.asarray(image.convert("RGB")).max(axis=2) > 0).astype(np.uint8) * 255


def prediction_sets(shared_data: Path) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """(prediction, first observer) grey pictures of each set of files; foreground is above 127."""
    vessels = shared_data / "vessels"
    drive, stare, chase = vessels / "drive", vessels / "stare", vessels / "chase_db1"

    def partner(folder: Path, prefix: str) -> np.ndarray:
        (path,) = sorted(folder.glob(f"{prefix}*"))
        return grey(path)

    def pairs(folder, read, reference, key):
        return [(read(path), partner(reference, key(path))) for path in sorted(folder.iterdir())]

    def drive_key(path: Path) -> str:
        return f"{path.name[:2]}_"

    def number_key(path: Path) -> str:
        return f"{int(re.findall(r'[0-9]+', path.stem)[0]):02d}_"

    def stare_key(path: Path) -> str:
        return path.name[:6]

    def chase_key(path: Path) -> str:
        return "_".join(path.stem.split("_")[:2])

    def laddernet(path: Path) -> np.ndarray:
        return panel(path, 2)

    return {
        "LadderNet": pairs(drive / "pred_laddernet", laddernet, drive / "manual", drive_key),
        "A/V network": pairs(drive / "pred_av", coloured, drive / "manual", number_key),
        "second observer on DRIVE": pairs(drive / "manual2", grey, drive / "manual", drive_key),
        "U-Net on STARE": pairs(stare / "pred_unet", laddernet, stare / "manual", stare_key),
        "SGL on CHASE_DB1": pairs(chase / "pred_sgl", grey, chase / "manual", chase_key),
        "second observer on CHASE_DB1": pairs(chase / "manual2", grey, chase / "manual", chase_key),
    }


def real_batch(shared_data: Path, size: int, count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, reference), uint8 0/1 (count, size, size): real pairs, resized, then turned to make enough."""
    pairs = [pair for folder in prediction_sets(shared_data).values() for pair in folder]
    pairs = [pair for pair in pairs if (pair[0] > 127).any()]  # one prediction is empty, where peers give NaN

    def fitted(picture: np.ndarray, turn: int) -> np.ndarray:
        resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
        return np.rot90((np.asarray(resized) > 127).astype(np.uint8), turn)

    chosen = [(pairs[n % len(pairs)], n // len(pairs)) for n in range(count)]
    predictions = np.stack([fitted(prediction, turn) for (prediction, _), turn in chosen])
    return predictions, np.stack([fitted(reference, turn) for (_, reference), turn in chosen])


def generated_batch(size: int, count: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, reference), uint8 0/1 (count, size, size): branching trees, and the same with gaps and specks."""
    random = np.random.default_rng(seed)
    pairs = [_tree_pair(size, random) for _ in range(count)]
    return np.stack([prediction for prediction, _ in pairs]), np.stack([reference for _, reference in pairs])


def _tree_pair(size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    scale = size / 512
    reference, prediction = Image.new("L", (size, size)), Image.new("L", (size, size))
    pens = [ImageDraw.Draw(reference), ImageDraw.Draw(prediction)]
    # A branch: position, heading, width in pixels at 512, generation.
    branches = [
        (random.uniform(0.4, 0.6, 2) * size, a, random.uniform(5, 9), 0) for a in random.uniform(0, 6.3, 6)
    ]
    while branches:
        at, heading, width, generation = branches.pop()
        for _ in range(random.integers(6, 16)):
            heading += random.normal(0, 0.25)
            to = at + 14 * scale * np.array([np.cos(heading), np.sin(heading)])
            line = [tuple(at), tuple(to)]
            pens[0].line(line, fill=1, width=max(1, round(width * scale)))
            if random.random() > 0.06:  # the prediction misses some pieces and is a little too thin or thick
                drawn = width * random.uniform(0.7, 1.25) * scale
                pens[1].line(line, fill=1, width=max(1, round(drawn)))
            at = to
        if generation < 4:
            for turn in (-0.5, 0.5):
                branches.append((at, heading + random.normal(turn, 0.2), width * 0.72, generation + 1))
    for x, y in random.uniform(0, size, (30, 2)):
        r = random.uniform(0.5, 3) * scale
        pens[1].ellipse([x - r, y - r, x + r, y + r], fill=1)
    return np.asarray(prediction), np.asarray(reference)
