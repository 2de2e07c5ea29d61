"""`medgrpo bundle`: everything that an installation without a network needs, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def bundle(
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder.")],
    extra: Annotated[
        list[str] | None,
        typer.Option(
            help="Optional dependencies, such as train; may be given again. Default: the base install."
        ),
    ] = None,
    without_gpu: Annotated[
        bool,
        typer.Option(
            "--without-gpu",
            help="Without CUDA, which is several GiB: torch must be the build for processors here.",
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put wheels of medgrpo and all that it needs into a folder, with a lock and a script that installs without a network.

    The versions are those that are installed here, for this Python and this kind of machine.

    Example: medgrpo bundle for-the-hospital --extra train --extra medical
    """
    from medgrpo.bundle import SCRIPT, write_bundle
    from medgrpo.errors import typed_path

    out = Output(as_json=as_json, quiet=quiet)
    out.note("fetching wheels …")
    about = write_bundle(
        output,
        extra or (),
        keep_gpu=not without_gpu,
        fetched=lambda count, total: out.note(f"fetched {count} of {total} wheels"),
    )
    size = int(str(about["bytes"])) / 2**20
    out.text(
        f"{about['packages']} wheels, {size:,.0f} MiB, for Python {about['python']} on {about['platform']}"
    )
    out.text(f"there: sh {typed_path(output / SCRIPT)} VENV")
    out.result({**about, "output": str(output)})
