"""`medgrpo compare LOG...`: runs side by side in the terminal, or as one offline page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken
from medgrpo.cli.typed import refuse_useless, typed
from medgrpo.language import language

if TYPE_CHECKING:
    from medgrpo.runs.answers import SideBySide
    from medgrpo.runs.comparison import Comparison, RunSummary

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def compare(
    context: typer.Context,
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
    references: Annotated[
        Path | None,
        typer.Option(help="Reference answers for prediction files that hold none, as in `medgrpo score`."),
    ] = None,
    join: Annotated[
        str | None, typer.Option(help="How predictions meet references: row, or KEY[=KEY].")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Names of columns: completion=text,answer=gt.")] = None,
    with_failed: Annotated[
        bool,
        typer.Option(
            "--with-failed", help="Draw the curves of failed runs too; the tables have them always."
        ),
    ] = False,
    logs_option: Annotated[list[Path] | None, typer.Option("--logs", hidden=True)] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Print every metric and every setting that differs.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare runs from their logs: reward, held-out metrics, speed, settings that differ, health.

    With --html also curves, completions by step and answers side by side, in one offline page. Output folders of
    eval and files of answers, given as LOG or by --predictions, are compared question by question.

    Example: medgrpo compare logs/*.json --html
    """
    from medgrpo.errors import UsageError
    from medgrpo.evaluation.side_by_side import compare_predictions, holds_answers, is_evaluation
    from medgrpo.rewards.columns import parse_columns
    from medgrpo.runs.comparison import compare_runs

    out = Output(as_json=as_json, quiet=quiet)
    if "output" in typed(context) and not html:
        out.note("note: --output is where --html writes; without --html nothing is written")
    paths = [*(logs or []), *(logs_option or [])]
    of_models = [path for path in paths if is_evaluation(path) or holds_answers(path)]
    answered = [*(predictions or []), *of_models]
    paths = [path for path in paths if path not in of_models]
    if not paths and not answered:
        raise UsageError(
            "nothing to compare", expected="at least one LOG", hint="medgrpo compare logs/*.json"
        )
    if not answered:
        refuse_useless(context, {"references", "join", "columns"}, "reads --predictions, and none are given")
    found = None
    if answered:
        named = parse_columns(columns) or None
        found = compare_predictions(
            answered, baseline=None if paths else baseline, references=references, join=join, columns=named
        )
    comparison = compare_runs(paths, baseline, found)
    for path, why in comparison.unreadable:
        out.warn(f"left out {path}: {why}")
    report = None
    if html:
        from medgrpo.runs.report import set_aside, write_report

        if (kept := set_aside(output)) is not None:
            out.note(f"the page that was there is kept as {kept}")
        report = write_report(comparison, output, with_failed=with_failed)
    _print(out, comparison, show_all=show_all)
    if found:
        _print_predictions(out, found, show_all=show_all)
    if report:
        out.text(f"report: {report}")
    else:
        out.next("the same with --html: one page with curves and answers")
    out.result({**comparison.as_dict(), "report": str(report) if report else None})


BESIDES = {"answer_match_graded", "exact_match", "token_recall", "word_f1", "plane_right", "modality_right"}
"""Measure in another way what a row beside them says."""
SETTINGS = 4
METRICS = 6
"""Rows of a table that are printed without --all; the page has all of them."""


def _print(out: Output, comparison: Comparison, *, show_all: bool) -> None:
    from medgrpo.runs.comparison import held_out_metric, main_metric, plain

    rows = []
    for run in comparison.runs:
        key, held_out = main_metric(run), held_out_metric(run)
        moved = f"{run.first[key]:.3g} → {run.last[key]:.3g}" if key else "–"
        rows.append(
            [
                run.name,
                _step(run),
                key or "–",
                moved,
                f"{held_out.removeprefix('eval_')} {run.last[held_out]:.3g}" if held_out else "–",
                round(run.prompts_per_hour) if run.prompts_per_hour else None,
                spoken(run.health.verdict),
            ]
        )
    columns = ["run", "ended", "metric", "first → last", "held out", "prompts/h", "health"]
    if rows:
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
    differing = [[key, *map(plain, values)] for key, values in comparison.config_differences.items()]
    if differing and len(comparison.runs) <= 8:
        first = sorted(differing, key=lambda row: not str(row[0]).startswith("training."))
        shown = differing if show_all else first[:SETTINGS]
        out.table("Settings that differ", ["setting", *(run.name for run in comparison.runs)], shown)
        if len(differing) > len(shown):
            out.note(f"{len(differing) - len(shown)} more settings differ: --all")
    for run in comparison.runs:
        for finding in run.health.findings:
            if finding.severity != "info":
                said = finding.evidence_in(language())
                out.text(f"{run.name}: {spoken(finding.severity)}: {said}")


def _step(run: RunSummary) -> str:
    """How the run ended, and where."""
    step = f"step {run.record.steps}"
    return f"{run.record.status}, {step}" if run.record.status not in (None, "finished") else step


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _print_predictions(out: Output, found: SideBySide, *, show_all: bool) -> None:
    by_cell = {(score.metric, score.model): score for score in found.scores}
    every = list(dict.fromkeys(score.metric for score in found.scores))
    metrics = every if show_all else [name for name in every if name not in BESIDES][:METRICS]
    rows = []
    for metric in metrics:
        scores = [by_cell.get((metric, model)) for model in found.models]
        shown = [
            "–" if s is None or s.value is None else f"{s.value:.3f}" + _interval(s.low, s.high)
            for s in scores
        ]
        rows.append([metric, *shown])
    out.table("Predictions (95 % interval, clustered by image)", ["metric", *found.models], rows)
    if len(every) > len(metrics):
        out.note(f"{len(every) - len(metrics)} more metrics: --all")
    told = [
        d
        for d in found.differences
        if d.metric in metrics
        and d.difference is not None
        and d.low is not None
        and d.high is not None
        and d.p_value is not None
    ]
    if told:
        noted = any(d.note for d in told)
        lines = [
            [
                d.metric,
                d.model,
                f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}]",
                f"{d.p_value:.2g}",
                d.n,
                *([d.note or ""] if noted else []),
            ]
            for d in told
        ]
        title = f"Paired differences from {told[0].baseline} (p: sign flips per image, two-sided)"
        head = ["metric", "model", "difference, 95 %", "p", "n", *(["note"] if noted else [])]
        out.table(title, head, lines)
    for note in found.notes:
        out.note(note)
