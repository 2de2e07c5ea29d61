"""The same questions with a picture that cannot help: does the model look at the image at all?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medgrpo.data.schema import Row
from medgrpo.errors import choice_error
from medgrpo.evaluation.score import Scored, cluster_labels
from medgrpo.evaluation.statistics import estimate, paired_difference
from medgrpo.figures import SHARE

Counterfactual = Literal["blank", "shuffle", "noise"]
KINDS: tuple[Counterfactual, ...] = ("blank", "shuffle", "noise")
KEPT_TOO_MUCH = 0.8
"""Above this share of the accuracy kept without the picture, a warning is due."""


def parse_kinds(text: str | None) -> list[Counterfactual]:
    """`blank,shuffle` as a list.

    Raises:
        UsageError: an unknown kind.
    """
    chosen: list[Counterfactual] = []
    for part in (text or "").split(","):
        name = part.strip()
        if not name:
            continue
        match = next((kind for kind in KINDS if kind == name), None)
        if match is None:
            raise choice_error("counterfactual", name, KINDS)
        chosen.append(match)
    return chosen


def counterfactual_rows(
    rows: Sequence[Row],
    kind: Counterfactual,
    image_path: Callable[[str], Path],
    folder: Path,
    *,
    seed: int = 0,
) -> tuple[list[Row], Callable[[str], Path]]:
    """The rows with other pictures, and where these lie. Size and number of pictures stay the same.

    Args:
        rows: rows with `images`.
        kind: `blank`: the picture's mean colour; `noise`: its own pixels in random order; `shuffle`: the
            picture of a row about another image (or patient), drawn once for each image.
        image_path: relative path -> file, for the real pictures.
        folder: where blank and noise pictures are written.
        seed: of the draws.
    """
    if kind == "shuffle":
        return _shuffled(rows, seed), image_path
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for path in dict.fromkeys(path for row in rows for path in row["images"]):
        names[path] = f"{len(names):06d}.png"
        _write(image_path(path), folder / names[path], kind, seed + len(names))
    changed = [{**row, "images": [names[path] for path in row["images"]]} for row in rows]
    return changed, lambda name: folder / name


def _write(source: Path, target: Path, kind: Counterfactual, seed: int) -> None:
    from PIL import Image

    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB"))
    if kind == "blank":
        changed = np.broadcast_to(pixels.mean(axis=(0, 1)).round().astype(np.uint8), pixels.shape)
    else:
        flat = pixels.reshape(-1, 3)
        changed = flat[np.random.default_rng(seed).permutation(len(flat))].reshape(pixels.shape)
    Image.fromarray(np.ascontiguousarray(changed)).save(target)


def _shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """Each image gets another one's picture: a cyclic shift of the clusters in random order."""
    labels, _ = cluster_labels(rows)
    pictures: dict[Hashable, list[str]] = {}
    for row, label in zip(rows, labels, strict=True):
        if row["images"]:
            pictures.setdefault(label, list(row["images"]))
    order = list(pictures)
    permutation = np.random.default_rng(seed).permutation(len(order))
    donor = {
        order[permutation[place]]: order[permutation[(place + 1) % len(order)]] for place in range(len(order))
    }
    changed = []
    for row, label in zip(rows, labels, strict=True):
        given = pictures[donor[label]] if row["images"] else []
        wanted = len(row["images"])
        changed.append({**row, "images": (given * wanted)[:wanted]})
    return changed


def compare_with_real(real: Scored, other: Scored) -> dict[str, Any]:
    """How much of the accuracy is left without the right picture.

    Returns:
        `answer_match` (value, interval), `difference` (real - counterfactual, paired, with interval and p),
        `kept` (share of the accuracy that stays), `changed` (share of answers that are worded otherwise:
        image sensitivity), and `warning` where more than 80 % stays or the difference may be nothing.
    """
    seen, unseen = real.scores["answer_match"], other.scores["answer_match"]
    difference = paired_difference(unseen, seen, real.clusters, bounds=SHARE)
    left = estimate(unseen, real.clusters, bounds=SHARE)
    full = float(np.nanmean(seen)) if np.isfinite(seen).any() else 0.0
    kept = left.value / full if left.value is not None and full > 0 else None
    changed = [
        a.strip().casefold() != b.strip().casefold() for a, b in zip(real.answers, other.answers, strict=True)
    ]
    document: dict[str, Any] = {
        "answer_match": left.as_dict(),
        "difference": difference.as_dict(),
        "kept": kept,
        "changed": estimate(np.array(changed, dtype=np.float64), real.clusters, bounds=SHARE).as_dict(),
        "warning": None,
    }
    if kept is not None and kept > KEPT_TOO_MUCH:
        document["warning"] = f"{kept:.0%} of the accuracy needs no picture"
    elif difference.low is not None and difference.low <= 0:
        document["warning"] = "the picture is not shown to help: the interval of its gain includes 0"
    return document
