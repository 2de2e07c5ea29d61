"""Where weights and their description lie in a run folder."""

from __future__ import annotations

import re
from pathlib import Path

WEIGHT_FOLDERS = ("best_lora", "best_model", "final_lora", "final_model")
"""Where a run folder has its weights, the ones that count first."""
METADATA = "medgrpo.json"
"""Beside every set of weights: prompt template, tags, picture limits, generation settings, provenance."""


def is_hub_name(path: str) -> bool:
    """Whether what is no folder here may be `owner/name` on the hub; beside run folders it is a mistyped run."""
    looks_so = re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not path.startswith((".", "~"))
    return looks_so and not any(Path(path).parent.glob("*/training_info.json"))


BUILT_IN_MASK_MODELS = ("unet", "sa2va-tiny")
"""`--model` of mask models that are built here, drawn from the seed (`medgrpo.segmentation.segmenters`)."""
