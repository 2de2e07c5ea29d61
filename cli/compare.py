"""`medgrpo compare LOG...`: runs side by side in the terminal, or as one offline page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption

if TYPE_CHECKING:
    from medgrpo.runs.comparison import Comparison

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def compare(
    logs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="LOG...",
            help="Run folders or logs, of any mix of formats: medgrpo, TRL, ms-swift, LLaMA-Factory, EasyR1, console.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the data behind it.")] = Path(
        "comparison"
    ),
    html: Annotated[
        bool, typer.Option("--html", help="Write OUTPUT/report.html, one file that needs no network.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Name of the run (or predictions) the others are compared with. Default: the first."
        ),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Predictions of a model on the same questions (eval's output); give it once per model."
        ),
    ] = None,
    logs_option: Annotated[list[Path] | None, typer.Option("--logs", hidden=True)] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare runs from their logs: reward, held-out metrics, speed, settings that differ, health.

    With --html also curves, completions by step and answers side by side, in one offline page.

    Example:  medgrpo compare logs/*.json --html
    """
    from medgrpo.errors import UsageError
    from medgrpo.runs.comparison import compare_runs

    out = Output(as_json=as_json, quiet=quiet)
    paths = [*(logs or []), *(logs_option or [])]
    if not paths and not predictions:
        raise UsageError(
            "nothing to compare", expected="at least one LOG", hint="medgrpo compare logs/*.json"
        )
    comparison = compare_runs(paths, baseline)
    for path, why in comparison.unreadable:
        out.warn(f"left out {path}: {why}")
    report = None
    if html:
        from medgrpo.runs.report import write_report

        report = write_report(comparison, output)
    _print(out, comparison)
    if report:
        out.text(f"report: {report}")
    out.result({**comparison.as_dict(), "report": str(report) if report else None})


def _print(out: Output, comparison: Comparison) -> None:
    from medgrpo.runs.comparison import held_out_metric, main_metric

    rows = []
    for run in comparison.runs:
        key, held_out = main_metric(run), held_out_metric(run)
        best = run.best.get(key or "")
        rows.append(
            [
                run.name,
                run.record.method,
                run.record.steps,
                key or "–",
                run.first.get(key or ""),
                run.last.get(key or ""),
                f"{best.value:.3g} @ {best.step}" if best else "–",
                f"{held_out} {run.last[held_out]:.3g}" if held_out else "–",
                run.prompts_per_hour,
                run.health.verdict,
            ]
        )
    columns = [
        "run",
        "method",
        "steps",
        "metric",
        "first",
        "last",
        "best @ step",
        "held out",
        "prompts/h",
        "health",
    ]
    out.table("Runs", columns, rows)
    names = sorted({name for run in comparison.runs for name in run.record.components})
    if names:
        with_components = [run for run in comparison.runs if run.record.components]
        out.table(
            "Reward by component, at the end of the run",
            ["run", *names],
            [
                [run.name, *(run.last.get(f"rewards/{name}/mean") for name in names)]
                for run in with_components
            ],
        )
    if comparison.config_differences and len(comparison.runs) <= 8:
        out.table(
            "Settings that differ",
            ["setting", *(run.name for run in comparison.runs)],
            [[key, *map(_plain, values)] for key, values in comparison.config_differences.items()],
        )
    for run in comparison.runs:
        for finding in run.health.findings:
            if finding.severity != "info":
                out.text(f"{run.name}: {finding.severity}: {finding.evidence}")


def _plain(value: object) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
