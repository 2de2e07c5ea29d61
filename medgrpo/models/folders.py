"""Where weights and their description lie in a run folder."""

from __future__ import annotations

import re
from pathlib import Path

ADAPTER_FOLDERS = ("best_lora", "final_lora")
MODEL_FOLDERS = ("best_model", "final_model")
METADATA = "medgrpo.json"
"""Beside every set of weights: prompt template, tags, picture limits, generation settings, provenance."""


def is_hub_name(path: str) -> bool:
    """Whether what is no folder here may be `owner/name` on the hub; beside run folders it is a mistyped run."""
    looks_so = re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not path.startswith((".", "~"))
    return looks_so and not any(Path(path).parent.glob("*/training_info.json"))


def metadata_file(path: Path) -> Path | None:
    """The `medgrpo.json` of weights, or of a run folder's best, else final ones; None where there is none."""
    for folder in (path, *(path / name for name in (*ADAPTER_FOLDERS, *MODEL_FOLDERS))):
        if (folder / METADATA).is_file():
            return folder / METADATA
    return None


BUILT_IN_MASK_MODELS = ("unet", "sa2va-tiny")
"""`--model` of mask models that are built here, drawn from the seed (`medgrpo.segmentation.segmenters`)."""
