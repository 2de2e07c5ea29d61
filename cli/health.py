"""`medgrpo health LOG`: normal, warning, abnormal or too short to say, with the evidence and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken
from medgrpo.errors import choice_error
from medgrpo.language import language

if TYPE_CHECKING:
    from medgrpo.runs.findings import Health
    from medgrpo.runs.record import RunRecord

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def health(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...",
            help="A run folder, logs/<run>.json, log.jsonl, trainer_state.json, ms-swift logging.jsonl, "
            "LLaMA-Factory trainer_log.jsonl, EasyR1 JSONL, or a console capture.",
        ),
    ],
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="Exit 1 if the verdict is at least this bad: warning or abnormal; exit 2 if no metric of the log "
            "is known. Default: never."
        ),
    ] = None,
    explain: Annotated[bool, typer.Option(help="Show the remedy of each finding.")] = True,
    completions: Annotated[
        bool,
        typer.Option(help="Of a run folder, read the newest completions too: do they repeat each other?"),
    ] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Judge from its log whether a run is healthy: reward trend, KL, entropy, dead groups, truncation, speed.

    Verdicts: normal, warning, abnormal, insufficient_data, not_understood. A falling loss is not asked of GRPO, and KL has no
    right level of its own: docs/health.md says why.

    Example: medgrpo health latest --fail-on abnormal
    """
    from medgrpo.runs.findings import ORDER
    from medgrpo.runs.health import assess
    from medgrpo.runs.record import read_run

    if fail_on not in (None, "warning", "abnormal"):
        raise choice_error("level for --fail-on", str(fail_on), ["warning", "abnormal"])
    out = Output(as_json=as_json, quiet=quiet)
    documents = []
    for log in logs:
        run = read_run(log)
        judged = assess(run, completions=completions and log.is_dir())
        documents.append(_document(run, judged))
        _print(out, run, judged, explain=explain)
    worst = max(
        (document["verdict"] for document in documents), key=lambda verdict: (ORDER[verdict], verdict)
    )
    if len(documents) == 1:
        out.result(documents[0])
    else:
        findings = [{"run": doc["run"], **found} for doc in documents for found in doc["findings"]]
        out.result({"verdict": worst, "findings": findings, "runs": documents})
    if fail_on and ORDER[worst] >= ORDER[fail_on]:
        raise typer.Exit(1)
    if fail_on and any(document["verdict"] == "not_understood" for document in documents):
        raise typer.Exit(2)


def _document(run: RunRecord, judged: Health) -> dict[str, Any]:
    return {
        **judged.as_dict(),
        "run": run.name,
        "format": run.source_format,
        "method": run.method,
        "status": run.status,
        "error": run.error,
        "steps": run.steps,
        "entries": len(run.history),
        "not_understood": run.unknown,
    }


def _print(out: Output, run: RunRecord, judged: Health, *, explain: bool) -> None:
    of_total = f" of {run.total_steps}" if run.total_steps else ""
    end = f"{spoken(run.status)}, " if run.status else ""
    out.text(
        f"{run.name}: {spoken(judged.verdict)}  ({end}{run.method}, {run.source_format}, step {run.steps}{of_total})"
    )
    if judged.verdict == "insufficient_data":
        out.text(
            f"  {len(run.history)} log entries are too few to call the run normal; nothing is wrong so far"
        )
    if judged.verdict == "not_understood":
        out.text(f"  no metric in {len(run.history)} log entries is known: nothing can be said of the run")
    if run.unknown:
        shown = ", ".join(run.unknown[:8]) + (" …" if len(run.unknown) > 8 else "")
        out.text(f"  not understood: {shown}")
    for finding in judged.findings:
        words = language()
        out.text(f"  {spoken(finding.severity):<8} {finding.rule}: {finding.evidence_in(words)}")
        if explain and finding.severity != "info":
            out.text(f"           → {finding.remedy_in(words)}")
