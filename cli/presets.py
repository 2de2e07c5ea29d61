"""`medgrpo presets`: the named settings, and why each value is what it is."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken

if TYPE_CHECKING:
    from medgrpo.config.presets import Preset

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback(invoke_without_command=True)
def _presets(context: typer.Context) -> None:
    """List the presets, or show the values of one and why.

    Example: medgrpo presets show balanced
    """
    if context.invoked_subcommand is None:
        list_presets()


@app.command("list")
def list_presets(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the presets with what they are for and what they cost.

    Example: medgrpo presets list
    """
    from medgrpo.config.presets import load_preset, preset_paths

    output = Output(as_json=as_json, quiet=quiet)
    presets = [load_preset(name) for name in preset_paths()]
    estimated = {preset.name: _estimated(preset, preset.name) for preset in presets}
    now = [preset for preset in presets if not preset.name.endswith(KEPT)]
    output.lines(
        ["preset", "for", "hours", "GiB"],
        [(p.name, spoken(p.purpose), *_hours_and_memory(estimated[p.name])) for p in now],
        cut=(1,),
    )
    output.text(f"hours and GiB: {ROWS:,} rows on an {CARD}, by estimate-time")
    kept = ", ".join(preset.name.removesuffix(KEPT) for preset in presets if preset.name.endswith(KEPT))
    output.text(f"the original values of 2024 are kept as NAME{KEPT}: {kept}")
    output.next("medgrpo presets show balanced")
    output.result(
        {
            "presets": [
                {
                    "name": p.name,
                    "purpose": p.purpose,
                    "cost": p.cost,
                    "launch": p.launch,
                    "estimate": estimated[p.name],
                }
                for p in presets
            ]
        }
    )


CARD, ROWS, SIZE = "A100", 1797, 512
MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
"""Of a preset whose launch line names no model."""
KEPT = "-2024"
"""How the names of presets end that are there for comparison."""


def _estimated(preset: Preset, name: str) -> dict[str, Any] | None:
    """Hours and GiB of what the preset's launch line trains, computed and not written; None of the demo's."""
    from medgrpo.config.presets import DEMO, names_a_model, resolve_run
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.estimate import Facts, estimate

    if name == DEMO:
        return None
    try:
        model, assignments = _launched(preset.launch)
        if model is None and not names_a_model(name):
            model = MODEL
        config = resolve_run(name, model=model, assignments=assignments)[0].config
        model = config.model.path or MODEL
        found = estimate(config, Facts(model=model, gpu=CARD, size=SIZE, samples=ROWS))
    except (MedgrpoError, ValueError):  # a launch line of somebody's own may be anything
        return None
    low, high = found.hours_range
    return {
        "model": model,
        "gpu": CARD,
        "rows": ROWS,
        "hours": sum(found.hours),
        "hours_low": low,
        "hours_high": high,
        "peak_gib": found.memory.peak / 2**30,
    }


def _launched(line: str) -> tuple[str | None, tuple[str, ...]]:
    """The model and the settings that a launch line names."""
    words = shlex.split(line)
    named = {option: value for option, value in pairwise(words) if option == "--model"}
    return named.get("--model"), tuple(value for option, value in pairwise(words) if option == "--set")


def _hours_and_memory(estimated: dict[str, Any] | None) -> tuple[str, str]:
    if estimated is None:
        return "–", "–"
    hours = estimated["hours"]
    return ("< 0.1" if hours < 0.05 else f"{hours:.1f}"), f"{estimated['peak_gib']:.0f}"


def _in_words(estimated: dict[str, Any] | None) -> str:
    if estimated is None:
        return "–"
    return f"{estimated['model']}: {estimated['hours']:.1f} h ({estimated['hours_low']:.1f} to {estimated['hours_high']:.1f}), {estimated['peak_gib']:.0f} GiB"


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a preset, or path of a .toml file.")],
    demo: Annotated[bool, typer.Option("--demo", help="With the layer used when no model is named.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also what keeps its default: every setting there is.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a preset sets, the layer that each value came from, and why.

    Example: medgrpo presets show balanced
    """
    from medgrpo.config.layers import field_keys, leaves
    from medgrpo.config.presets import load_preset, resolve_run

    output = Output(as_json=as_json, quiet=quiet)
    preset = load_preset(name)
    resolved, _ = resolve_run(name, model=None if demo else "MODEL")
    descriptions = field_keys()
    rows = []
    for key, value in leaves(resolved.config.model_dump()):
        if key == "model.path":
            continue
        parts = key.split(".")
        described = ".".join(["stages", "<name>", *parts[2:]]) if parts[0] == "stages" else key
        reason = resolved.reasons.get(key) or descriptions.get(described, "")
        rows.append((key, value, resolved.origins.get(key, "default"), reason))
    estimated = _estimated(preset, name)
    costs = (
        preset.cost
        if estimated is None
        else f"{preset.cost}; {ROWS:,} rows on an {CARD}: {_in_words(estimated)}"
    )
    output.text(f"{preset.name}: {spoken(preset.purpose)}")
    output.text(f"costs: {costs}")
    output.text(f"launch: {preset.launch}")
    shown = [
        (key, "–" if value is None else str(value), layer.removeprefix("preset "), reason)
        for key, value, layer, reason in rows
        if every or layer != "default"
    ]
    output.table("", ["setting", "value", "from", "why"], shown)
    if left := len(rows) - len(shown):
        output.text(f"{left} further settings keep their defaults: medgrpo presets show {name} --all")
    output.result(
        {
            "preset": preset.name,
            "purpose": preset.purpose,
            "cost": preset.cost,
            "launch": preset.launch,
            "estimate": estimated,
            "values": [{"key": k, "value": v, "layer": layer, "reason": why} for k, v, layer, why in rows],
        }
    )
