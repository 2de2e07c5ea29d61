"""What an error proposes to type exists and is taken; what a docstring names is there."""

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from typer import BadParameter
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "medgrpo").rglob("*.py"), *(ROOT / "cli").glob("*.py")]
OF_OTHER_PROGRAMS = {"--index-url", "--force-reinstall",
    "--local-dir",
    "--always", "--dirty", "--abbrev", "--config_file", "--standalone", "--nproc_per_node", "--query-gpu",
    "--format", "--share", "--no-index", "--no-deps", "--require-hashes", "--find-links", "--wheel-dir", "--only-binary", "--dest",
    "--disable-pip-version-check", "--hash", "--weight-transfer-config", "--deepspeed_multinode_launcher",
    "--showmeminfo", "--showproductname",
}  # fmt: skip
OF_OTHERS = {"RepeatSampler", "convert_to_hf.py"}
"""TRL's sampler, Sa2VA's script."""
OPTION = r"(?<![\w(-])--[a-z][\w-]*\b(?![\w-]|: ?[#\d])"
"""The last part leaves the variables of style sheets out."""
SHARED = ("models", "generation", "evaluation", "data", "preference", "rewards")
"""Rooms whose errors also reach people who call a command without --set."""


@cache
def options() -> dict[str, list[Any]]:
    """Every option of every command."""
    found: dict[str, list[Any]] = {"--help": []}
    for path in sorted((ROOT / "cli").glob("*.py")):
        app = getattr(import_module(f"medgrpo.cli.{path.stem}"), "app", None)
        waiting = [] if app is None else [get_command(app)]
        while waiting:
            command = waiting.pop()
            waiting += getattr(command, "commands", {}).values()
            for parameter in command.params:
                for name in (*parameter.opts, *parameter.secondary_opts):
                    found.setdefault(name, []).append(parameter)
    return found


@cache
def texts() -> list[tuple[str, str]]:
    """(place, text) of each string in the sources."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.value)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_every_option_that_a_text_names_exists():
    unknown = [
        f"{place}: {name}"
        for place, text in texts()
        for name in re.findall(OPTION, text)
        if name not in options() and name not in OF_OTHER_PROGRAMS
    ]
    assert not unknown


def test_every_number_that_a_text_gives_an_option_is_taken():
    refused = []
    for place, text in texts():
        for name, value in re.findall(r"(--[a-z][\w-]*)[ =](\d+)\b", text):
            parameters = [one for one in options().get(name, []) if not getattr(one, "is_flag", False)]
            if not all(_takes(one, value) for one in parameters):
                refused.append(f"{place}: {name} {value}")
    assert not refused


def _takes(parameter: Any, value: str) -> bool:
    try:
        parameter.type.convert(value, parameter, None)
    except BadParameter:
        return False
    return True


def test_settings_are_proposed_with_set_only_where_it_is_said_that_train_takes_them():
    bare = [
        f"{place}: {text}"
        for place, text in texts()
        if place.split("/")[1] in SHARED and re.search(r"--set \w", text) and "train" not in text
    ]
    assert not bare


def test_files_and_classes_that_the_sources_cite_are_there():
    files = {
        path.name
        for room in ("medgrpo", "cli", "tests", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
    }
    known = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [getattr(node, field, None) for field in ("name", "id", "attr", "arg")]
            known.update(name.rpartition(".")[2] for name in names if isinstance(name, str))
    lost = []
    for place, text in texts():
        lost += [
            f"{place}: {name}"
            for name in re.findall(r"`([\w/]+\.py)`", text)
            if Path(name).name not in files | OF_OTHERS
        ]
        named = re.findall(r"`(?:\w+\.)*((?:[A-Z][a-z]+){2,})`", text)
        lost += [f"{place}: {name}" for name in named if name not in known | OF_OTHERS]
    assert not lost
