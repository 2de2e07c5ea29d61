"""`medgrpo presets`: the named settings, and why each value is what it is."""

from __future__ import annotations

from typing import Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption

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
    output.table("", ["preset", "for", "costs"], [(p.name, p.purpose, p.cost) for p in presets])
    output.result(
        {
            "presets": [
                {"name": p.name, "purpose": p.purpose, "cost": p.cost, "launch": p.launch} for p in presets
            ]
        }
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a preset, or path of a .toml file.")],
    demo: Annotated[bool, typer.Option("--demo", help="With the layer used when no model is named.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show every value of a preset, the layer that it came from, and why.

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
    output.text(f"{preset.name}: {preset.purpose}\ncosts: {preset.cost}\nlaunch: {preset.launch}")
    shown = [(key, "–" if value is None else str(value), layer, reason) for key, value, layer, reason in rows]
    output.table("", ["setting", "value", "from", "why"], shown)
    output.result(
        {
            "preset": preset.name,
            "purpose": preset.purpose,
            "cost": preset.cost,
            "launch": preset.launch,
            "values": [{"key": k, "value": v, "layer": layer, "reason": why} for k, v, layer, why in rows],
        }
    )
