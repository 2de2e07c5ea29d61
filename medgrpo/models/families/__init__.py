"""The model families that are known, each in a file of its own: `FAMILIES` is the list of them."""

from __future__ import annotations

import re
from typing import Any

from medgrpo.errors import choice_error
from medgrpo.models.families.base import LANGUAGE_LAYERS, Family, Tower, UnknownFamily
from medgrpo.models.families.gemma3 import Gemma3
from medgrpo.models.families.internvl import InternVL
from medgrpo.models.families.qwen_vl import Qwen2VL, Qwen3VL, Qwen25VL
from medgrpo.models.image_tokens import ImageFamily

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Qwen2VL(), Qwen25VL(), Qwen3VL(), InternVL(), Gemma3())
}
UNKNOWN = UnknownFamily()
VISION_MODULES = tuple(
    dict.fromkeys(name for family in (*FAMILIES.values(), UNKNOWN) for name in family.vision_modules)
)
ALIGNER_MODULES = frozenset(
    name for family in (*FAMILIES.values(), UNKNOWN) for name in family.aligner_modules
)


def family_named(name: str) -> Family | None:
    """The family of a family's name, a `model_type` or a path (`Qwen/Qwen2.5-VL-3B-Instruct`); None if it is of none."""
    folded = name.lower()
    for family in FAMILIES.values():
        if folded == family.name or folded in family.model_types:
            return family
    plain = _squeezed(folded)
    fitting = [family for family in FAMILIES.values() if _squeezed(family.name) in plain]
    return fitting[-1] if fitting else None


def _squeezed(name: str) -> str:
    return re.sub(r"[_.-]", "", name)


def image_family(name: str) -> ImageFamily:
    """How the family of that name (see `family_named`) turns pixels into tokens.

    Raises:
        UsageError: the name belongs to none of the families.
    """
    family = family_named(name)
    if family is None:
        raise choice_error("model family", name, FAMILIES)
    return family.images


def family_of_model(model: Any) -> Family:
    """The family of a loaded model, adapters or not; `UNKNOWN` where it is of none."""
    return family_named(str(getattr(model.config, "model_type", ""))) or UNKNOWN


def family_of_processor(processor: Any) -> Family:
    """The family whose way with pictures a processor has; `UNKNOWN` for a tokenizer."""
    return next((family for family in FAMILIES.values() if family.reads(processor)), UNKNOWN)


def image_token_of(model: Any) -> int | None:
    """The id that stands for a picture in the model's prompts; None for a text model."""
    for name in ("image_token_id", "image_token_index"):
        if getattr(model.config, name, None) is not None:
            return int(getattr(model.config, name))
    return None


def tower_of(name: str) -> Tower:
    """The tower that a parameter or module of this name belongs to, in any family."""
    parts = name.split(".")
    is_vision = any(part in VISION_MODULES for part in parts)
    if is_vision and any(part in ALIGNER_MODULES or "merger" in part for part in parts):
        return "aligner"
    return "vision" if is_vision else "language"


def is_lora_target(name: str, tower: Tower, family: Family = UNKNOWN) -> bool:
    """Whether the module of this name belongs to the tower's adapted layers."""
    return re.fullmatch(tower_layers(tower, family), name) is not None


def tower_layers(tower: Tower, family: Family = UNKNOWN) -> str:
    """A regular expression over module names: the linear layers of a tower that an adapter sits on."""
    if tower == "language":
        return rf"(?!.*\b(?:{'|'.join(VISION_MODULES)})\b){LANGUAGE_LAYERS}"
    return family.vision_layers if tower == "vision" else family.aligner_layers
