"""`medgrpo estimate-time`: hours and memory before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption

if TYPE_CHECKING:
    from medgrpo.estimate.estimate import Estimate, Facts

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def estimate_time(
    preset: Annotated[str, typer.Option(help="Preset, or path of a .toml file.")] = "balanced",
    model: Annotated[
        str | None,
        typer.Option("--model", "--base_model", help="Model name or folder; default: Qwen2.5-VL-3B."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Prepared dataset: gives rows and image tokens.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training rows; default: of --data, else 1797.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=28, help="Longest image side in px; default: of --data, else 512.")
    ] = None,
    generations: Annotated[int | None, typer.Option(min=2, help="Completions per prompt.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Longest completion, in tokens.")] = None,
    gpu: Annotated[
        str, typer.Option(help="GPU name, or auto: the one here, else a named reference.")
    ] = "auto",
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs.")] = 1,
    engine: Annotated[str | None, typer.Option(help="transformers or vllm.")] = None,
    prompts_per_step: Annotated[
        int | None, typer.Option(min=1, help="Prompts of one optimiser step.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=784, help="Largest image the model sees, in pixels.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as key=value; may be repeated.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure a few real steps here instead of modelling them.")
    ] = False,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Also a table of other choices.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate the hours and the GPU memory of a run, and list what would save most.

    Example: medgrpo estimate-time --preset balanced --samples 1797 --size 512 --gpu A100
    """
    from medgrpo.config.checks import check
    from medgrpo.config.presets import resolve_run
    from medgrpo.config.reach import rewards_with_code
    from medgrpo.estimate.estimate import Facts, estimate
    from medgrpo.rewards.trust import grant

    out = Output(as_json=as_json, quiet=quiet)
    options = {
        "rollout.num_generations": generations,
        "rollout.max_completion_length": tokens,
        "rollout.engine": engine,
        "training.prompts_per_step": prompts_per_step,
        "model.max_pixels": max_pixels,
    }
    # Without --model the estimate is of a real model, not of the demo: name one, so that no demo layer applies.
    resolved, notes = resolve_run(
        preset, model=model or "Qwen2.5-VL-3B", assignments=tuple(assignments or ()), options=options
    )
    grant(rewards_with_code(resolved.config))  # each from a file or an option that this call gives
    for note in notes:
        out.note(note)
    for warning in check(resolved.config, world_size=gpus):
        out.warn(warning)
    facts = Facts(model, data, samples, size, gpu, gpus)
    result = estimate(resolved.config, facts)
    document = result.document()
    if probe:
        from medgrpo.training.probe import measure

        out.note("measuring a few real steps …")
        document |= measure(resolved.config, facts)
    _print(out, document)
    if alternatives:
        table = _alternatives(result, facts)
        document["alternatives"] = table
        out.table(
            "Alternatives",
            ["change", "hours", "s/prompt", "peak GiB", "fits"],
            [
                (
                    row["change"],
                    row["hours"],
                    row["s_per_prompt"],
                    row["peak_gib"],
                    "yes" if row["fits"] else "no",
                )
                for row in table
            ],
        )
    out.result(document)


def _print(out: Output, document: dict[str, Any]) -> None:
    for note in document["notes"]:
        out.note(note)
    place = f"on {document['gpus']} × {document['gpu']} ({document['gpu_source']})"
    if document["source"] == "probe":
        place = f"measured on this machine in {document['probe']['steps']} real steps"
    out.text(
        f"{document['model']} {place}, {document['engine']}\n"
        f"{_duration(document['hours'])} (between {_duration(document['hours_low'])} and {_duration(document['hours_high'])}): "
        f"{document['steps']} steps of {document['prompts_per_step']} prompts × {document['generations']} completions "
        f"= {document['epochs']:.2f} epochs of {document['rows']} rows\n"
        f"{document['s_per_prompt']:.2f} s a prompt, {document['prompts_per_hour']:.0f} prompts an hour, "
        f"{document['image_tokens']} image tokens"
    )
    modelled = f", as modelled for {document['gpu']}" if document["source"] == "probe" else ""
    out.table(f"Where the time of a prompt goes{modelled}", ["phase", "s"], list(document["phases"].items()))
    memory = document["memory_gib"]
    verdict = "fits" if document["fits"] else "does NOT fit"
    out.table(
        f"Memory of one GPU{modelled}: peak {memory['peak']:.1f} GiB, {verdict}",
        ["part", "GiB"],
        [(part, value) for part, value in memory.items() if part != "peak"],
    )
    if document["advice"]:
        rows = [(entry["change"], entry["saving"], entry["costs"]) for entry in document["advice"]]
        out.table("What would save most", ["change", "saves", "costs"], rows)


def _duration(hours: float) -> str:
    """Hours in the unit that fits: 42 s, 12 min, 3.4 h."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 1 else f"{hours:.1f} h"


def _alternatives(result: Estimate, facts: Facts) -> list[dict[str, Any]]:
    from medgrpo.estimate.alternatives import compare_alternatives

    return compare_alternatives(result.work.config, facts)
