"""What the shell completes beside commands and options: presets, settings, methods, splits, runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from medgrpo.cli.run_words import TAKES_A_RUN


def complete_values(command: Any) -> None:
    """Give the command's parameters the completion of their values, by the parameters' names."""
    for parameter in command.params:
        choices = CHOICES.get((command.name, parameter.name)) or CHOICES.get(parameter.name)
        if choices is None and parameter.name in TAKES_A_RUN:
            choices = _runs
        if choices is not None and not getattr(parameter.type, "choices", None):
            parameter._custom_shell_complete = _completer(choices, paths=choices is _runs)


def _completer(choices: Callable[[str], Iterable[str]], *, paths: bool) -> Any:
    def complete(context: Any, parameter: Any, incomplete: str) -> list[Any]:
        words = list(choices(incomplete))
        found = [word for word in words if word.startswith(incomplete)]
        if paths:
            found += [path for path in _paths(incomplete) if path.rstrip("/") not in words]
        # Typer before and after 0.26 has its item in different places; this is all that is asked of one.
        return [SimpleNamespace(value=word, type="plain", help=None) for word in found]

    return complete


def _paths(incomplete: str) -> list[str]:
    """Files and folders that begin so: a parameter that takes a run takes any path."""
    from pathlib import Path

    folder, _, begun = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    if not place.is_dir():
        return []
    before = f"{folder}/" if "/" in incomplete else ""
    found = sorted(path for path in place.iterdir() if path.name.startswith(begun))
    return [
        f"{before}{path.name}{'/' if path.is_dir() else ''}" for path in found if begun or path.name[0] != "."
    ]


def _presets(_: str) -> list[str]:
    from medgrpo.config.presets import DEMO, preset_paths

    return [name for name in preset_paths() if name != DEMO]


def _methods(_: str) -> list[str]:
    from medgrpo.methods import METHODS

    return list(METHODS)


def _settings(incomplete: str) -> list[str]:
    """Keys up to the `=`, then the values that a choice has."""
    from medgrpo.config.layers import field_keys

    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in field_keys() if "<name>" not in name]
    return [f"{key}={value}" for value in _values_of(key)]


def _values_of(key: str) -> list[str]:
    from typing import Literal, get_args, get_origin

    from medgrpo.config.sections import RunConfig

    section, _, name = key.partition(".")
    info = RunConfig.model_fields.get(section)
    field = info.annotation.model_fields.get(name) if info and info.annotation else None
    if field is None:
        return []
    kinds = [field.annotation, *get_args(field.annotation)]
    if bool in kinds:
        return ["true", "false"]
    return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


def _splits(_: str) -> list[str]:
    return ["train", "validation", "test"]


def _runs(_: str) -> list[str]:
    from medgrpo.runs.known import LATEST, run_folders

    folders = [str(folder) for folder in run_folders()]
    return [LATEST, *folders] if folders else []


def _gpus(_: str) -> list[str]:
    from medgrpo.estimate.hardware import GPUS

    return list(GPUS)


CHOICES: dict[Any, Callable[[str], Iterable[str]]] = {
    "preset": _presets,
    "method": _methods,
    "assignments": _settings,
    ("show", "name"): _presets,
    ("eval", "split"): _splits,
    ("estimate-time", "gpu"): _gpus,
    ("train", "resume"): lambda incomplete: ["auto", *_runs(incomplete)],
}
"""Parameter (or command and parameter) -> the words that may stand there."""
