"""Distances, assignment, average precision, skeletons and float masks beside their fastest peers, one thread.

    MEDGRPO_DATA=../shared/data python benchmarks/measures_speed.py            # all jobs
    python benchmarks/measures_speed.py distances assign                       # some

Every job checks that results are equal, then times both sides in one process, taking turns, in processor time, the
least of several rounds; ours once with AVX2 and once with AVX-512. Peers: `pip install "medgrpo[bench]"`.
"""

import contextlib
import ctypes
import io
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from medgrpo import _reward_core as core
from medgrpo.rewards import masks
from medgrpo.rewards.box_precision import BoxMatches
from medgrpo.rewards.boxes import assign
from tests.peers.coco_files import coco_dataset
from tests.vessels import generated_batch, real_batch

DATA = Path(os.environ.get("MEDGRPO_DATA", "../shared/data"))
LEVELS = ("avx2", "avx512")
LIBC = ctypes.CDLL(None)
LIBC.memchr.restype, LIBC.memchr.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)


def least_ms(calls, rounds):
    """Least processor time of each call in milliseconds; the calls take turns, backwards every other round.

    Backwards, because the first of ours would else be the only one to find the caches emptied by the peers.
    """
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(rounds):
        for name, call in list(calls.items())[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            call()
            best[name] = min(best[name], (time.process_time() - start) * 1e3)
    return best


def compare(job, ours, peers, rounds=5):
    """Prints one line: milliseconds of each peer and of ours at each level, and the ratio to the fastest peer."""

    def at(level):
        def call():
            core.set_instruction_set(level)
            ours()

        return call

    calls = {**peers, **{level: at(level) for level in LEVELS}}
    times = least_ms(calls, rounds)
    fastest = min(times[name] for name in peers)
    shown = ", ".join(f"{name} {times[name]:.4g}" for name in calls)
    ratios = " | ".join(f"{fastest / times[level]:.2f}x" for level in LEVELS)
    print(f"| {job} | {shown} ms | {ratios} |", flush=True)


def opencv_edge(mask):
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return mask & ~cv2.erode(mask, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0) & 1


def opencv_distances(prediction, reference, cropped=False):
    """(HD95, ASSD) by OpenCV's exact distance transform."""
    import cv2

    if cropped:
        x, y, w, h = cv2.boundingRect(prediction | reference)
        prediction, reference = (
            cv2.copyMakeBorder(one[y : y + h, x : x + w], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            for one in (prediction, reference)
        )
    edges = [opencv_edge(prediction), opencv_edge(reference)]
    fields = [cv2.distanceTransform(1 - edge, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for edge in edges]
    there, back = fields[1][edges[0] > 0], fields[0][edges[1] > 0]
    both = max(np.percentile(there, 95), np.percentile(back, 95))
    return both, (there.sum(dtype=np.float64) + back.sum(dtype=np.float64)) / (len(there) + len(back))


def surface_distance(prediction, reference):
    import surface_distance as peer

    found = peer.compute_surface_distances(reference.astype(bool), prediction.astype(bool), (1.0, 1.0))
    return peer.compute_robust_hausdorff(found, 95), peer.compute_average_surface_distance(found)


def discs(side, count=64):
    random = np.random.default_rng(0)
    grid = np.arange(side)
    pairs = []
    for _ in range(count):
        y, x = random.uniform(20, side - 20, 2)
        moved = random.normal(0, 2, 2)
        pairs.append(
            [
                ((grid[:, None] - y - dy) ** 2 + (grid[None] - x - dx) ** 2 <= 100).astype(np.uint8)
                for dy, dx in ((0, 0), moved)
            ]
        )
    return np.stack([one for one, _ in pairs]), np.stack([one for _, one in pairs])


def distances():
    names = ["hausdorff95", "average_surface_distance"]
    for side in (512, 1024):
        for kind in ("vessels", "generated", "discs"):
            prediction, reference = {
                "vessels": lambda side=side: real_batch(DATA, side),
                "generated": lambda side=side: generated_batch(side),
                "discs": lambda side=side: discs(side),
            }[kind]()
            expected = [opencv_distances(*pair) for pair in zip(prediction, reference, strict=True)]
            found = masks.measure(prediction, reference, names)
            np.testing.assert_allclose(np.stack([found[n] for n in names], axis=1), expected, rtol=1e-5)

            def each(function, prediction=prediction, reference=reference, **options):
                return lambda: [
                    function(*pair, **options) for pair in zip(prediction, reference, strict=True)
                ]

            peers = {"OpenCV": each(opencv_distances)}
            if kind == "discs":
                peers = {"OpenCV, cropped": each(opencv_distances, cropped=True)}
                with contextlib.suppress(ImportError):
                    surface_distance(prediction[0], reference[0])
                    peers["surface-distance"] = each(surface_distance)
            compare(
                f"HD95 + ASSD, 64 {kind} {side}²",
                lambda p=prediction, r=reference: masks.measure(p, r, names), peers, rounds=3,
            )  # fmt: skip


def assignment():
    from scipy.optimize import linear_sum_assignment

    random = np.random.default_rng(0)
    for size in (100, 400, 800):
        for kind, gains in (
            ("uniform", random.random((size, size))),
            ("IoU", np.maximum(0, random.random((size, size)) - 0.9) * 10),
        ):
            mine, its = assign(gains), linear_sum_assignment(gains, maximize=True)
            assert abs(gains[mine].sum() - gains[its].sum()) < 1e-9
            compare(
                f"assign, {kind}, n = {size}",
                lambda gains=gains: assign(gains),
                {"scipy": lambda gains=gains: linear_sum_assignment(gains, maximize=True)}, rounds=9,
            )  # fmt: skip


def detections(pictures, labels, per_picture=7, copies=3, seed=0):
    """(predictions, references); `labels` None: every box has its own."""
    random = np.random.default_rng(seed)
    predictions, references = [], []
    for picture in range(pictures):
        corner = random.uniform(0, 400, (per_picture, 2))
        truth = np.concatenate([corner, corner + random.uniform(8, 200, (per_picture, 2))], axis=1)
        names = (
            np.arange(per_picture) + picture * per_picture
            if labels is None
            else random.integers(0, labels, per_picture)
        )
        found = np.repeat(truth, copies, axis=0) + random.normal(0, 6, (per_picture * copies, 4))
        predictions.append(
            {"boxes": found, "scores": random.random(len(found)), "labels": np.repeat(names, copies)}
        )
        references.append({"boxes": truth, "labels": names})
    return predictions, references


def pycocotools_stats(truth, found):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = truth
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes([dict(one) for one in found]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:12]


def faster_stats(truth, found):
    import faster_coco_eval

    dataset = faster_coco_eval.COCO(truth)
    evaluation = faster_coco_eval.COCOeval_faster(
        dataset, dataset.loadRes([dict(one) for one in found]), "bbox"
    )
    evaluation.run()
    return evaluation.stats[:12]


def precision():
    import json

    predictions, references = detections(500, 80)
    truth, found = coco_dataset(predictions, references)
    ours = BoxMatches.of_boxes(predictions, references).summary()
    np.testing.assert_allclose(list(ours.values()), faster_stats(truth, found), atol=1e-9)
    peers = {
        "faster_coco_eval": lambda: faster_stats(truth, found),
        "pycocotools": lambda: pycocotools_stats(truth, found),
    }
    compare(
        "mAP, 500 images, 80 labels, COCO's twelve figures, from arrays",
        lambda: BoxMatches.of_boxes(predictions, references).summary(), peers, rounds=3,
    )  # fmt: skip
    texts = [
        json.dumps(
            [
                {"box": box, "label": str(label), "score": score}
                for box, label, score in zip(
                    one["boxes"].tolist(), one["labels"].tolist(), one["scores"].tolist(), strict=True
                )
            ]
        )
        for one in predictions
    ]
    boxes = [
        [{"box": box, "label": str(label)} for box, label in zip(one["boxes"].tolist(), one["labels"].tolist(), strict=True)]
        for one in references
    ]  # fmt: skip
    compare(
        "the same from completions, read as text",
        lambda: BoxMatches.of_completions(texts, boxes).summary(), peers, rounds=3,
    )  # fmt: skip
    for pictures in (1000, 2000, 4000):
        many = detections(pictures, None)
        times = least_ms({"ours": lambda many=many: BoxMatches.of_boxes(*many).means()}, 3)
        print(f"| mAP, every box its own label, {pictures} images | {times['ours']:.4g} ms | |", flush=True)


def skeletons():
    from skimage.morphology import skeletonize

    for side in (256, 512, 1024):
        prediction, reference = real_batch(DATA, side)
        skeletonize(prediction[0])

        def recipe(prediction, reference):
            thin_r, thin_p = skeletonize(reference), skeletonize(prediction)
            tprec, tsens = (
                np.sum(prediction * thin_r) / np.sum(thin_r),
                np.sum(reference * thin_p) / np.sum(thin_p),
            )
            return 2 * tprec * tsens / (tprec + tsens)

        out = np.empty(prediction.shape, bool)
        compare(
            f"skeleton, 64 vessels {side}²", lambda p=prediction, o=out: masks.skeletonize(p, out=o),
            {"scikit-image": lambda p=prediction: [skeletonize(mask) for mask in p]}, rounds=5,
        )  # fmt: skip
        compare(
            f"clDice, 64 vessels {side}²", lambda p=prediction, r=reference: masks.cldice(p, r),
            {"authors' recipe": lambda p=prediction, r=reference: [recipe(*pair) for pair in zip(p, r, strict=True)]},
            rounds=3,
        )  # fmt: skip


def floats():
    prediction, reference = real_batch(DATA, 512)
    kinds = {
        "uint8": (prediction, reference),
        "float32": tuple(one.astype(np.float32) for one in (prediction, reference)),
        "float16": tuple(one.astype(np.float16) for one in (prediction, reference)),
        "transposed": tuple(
            np.ascontiguousarray(one.transpose(0, 2, 1)).transpose(0, 2, 1) for one in (prediction, reference)
        ),
    }
    for name, measure in (
        ("dice", masks.dice),
        ("components", lambda p, _: masks.components(p)),
        ("cldice", masks.cldice),
        ("multi_objective", lambda p, r: masks.multi_objective(p, mask=r)),
    ):
        for count in (1, 4, 64) if name == "dice" else (4, 64):
            pairs = {kind: (p[:count], r[:count]) for kind, (p, r) in kinds.items()}
            for level in LEVELS:
                core.set_instruction_set(level)
                calls = {kind: lambda pair=pair, m=measure: m(*pair) for kind, pair in pairs.items()}
                if name == "dice":
                    calls |= {
                        f"reading {kind}": lambda pair=pair: read(*pair) for kind, pair in pairs.items()
                    }
                times = least_ms(calls, 31 if name == "dice" else 9)
                ratios = ", ".join(f"{kind} {times[kind] / times['uint8']:.2f}" for kind in kinds)
                print(
                    f"| {name}, {count} masks 512², {level} | uint8 {times['uint8']:.3f} ms | {ratios} |",
                    flush=True,
                )
                if name == "dice":
                    print_rates(pairs, times)


def read(*arrays):
    """Reads every byte and does nothing else: the C library looks for one that is not there."""
    for one in arrays:
        whole = one if one.flags.c_contiguous else one.transpose(0, 2, 1)
        assert LIBC.memchr(whole.ctypes.data, 0x77, whole.nbytes) is None


def print_rates(pairs, times):
    """How fast each kind was read by ours, and by `read` between the calls of ours."""
    for kind, pair in pairs.items():
        size = sum(one.nbytes for one in pair)
        ours, plain = (size / times[name] / 1e6 for name in (kind, f"reading {kind}"))
        shares = (
            f"{ours / plain:.2f} of a plain read; {times[f'reading {kind}'] / times['reading uint8']:.2f}"
        )
        print(
            f"|  | {kind}, {size / 1e6:.1f} MB | {ours:.1f} GB/s, read {plain:.1f} GB/s: {shares} times uint8's read |",
            flush=True,
        )


JOBS = {
    "distances": distances, "assign": assignment, "precision": precision, "skeletons": skeletons, "floats": floats,
}  # fmt: skip

if __name__ == "__main__":
    masks.set_num_threads(1)
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    print("| job | ms | AVX2 | AVX-512 |\n| --- | --- | ---: | ---: |")
    for job in sys.argv[1:] or JOBS:
        JOBS[job]()
