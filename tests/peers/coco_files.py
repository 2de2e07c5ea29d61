"""Detections as COCO's files have them, for pycocotools and those who read what it reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def coco_dataset(
    predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The annotations and the results of pictures given as arrays: `boxes` (x1, y1, x2, y2), `labels`, `scores`.

    References may have an `area` (else that of the box) and `iscrowd` (else 0).
    """
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        boxes = _corner_and_size(reference["boxes"])
        areas = reference.get("area", [box[2] * box[3] for box in boxes])
        crowds = reference.get("iscrowd", [0] * len(boxes))
        for box, label, area, crowd in zip(boxes, reference["labels"], areas, crowds, strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": int(label), "bbox": box,
                 "area": float(area), "iscrowd": int(crowd)}
            )  # fmt: skip
        boxes = _corner_and_size(prediction["boxes"])
        for box, label, score in zip(boxes, prediction["labels"], prediction["scores"], strict=True):
            found.append({"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)})
    labels = sorted({one["category_id"] for one in annotations})
    return {
        "images": [{"id": image, "width": 1000, "height": 1000} for image in range(len(references))],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }, found


def _corner_and_size(boxes: Any) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
