"""Where weights and their description lie in a run folder."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from medgrpo.errors import UsageError

WEIGHT_FOLDERS = ("best_lora", "best_model", "final_lora", "final_model")
"""Where a run folder has its weights, the ones that count first."""
METADATA = "medgrpo.json"
"""Beside every set of weights: prompt template, tags, picture limits, generation settings, provenance."""


def refuse_mistyped(path: str, what: str) -> None:
    """Refuse what is not there but lies in a folder that is: a slip of the keys must not ask the network.

    Raises:
        UsageError: names what is nearest in that folder.
    """
    given = Path(path).expanduser()
    folder = given.parent
    if given.exists() or len(given.parts) < 2 or not folder.is_dir():
        return
    near = get_close_matches(given.name, [inside.name for inside in folder.iterdir()], n=1)
    hub = f"; {path} on the hub: call from a directory without {given.parts[0]}/" if is_hub_name(path) else ""
    raise UsageError(
        f"no {what} at {path}: the folder {folder} has nothing called {given.name}",
        hint=(f"did you mean {folder / near[0]}?" if near else "check the path") + hub,
    )


def is_hub_name(path: str) -> bool:
    """Whether what is no folder here may be `owner/name` on the hub; beside run folders it is a mistyped run."""
    looks_so = re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not path.startswith((".", "~"))
    return looks_so and not any(Path(path).parent.glob("*/training_info.json"))


_OWNERS = {
    "qwen": "Qwen",
    "internvl": "OpenGVLab",
    "gemma": "google",
    "medgemma": "google",
    "sa2va": "ByteDance",
}
"""How names of models begin -> whose they are on the hub."""


def instead_of_missing(path: str) -> str:
    """What to type where there is no model at the path: the owner of a bare name, or how to see what is here."""
    owner = next((_OWNERS[name] for name in _OWNERS if path.lower().startswith(name)), None)
    if owner and re.fullmatch(r"[\w.-]*\d[\w.-]*", path):
        return f"a name on the hub has an owner: {owner}/{path}"
    if get_close_matches(path, ["latest"], cutoff=0.7):
        return "did you mean 'latest'?"
    return "check the path; medgrpo runs lists the runs that are here"


BUILT_IN_MASK_MODELS = ("unet", "sa2va-tiny")
"""`--model` of mask models that are built here, drawn from the seed (`medgrpo.segmentation.segmenters`)."""
