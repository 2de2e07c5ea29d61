"""`medgrpo runs`: which runs are here, how each ended, and its best value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken

if TYPE_CHECKING:
    from medgrpo.runs.known import KnownRun

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def runs(
    folder: Annotated[
        Path, typer.Argument(help="Folder of runs; those that logs/ names are listed too.")
    ] = Path("runs"),
    limit: Annotated[int, typer.Option(min=1, help="Show the newest N.")] = 20,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the runs that are here, newest first: preset, model, data, status, best held-out value.

    Every command that takes a run understands the word `latest`: the first of this list that took a step.

    Example: medgrpo runs
    """
    from medgrpo.runs.known import known_runs

    out = Output(as_json=as_json, quiet=quiet)
    found = known_runs(folder)
    shown = found[:limit]
    if shown:
        columns = ["run", "preset", "model", "data", "status", "best"]
        out.lines(columns, [_row(run) for run in shown], cut=(3, 2, 1), spare=(1, 2, 3))
    else:
        out.text(f"no runs in {folder}/ yet; medgrpo train --preset balanced makes one")
    if len(found) > len(shown):
        out.note(f"{len(found) - len(shown)} older ones; --limit {len(found)} shows them too")
    for run in shown:
        if run.status == "failed" and run.error:
            out.text(f"{run.path} failed: {run.error.splitlines()[0]}")
    out.result({"runs": [run.as_dict() for run in found]})


def _row(run: KnownRun) -> list[str]:
    method = f" ({run.method})" if run.method else ""
    step = (
        "" if run.step is None else f", step {run.step}" + (f"/{run.total_steps}" if run.total_steps else "")
    )
    best = "–" if run.best is None else f"{run.metric} {run.best:.3f}"
    return [
        str(run.path),
        f"{run.preset or '–'}{method}",
        _end(run.model),
        _end(run.data),
        f"{spoken(run.status or '–')}{step}",
        best,
    ]


def _end(path: str) -> str:
    """Enough of a path to know it again: the last part, and the one before where the last says only what it holds."""
    parts = Path(path).parts
    if len(parts) <= 2:
        return path
    from medgrpo.models.folders import WEIGHT_FOLDERS

    if parts[-1] in WEIGHT_FOLDERS:
        return f"…/{parts[-2]}"
    return "…/" + "/".join(parts[-2:] if parts[-1] in ("data", "dataset", "model") else parts[-1:])
