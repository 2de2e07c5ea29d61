"""Names of the weights in released Sa2VA checkpoints, and where they go; those on InternVL have more in `internvl`.

Written from the public source (github.com/bytedance/Sa2VA, `projects/sa2va/hf/models_qwen*`, `tools/convert_to_hf.py`), whose SAM 2 has
the names of Meta's own release, and from Transformers' `Sam2Model`. What SAM 2 needs for videos only (memory, object pointers) has no
place here and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Place: TypeAlias = "Callable[[str, Tensor], dict[str, Tensor]]"
"""Name and value of a released weight -> the same under our names."""

SAM = "grounding_encoder.sam2_model."
VIDEO_ONLY = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
)
"""Parts of SAM 2 that only follow objects through a video."""
POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")
"""Four tables of one row there, one table of four rows here."""
RANDOM_FIELD = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

_SAM_NAMES: tuple[tuple[str, str], ...] = (
    # image encoder
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.(blocks\.\d+)\.norm([12])\.", r"vision_encoder.backbone.\1.layer_norm\2."),
    (r"^image_encoder\.trunk\.(blocks\.\d+)\.mlp\.layers\.0\.", r"vision_encoder.backbone.\1.mlp.proj_in."),
    (r"^image_encoder\.trunk\.(blocks\.\d+)\.mlp\.layers\.1\.", r"vision_encoder.backbone.\1.mlp.proj_out."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    # prompt encoder
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    # mask decoder
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.(transformer\.layers\.\d+)\.norm(\d)\.", r"mask_decoder.\1.layer_norm\2."),
    (r"^sam_mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"mask_decoder.\1.proj_in."),
    (r"^sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"mask_decoder.\1.proj_out."),
    (r"^sam_mask_decoder\.(\w+_head|output_hypernetworks_mlps\.\d+)\.layers\.0\.", r"mask_decoder.\1.proj_in."),
    (r"^sam_mask_decoder\.(\w+_head|output_hypernetworks_mlps\.\d+)\.layers\.2\.", r"mask_decoder.\1.proj_out."),
    (r"^sam_mask_decoder\.(\w+_head|output_hypernetworks_mlps\.\d+)\.layers\.1\.", r"mask_decoder.\1.layers.0."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^no_mem_embed$", "no_memory_embedding"),
)  # fmt: skip
_OUT = re.compile(r"^(mask_decoder\.transformer\..*)\.out_proj\.")


@dataclass
class Mapped:
    """A checkpoint under our names."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    """For videos only."""
    unknown: list[str] = field(default_factory=list)
    """Names that the map does not know."""


def from_released(weights: Mapping[str, Tensor], place_of: Place | None = None) -> Mapped:
    """A released checkpoint's weights under the names of `model.Sa2VA`.

    Args:
        weights: under their released names.
        place_of: where a weight of the vision-language model goes, nothing where it is not known; None: as on Qwen.
    """
    import torch

    mapped, points = Mapped(), dict[int, "Tensor"]()
    for name, value in weights.items():
        if not name.startswith(SAM):
            placed = (place_of or _on_qwen)(name, value)
            if name.startswith("text_hidden_fcs."):
                placed = {name: value}
            mapped.weights |= placed
            if not placed:
                mapped.unknown.append(name)
            continue
        inner = name.removeprefix(SAM)
        found = POINTS.fullmatch(inner)
        if inner.startswith(VIDEO_ONLY):
            mapped.dropped.append(name)
        elif found:
            points[int(found[1])] = value
        elif inner == RANDOM_FIELD:
            mapped.weights["sam.shared_image_embedding.positional_embedding"] = value
            mapped.weights["sam.prompt_encoder.shared_embedding.positional_embedding"] = value
        else:
            mapped.weights[f"sam.{_sam_name(inner)}"] = value
    if points:
        table = torch.cat([points[number] for number in sorted(points)])
        mapped.weights["sam.prompt_encoder.point_embed.weight"] = table
    return mapped


def _sam_name(name: str) -> str:
    for pattern, place in _SAM_NAMES:
        renamed, count = re.subn(pattern, place, name)
        if count:
            return _OUT.sub(r"\1.o_proj.", renamed)
    return name


_LANGUAGE_NAMES: tuple[tuple[str, str], ...] = (
    (r"^text_hidden_fcs\.", "text_hidden_fcs."),
    (r"^(?:model\.)?lm_head\.", "vlm.lm_head."),
    (r"^model\.model\.(language_model|visual)\.", r"vlm.model.\1."),
    (r"^model\.visual\.", "vlm.model.visual."),
    (r"^model\.model\.", "vlm.model.language_model."),
)
"""Of the vision-language model and the MLP; before Transformers 4.52 Qwen's towers lay side by side."""


def _on_qwen(name: str, value: Tensor) -> dict[str, Tensor]:
    place = _language_name(name)
    return {} if place is None else {place: value}


def _language_name(name: str) -> str | None:
    for pattern, place in _LANGUAGE_NAMES:
        renamed, count = re.subn(pattern, place, name)
        if count:
            return renamed
    return None


def missing_names(expected: Iterable[str], mapped: Mapped, *, is_tied: bool) -> list[str]:
    """Names that the model has and the checkpoint does not give; the output layer may be the embedding itself."""
    free = {"vlm.lm_head.weight"} if is_tied else set()
    return sorted(set(expected) - set(mapped.weights) - free)
