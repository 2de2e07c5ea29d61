"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: pictures at their own size, in patches of which 2×2 become one token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from medgrpo.errors import UsageError
from medgrpo.models.families.base import Family, Size
from medgrpo.models.image_tokens import ImageFamily, PictureGrid
from medgrpo.models.shape import ModelShape

EDGES = {"shortest_edge", "longest_edge"}
"""Despite their names these two are areas, in pixels."""


class Qwen2VL(Family):
    """Qwen2-VL; Qwen2.5-VL and Qwen3-VL differ in little from it."""

    name = "qwen2-vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl",)
    images = ImageFamily("qwen2-vl", "patches", 14, 2, 56 * 56, 28 * 28 * 16384)
    shapes: ClassVar[tuple[ModelShape, ...]] = (
        ModelShape("Qwen2-VL-2B", 28, 1536, 256, 8960, 151_936, 32, 1280, 3413, tied=True),
        ModelShape("Qwen2-VL-7B", 28, 3584, 512, 18_944, 152_064, 32, 1280, 3413),
        ModelShape("Qwen2-VL-72B", 80, 8192, 1024, 29_568, 152_064, 32, 1280, 3413),
    )
    vision_modules: ClassVar[tuple[str, ...]] = ("visual",)
    vision_layers = (
        r"(?:.*\.)?visual\.blocks\.\d+\."
        r"(?:attn|mlp)\.(?:qkv|proj|fc1|fc2|linear_fc1|linear_fc2|gate_proj|up_proj|down_proj)"
    )
    aligner_layers = r"(?:.*\.)?visual\.(?:merger|deepstack_merger_list\.\d+)\.(?:mlp\.[02]|linear_fc\d)"

    def reads(self, processor: Any) -> bool:
        """Its image processor has a smallest and a largest area."""
        return set(dict(_limits(getattr(processor, "image_processor", None)))) >= EDGES

    def limit_pixels(self, images: Any, max_pixels: int | None, min_pixels: int | None) -> None:
        """Both limits.

        Raises:
            UsageError: the smallest is larger than the largest.
        """
        size = _limits(images)
        smallest = min_pixels if min_pixels is not None else int(size["shortest_edge"])
        largest = max_pixels if max_pixels is not None else int(size["longest_edge"])
        if smallest > largest:
            if min_pixels is not None and max_pixels is not None:
                raise UsageError(
                    f"min_pixels ({min_pixels}) is larger than max_pixels ({max_pixels})",
                    hint="training takes --set model.min_pixels=3136",
                )
            smallest = min(smallest, largest)
        images.size = {"shortest_edge": smallest, "longest_edge": largest}

    def seen_size(self, images: Any) -> Callable[[int, int], Size] | None:
        """Scaled by area."""
        return self.pixel_grid(images).size

    def pixel_grid(self, images: Any) -> PictureGrid:
        """The resized picture."""
        limits = _limits(images)
        factor = int(images.patch_size * images.merge_size)
        return PictureGrid(factor, int(limits["shortest_edge"]), int(limits["longest_edge"]))


class Qwen25VL(Qwen2VL):
    """Qwen2.5-VL, which was trained to write boxes in pixels of the resized picture."""

    name = "qwen2.5-vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_vl",)
    images = ImageFamily("qwen2.5-vl", "patches", 14, 2, 56 * 56, 28 * 28 * 16384, box_format="pixel")
    shapes: ClassVar[tuple[ModelShape, ...]] = (
        ModelShape("Qwen2.5-VL-3B", 36, 2048, 256, 11_008, 151_936, 32, 1280, 3420, tied=True),
        ModelShape("Qwen2.5-VL-7B", 28, 3584, 512, 18_944, 152_064, 32, 1280, 3420),
        ModelShape("Qwen2.5-VL-32B", 64, 5120, 1024, 27_648, 152_064, 32, 1280, 3456),
        ModelShape("Qwen2.5-VL-72B", 80, 8192, 1024, 29_568, 152_064, 32, 1280, 3456),
    )


class Qwen3VL(Qwen2VL):
    """Qwen3-VL: larger patches, and features of three depths of the tower."""

    name = "qwen3-vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_vl", "qwen3_vl_moe")
    images = ImageFamily("qwen3-vl", "patches", 16, 2, 256 * 256, 4096 * 4096)
    shapes: ClassVar[tuple[ModelShape, ...]] = (
        ModelShape("Qwen3-VL-2B", 28, 2048, 1024, 6144, 151_936, 24, 1024, 2731, tied=True),
        ModelShape("Qwen3-VL-4B", 36, 2560, 1024, 9728, 151_936, 24, 1024, 2731, tied=True, query_width=4096),
        ModelShape("Qwen3-VL-8B", 36, 4096, 1024, 12_288, 151_936, 27, 1152, 2869),
        ModelShape("Qwen3-VL-32B", 64, 5120, 1024, 25_600, 151_936, 27, 1152, 2869, query_width=8192),
        ModelShape(
            *("Qwen3-VL-30B-A3B", 48, 2048, 512, 768, 151_936, 27, 1152, 2869),
            query_width=4096,
            experts=128,
            experts_used=8,
        ),
        ModelShape(
            *("Qwen3-VL-235B-A22B", 94, 4096, 512, 1536, 151_936, 27, 1152, 2869),
            query_width=8192,
            experts=128,
            experts_used=8,
        ),
    )


def _limits(images: Any) -> dict[str, Any]:
    return dict(getattr(images, "size", None) or {})
