"""`medgrpo presets`: the named settings, and why each value is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    estimated = {preset.name: _estimated(preset.name) for preset in presets}
    output.table(
        "",
        ["preset", "for", "costs", f"{ROWS:,} rows on an {CARD}, by estimate-time"],
        [(p.name, p.purpose, p.cost, _in_words(estimated[p.name])) for p in presets],
    )
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
MODEL, TEXT_MODEL, MASK_MODEL = "Qwen2.5-VL-3B", "Qwen3-4B", "Sa2VA-Qwen2_5-VL-3B"


def _estimated(name: str) -> dict[str, Any] | None:
    """Hours and GiB of a preset, computed and not written; None of the demo's."""
    from medgrpo.config.presets import DEMO, names_a_model, resolve_run
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.estimate import Facts, estimate

    if name == DEMO:
        return None
    stem = Path(name).stem
    model = TEXT_MODEL if stem.startswith("text") else MASK_MODEL if stem.startswith("vessels") else MODEL
    try:
        config = resolve_run(name, model=None if names_a_model(name) else model)[0].config
        model = config.model.path or model
        found = estimate(config, Facts(model=model, gpu=CARD, size=SIZE, samples=ROWS))
    except MedgrpoError:
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


def _in_words(estimated: dict[str, Any] | None) -> str:
    if estimated is None:
        return "–"
    return f"{estimated['model']}: {estimated['hours']:.1f} h ({estimated['hours_low']:.1f} to {estimated['hours_high']:.1f}), {estimated['peak_gib']:.0f} GiB"


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
    estimated = _estimated(name)
    costs = (
        preset.cost
        if estimated is None
        else f"{preset.cost}; {ROWS:,} rows on an {CARD}: {_in_words(estimated)}"
    )
    output.text(f"{preset.name}: {preset.purpose}\ncosts: {costs}\nlaunch: {preset.launch}")
    shown = [(key, "–" if value is None else str(value), layer, reason) for key, value, layer, reason in rows]
    output.table("", ["setting", "value", "from", "why"], shown)
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
