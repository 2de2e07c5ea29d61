"""Storing large JPEGs, against plain Pillow loops and torchvision, in one run.

    python tests/benchmarks/test_image_benchmarks.py --count 1000

Makes that many different JPEGs of 2048 × 1536 and of 3000 × 2000 px in a temporary folder, stores them at 512 px in each way,
taking turns, every way in a process of its own, and prints a Markdown table: wall time (imports left out, start of worker
processes included; for `medgrpo preprocess` everything from the shell), images/s, processor time over wall time. Figures
with machine and date: BENCHMARKS.md. Under pytest only checks that all ways store the same pictures.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIZE_PX = 512
SOURCES = ((2048, 1536), (3000, 2000))


@cache
def texture(width: int, height: int) -> Image.Image:
    """Structure at every scale, larger than the pictures cut from it."""
    rng = np.random.default_rng(0)
    wide, high = width * 5 // 4, height * 5 // 4
    layers = [Image.fromarray(rng.integers(0, 256, (48 * k, 64 * k, 3), np.uint8)) for k in (4, 16)]
    fine, finest = (layer.resize((wide, high), Image.Resampling.BILINEAR) for layer in layers)
    return Image.blend(fine, finest, 0.35).filter(ImageFilter.GaussianBlur(1))


def write_picture(path: Path, number: int, width: int, height: int) -> None:
    """A JPEG about as large as a camera's, like no other of the folder."""
    rng = np.random.default_rng(number)
    sheet = texture(width, height)
    left, top = rng.integers(0, sheet.width - width), rng.integers(0, sheet.height - height)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height))
    cut = sheet.crop((left, top, left + width, top + height))
    Image.blend(cut, coarse, 0.5).save(path, quality=92)


def write_pictures(folder: Path, count: int, width: int, height: int) -> None:
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        for number in range(count):
            pool.submit(write_picture, folder / f"{number:05}.jpg", number, width, height)
    rows = ({"question": "What is shown?", "answer": "noise", "image": p.name} for p in folder.glob("*.jpg"))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# Ways of storing them: each reads `folder`, writes into `out` and returns the seconds it took


def pillow(folder: Path, out: Path, *, thumbnail: bool = False) -> float:
    """What a first script does: open, convert, resize, save."""
    started = time.perf_counter()
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as opened:
            if thumbnail:  # decodes at 1/2 where that suffices, and reduces by whole steps first
                opened.thumbnail((SIZE_PX, SIZE_PX))
                picture = opened.convert("RGB")
            else:
                picture = opened.convert("RGB")
                scale = SIZE_PX / max(picture.size)
                size = (round(picture.width * scale), round(picture.height * scale))
                picture = picture.resize(size)  # bicubic
        picture.save(out / path.name, quality=95)
    return time.perf_counter() - started


def pillow_thumbnail(folder: Path, out: Path) -> float:
    return pillow(folder, out, thumbnail=True)


def torchvision(folder: Path, out: Path) -> float:
    """Decode, resize and encode of torchvision, on as many threads as it takes."""
    import warnings

    from torchvision.io import decode_jpeg, encode_jpeg, read_file, write_file
    from torchvision.transforms.v2.functional import resize

    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the decoders move to another package
        for path in sorted(folder.glob("*.jpg")):
            picture = resize(decode_jpeg(read_file(str(path))), size=None, max_size=SIZE_PX, antialias=True)
            write_file(str(out / path.name), encode_jpeg(picture, quality=95))
    return time.perf_counter() - started


def medgrpo(folder: Path, out: Path, workers: int = 2) -> float:
    """`store_all`: with content hash, perceptual hash and journal."""
    from medgrpo.data.images import ImageJob, ImageSettings
    from medgrpo.data.source import ImageRef
    from medgrpo.data.store import store_all

    settings = ImageSettings(size_px=SIZE_PX)
    started = time.perf_counter()
    jobs = [ImageJob(folder, ImageRef(p.name), out, "image", settings) for p in sorted(folder.glob("*.jpg"))]
    store_all(jobs, workers, label="images")
    return time.perf_counter() - started


def medgrpo_one_worker(folder: Path, out: Path) -> float:
    return medgrpo(folder, out, workers=1)


def preprocess(folder: Path, out: Path) -> float:
    """The command: also reads the rows, splits, looks for leaks, audits and writes the report."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "medgrpo.cli.main", "preprocess", str(folder), str(out / "dataset")]
    options = ["--size", str(SIZE_PX), "--workers", "2", "--quiet", "--json"]
    subprocess.run(command + options, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


WAYS = {
    "Pillow: open, convert, resize, save": pillow,
    "Pillow: open, thumbnail, save": pillow_thumbnail,
    "torchvision: decode_jpeg, resize, encode_jpeg": torchvision,
    "medgrpo store_all, one process": medgrpo_one_worker,
    "medgrpo store_all, two workers": medgrpo,
    "medgrpo preprocess, two workers, whole command": preprocess,
}


def measured(way: str, folder: Path, out: Path) -> tuple[float, float]:
    """(wall, processor) seconds of one way, in a process of its own; with those of its worker processes."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "images").mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--way", way, str(folder), str(out)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    while True:
        try:
            os.wait()  # servers of worker processes that outlive their parent for a moment
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return float(done.stdout), spent


def compare(count: int, rounds: int) -> None:
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that `os.wait` gets them
    print(f"| {count} JPEGs of | way | wall, s | images/s | processor s ÷ wall s | against the first |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for width, height in SOURCES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "source"
            write_pictures(folder, count, width, height)
            best = {way: (float("inf"), 0.0) for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    best[way] = min(best[way], measured(way, folder, Path(name) / "out"))
            first = best[next(iter(WAYS))][0]
            for way, (wall, spent) in best.items():
                figures = f"{wall:.1f} | {count / wall:.0f} | {spent / wall:.2f} | {first / wall:.2f}×"
                print(f"| {width} × {height} | {way} | {figures} |", flush=True)


def test_every_way_stores_the_same_pictures(tmp_path):
    write_pictures(tmp_path / "source", 3, 1200, 900)
    found = []
    for number, way in enumerate((pillow, pillow_thumbnail, torchvision, medgrpo_one_worker)):
        out = tmp_path / str(number)
        (out / "images").mkdir(parents=True)
        way(tmp_path / "source", out)
        # in grey: Pillow and torchvision store colour at half the resolution, medgrpo does not
        found.append(
            [np.asarray(Image.open(path).convert("L"), float) for path in sorted(out.rglob("*.jpg"))]
        )
    for pictures in found[1:]:
        for one, other in zip(found[0], pictures, strict=True):
            assert one.shape == other.shape == (384, 512)
            assert np.sqrt(np.mean((one - other) ** 2)) < 3.0  # 38.6 dB


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="pictures of each size")
    parser.add_argument(
        "--rounds", type=int, default=1, help="times that each way is run; the best one counts"
    )
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("folders", nargs="*", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(WAYS[asked.way](*asked.folders))
    else:
        compare(asked.count, asked.rounds)
