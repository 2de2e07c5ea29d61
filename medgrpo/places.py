"""How the place of a file is written down where it may travel: seen from the file that names it, or from the home folder.

An absolute path tells who trained where, and is wrong as soon as the folder moves. What is written by `written_places` is
read back by `found_place`, from the folder that holds the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ABSOLUTE = re.compile(r"/(?<![^\s\"'=,#\[({>;:]/)[^\s\"'=,:;#<>|\\\])}*?]*")
"""A path at the start of a text or of a word in it. A blank ends it, which does no harm: what follows stays as it is."""
_RELATIVE = re.compile(r"(?<![^,#])(?:~|\.{1,2})/[^,:#]*")
"""What `written_places` made, alone or as one of the data sets of a mixture."""
SECTIONS = ("run", "model", "data", "rewards", "launch")
"""Sections of a run's config.toml that name places."""


def written_place(path: Path | str, folder: Path) -> str:
    """The place as a file in `folder` names it: `../model`, or `~/model` where only the place lies below home."""
    place, here, home = _real(Path(path)), _real(folder), _real(Path.home())
    if len(home.parts) > 1 and place.is_relative_to(home) and not here.is_relative_to(home):
        return (Path("~") / place.relative_to(home)).as_posix()
    try:
        relative = Path(os.path.relpath(place, here)).as_posix()
    except ValueError:  # another drive
        return str(path)
    return relative if relative.startswith("..") else "./" if relative == "." else f"./{relative}"


def written_places(text: str, folder: Path) -> str:
    """The text with every absolute path of this machine as `written_place` has it; other text stays."""

    def changed(match: re.Match[str]) -> str:
        path = match[0].rstrip(".")
        return written_place(path, folder) + match[0][len(path) :] if _is_here(path) else match[0]

    return _ABSOLUTE.sub(changed, text) if "/" in text else text


def without_places(text: str) -> str:
    """The text with the last name alone of every absolute path of this machine, for pages that people pass on."""

    def changed(match: re.Match[str]) -> str:
        path = match[0].rstrip(".")
        return (Path(path).name + match[0][len(path) :]) if _is_here(path) else match[0]

    return _ABSOLUTE.sub(changed, text) if "/" in text else text


def found_place(text: str, folder: Path) -> str:
    """The absolute path that a file in `folder` means; text that `written_place` did not make stays as it is."""

    def changed(match: re.Match[str]) -> str:
        if match[0].startswith("~"):
            return str(Path(match[0]).expanduser())
        return os.path.normpath(folder.resolve() / match[0])

    if text in (".", ".."):
        return changed(re.match(r".*", f"{text}/"))  # type: ignore[arg-type]
    return _RELATIVE.sub(changed, text)


def found_places(document: Any, folder: Path) -> Any:
    """The document with `found_place` of every text in it, keys too."""
    if isinstance(document, str):
        return found_place(document, folder)
    if isinstance(document, dict):
        return {found_place(str(key), folder): found_places(value, folder) for key, value in document.items()}
    return [found_places(one, folder) for one in document] if isinstance(document, list) else document


def found_settings(
    settings: dict[str, Any], folder: Path, sections: Iterable[str] = SECTIONS
) -> dict[str, Any]:
    """A run's settings, as its config.toml in `folder` has them, with the places where they lie."""
    return {
        name: found_places(section, folder) if name in sections else section
        for name, section in settings.items()
    }


def _is_here(path: str) -> bool:
    """Whether it is a path of this machine, not a word that begins with a stroke (`/think`, `/answer`)."""
    parts = Path(path).parts
    if len(parts) < 3 or path.startswith("//"):
        return False
    home = str(Path.home())
    return (len(home) > 1 and path.startswith(f"{home}/")) or Path(*parts[:2]).is_dir()


def _real(path: Path) -> Path:
    """Absolute, links of the folders above followed; the last name stays."""
    path = Path(os.path.abspath(path.expanduser()))
    return Path(os.path.realpath(path.parent)) / path.name if path.name else path
