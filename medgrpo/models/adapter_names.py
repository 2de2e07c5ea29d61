"""The names of an adapter's tensors, as the model calls its modules today; what its settings tell by name.

Versions of Transformers name the modules of one model differently: an adapter of 2024 says `model.layers` where Qwen2.5-VL has
`model.language_model.layers` now. Transformers knows how to read older files of weights; the same rules are asked here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError

if TYPE_CHECKING:
    import torch

    from medgrpo.models.adapter_files import AdapterFiles
    from medgrpo.models.skeleton import Skeleton

LEAF = re.compile(
    r"(?P<module>.+)\.(?P<leaf>lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|ia3_l|hada_[wt][12](?:_[ab])?)"
    r"(?P<end>\.weight|\.bias)?"
)

OTHER_BASE = ("pissa", "olora", "corda", "loftq")
"""How `init_lora_weights` begins where the start of the adapter was taken out of the base."""


def plain_name(stored: str) -> str:
    """The weight of the base that an adapter brings whole, without PEFT's wrappers in its name."""
    for wrapper in (".base_layer.", ".modules_to_save.", ".original_module."):
        stored = stored.replace(wrapper, ".")
    return stored


def named_as_in(files: AdapterFiles, skeleton: Skeleton) -> tuple[AdapterFiles, int]:
    """The adapter under the names of this model, and how many were translated; what has no counterpart keeps its name.

    Raises:
        MedgrpoError: two names of the file mean one tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    translated = 0
    for stored, tensor in files.tensors.items():
        name = _today(stored, skeleton)
        if name in tensors:
            raise unfit(files, f"has {name} twice, under two names")
        tensors[name] = tensor
        translated += name != stored
    return replace(files, tensors=tensors), translated


def _today(stored: str, skeleton: Skeleton) -> str:
    if match := LEAF.fullmatch(stored):
        module = match["module"]
        if module in skeleton.modules:
            return stored
        found = (skeleton.name_of(f"{module}.weight") or "").removesuffix(".weight")
        return found + stored.removeprefix(module) if found else stored
    if plain_name(stored) in skeleton.shapes:
        return stored
    return skeleton.name_of(plain_name(stored)) or stored


def translation_note(files: AdapterFiles, count: int) -> str:
    """What is said of an adapter whose names were translated."""
    return (
        f"{count} names of {files.folder} are those of another version of Transformers; they were translated"
    )


def unfit(files: AdapterFiles, what: str) -> MedgrpoError:
    """An adapter whose tensors and settings do not fit this base."""
    return MedgrpoError(
        f"the adapter {files.folder} does not fit this base: it {what}",
        expected="a tensor for each module that the adapter names, and a module for each tensor",
        hint="is this the base it was trained on (--base)? Versions of PEFT and Transformers also rename modules",
    )
