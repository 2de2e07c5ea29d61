"""Detection from files to mAP through the command line: preprocess, train (SFT, then GRPO), eval.

    python benchmarks/detection.py shapes WORK     # generated pictures, a demo-size model, two seeds: ten minutes on two cores
    python benchmarks/detection.py vessels WORK    # boxes of the real vessel masks' components: a few steps
    python benchmarks/detection.py shapes WORK --seeds 2 --set training.scale_rewards=group

`vessels` reads the sample data (MEDGRPO_DATA, default ../shared/data). Prints a Markdown table, after SFT and after GRPO, greedy and
sampled at temperature 1: figures of each seed, and of all seeds together with 95 % intervals clustered by picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from medgrpo.evaluation.score import Scored

ROOT = Path(__file__).resolve().parents[1]
SIZE = (96, 72)
"""Of the generated pictures; the demo-size model sees 84 x 84 px, so its numbers are not those of the file."""
TEMPLATE = 'tags = ["boxes"]\nsystem = ""\ninstruction = "Boxes."\n'
"""So small a model reads no instructions."""
SFT, GRPO = "after-SFT", "after-GRPO"
SAMPLES = 2
"""Completions a picture that are drawn besides the greedy one."""
Box = tuple[list[int], str]


def coco(
    folder: Path, pictures: Iterator[tuple[str, Image.Image, Sequence[Box]]], labels: Sequence[str]
) -> None:
    """A COCO folder: images/ and instances.json."""
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels)],
    }
    for number, (name, picture, boxes) in enumerate(pictures):
        picture.save(folder / "images" / name)
        width, height = picture.size
        content["images"].append(
            {"id": number, "file_name": f"images/{name}", "width": width, "height": height}
        )
        for (left, top, right, bottom), label in boxes:
            box = [left, top, right - left, bottom - top]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]),
                    "image_id": number,
                    "bbox": box,
                    "category_id": labels.index(label),
                }
            )
    (folder / "instances.json").write_text(json.dumps(content))


def shapes(count: int, seed: int = 0) -> Iterator[tuple[str, Image.Image, list[Box]]]:
    """Grey noise with a bright disc (lesion) or a dark square (cyst) in it, of two sizes, on a lattice of 8 x 8 places."""
    random = np.random.default_rng(seed)
    width, height = SIZE
    for number in range(count):
        noise = random.normal(110, 18, (height, width)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(noise)
        across, down = [(24, 18), (36, 27)][random.integers(2)]
        left = int(random.integers(0, (width - across) // 12 + 1)) * 12
        top = int(random.integers(0, (height - down) // 9 + 1)) * 9
        label = ("lesion", "cyst")[random.integers(2)]
        pen, edges = ImageDraw.Draw(picture), (left, top, left + across - 1, top + down - 1)
        pen.ellipse(edges, fill=235) if label == "lesion" else pen.rectangle(edges, fill=25)
        yield f"{number:05d}.png", picture.convert("RGB"), [([left, top, left + across, top + down], label)]


def vessels(data: Path, smallest: int = 20) -> Iterator[tuple[str, Image.Image, list[Box]]]:
    """Fundus photographs with the boxes of their masks' connected components of at least `smallest` pixels: the tree, and pieces cut off from it."""
    from scipy import ndimage

    for name, image, mask in vessel_files(data):
        with Image.open(mask) as opened:
            foreground = np.asarray(opened.convert("L")) > 127
        found, _ = ndimage.label(foreground, structure=np.ones((3, 3)))
        boxes = []
        for number, place in enumerate(ndimage.find_objects(found), start=1):
            if (found[place] == number).sum() >= smallest:
                rows, columns = place
                boxes.append(([columns.start, rows.start, columns.stop, rows.stop], "vessel"))
        with Image.open(image) as opened:
            yield name, opened.convert("RGB"), boxes


def vessel_files(data: Path) -> Iterator[tuple[str, Path, Path]]:
    """(name, photograph, first observer's mask) of DRIVE and CHASE_DB1."""
    for mask in sorted((data / "vessels/drive/manual").iterdir()):
        (image,) = (data / "vessels/drive/image").glob(f"{mask.name[:2]}_*")
        yield f"drive_{mask.name[:2]}.png", image, mask
    for image in sorted((data / "vessels/chase_db1/image").iterdir()):
        (mask,) = (data / "vessels/chase_db1/manual").glob(f"{image.stem}[_.]*")
        yield f"chase_{image.stem}.png", image, mask


def medgrpo(*arguments: object) -> dict[str, Any]:
    """The JSON document of a command."""
    command = [sys.executable, "-m", "medgrpo.cli.main", *map(str, arguments), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    print(
        f"  {time.perf_counter() - started:6.1f} s  medgrpo {' '.join(map(str, arguments))}", file=sys.stderr
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def settings(kind: str, template: Path) -> list[str]:
    """What the demo-size model needs besides the preset."""
    chosen = {
        "shapes": [
            "rollout.max_completion_length=48",
            "model.context_length=256",
            "stages.sft.max_steps=280",  # it begins to see where things are after some 200
            "training.max_steps=120",
            "training.prompts_per_step=32",
            "training.per_device_train_batch_size=256",
            "training.learning_rate=1e-4",  # at the demo's 3e-4 it forgets that again
            "validation.before_and_after=false",  # the table measures more pictures
        ],
        "vessels": [
            "rollout.max_completion_length=700",
            "model.context_length=2048",
            "stages.sft.max_steps=100",  # the form; fewer, and every completion is cut off and read as nothing
            "stages.sft.prompts_per_step=6",
            "stages.sft.per_device_train_batch_size=6",
            "training.max_steps=3",
            "training.prompts_per_step=2",
            "training.per_device_train_batch_size=8",
            "validation.rows=2",
        ],
    }[kind]
    return [f"data.prompt_template={template}", "logging.report_to=[]", *chosen]


def run(kind: str, work: Path, seed: int, assignments: Sequence[str]) -> dict[str, Path]:
    """Preprocess, train and evaluate in `work`; the predictions of each stage."""
    work.mkdir(parents=True)
    template = work / "boxes.toml"
    template.write_text(TEMPLATE)
    if kind == "shapes":
        coco(work / "source", shapes(4000, seed=seed), ["lesion", "cyst"])
    else:
        data = Path(os.environ.get("MEDGRPO_DATA", ROOT / "../shared/data")).resolve()
        coco(work / "source", vessels(data), ["vessel"])
    size = ["--size", 512] if kind == "vessels" else []
    prepared = medgrpo("preprocess", work / "source", work / "data", *size)
    print(f"seed {seed}: rows {prepared['rows']}, image tokens {prepared['image_tokens']}", file=sys.stderr)
    folder = work / "run"
    given = [*settings(kind, template), *assignments]
    result = medgrpo(
        "train", "--preset", "detection", "--data", work / "data", "--output", folder, "--seed", seed,
        *(word for one in given for word in ("--set", one)),
    )  # fmt: skip
    print(
        f"seed {seed}: reward {result['reward_first']:.3f} -> {result['reward_last']:.3f}, {result['wall_s']:.0f} s",
        file=sys.stderr,
    )
    for stage, model in ((SFT, folder / "stages/1-sft/final_model"), (GRPO, folder / "final_model")):
        medgrpo("eval", model, work / "data", "--samples", SAMPLES, "--output", work / stage)
    return {stage: work / stage / "predictions.parquet" for stage in (SFT, GRPO)}


def measured(files: Sequence[Path], *, is_sampled: bool) -> Scored:
    """The predictions of one stage and some seeds, scored; each seed's pictures are its own."""
    from pyarrow import parquet

    from medgrpo.evaluation.score import score_predictions

    rows, texts = [], []
    for place, file in enumerate(files):
        for row in parquet.read_table(file).to_pylist():
            said = row["samples"] if is_sampled else [row["completion"]]
            rows += [{**row, "image_id": f"{place}:{row['image_id']}"}] * len(said)
            texts += said
    return score_predictions(rows, texts, tags=("boxes",))


def figures(scored: Scored) -> dict[str, dict[str, Any]]:
    """Value and interval of each column of the table."""
    from medgrpo.evaluation.detection import detection_metrics
    from medgrpo.evaluation.statistics import estimate

    found = detection_metrics(scored)
    assert found is not None
    means = {name: estimate(scored.scores[name], scored.clusters).as_dict() for name in ("box_iou", "box_f1")}
    return {**means, "map_50": found["map_50"], "map": found["map"]}


def table(seeds: Sequence[int], files: Sequence[dict[str, Path]]) -> Iterator[str]:
    """Markdown: a line per seeds, decoding and stage, and what GRPO changed, picture by picture."""
    from medgrpo.evaluation.statistics import paired_difference

    groups = [*([one] for one in range(len(seeds))), *([list(range(len(seeds)))] if len(seeds) > 1 else [])]
    changes = []
    yield "| seed | decoding | | IoU | F1 at IoU .5 | mAP@.5 | mAP@.5:.95 |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    for places in groups:
        name = ", ".join(str(seeds[place]) for place in places)
        for decoding in ("greedy", "sampled"):
            both = [
                measured([files[place][stage] for place in places], is_sampled=decoding == "sampled")
                for stage in (SFT, GRPO)
            ]
            for stage, scored in zip((SFT, GRPO), both, strict=True):
                cells = (
                    f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
                    for one in figures(scored).values()
                )
                yield f"| {name} | {decoding} | {stage} | {' | '.join(cells)} |"
            for score in ("box_iou", "box_f1"):
                first, second = (scored.scores[score] for scored in both)
                one = paired_difference(first, second, both[0].clusters)
                changes.append(
                    f"{name} {decoding} {score}: {one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
                )
    yield ""
    yield "After GRPO minus after SFT, paired by picture:"
    yield from (f"- seed {line}" for line in changes)


def main() -> None:
    """Runs everything in WORK and prints what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["shapes", "vessels"])
    parser.add_argument("work", type=Path, help="folder that is made; each seed has one in it")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 for shapes, 0 for vessels")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, a thread each")
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    given = parser.parse_args()
    seeds = given.seeds or {"shapes": [0, 1], "vessels": [0]}[given.kind]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.perf_counter()
    with ThreadPoolExecutor(given.jobs) as pool:
        jobs = [
            pool.submit(run, given.kind, given.work / f"seed-{seed}", seed, given.assignments)
            for seed in seeds
        ]
        files = [job.result() for job in jobs]
    print(f"{time.perf_counter() - started:.0f} s\n")
    for line in table(seeds, files):
        print(line)


if __name__ == "__main__":
    main()
