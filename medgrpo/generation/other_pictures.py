"""The same questions with a picture that cannot help: blank, noise, or another row's."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medgrpo.data.clusters import cluster_labels
from medgrpo.errors import choice_error
from medgrpo.pictures import opened_picture
from medgrpo.rows import Row

Counterfactual = Literal["blank", "shuffle", "noise"]
KINDS: tuple[Counterfactual, ...] = ("blank", "shuffle", "noise")


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
    changed: list[Row] = [{**row, "images": [names[path] for path in row["images"]]} for row in rows]
    return changed, lambda name: folder / name


def _write(source: Path, target: Path, kind: Counterfactual, seed: int) -> None:
    from PIL import Image

    with opened_picture(source) as image:
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
    changed: list[Row] = []
    for row, label in zip(rows, labels, strict=True):
        given = pictures[donor[label]] if row["images"] else []
        wanted = len(row["images"])
        changed.append({**row, "images": (given * wanted)[:wanted]})
    return changed
