"""Storing large JPEGs, against a plain PIL loop and torchvision.

Run with `pytest tests/benchmarks/test_image_benchmarks.py --benchmark-enable --benchmark-only`; set
MEDGRPO_BENCH_IMAGES for another number of pictures than 40. Figures with machine and date: BENCHMARKS.md.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from medgrpo.data.images import ImageJob, ImageSettings
from medgrpo.data.source import ImageRef
from medgrpo.data.store import store_all

COUNT = int(os.environ.get("MEDGRPO_BENCH_IMAGES", "40"))
SIZE_PX = 512


@pytest.fixture(scope="module")
def large_jpegs(tmp_path_factory) -> Path:
    """Pictures of 2048 x 1536 px with structure at every scale, about 0.5 MB each."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    layers = [Image.fromarray(rng.integers(0, 256, (48 * k, 64 * k, 3), np.uint8)) for k in (1, 4, 16)]
    sheets = [layer.resize((2048, 1536), Image.Resampling.BICUBIC) for layer in layers]
    base = Image.blend(Image.blend(sheets[0], sheets[1], 0.4), sheets[2], 0.2).filter(
        ImageFilter.GaussianBlur(1)
    )
    for number in range(COUNT):
        base.rotate(number % 360).save(folder / f"{number:05}.jpg", quality=92)
    return folder


def plain_loop(folder: Path, out: Path) -> None:
    """What a first script does: open, convert, resize, save."""
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        scale = SIZE_PX / max(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size, Image.Resampling.BICUBIC).save(out / path.name, quality=95)


def torchvision_loop(folder: Path, out: Path) -> None:
    from torchvision.io import decode_jpeg, encode_jpeg, read_file, write_file
    from torchvision.transforms.v2.functional import resize

    for path in sorted(folder.iterdir()):
        picture = resize(decode_jpeg(read_file(str(path))), size=None, max_size=SIZE_PX, antialias=True)
        write_file(str(out / path.name), encode_jpeg(picture, quality=95))


def jobs(folder: Path, out: Path) -> list[ImageJob]:
    settings = ImageSettings(size_px=SIZE_PX)
    return [
        ImageJob(folder, ImageRef(path.name), out, "image", settings) for path in sorted(folder.iterdir())
    ]


@pytest.mark.benchmark(group="store large JPEGs")
@pytest.mark.parametrize("workers", [1, 2])
def test_medgrpo(benchmark, large_jpegs, tmp_path_factory, workers):
    def run():
        store_all(jobs(large_jpegs, tmp_path_factory.mktemp("out")), workers, label="images")

    benchmark.pedantic(run, rounds=3)


@pytest.mark.benchmark(group="store large JPEGs")
@pytest.mark.filterwarnings("ignore:The image decoding")  # torchvision moves its decoders elsewhere
@pytest.mark.parametrize("loop", [plain_loop, torchvision_loop])
def test_other_loops(benchmark, large_jpegs, tmp_path_factory, loop):
    benchmark.pedantic(lambda: loop(large_jpegs, tmp_path_factory.mktemp("out")), rounds=3)
