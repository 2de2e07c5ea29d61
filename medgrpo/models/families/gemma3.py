"""Gemma 3 and MedGemma: every picture at 896 × 896 pixels and 256 tokens, with line breaks around them."""

from __future__ import annotations

from typing import Any, ClassVar

from medgrpo.models.families.base import Family
from medgrpo.models.image_tokens import ImageFamily
from medgrpo.models.picture_tokens import PictureTokens
from medgrpo.models.shape import ModelShape


class Gemma3(Family):
    """Gemma 3."""

    name = "gemma-3"
    model_types: ClassVar[tuple[str, ...]] = ("gemma3",)
    images = ImageFamily("gemma-3", "fixed", 14, 4, tile_px=896, tile_tokens=256)
    # 4.41 billion by the formula, 4.30 in truth: Gemma-3's queries are narrower than its width.
    shapes: ClassVar[tuple[ModelShape, ...]] = tuple(
        ModelShape(name, *sizes, 262_208, 27, 1152, 2869, tied=True, query_width=queries)
        for names, sizes, queries in (
            (("Gemma-3-4B", "MedGemma-4B", "MedGemma-1.5-4B"), (34, 2560, 1024, 10_240), 2048),
            (("Gemma-3-12B",), (48, 3840, 2048, 15_360), 4096),
            (("Gemma-3-27B", "MedGemma-27B"), (62, 5376, 2048, 21_504), 4096),
        )
        for name in names
    )
    vision_modules: ClassVar[tuple[str, ...]] = ("vision_tower", "vision_model", "multi_modal_projector")
    aligner_modules: ClassVar[tuple[str, ...]] = ("multi_modal_projector",)
    vision_layers = (
        r"(?:.*\.)?(?:vision_tower|vision_model)\.(?:.*\.)?layers\.\d+\."
        r"(?:self_attn|mlp)\.(?:q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
    )
    aligner_layers = r"(?:.*\.)?multi_modal_projector\.(?:.*\.)?linear\w*"

    def reads(self, processor: Any) -> bool:
        """It writes the same sequence for every picture."""
        return hasattr(processor, "full_image_sequence")

    def picture_tokens(self, image_token: int, processor: Any) -> PictureTokens:
        """The line breaks that the processor adds merge with those beside them: back to the template's text."""
        return PictureTokens(image_token, processor=processor)

    def expanded(self, text: str, processor: Any) -> str:
        """Its line breaks merge with those beside it, so that a picture counts with the text."""
        return text.replace(processor.boi_token, processor.full_image_sequence)
