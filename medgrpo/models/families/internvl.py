"""InternVL (the releases in Transformers' own form): a picture is cut into square tiles of 256 tokens each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from medgrpo.models.families.base import Family, Size
from medgrpo.models.image_tokens import ImageFamily, model_size, tile_limit
from medgrpo.models.picture_tokens import PictureTokens
from medgrpo.models.shape import ModelShape


class InternVL(Family):
    """InternVL2.5 and InternVL3."""

    name = "internvl"
    model_types: ClassVar[tuple[str, ...]] = ("internvl",)
    images = ImageFamily("internvl", "tiles", 14, 2, tile_px=448, tile_tokens=256, max_tiles=12)
    shapes: ClassVar[tuple[ModelShape, ...]] = (
        ModelShape("InternVL3-1B", 24, 896, 128, 4864, 151_674, 24, 1024, 2731),
        ModelShape("InternVL3-2B", 28, 1536, 256, 8960, 151_674, 24, 1024, 2731),
        ModelShape("InternVL3-8B", 28, 3584, 512, 18_944, 151_674, 24, 1024, 2731),
        ModelShape("InternVL3-14B", 48, 5120, 1024, 13_824, 151_674, 24, 1024, 2731),
        ModelShape("InternVL3-38B", 64, 5120, 1024, 27_648, 151_674, 45, 3200, 8533),
        ModelShape("InternVL3-78B", 80, 8192, 1024, 29_568, 151_674, 45, 3200, 8533),
    )
    vision_modules: ClassVar[tuple[str, ...]] = ("vision_tower", "multi_modal_projector")
    aligner_modules: ClassVar[tuple[str, ...]] = ("multi_modal_projector",)
    vision_layers = (
        r"(?:.*\.)?vision_tower\.(?:.*\.)?layers?\.\d+\."
        r"(?:attention|mlp)\.(?:q_proj|k_proj|v_proj|projection_layer|fc1|fc2)"
    )
    aligner_layers = r"(?:.*\.)?multi_modal_projector\.(?:.*\.)?linear\w*"

    def reads(self, processor: Any) -> bool:
        """Its image processor has a largest number of tiles."""
        return hasattr(getattr(processor, "image_processor", None), "max_patches")

    def limit_pixels(self, images: Any, max_pixels: int | None, min_pixels: int | None) -> None:
        """As many tiles as fit into the largest area; a smallest there is not."""
        if max_pixels is not None:
            images.max_patches = tile_limit(dict(images.size)["height"], images.max_patches, max_pixels)

    def seen_size(self, images: Any) -> Callable[[int, int], Size] | None:
        """A grid of tiles."""
        side, most = dict(images.size)["height"], images.max_patches
        family = ImageFamily("tiles", "tiles", 1, 1, tile_px=side, max_tiles=most)
        return lambda width, height: model_size(width, height, family)

    def picture_tokens(self, image_token: int, processor: Any) -> PictureTokens:
        """The processor, and not the template, puts a token before and one after the run."""
        around = (
            getattr(processor, "start_image_token_id", None),
            getattr(processor, "end_image_token_id", None),
        )
        return PictureTokens(image_token, None if None in around else (int(around[0]), int(around[1])))  # type: ignore[arg-type]
