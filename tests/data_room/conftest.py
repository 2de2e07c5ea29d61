"""Small source folders, made on the spot."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """A smooth colour picture that JPEG likes, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height)).filter(ImageFilter.GaussianBlur(2))


@pytest.fixture
def vqa_folder(tmp_path: Path) -> Path:
    """40 pictures with three questions each, as {question, answer, image} JSON lines."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(40):
        name = f"case{number:02d}.jpg"
        photograph(number, 120, 80).save(folder / "images" / name, quality=90)
        rows += [
            {
                "question": f"Is finding {kind} present?",
                "answer": "yes" if (number + kind) % 2 else "no",
                "image": name,
            }
            for kind in range(3)
        ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
