"""How to install what is missing, in the words that are true for this installation."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit


def how_to_install(extra: str) -> str:
    """The command that brings an extra: from the checkout or the wheel that medgrpo was installed from, or by its name
    where it came from an index.

    Args:
        extra: name of the extra, or several by comma.
    """
    return _pattern().replace("EXTRA", extra)


@cache
def _pattern() -> str:
    """The command with EXTRA where the name of the extra stands."""
    from importlib.metadata import PackageNotFoundError, distribution  # .02 s that few commands need

    with suppress(PackageNotFoundError, ValueError, KeyError):
        said = json.loads(distribution("medgrpo").read_text("direct_url.json") or "null")
        if said:
            return _of_place(said)
    return 'pip install "medgrpo[EXTRA]"'


def _of_place(said: dict[str, Any]) -> str:
    """For what was installed from a folder, a wheel or a repository (PEP 610)."""
    address = urlsplit(said["url"])
    if address.scheme != "file":
        prefix = f"{said['vcs_info']['vcs']}+" if said.get("vcs_info") else ""
        return f'pip install "medgrpo[EXTRA] @ {prefix}{said["url"]}"'
    editable = "-e " if (said.get("dir_info") or {}).get("editable") else ""
    return f'pip install {editable}"{unquote(address.path)}[EXTRA]"'
