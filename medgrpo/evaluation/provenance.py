"""When, with which versions and which seed an evaluation was made."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "transformers", "vllm")
"""Libraries whose version can change what a model answers."""


def provenance(seed: int, *, asks_a_model: bool) -> dict[str, Any]:
    """`evaluated` (UTC), `versions` and `seed`, for the document of an evaluation.

    Args:
        seed: of everything drawn.
        asks_a_model: name the libraries that a model answers through, too.
    """
    from medgrpo import __version__

    versions = {"medgrpo": __version__, "python": platform.python_version()}
    for package in PACKAGES if asks_a_model else ():
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "evaluated": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "versions": versions,
        "seed": seed,
    }
