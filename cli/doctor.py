"""`medgrpo doctor`: what is installed here, and what this machine can run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken

app = typer.Typer(rich_markup_mode=None, add_completion=False)

# What a package is for -> the packages, and the extra that brings them.
EXTRAS = {
    "data": ("preprocess datasets", ("PIL", "pyarrow", "tokenizers", "jinja2", "imagehash", "httpx2")),
    "report": ("read long logs quickly", ("orjson",)),
    "train": ("train and evaluate", ("torch", "torchvision", "transformers", "trl", "peft", "tensorboard")),
    "medical": ("read DICOM and NIfTI", ("pydicom", "nibabel")),
    "caption": ("caption_alignment", ("sentence_transformers",)),
    "vllm": ("fast rollouts", ("vllm",)),
    "deepspeed": ("many GPUs", ("deepspeed",)),
    "qlora": ("4-bit training", ("bitsandbytes",)),
}


@app.command()
def doctor(
    share: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="List what in FOLDER would identify a person or a machine; exit 1 if anything does.",
        ),
    ] = None,
    licences: Annotated[
        bool,
        typer.Option("--licences", help="List the packages that medgrpo needs here, with their licences."),
    ] = False,
    sbom: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the bill of materials of those packages, CycloneDX as JSON."
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(help="Of --licences and --sbom: with the packages of this extra. Default: train."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check what is installed, which GPUs there are, and what follows from it; or a folder before it is shared.

    Example: medgrpo doctor
    """
    if share is not None:
        _check_share(Output(as_json=as_json, quiet=quiet), share)
        return
    if licences or sbom is not None:
        _list_packages(Output(as_json=as_json, quiet=quiet), extra or ["train"], sbom)
        return
    from importlib.util import find_spec

    import medgrpo
    from medgrpo import _reward_core
    from medgrpo.estimate.drivers import installed_gpus
    from medgrpo.install import how_to_install

    out = Output(as_json=as_json, quiet=quiet)
    checks = [
        {
            "check": "reward core",
            "ok": _reward_core.__version__ == medgrpo.__version__,
            "found": f"medgrpo {medgrpo.__version__}, compiled core {_reward_core.__version__}",
            "remedy": f"{how_to_install('train')} --force-reinstall",
        }
    ]
    for name, (purpose, packages) in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        found = f"lacks {', '.join(missing)}" if missing else "installed"
        checks.append({"check": purpose, "ok": not missing, "found": found, "remedy": how_to_install(name)})
    gpus = installed_gpus()
    found = ", ".join(gpus) if gpus else "none; the demo runs on the CPU, real models want one"
    checks.append(
        {"check": "GPU", "ok": bool(gpus), "found": found, "remedy": "see `medgrpo estimate-time --gpu NAME`"}
    )
    rows = [
        (
            spoken(str(check["check"])),
            spoken("yes" if check["ok"] else "no"),
            spoken(str(check["found"])),
            "" if check["ok"] else spoken(str(check["remedy"])),
        )
        for check in checks
    ]
    out.table("", ["what", "ready", "found", "remedy"], rows)
    out.result({"checks": checks})


def _check_share(out: Output, folder: Path) -> None:
    from medgrpo.sharing import identifying

    found = identifying(folder)
    if found:
        out.table(
            f"{folder}: what would identify a person or a machine",
            ["file", "what", "times", "such as"],
            [(one.file, one.kind, one.count, one.example) for one in found],
        )
    else:
        out.text(f"{folder}: nothing found that would identify a person or a machine")
    out.result({"folder": str(folder), "findings": [vars(one) for one in found]})
    if found:
        raise typer.Exit(1)


def _list_packages(out: Output, extras: list[str], sbom: Path | None) -> None:
    from medgrpo.packages import needed_packages, write_bill

    found, missing = needed_packages(extras)
    out.table(
        f"medgrpo[{','.join(extras)}] as it is installed here",
        ["package", "version", "licence", "needed by"],
        [(one.name, one.version, one.licence, one.needed_by) for one in found],
    )
    copyleft = [f"{one.name} ({one.licence})" for one in found if one.is_copyleft]
    out.text(f"with conditions for those who pass it on: {', '.join(copyleft) or 'none'}")
    if missing:
        out.warn(f"not installed here, so not listed: {', '.join(missing)}")
    if sbom is not None:
        write_bill(found, sbom)
        out.text(f"bill of materials in {sbom}")
    out.result(
        {"packages": [{**vars(one), "is_copyleft": one.is_copyleft} for one in found], "missing": missing}
    )
