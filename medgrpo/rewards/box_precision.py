"""Mean average precision over a dataset, by COCO's rules whole or by VOC's; matched once, read many times.

```python
from medgrpo.rewards.box_precision import BoxMatches

matches = BoxMatches.of_boxes(predictions, references)   # arrays, as torchmetrics takes them
matches = BoxMatches.of_completions(completions, boxes)  # boxes written as text
matches.summary()                                        # COCO's twelve figures
matches.per_label()                                      # one row a label
matches.summary(kept=is_in_sample)                       # the same of some pictures, without matching again
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgrpo import _reward_core as core
from medgrpo.errors import choice_error
from medgrpo.rewards.box_rows import BoxFormat, Floats, Rows, plain_corners
from medgrpo.rewards.plain_arrays import plain_array
from medgrpo.rewards.text import Completion

Flags = NDArray[np.bool_]
Rules = Literal["coco", "voc"]
"""`coco`: 101 recalls, each detection takes the best free reference. `voc`: every point of the curve (the area
under it), and a detection whose best reference is taken is wrong."""

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""IoU thresholds as `pycocotools` has them: the ninth is .8999999999999999."""

AREA_RANGES: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's ranges of a reference's area in square pixels; both ends belong to a range. With VOC's rules none ends at
1e10: its development kit knows no areas."""

MAX_DETECTIONS = (1, 10, 100)
"""Detections that count of each picture and label, the surest first; the last is that of the precision."""


@dataclass(frozen=True)
class BoxMatches:
    """A dataset's detections, each matched with its reference at every threshold and in every range of areas."""

    matches: core.BoxMatches
    labels: list[Any]
    """Of each category; [None] where labels are not used."""
    thresholds: tuple[float, ...]
    areas: tuple[str, ...]
    rules: Rules
    max_detections: tuple[int, ...] | None
    """None: no limit."""
    pictures: int

    @classmethod
    def of_completions(
        cls,
        completions: Sequence[Completion],
        boxes: Sequence[Any],
        *,
        thresholds: Sequence[float] = COCO_THRESHOLDS,
        areas: Sequence[str] = tuple(AREA_RANGES),
        max_detections: Sequence[int] | None = MAX_DETECTIONS,
        rules: Rules = "coco",
        use_labels: bool = True,
        box_format: BoxFormat | Sequence[BoxFormat | None] = "pixel",
        **columns: Any,
    ) -> BoxMatches:
        """Matches the boxes that completions write.

        Args:
            completions: of every picture; one without boxes finds nothing.
            boxes: references of every picture; rows of None are left out. A reference may carry `iscrowd`,
                `ignore` (or VOC's `difficult`) and `area`; without `area` it has that of its box.
            thresholds: IoU thresholds, at most 64.
            areas: of `AREA_RANGES`.
            max_detections: rising limits; None: none.
            rules: see `Rules`.
            use_labels: a box must also name the label.
            box_format: how the completions write coordinates, of all or of each.
            columns: `width`, `height`, … as in `medgrpo.rewards.boxes.box_iou`.
        """
        rows = Rows.of(completions, boxes, box_format, columns, with_ignored=True)
        matched = core.BoxMatches.of_texts(
            rows.texts, rows.references, rows.extras, rows.scale, rows.frame,
            _asked(thresholds, areas, rules), use_labels,
        )  # fmt: skip
        return cls(
            matched, matched.labels(), tuple(thresholds), tuple(areas), rules,
            _limits(max_detections), len(rows.texts),
        )  # fmt: skip

    @classmethod
    def of_boxes(
        cls,
        predictions: Sequence[Mapping[str, ArrayLike]],
        references: Sequence[Mapping[str, ArrayLike]],
        *,
        thresholds: Sequence[float] = COCO_THRESHOLDS,
        areas: Sequence[str] = tuple(AREA_RANGES),
        max_detections: Sequence[int] | None = MAX_DETECTIONS,
        rules: Rules = "coco",
        use_labels: bool = True,
    ) -> BoxMatches:
        """Matches boxes given as arrays, one mapping a picture.

        Args:
            predictions: `boxes` (n, 4) as x1, y1, x2, y2; `scores` (n,); `labels` (n,), numbers or texts.
            references: `boxes` (m, 4), `labels` (m,), and where wanted `iscrowd`, `ignore`, `area` (m,).
            thresholds, areas, max_detections, rules, use_labels: as in `of_completions`.
        Raises:
            ValueError: the numbers of pictures, or of entries in one, differ; labels are texts on one side alone, or
                neither numbers nor texts; a score, a flag or a reference is no number.

        Labels, areas and boxes are taken as they are: no picture clips a box, no label is folded.
        """
        if len(predictions) != len(references):
            raise ValueError(
                f"{len(predictions)} pictures with predictions, {len(references)} with references"
            )
        found, truth = _flat(predictions, "predictions"), _flat(references, "references")
        if use_labels and len(found.labels) and len(truth.labels):
            named = [any("labels" in picture for picture in side) for side in (predictions, references)]
            if named[0] != named[1]:
                raise ValueError(
                    "labels are given on one side only: give them on both, or pass use_labels=False"
                )
            kinds = {one.labels.dtype.kind in "US" for one in (found, truth)}
            if len(kinds) > 1:
                raise ValueError(
                    "labels are texts on one side and numbers on the other: they would never agree"
                )
        names: NDArray[Any] = np.zeros(min(1, len(truth.boxes)), dtype=np.int64)
        if use_labels:
            names = np.unique(truth.labels)
        matched = core.BoxMatches.of_boxes(
            (found.boxes, found.scores, _numbers(found.labels, names, use_labels), found.rows),
            (truth.boxes, truth.scores, _numbers(truth.labels, names, use_labels), truth.rows),
            (truth.crowd, truth.ignored, truth.area),
            len(references),
            len(names),
            _asked(thresholds, areas, rules),
        )
        labels = names.tolist() if use_labels else [None] * len(names)
        return cls(
            matched, labels, tuple(thresholds), tuple(areas), rules, _limits(max_detections), len(references)
        )

    def precision(self, area: str = "all", *, most: int | None = None, kept: Flags | None = None) -> Floats:
        """Average precision, (thresholds, labels); NaN where a label has no reference that counts.

        Args:
            area: one of those matched.
            most: detections a picture and label; None: the last of `max_detections`.
            kept: (pictures,) which to read; None: all.
        """
        return self._read(area, most, kept)[0]

    def recall(self, area: str = "all", *, most: int | None = None, kept: Flags | None = None) -> Floats:
        """Share of the references that are found, (thresholds, labels); arguments as in `precision`."""
        return self._read(area, most, kept)[1]

    def references(self, area: str = "all", *, kept: Flags | None = None) -> NDArray[np.int64]:
        """References that count, (labels,)."""
        return self._read(area, None, kept)[2]

    def means(self, *, kept: Flags | None = None) -> dict[str, float]:
        """`map` over all thresholds and labels, and `map_50`, `map_75` where asked for; NaN without references."""
        return self._means(self.precision(kept=kept))

    def summary(self, *, kept: Flags | None = None) -> dict[str, float]:
        """COCO's figures: `means`, `map_small` …, `mar_1`, `mar_10`, `mar_100`, `mar_small` …; NaN without references.

        `mar` is the recall averaged over thresholds and labels. `ar_…` of other evaluators.
        """
        found = self.means(kept=kept) if "all" in self.areas else {}
        sizes = {area: self._read(area, None, kept) for area in self.areas if area != "all"}
        found |= {f"map_{area}": _mean(precision) for area, (precision, _, _) in sizes.items()}
        for limit in (self.max_detections or ()) if "all" in self.areas else ():
            found[f"mar_{limit}"] = _mean(self.recall(most=limit, kept=kept))
        found |= {f"mar_{area}": _mean(recall) for area, (_, recall, _) in sizes.items()}
        return found

    def per_label(self, *, kept: Flags | None = None) -> list[dict[str, Any]]:
        """One row a label: `label`, `references`, `map`, `map_50`, `map_75`, `mar` (at the largest limit)."""
        precision, recall, counts = self._read("all", None, kept)
        return [
            {
                "label": label,
                "references": int(counts[column]),
                **self._means(precision[:, column : column + 1]),
                "mar": _mean(recall[:, column]),
            }
            for column, label in enumerate(self.labels)
        ]

    def _means(self, precision: Floats) -> dict[str, float]:
        found = {"map": _mean(precision)}
        for at in (0.5, 0.75):
            row = next((row for row, one in enumerate(self.thresholds) if math.isclose(one, at)), None)
            if row is not None:
                found[f"map_{round(at * 100)}"] = _mean(precision[row])
        return found

    def _read(
        self, area: str, most: int | None, kept: Flags | None
    ) -> tuple[Floats, Floats, NDArray[np.int64]]:
        if area not in self.areas:
            raise choice_error("area", area, self.areas)
        if most is None and self.max_detections:
            most = self.max_detections[-1]
        chosen = None if kept is None else np.ascontiguousarray(kept, dtype=np.bool_)
        return self.matches.read(self.areas.index(area), most, self.rules == "voc", chosen)


def mean_average_precision(
    completions: Sequence[Completion],
    boxes: Sequence[Any],
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    use_labels: bool = True,
    box_format: BoxFormat | Sequence[BoxFormat | None] = "pixel",
    max_detections: int | None = 100,
    rules: Rules = "coco",
    **columns: Any,
) -> dict[str, float]:
    """COCO's mean average precision over a dataset; `BoxMatches` gives areas, recalls and a table by label.

    Args:
        completions, boxes: as in `BoxMatches.of_completions`.
        thresholds: IoU thresholds; by default .50, .55, …, .95.
        use_labels: a box must also name the label.
        box_format: how the completions write coordinates, of all or of each.
        max_detections: detections of a picture and label that count, the surest first; None: all.
        rules: see `Rules`.
        columns: `width`, `height`, … as in `medgrpo.rewards.boxes.box_iou`.
    Returns:
        `map` over all thresholds, and `map_50`, `map_75` where asked for; NaN where there are no references.

    Source: Lin et al. 2014, arXiv:1405.0312; equal to `pycocotools` 2.0, except that `ignore` is heeded (there
    `iscrowd` overwrites it). Boxes without a score count as certain and keep their order.
    """
    if not thresholds:
        return {"map": math.nan}
    matches = BoxMatches.of_completions(
        completions, boxes, thresholds=thresholds, areas=("all",), rules=rules, use_labels=use_labels,
        max_detections=None if max_detections is None else (max_detections,), box_format=box_format, **columns,
    )  # fmt: skip
    return matches.means()


@dataclass(frozen=True)
class _Flat:
    """The boxes of all pictures, one after the other."""

    boxes: Floats
    scores: Floats
    labels: NDArray[Any]
    rows: NDArray[np.int64]
    crowd: Flags
    ignored: Flags
    area: Floats


def _flat(pictures: Sequence[Mapping[str, ArrayLike]], what: str) -> _Flat:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _DEFAULTS}
    sizes = []
    for row, picture in enumerate(pictures):
        where = f"{what} of picture {row}"
        if "boxes" not in picture:
            raise ValueError(
                f"{where}: no 'boxes'; expected 'boxes' and 'labels', and 'scores' of predictions"
            )
        boxes = plain_corners(picture["boxes"], where)
        if what == "references" and not np.isfinite(boxes).all():
            bad = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
            raise ValueError(f"{where}: box {bad} is {boxes[bad].tolist()}, expected finite numbers")
        sizes.append(len(boxes))
        parts["boxes"].append(boxes)
        for name, default in _DEFAULTS.items():
            if name == "boxes":
                continue
            if name in picture:
                values = plain_array(picture[name], f"{name} in {where}").reshape(-1)
            else:
                values = np.full(len(boxes), default)
            if len(values) != len(boxes):
                raise ValueError(f"{where}: {len(boxes)} boxes but {len(values)} {name}")
            parts[name].append(_checked(values, name, where))
    # Pictures without boxes say nothing of a type: an empty list would turn whole numbers into floats.
    filled = {name: [values for values in part if len(values)] for name, part in parts.items()}
    joined = {name: np.concatenate(part) if part else np.zeros(0) for name, part in filled.items()}
    return _Flat(
        boxes=np.ascontiguousarray(joined["boxes"], dtype=np.float64).reshape(-1, 4),
        scores=joined["scores"].astype(np.float64),
        labels=joined["labels"],
        rows=np.repeat(np.arange(len(sizes), dtype=np.int64), np.array(sizes, dtype=np.int64)),
        crowd=joined["iscrowd"].astype(np.bool_),
        ignored=joined["ignore"].astype(np.bool_),
        area=joined["area"].astype(np.float64),
    )


def _checked(values: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    """The values, where they can be what their name says; a list of Python objects as what the objects are."""
    if name == "labels":
        if values.dtype.kind == "O":
            values = np.asarray(values.tolist())
        if values.dtype.kind not in "biufU" or (values.dtype.kind == "f" and np.isnan(values).any()):
            raise ValueError(f"{where}: a label is neither a number nor a text")
        return values
    if len(values) and values.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {name} of type {values.dtype}, expected numbers")
    if name == "scores" and np.isnan(values.astype(np.float64)).any():
        raise ValueError(f"{where}: a score is NaN, which is neither sure nor unsure")
    if name in ("iscrowd", "ignore") and values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(f"{where}: {name} is NaN, expected 0 or 1")
    return values


_DEFAULTS: dict[str, Any] = {
    "boxes": None, "scores": 1.0, "labels": 0, "iscrowd": False, "ignore": False, "area": math.nan,
}  # fmt: skip


def _numbers(labels: NDArray[Any], names: NDArray[Any], use_labels: bool) -> NDArray[np.int64]:
    """The category of each label; -1 where no reference has it."""
    if not use_labels or len(names) == 0:
        return np.full(len(labels), 0 if len(names) else -1, dtype=np.int64)
    place = np.searchsorted(names, labels).clip(max=len(names) - 1)
    return np.where(names[place] == labels, place, -1).astype(np.int64)


def _asked(
    thresholds: Sequence[float], areas: Sequence[str], rules: Rules
) -> tuple[list[float], list[tuple[float, float]], bool]:
    if rules not in get_args(Rules):
        raise choice_error("rules of average precision", rules, get_args(Rules))
    for area in areas:
        if area not in AREA_RANGES:
            raise choice_error("area", area, tuple(AREA_RANGES))
    for at in thresholds:
        if not 0 <= float(at) <= 1:
            raise ValueError(f"a threshold is {at}: expected an overlap from 0 to 1")
    ranges = [AREA_RANGES[area] for area in areas]
    if rules == "voc":
        ranges = [(least, math.inf if most == AREA_RANGES["all"][1] else most) for least, most in ranges]
    return [float(at) for at in thresholds], ranges, rules == "voc"


def _limits(limits: Sequence[int] | None) -> tuple[int, ...] | None:
    if limits is None:
        return None
    known = sorted([limits] if isinstance(limits, int) else limits)
    if any(int(limit) != limit or limit < 1 for limit in known):
        raise ValueError(f"max_detections is {limits!r}: expected whole numbers from 1, such as (1, 10, 100)")
    return tuple(int(limit) for limit in known)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else math.nan


__all__ = [
    "AREA_RANGES", "COCO_THRESHOLDS", "MAX_DETECTIONS", "BoxMatches", "Rules", "mean_average_precision",
]  # fmt: skip
