"""How a value is decided: field default < preset < demo < user's file < command line.

Every layer is a nested dict of plain values; the later one wins. The layer that each value came from is
kept, so that `presets show` and `train` can say why a value is what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from medgrpo.config.aliases import ALIASES, ELSEWHERE, translated
from medgrpo.config.sections import RunConfig, StageConfig
from medgrpo.errors import UsageError, choice_error
from medgrpo.files import check_regular, toml_values
from medgrpo.json_in import json_value

# Leaf names that occur in several sections and mean the main stage when bare.
MAIN_STAGE = {
    name: f"training.{name}" for name in StageConfig.model_fields if name not in {"rows", "enabled"}
}
MAIN_STAGE |= {"rows": "data.rows", "path": "model.path", "method": "training.method"}
MAIN_STAGE["loss_type"] = "training.loss_type"  # GRPO's, as in TRL; that of DPO is typed whole, dpo.loss_type


@dataclass(frozen=True)
class Layer:
    """Values of one source: by section or by full key, and the reason of single values where it states one."""

    name: str
    values: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """The finished configuration, and the layer and reason of each value by its full key."""

    config: RunConfig
    origins: dict[str, str]
    reasons: dict[str, str]


def resolve(layers: Sequence[Layer]) -> Resolved:
    """Merge the layers, the later one winning.

    Raises:
        UsageError: a name is unknown or a value is impossible; says which, in which layer.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for layer in layers:
        for key in _replaced(dict(leaves(layer.values))):
            _put(merged, key, None)
            origins.pop(key, None)
        for key, value in leaves(layer.values):
            _check_key(key, layer.name)
            if key.startswith("rewards.weights."):
                _name_each_weight(merged)
            _put(merged, key, value)
            # A dict given whole replaces the older one; its entries' origins go with it.
            origins = {k: v for k, v in origins.items() if not k.startswith(f"{key}.")}
            origins[key] = layer.name
            reasons.pop(key, None)
            if key in layer.reasons:
                reasons[key] = layer.reasons[key]
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        raise _usage_error(error, origins) from error
    return Resolved(config, origins, reasons)


SAME_THING = (
    ("num_train_epochs", "max_steps"),
    ("gradient_accumulation_steps", "per_device_train_batch_size"),
    ("per_device_train_batch_size", "gradient_accumulation_steps"),
)
"""Settings of which the first replaces the second of an earlier layer: two ways to say one thing."""


def _replaced(values: dict[str, Any]) -> Iterator[str]:
    """Keys of earlier layers that a layer does away with, since it says the same thing in another way."""
    for key, value in values.items():
        section, _, leaf = key.rpartition(".")
        for one, other in SAME_THING:
            replaced = f"{section}.{other}"
            if leaf == one and value is not None and replaced not in values and _is_key(replaced):
                yield replaced


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full key, value) of each setting; `rewards.weights` is one value, though it is a table."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and "rewards.weights" not in (key, ALIASES.get(name)):
            yield from leaves(value, f"{key}.")
        else:
            yield key, value


@cache
def field_keys() -> dict[str, str]:
    """Every full key with its description; stages appear as `stages.<name>.…`."""
    keys = {}
    described = _descriptions()
    for section, info in RunConfig.model_fields.items():
        kind = StageConfig if section == "stages" else info.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        prefix = "stages.<name>" if section == "stages" else section
        for name, leaf in kind.model_fields.items():
            keys[f"{prefix}.{name}"] = leaf.description or described.get((kind.__name__, name), "")
    return keys


def _descriptions() -> dict[tuple[str, str], str]:
    """The string below each field, by class and field. Read from the source when asked for: Pydantic does so at every start."""
    import ast
    import inspect

    from medgrpo.config import sections

    found = {}
    for made in ast.parse(inspect.getsource(sections)).body:
        if not isinstance(made, ast.ClassDef):
            continue
        for stated, below in pairwise(made.body):
            match stated, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[made.name, name] = inspect.cleandoc(text)
    return found


def file_layer(path: Path) -> tuple[Layer, list[str]]:
    """The layer of a TOML file, and a note for each older name that was translated.

    Names are as on `--set`: in their section, or bare at the top of the file.
    """
    check_regular(path)
    if not path.is_file():
        raise UsageError(
            f"no configuration file at {path}",
            expected="a TOML file; config.toml in a run folder is one",
            hint="medgrpo presets show balanced --all lists what may stand in it; --preset NAME needs no file",
        )
    try:
        values = toml_values(path.read_text(encoding="utf-8"))
    except ValueError as error:
        other = path.suffix in (".yaml", ".yml", ".json")
        raise UsageError(
            f"{path} is not valid TOML: {error}",
            hint="settings are TOML here: k_samples = 8, a line each, in a .toml file"
            if other
            else 'strings need quotes: method = "sft"',
        ) from error
    values.pop("preset", None)
    keyed: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in leaves(values):
        _assign(keyed, notes, name, value, str(path))
    return Layer(str(path), keyed), notes


def assignments_layer(assignments: Sequence[str]) -> tuple[Layer, list[str]]:
    """The layer of `--set key=value` words, and a note for each older name that was translated.

    Keys are full (`training.max_steps`) or unambiguous leaf names; values are TOML, or else plain strings.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise UsageError(
                f"--set {assignment!r} is no assignment",
                expected="key=value",
                hint="--set training.max_steps=8",
            )
        _assign(values, notes, name.strip(), parse_value(text.strip()), "command line")
    return Layer("command line", values), notes


def _assign(values: dict[str, Any], notes: list[str], name: str, value: Any, layer: str) -> None:
    """Put a value under its full key, whatever it was called."""
    section, _, leaf = name.rpartition(".")
    if name.startswith("rewards.weights.") or _is_key(name):
        values[name] = value
        return
    if found := translated(leaf, value):
        key, value, note = found
        if section.startswith("stages."):
            key = f"{section}.{key.rpartition('.')[2]}"
            _check_key(key, layer)
        values[key] = value
        notes.append(note)
        return
    values[full_key(name, layer)] = value


def full_key(name: str, layer: str = "command line") -> str:
    """The full key of a key or of a leaf name; raises UsageError with a did-you-mean."""
    if "." in name:
        _check_key(name, layer)
        return name
    if name in MAIN_STAGE:
        return MAIN_STAGE[name]
    matches = [key for key in field_keys() if key.endswith(f".{name}") and not key.startswith("stages.")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"the setting {name!r} is ambiguous", expected=f"one of {', '.join(matches)}")
    raise _unknown_setting(name, layer)


def parse_value(text: str) -> Any:
    """A TOML value where the text is one (8, 1e-5, true, ["a"]), else the text itself; `none` is None."""
    if text.lower() in {"none", "null"}:
        return None
    # .5 is no TOML number, but people write it, also inside of tables; what stands in quotes stays
    written = re.sub(r"""("[^"]*"|'[^']*')|(?<![\w.])\.(?=\d)""", lambda found: found[1] or "0.", text)
    for attempt in (text, written):
        with suppress(ValueError):
            return toml_values(f"value = {attempt}")["value"]
    if text.startswith(("{", "[")):  # as JSON writes it: {"answer_match": 1}
        with suppress(ValueError, RecursionError):
            return json_value(text)
    return text


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML; settings that are None are left out."""
    import tomli_w

    def present(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: present(item) for key, item in value.items() if item is not None}
        return list(value) if isinstance(value, tuple) else value

    return tomli_w.dumps(present(config.model_dump()))


def _name_each_weight(values: dict[str, Any]) -> None:
    """Turn `rewards.weights = "balanced"` into the weights it stands for, so that a single one can change."""
    named = values.get("rewards", {}).get("weights")
    if isinstance(named, str):
        from medgrpo.rewards.weights import resolve_weights

        values["rewards"]["weights"] = resolve_weights(named)


def _is_key(key: str) -> bool:
    parts = key.split(".")
    pattern = ".".join(["stages", "<name>", *parts[2:]]) if parts[0] == "stages" and len(parts) > 2 else key
    return pattern in field_keys()


def _check_key(key: str, layer: str) -> None:
    if not _is_key(key) and not key.startswith("rewards.weights."):
        raise _unknown_setting(key, layer)


def _unknown_setting(name: str, layer: str = "command line") -> UsageError:
    leaf_names = {key.rsplit(".", 1)[1] for key in field_keys()}
    nearest = choice_error("setting", name, [*field_keys(), *leaf_names, *ALIASES, *ELSEWHERE]).hint
    return UsageError(
        f"no setting called {name!r} ({layer})",
        hint=nearest or "`medgrpo presets show balanced --all` lists every setting",
    )


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value


_EXPECTED = {
    "string_pattern_mismatch": "one of the forms named below",
    "too_short": "at least one",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "tuple_type": 'a list, such as ["…", "…"]',
}
"""Pydantic's kinds of error that are clearer in other words."""


def _usage_error(error: ValidationError, origins: dict[str, str]) -> UsageError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if not key:
        return UsageError(first["msg"].removeprefix("Value error, "))
    setting = next((known for known in origins if key == known or key.startswith(f"{known}.")), key)
    described = field_keys().get(re.sub(r"^stages\.[^.]+", "stages.<name>", setting))
    expected = _EXPECTED.get(first["type"], first["msg"].removeprefix("Input should be "))
    hint = described and f"{setting.rpartition('.')[2]}: {' '.join(described.split())}"
    given = first.get("input")
    if isinstance(given, str) and given.lower() != given and given.lower() in re.findall(r"[\w-]+", expected):
        hint = f"did you mean {given.lower()!r}?"
    return UsageError(
        f"{setting} = {given!r} is not possible ({origins.get(setting, 'default')})",
        expected=expected,
        hint=hint,
    )
