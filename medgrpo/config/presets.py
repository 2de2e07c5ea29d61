"""Presets: named layers, one TOML file each, in the folder `presets/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from medgrpo.config.layers import Layer, Resolved, assignments_layer, file_layer, leaves, resolve
from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError, choice_error
from medgrpo.files import toml_values
from medgrpo.methods import METHODS
from medgrpo.models.adapter_files import recorded_metadata
from medgrpo.models.weights import metadata_file

DEFAULT = "balanced"
DEMO = "demo"
DEMO_SETS = "the demo layer sets"
"""How the note begins that names every setting of the demo: it is long, and shown where it is asked for."""
OTHER_NAMES = {"quick": "vessels-quick", "mid": "vessels-mid", "full": "vessels-full"}
"""What presets are called in older scripts for vessels."""


@dataclass(frozen=True)
class Preset:
    """A preset as its file states it."""

    name: str
    purpose: str
    cost: str
    launch: str
    extends: str | None
    layer: Layer
    warning: str = ""
    """What whoever takes it should know."""


@cache
def preset_paths() -> dict[str, Path]:
    """Path of each preset by its name."""
    folder = Path(str(files("medgrpo"))) / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def load_preset(name: str) -> Preset:
    """The preset of this name, or of this path if it ends in .toml.

    Raises:
        UsageError: there is none (with a did-you-mean), or the file is no preset.
    """
    name = OTHER_NAMES.get(name, name)
    path = Path(name) if name.endswith(".toml") else preset_paths().get(name)
    if path is None:
        raise choice_error("preset", name, (p for p in preset_paths() if p != DEMO))
    layer, _ = file_layer(path)
    text = path.read_text(encoding="utf-8")
    about: dict[str, Any] = toml_values(text).get("preset", {})
    if unknown := set(about) - {"purpose", "cost", "launch", "extends", "warning"}:
        raise UsageError(
            f"{path}: [preset] has unknown {', '.join(sorted(unknown))}",
            expected="purpose, cost, launch, extends, warning",
        )
    return Preset(
        name=path.stem,
        purpose=about.get("purpose", ""),
        cost=about.get("cost", ""),
        launch=about.get("launch", ""),
        extends=about.get("extends"),
        layer=Layer(f"preset {path.stem}", layer.values, _reasons(text)),
        warning=about.get("warning", ""),
    )


def preset_layers(name: str) -> list[Layer]:
    """The layers of a preset, those it extends first."""
    chain: list[Layer] = []
    seen: list[str] = []
    current: str | None = name
    while current:
        if current in seen:
            raise UsageError(f"the presets {' → '.join([*seen, current])} extend each other in a circle")
        seen.append(current)
        preset = load_preset(current)
        chain.insert(0, preset.layer)
        current = preset.extends
    return chain


def resolve_run(
    preset: str = DEFAULT,
    *,
    model: str | None = None,
    config_file: Path | None = None,
    assignments: tuple[str, ...] = (),
    options: dict[str, Any] | None = None,
) -> tuple[Resolved, list[str]]:
    """The configuration of a call, and notes for the person (older names, what the demo layer replaced).

    Args:
        preset: name or path.
        model: `--model`; without one (here, in the file or by --set) the demo layer is used.
        assignments: `--set` words.
        options: values of other command-line options by full key; None entries are left out.
    """
    command_line, notes = assignments_layer(assignments)
    user = []
    if config_file:
        layer, told = file_layer(config_file)
        user, notes = [layer], [*told, *notes]
    given = {"model.path": model, **(options or {})}
    command_line.values.update({key: value for key, value in given.items() if value is not None})
    base = preset_layers(preset)
    is_demo = not any(dict(leaves(layer.values)).get("model.path") for layer in [*base, *user, command_line])
    demo = [_for_method(layer, command_line, user) for layer in preset_layers(DEMO)] if is_demo else []
    demo = [_for_task(layer, base) for layer in demo]
    trained = [] if is_demo else _as_trained([*base, *user, command_line])
    by_method = _method_layer(base, [*user, command_line])
    resolved = resolve([*base, *by_method, *demo, *trained, *user, command_line])
    if is_demo:
        replaced = sorted(key for key, layer in resolved.origins.items() if layer == f"preset {DEMO}")
        notes.append(f"{DEMO_SETS} {', '.join(replaced)}")
    for layer in trained:
        notes.append(f"prompt and picture limits as in {layer.name}")
    notes += [f"{layer.name}: {_in_words(layer)}" for layer in by_method]
    if warning := load_preset(preset).warning:
        notes.append(f"warning: {warning}")
    return resolved, notes


def _in_words(layer: Layer) -> str:
    return ", ".join(f"{key} = {value}" for key, value in layer.values.items())


def _as_trained(layers: list[Layer]) -> list[Layer]:
    """How a model that medgrpo trained is to be prompted and shown pictures: from its `medgrpo.json`."""
    paths = [dict(leaves(layer.values)).get("model.path") for layer in layers]
    file = metadata_file(Path(str([path for path in paths if path][-1])).expanduser())
    if file is None:
        return []
    described = recorded_metadata(file.parent)
    known = {
        "model.max_pixels": described.get("max_pixels"),
        "model.min_pixels": described.get("min_pixels"),
        "model.thinking": described.get("thinking"),
        "data.use_image_title": described.get("use_image_title"),
        "data.box_format": described.get("box_format"),
        "data.prompt_template": str(file) if described.get("prompt_template") else None,
    }
    return [Layer(str(file), {key: value for key, value in known.items() if value is not None})]


def _last_value(key: str, layers: Sequence[Layer]) -> Any:
    """The value that the last of these layers gives a key; None where none does."""
    values = [dict(leaves(layer.values)).get(key) for layer in layers]
    return next((value for value in reversed(values) if value), None)


def _method_layer(preset: list[Layer], user: list[Layer]) -> list[Layer]:
    """What a method, or full tuning, that the user chose over the preset's sets in its place: `Method.settings`, and the
    learning rate where nobody gave one: that of an adapter's GRPO is neither SFT's nor full tuning's."""
    key, tuning = "training.method", "tuning.method"
    name = str(_last_value(key, [*preset, *user]) or RunConfig().training.method)
    chosen = METHODS.get(name)
    layers = []
    is_other = chosen is not None and _last_value(key, user) and name != _last_value(key, preset)
    if chosen is not None and is_other and chosen.settings:
        layers.append(Layer(f"method {name}", dict(chosen.settings)))
    is_full = _last_value(tuning, user) == "full" and _last_value(tuning, preset) not in (None, "full")
    rate = None if chosen is None else chosen.usual_full_rate if is_full else chosen.usual_lora_rate
    said = _last_value("training.learning_rate", user)
    if rate is not None and not said and (is_other or is_full):
        what = f"full tuning by {name}" if is_full else f"method {name}"
        layers.append(Layer(what, {"training.learning_rate": rate}))
    return layers


def preset_method(preset: str) -> str:
    """The method of the main stage that a preset is made for."""
    layers = preset_layers(preset)
    return str(_last_value("training.method", layers) or RunConfig().training.method)


def names_a_model(preset: str, assignments: Sequence[str] = ()) -> bool:
    """Whether a preset, or what is set beside it, says which model is trained."""
    layers = [dict(leaves(layer.values)) for layer in preset_layers(preset)]
    return any(layer.get("model.path") for layer in layers) or any(
        word.startswith("model.path=") for word in assignments
    )


def _for_task(demo: Layer, preset: list[Layer]) -> Layer:
    """The demo layer without its prompt and lengths where the preset is for another task (boxes, texts) and names
    a prompt of its own."""
    prompt, *lengths = "data.prompt_template", "model.context_length", "rollout.max_completion_length"
    if not any(prompt in dict(leaves(layer.values)) for layer in preset):
        return demo
    kept = {key: value for key, value in leaves(demo.values) if key not in (prompt, *lengths)}
    return Layer(demo.name, kept, demo.reasons)


def _for_method(demo: Layer, command_line: Layer, user: list[Layer]) -> Layer:
    """The demo layer as the user's choice of method leaves it.

    Where the main stage is by the warm start's method it takes that one's values; where adapters are asked for they sit
    on the usual towers, and not on all that full tuning has to train here.
    """

    def given(key: str) -> Any:
        return _last_value(key, [*user, command_line])

    if given("tuning.method") not in (None, "full"):
        values = {key: value for key, value in demo.values.items() if key != "tuning.towers"}
        demo = Layer(demo.name, values, demo.reasons)
    method = given("training.method")
    methods = {
        value: key.removesuffix("method")
        for key, value in demo.values.items()
        if re.fullmatch(r"stages\.\w+\.method", key)
    }
    warm_start = methods.get(method)
    if warm_start is None:
        return demo
    values = {key: value for key, value in demo.values.items() if not key.startswith("stages.")}
    values |= {
        f"training.{key.removeprefix(warm_start)}": value
        for key, value in demo.values.items()
        if key.startswith(warm_start)
    }
    return Layer(demo.name, values, demo.reasons)


def _reasons(text: str) -> dict[str, str]:
    """The comment at the end of a `key = value  # reason` line, by full key."""
    reasons = {}
    section = ""
    for line in text.splitlines():
        if header := re.fullmatch(r"\s*\[([\w.\-]+)\]\s*(?:#.*)?", line):
            section = header[1]
        elif match := re.fullmatch(r'\s*(\w+)\s*=\s*(?:[^#"]|"[^"]*")*#\s*(.+)', line):
            reasons[f"{section}.{match[1]}"] = match[2].strip()
    return reasons
