"""Detection from files to mAP through the command line: preprocess, train (SFT, then GRPO), eval.

    python benchmarks/detection.py shapes WORK     # generated pictures, a demo-size model: some minutes on a CPU
    python benchmarks/detection.py vessels WORK    # boxes of the real vessel masks' components: a few steps
    python benchmarks/detection.py shapes WORK --set training.max_steps=50 --seed 1

`vessels` reads the sample data (MEDGRPO_DATA, default ../shared/data). Prints a table of mAP after SFT and after GRPO.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
SIZE = (96, 72)
"""Of the generated pictures; the demo-size model sees 84 x 84 px, so its numbers are not those of the file."""
TEMPLATE = 'tags = ["boxes"]\nsystem = ""\ninstruction = "Boxes."\n'
"""So small a model reads no instructions."""
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
    lengths = {"shapes": (64, 512), "vessels": (700, 2048)}[kind]
    steps = {"shapes": (240, 100), "vessels": (6, 3)}[kind]
    return [
        f"data.prompt_template={template}",
        f"rollout.max_completion_length={lengths[0]}",
        f"model.context_length={lengths[1]}",
        f"stages.sft.max_steps={steps[0]}",
        f"training.max_steps={steps[1]}",
        f"validation.rows={128 if kind == 'shapes' else 2}",
        *(["training.prompts_per_step=2", "training.per_device_train_batch_size=8", "stages.sft.prompts_per_step=4",
           "stages.sft.per_device_train_batch_size=4"] if kind == "vessels" else []),
    ]  # fmt: skip


def main() -> None:
    """Runs everything in WORK and prints what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["shapes", "vessels"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    template = work / "boxes.toml"
    template.write_text(TEMPLATE)
    if given.kind == "shapes":
        coco(work / "source", shapes(2400, seed=given.seed), ["lesion", "cyst"])
    else:
        data = Path(os.environ.get("MEDGRPO_DATA", ROOT / "../shared/data")).resolve()
        coco(work / "source", vessels(data), ["vessel"])
    prepared = medgrpo(
        "preprocess", work / "source", work / "data", *(["--size", 512] if given.kind == "vessels" else [])
    )
    print(f"rows {prepared['rows']}, image tokens {prepared['image_tokens']}")
    run = work / "run"
    assignments = [*settings(given.kind, template), *given.assignments]
    result = medgrpo(
        "train", "--preset", "detection", "--data", work / "data", "--output", run, "--seed", given.seed,
        *(word for one in assignments for word in ("--set", one)),
    )  # fmt: skip
    print(f"reward {result['reward_first']:.3f} -> {result['reward_last']:.3f} in {result['wall_s']:.0f} s")
    for name, model in (("after SFT", run / "stages/1-sft/final_model"), ("after GRPO", run / "final_model")):
        found = medgrpo("eval", model, work / "data", "--output", work / name.replace(" ", "-"))
        rows = [*((one, found["detection"][one]) for one in ("map_50", "map_75", "map"))]
        rows += [(one, found[one]) for one in ("box_iou", "box_f1", "format")]
        print(
            name,
            *(f"{one} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" for one, value in rows),
        )


if __name__ == "__main__":
    main()
