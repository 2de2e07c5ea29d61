"""`medgrpo estimate-time`: hours and memory before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.estimate.estimate import Estimate

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
        str, typer.Option(help="GPU name ('A100', 'A100 3g.40gb', 'cpu'), or auto: what is here.")
    ] = "auto",
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs.")] = 1,
    engine: Annotated[str | None, typer.Option(help="transformers or vllm.")] = None,
    vllm: Annotated[str | None, typer.Option(help="Generate with vLLM: colocate or server.")] = None,
    method: Annotated[str | None, typer.Option(help="Method of the main stage.")] = None,
    deepspeed: Annotated[
        str | None, typer.Option(help="zero2, zero3, or a DeepSpeed configuration file.")
    ] = None,
    fsdp: Annotated[
        bool | None, typer.Option("--fsdp/--no-fsdp", help="Spread the model with PyTorch's FSDP2.")
    ] = None,
    params: Annotated[
        str | None, typer.Option(help="Size of a model that is in no table, such as 7B.")
    ] = None,
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
        bool,
        typer.Option("--probe", help="Train a few real steps here, largest rows first, and correct by them."),
    ] = False,
    from_run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Explain how a run differs from its estimate, by phase."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a small plot.")] = None,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Also a table of other choices.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Also print seconds by phase and GiB by part.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate the hours and the GPU memory of a run, and list what would save most.

    Example: medgrpo estimate-time --preset balanced --samples 1797 --size 512 --gpu A100
    """
    out = Output(as_json=as_json, quiet=quiet)
    if from_run is not None:
        _explain(out, from_run)
        return
    if gpu == "auto":
        from medgrpo.estimate.drivers import ask_ahead

        ask_ahead()  # beside the imports below
    from medgrpo.config.checks import check
    from medgrpo.config.presets import names_a_model, resolve_run
    from medgrpo.config.reach import rewards_with_code
    from medgrpo.estimate.estimate import Facts, estimate
    from medgrpo.estimate.warnings import plan_warnings
    from medgrpo.rewards.trust import grant

    options = {
        "training.method": method,
        "rollout.num_generations": generations,
        "rollout.max_completion_length": tokens,
        "rollout.engine": "vllm" if vllm else engine,
        "vllm.mode": vllm,
        "training.prompts_per_step": prompts_per_step,
        "model.max_pixels": max_pixels,
        "launch.gpus": gpus if gpus > 1 else None,
        "launch.deepspeed": deepspeed,
        "launch.fsdp": fsdp,
    }
    # Without --model the estimate is of a real model, not of the demo: name one, so that no demo layer applies.
    is_named = model is not None or names_a_model(preset, assignments or ())
    named = model if is_named else "Qwen2.5-VL-3B"
    resolved, notes = resolve_run(preset, model=named, assignments=tuple(assignments or ()), options=options)
    grant(rewards_with_code(resolved.config))  # each from a file or an option that this call gives
    for note in notes:
        out.note(note)
    gpus = max(gpus, (resolved.config.launch.gpus or 1) * resolved.config.launch.nodes)
    for warning in check(resolved.config, world_size=gpus):
        out.warn(warning)
    if resolved.config.launch.deepspeed is not None:
        from medgrpo.training.before.launch import deepspeed_file

        deepspeed_file(resolved.config.launch.deepspeed)
    facts = Facts(model, data, samples, size, gpu, gpus, params=params)
    result = estimate(resolved.config, facts)
    long = _rows_too_long(resolved.config, model, data)
    is_here = gpu == "auto"  # else the run is another machine's, with a disk of its own
    for warning in [
        *(long or []),
        *plan_warnings(
            result.work,
            uncapped_tokens=result.stored_tokens,
            is_counted=long is not None,
            is_here=is_here,
            folder=Path(resolved.config.run.output or "runs/next") if is_here else None,
        ),
    ]:
        out.warn(warning)
    if probe:
        from medgrpo.training.probe import measure

        out.note("measuring a few real steps, the largest rows first …")
        document = measure(resolved.config, facts)
    else:
        document = result.document()
    _print(out, document, show_all=show_all)
    if alternatives or html:
        document["alternatives"] = _alternatives(out, result)
    if html:
        from medgrpo.estimate.page import page
        from medgrpo.files import write_text

        html.parent.mkdir(parents=True, exist_ok=True)
        write_text(html, page(document, _duration))
        out.text(f"page: {html}")
    if not show_all:
        out.note("--all shows the seconds by phase and the memory by part")
    out.result(document)


def _rows_too_long(config: RunConfig, model: str | None, data: Path | None) -> list[str] | None:
    """What training would leave out of this data with this model; None where that cannot be counted here."""
    from medgrpo.data.mixture import open_data
    from medgrpo.data.prompts import load_template
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.room import rows_too_long
    from medgrpo.models.weights import find_weights

    path = model or config.model.path
    if data is None or path is None or not Path(path).is_dir():
        return None
    try:
        base = find_weights(path).base
        template = load_template(config.data.prompt_template).with_system(config.data.system_prompt)
    except (MedgrpoError, OSError):  # an estimate needs the sizes of a model alone
        return None
    return rows_too_long(config, base, open_data(data, seed=config.run.seed), template)


def _explain(out: Output, run: Path) -> None:
    """A run beside its estimate."""
    from medgrpo.estimate.from_run import compare_with_estimate

    found = compare_with_estimate(run)
    document = found.as_dict()
    out.text(found.words())
    rows = [
        (name, values["actual"], values["estimated"], values["with_its_lengths"])
        for name, values in document["phases"].items()
        if any(value for value in values.values())
    ]
    out.table(
        "Seconds of a prompt", ["phase", "actual", "estimated", "estimated with the run's own lengths"], rows
    )
    for reason in document["reasons"] or ["no phase is off by a tenth of a step"]:
        out.text(reason)
    out.result(document)


def _print(out: Output, document: dict[str, Any], *, show_all: bool) -> None:
    from medgrpo.estimate.disk import free_bytes

    for note in document["notes"]:
        out.note(note)
    place = f"on {document['gpus']} × {document['gpu']} ({document['gpu_source']})"
    if document["gpu"] == "CPU":
        place = f"on the processor ({document['gpu_source']})"
    if document["source"] == "probe":
        place = f"measured on this machine in {document['probe']['steps']} real steps"
    out.text(
        f"{document['model']} {place}, {document['engine']}\n"
        f"{_duration(document['hours'])} (between {_duration(document['hours_low'])} and {_duration(document['hours_high'])}; "
        f"{document['range_source']}): "
        f"{document['steps']} steps of {document['prompts_per_step']} prompts × {document['generations']} completions "
        f"= {document['epochs']:.2f} epochs of {document['rows']} rows\n"
        f"{document['s_per_prompt']:.2f} s a prompt, {document['prompts_per_hour']:.0f} prompts an hour, "
        f"{document['image_tokens']} image tokens"
    )
    memory = document["memory_gib"]
    whose = "Memory" if document["gpu"] == "CPU" else "Memory of one GPU"
    peak = f"{whose}: peak {memory['peak']:.1f} GiB; {document['verdict']}"
    if show_all:
        out.table("Where the time of a prompt goes", ["phase", "s"], _spent(document["phases"]))
        parts = {part: value for part, value in memory.items() if part != "peak"}
        out.table(peak, ["part, whatever its phase", "GiB"], _spent(parts))
    else:
        out.text(peak)
    out.text(
        f"Disk: {document['disk_gib']:,.1f} GiB at most, a checkpoint of {document['checkpoint_gib']:,.2f} GiB"
        f" ({free_bytes(Path('runs')) / 2**30:,.0f} GiB are free here)"
    )
    if document["advice"]:
        rows: list[tuple[str, ...]] = [
            (entry["change"], entry["saving"], " + ".join(map(spoken, entry["costs"].split(" + "))))
            for entry in document["advice"]
        ]
        columns = ["change", "saves", "costs"]
        if not document["fits"]:
            columns.append("fits")
            rows = [
                (*row, "yes" if entry["fits"] else "no")
                for row, entry in zip(rows, document["advice"], strict=True)
            ]
        out.table("What would save most", columns, rows)


def _spent(parts: dict[str, float]) -> list[tuple[str, float]]:
    """Those that are not nothing."""
    return [(name, value) for name, value in parts.items() if value]


def _duration(hours: float) -> str:
    """Hours in the unit that fits: 42 s, 12 min, 3.4 h."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 1 else f"{hours:.1f} h"


def _alternatives(out: Output, result: Estimate) -> list[dict[str, Any]]:
    from medgrpo.estimate.alternatives import compare_alternatives

    entries = compare_alternatives(result)
    out.table(
        "Alternatives; ★: nothing that sees as much is both faster and smaller",
        ["change", "hours", "s/prompt", "peak GiB", "fits", "★"],
        [
            (
                entry["change"],
                entry["hours"],
                entry["s_per_prompt"],
                entry["peak_gib"],
                "yes" if entry["fits"] else "no",
                "★" if entry["pareto"] else "",
            )
            for entry in entries
        ],
    )
    return entries
