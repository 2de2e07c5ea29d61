"""COCO's twelve figures of two files in COCO's format, by medgrpo and by pycocotools, side by side.

    python benchmarks/coco_figures.py instances_val2014_100.json instances_val2014_fakebbox100_results.json
    python benchmarks/coco_figures.py gt_ignore_test.json dt_ignore_test.json --least-score .1

The files of these two calls are fixtures of cocoapi and faster-coco-eval, which are theirs and not copied here. Ends with 1
where a figure differs by more than 1e-12.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).parents[1]))
from medgrpo.rewards.box_precision import BoxMatches
from tests.peers.test_average_precision import FIGURES


def entries(path, least_score):
    """The file's boxes; pictures are known by number, some files write them as text."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    found = given["annotations"] if isinstance(given, dict) else given
    kept = [one for one in found if one.get("score", 1) >= least_score]
    return given, [one | {"image_id": int(one["image_id"])} for one in kept]


def pictures(boxes, order, names):
    """One mapping a picture, in the order in which pycocotools reads them: equal scores keep it."""
    rows = {number: [] for number in order}
    for box in boxes:
        rows[box["image_id"]].append(box)
    for row in rows.values():
        columns = {ours: np.array([one.get(theirs, 0) for one in row]) for ours, theirs in names.items()}
        corner_and_size = np.array([one["bbox"] for one in row], float).reshape(-1, 4)
        corner, size = corner_and_size[:, :2], corner_and_size[:, 2:]
        yield {"boxes": np.hstack([corner, corner + size]), **columns}


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("truth")
    asked.add_argument("found")
    asked.add_argument("--least-score", type=float, default=-np.inf)
    options = asked.parse_args()
    given, truth = entries(options.truth, -np.inf)
    _, found = entries(options.found, options.least_score)
    order = sorted({int(image["id"]) for image in given["images"]})
    marks = {"labels": "category_id", "iscrowd": "iscrowd", "ignore": "ignore", "area": "area"}
    ours = BoxMatches.of_boxes(
        list(pictures(found, order, {"labels": "category_id", "scores": "score"})),
        list(pictures(truth, order, marks)),
    ).summary()
    theirs = COCO()
    theirs.dataset = given | {"annotations": truth, "images": [{"id": number} for number in order]}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.createIndex()
        evaluation = COCOeval(theirs, theirs.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    print("| figure | medgrpo | pycocotools |\n| --- | ---: | ---: |")
    differs = False
    for name, wanted in zip(FIGURES, evaluation.stats, strict=True):
        print(f"| {name} | {ours[name]:.10f} | {wanted:.10f} |")
        differs |= not (np.isnan(ours[name]) if wanted < 0 else abs(ours[name] - wanted) <= 1e-12)
    sys.exit(differs)


if __name__ == "__main__":
    main()
