"""What the models of a family do in a way of their own, with what most of them do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal

from medgrpo.models.image_tokens import ImageFamily, PictureGrid
from medgrpo.models.picture_tokens import PictureTokens
from medgrpo.models.shape import ModelShape

Tower = Literal["language", "vision", "aligner"]
Size = tuple[int, int]

PROJECTIONS = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
LANGUAGE_LAYERS = rf"(?:.*\.)?layers\.\d+\.(?:self_attn|mlp)\.(?:{PROJECTIONS})"
"""Linear layers of the language model, in every family. By path, not by name: q_proj or gate_proj alone would also
hit the vision tower's MLP."""


class Family:
    """One family of vision-language models; one subclass, in a file of its own, and an entry in `families/__init__.py`."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]] = ()
    """`model_type` of the configurations."""
    images: ClassVar[ImageFamily]
    """How pixels become tokens, with the limits of the published processors."""
    shapes: ClassVar[tuple[ModelShape, ...]] = ()
    """Models that the estimate knows by name."""
    vision_modules: ClassVar[tuple[str, ...]] = ()
    """Names of modules that belong to the picture's side."""
    aligner_modules: ClassVar[tuple[str, ...]] = ()
    """Of these, the ones between vision tower and language model; a module inside of the vision side whose name has
    `merger` in it is one too."""
    vision_layers: ClassVar[str]
    """Regular expression over the names of the vision tower's linear layers."""
    aligner_layers: ClassVar[str]
    """The same of the aligner."""

    def known_shapes(self) -> list[ModelShape]:
        """`shapes`, knowing their family."""
        return [replace(shape, family=self.name, merge=self.images.merge) for shape in self.shapes]

    # ------------------------------------------------------------------------------ its processors

    def reads(self, processor: Any) -> bool:
        """Whether a processor is of this family, or of one that treats pictures in the same way."""
        raise NotImplementedError

    def limit_pixels(self, images: Any, max_pixels: int | None, min_pixels: int | None) -> None:
        """Set the largest and the smallest picture, in pixels, as far as the image processor knows such limits."""

    def seen_size(self, images: Any) -> Callable[[int, int], Size] | None:
        """(width, height) → that of the picture as the model sees it; None where no limit of a run decides it."""
        return None

    def pixel_grid(self, images: Any) -> PictureGrid | None:
        """What boxes in pixels are counted in; None where the model sees no picture at a size of its own."""
        return None

    def picture_tokens(self, image_token: int, processor: Any) -> PictureTokens:
        """How pictures stand in a prompt that the processor made, and how in the chat template."""
        return PictureTokens(image_token)

    def expanded(self, text: str, processor: Any) -> str | None:
        """The text of a prompt with the tokens of its pictures, where these do not depend on their sizes; else None:
        each picture is one token of the text then, and becomes as many as its size asks for."""
        return None


class UnknownFamily(Family):
    """A model of no family that is known: towers by the names that are usual, pictures left alone."""

    name = "unknown"
    vision_modules = ("vision_model", "vision_encoder", "aligner", "connector")
    aligner_modules = ("aligner", "connector")
    _LINEAR = f"qkv|proj|out_proj|projection_layer|fc1|fc2|linear_fc1|linear_fc2|{PROJECTIONS}"
    vision_layers = (
        r"(?:.*\.)?(?:visual|vision_tower|vision_model)\.(?:.*\.)?(?:blocks|layers?)\.\d+\."
        rf"(?:attn|self_attn|attention|mlp)\.(?:{_LINEAR})"
    )
    aligner_layers = (
        r"(?:.*\.)?(?:visual\.(?:merger|deepstack_merger_list\.\d+)\.(?:mlp\.[02]|linear_fc\d)"
        r"|multi_modal_projector\.(?:.*\.)?linear\w*)"
    )

    def reads(self, processor: Any) -> bool:
        """Any."""
        return True
