"""`medgrpo preprocess`: raw images and questions in, a checked dataset out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption
from medgrpo.errors import UsageError, choice_error, typed_path

app = typer.Typer(rich_markup_mode=None, add_completion=False)

TASKS = ("vqa", "text", "vessels", "detection")


@app.command()
def preprocess(
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder with data files and pictures, one data file, or datasets.toml#NAME."),
    ] = None,
    output: Annotated[Path | None, typer.Argument(help="New folder for the prepared dataset.")] = None,
    source_option: Annotated[Path | None, typer.Option("--input", hidden=True)] = None,
    output_option: Annotated[Path | None, typer.Option("--output", hidden=True)] = None,
    task: Annotated[
        str | None, typer.Option(help="vqa, text, vessels or detection. Default: from the data.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Longest side of stored images, pixels. Default: as they are.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Largest area of stored images, pixels.")] = None,
    multiple: Annotated[
        int, typer.Option(help="Width and height become multiples of this, pixels (28 for Qwen2.5-VL).")
    ] = 1,
    image_format: Annotated[
        str, typer.Option("--format", help="auto, jpeg, png or webp. Masks are always PNG.")
    ] = "auto",
    quality: Annotated[int, typer.Option(help="Quality of JPEG and WebP, 1 to 100.")] = 95,
    split: Annotated[
        str, typer.Option(help="auto, official, or shares of train,validation,test as .8,.1,.1.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes. Default: one per core. Does not change the result.")
    ] = None,
    on_bad_row: Annotated[
        str, typer.Option(help="stop at the first bad row, or skip and count them.")
    ] = "stop",
    audit_limit: Annotated[
        float | None, typer.Option(min=0, help="Exit 1 if best cheat / references is above this ratio.")
    ] = None,
    missing_image: Annotated[
        str, typer.Option(help="A row whose picture is not there: bad (see --on-bad-row), or kept as text.")
    ] = "bad",
    mask_parts: Annotated[
        str, typer.Option(help="Several masks of one picture: one mask (union), or a row each (instances).")
    ] = "union",
    conflicts: Annotated[
        str,
        typer.Option(help="Same picture and question, other answers: keep, drop, or accept each (multi)."),
    ] = "keep",
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names", help="Call DICOM files by name. Default: by a hash, as names may be patients'."
        ),
    ] = False,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt template: structured, answer, plain, detection or a TOML file.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model folder: count prompts with its tokenizer against --context-length."),
    ] = None,
    context_length: Annotated[int, typer.Option(help="Longest prompt plus completion, tokens.")] = 2048,
    completion_tokens: Annotated[int, typer.Option(help="Of these, kept free for the completion.")] = 256,
    over_budget: Annotated[
        str, typer.Option(help="Longer rows: drop, downscale their images, or keep. Nothing is cut.")
    ] = "drop",
    columns: Annotated[
        str | None,
        typer.Option(
            help="Which field is which: question=NAME,answer=NAME,image=NAME,… Default: found by their names."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the pictures. Default: beside the rows, or below."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in reports. Default: that of the source.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn raw images and questions into a checked dataset.

    Reads JSON, JSONL, CSV and parquet rows and folders of pictures, stores each picture once at the size
    asked for, splits by picture and patient, looks for leaks, and writes a folder that train and eval read.
    Run again, it does only what is missing. A prepared dataset may be the source of another.

    Example: medgrpo preprocess runs/latest/demo/data demo-28 --size 28
    """
    import time

    from medgrpo.data.prepared import prepared_name

    out = Output(as_json=as_json, quiet=quiet)
    started = time.monotonic()
    source = source or source_option
    output = output or output_option
    if source is None or output is None:
        raise UsageError(
            "preprocess needs a source and an output folder",
            hint="medgrpo preprocess FOLDER DATASET --size 224"
            if source is None
            else f"medgrpo preprocess {typed_path(source)} {typed_path(prepared_name(source))}",
        )
    options = _options(
        task=task,
        size=size,
        max_pixels=max_pixels,
        multiple=multiple,
        image_format=image_format,
        quality=quality,
        split=split,
        seed=seed,
        on_bad_row=on_bad_row,
        missing_image=missing_image,
        mask_parts=mask_parts,
        conflicts=conflicts,
        keep_names=keep_names,
        prompt=prompt,
        name=name,
        columns=columns,
        model=model,
        context_length=context_length,
        completion_tokens=completion_tokens,
        over_budget=over_budget,
    )
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}", expected="at least 1")
    from medgrpo.data.prepare import prepare, summary

    dataset, is_new = prepare(
        source,
        output,
        options,
        pictures=images,
        workers=workers,
        progress=lambda label, total: out.progress(label, total, unit=label),
    )
    document = summary(dataset, time.monotonic() - started)
    if not is_new:
        out.note(f"{dataset.path} is up to date: same files, same options")
    _print(out, document, dataset.info)
    out.result(document)
    ratio = document["audit"]["ratio"] if document["audit"] else 0.0
    if audit_limit is not None and ratio > audit_limit:
        out.warn(
            f"the best cheat earns {ratio:.2f} of what the references earn, above --audit-limit {audit_limit:g}"
        )
        raise typer.Exit(1)


def _options(**given: Any) -> Any:
    from medgrpo.data.images import ImageSettings
    from medgrpo.data.prepare import BudgetOptions, PrepareOptions
    from medgrpo.data.prompts import load_template
    from medgrpo.data.readers.named_columns import check_roles
    from medgrpo.rewards.columns import parse_columns

    for label, value, choices in (
        ("task", given["task"], TASKS),
        ("image format", given["image_format"], ("auto", "jpeg", "png", "webp")),
        ("--on-bad-row", given["on_bad_row"], ("skip", "stop")),
        ("--missing-image", given["missing_image"], ("bad", "text")),
        ("--mask-parts", given["mask_parts"], ("union", "instances")),
        ("--conflicts", given["conflicts"], ("keep", "drop", "multi")),
        ("--over-budget", given["over_budget"], ("drop", "downscale", "keep")),
    ):
        if value is not None and value not in choices:
            raise choice_error(label, value, choices)
    for label, value, low, high in (
        ("--size", given["size"], 16, 16384),
        ("--max-pixels", given["max_pixels"], 256, 2**28),
        ("--multiple", given["multiple"], 1, 256),
        ("--quality", given["quality"], 1, 100),
        ("--context-length", given["context_length"], 64, 2**22),
        ("--completion-tokens", given["completion_tokens"], 0, given["context_length"] - 1),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"{label} {value}", expected=f"{low} to {high}")
    columns = parse_columns(given["columns"])
    check_roles(columns)
    if given["prompt"]:
        load_template(given["prompt"])
    images = ImageSettings(
        size_px=given["size"],
        max_pixels=given["max_pixels"],
        multiple_px=given["multiple"],
        format=given["image_format"],
        quality=given["quality"],
    )
    budget = None
    if given["model"]:
        budget = BudgetOptions(
            given["model"],
            given["context_length"],
            given["completion_tokens"],
            given["max_pixels"] or 602_112,
            given["over_budget"],
        )
    return PrepareOptions(
        budget=budget,
        task=given["task"],
        images=images,
        split=given["split"],
        seed=given["seed"],
        on_bad_row=given["on_bad_row"],
        keep_names=given["keep_names"],
        missing_image=given["missing_image"],
        mask_parts=given["mask_parts"],
        conflicts=given["conflicts"],
        prompt=given["prompt"],
        name=given["name"],
        columns=columns,
    )


def _print(out: Output, document: dict[str, Any], info: dict[str, Any]) -> None:
    rows = document["rows"]
    tokens = document["image_tokens"]
    out.text(
        f"{document['name']}: {sum(rows.values()):,} rows (train {rows['train']:,}, validation "
        f"{rows['validation']:,}, test {rows['test']:,}), {document['images']:,} images"
    )
    if tokens["max"] is not None:
        out.text(
            f"image tokens: {tokens['min']}–{tokens['max']}, median {tokens['median']} (Qwen2.5-VL, uncapped)"
        )
    for reason, count in document["skipped"].items():
        out.text(f"skipped: {count:,} × {reason}")
    for kind, labels in document["labels"].items():
        if labels["classes"]:
            out.text(f"{kind} known for {labels['share']:.0%} of the rows")
    _print_findings(out, document)
    if document["budget"]:
        counted = document["budget"]
        out.text(
            f"prompts: median {counted['prompt_tokens_median']:,} tokens, longest {counted['prompt_tokens_max']:,}; "
            f"{counted['over_budget']:,} do not fit into {counted['context_length']:,} with "
            f"{counted['completion_tokens']:,} for the completion ({counted['policy']})"
        )
    for note, count in list(document["notes"].items())[:12]:
        out.text(f"note: {count:,} × {note}")
    unread = document["unread_fields"]
    if unread:
        shown = ", ".join(f"{name} ({count:,})" for name, count in list(unread.items())[:12])
        out.text(f"not read: the fields {shown}{' …' if len(unread) > 12 else ''}")
    for field, count in info["leaked_fields"].items():
        out.text(
            f"left out: field {field!r} of {count:,} rows tells the answer; it reaches no prompt and no reward"
        )
    if document["majority"]:
        out.table(
            "always giving the most frequent answer earns",
            ("question type", "train rows", "answer", "share", "of rows"),
            [
                (m["question_type"], m["train_rows"], m["answer"][:40], m["share"], m["rows"])
                for m in document["majority"][:MAJORITY_ROWS]
            ],
        )
    if document["audit"]:
        audit = document["audit"]
        out.text(
            f"audit of {audit['weights']}: the best cheat, {audit['best_cheat']}, would earn {audit['ratio']:.2f} of "
            f"what the references earn (medgrpo score {_from_here(document['output'])} --audit)"
        )
    place = _from_here(document["output"])
    out.text(f"written to {place} in {document['wall_s']:.1f} s; dataset.html there shows it")
    out.next(NEXT.get(document["task"], "medgrpo estimate-time --data {}").format(place))


def _from_here(folder: str) -> str:
    """The folder as it is typed here: relative where it lies below."""
    path, here = Path(folder), Path.cwd()
    return typed_path(path.relative_to(here) if path.is_relative_to(here) else path)


MAJORITY_ROWS = 6
"""Question types whose commonest answer is printed; dataset.html has all."""
NEXT = {
    "vessels": "medgrpo train --preset vessels-unet --model unet --data {}",
    "text": "medgrpo train --preset text-qa --data {} --dry-run",
    "detection": "medgrpo estimate-time --preset detection --data {}",
}
"""Task -> what is typed after a dataset of it was made."""


def _print_findings(out: Output, document: dict[str, Any]) -> None:
    for kind, count in document["leaks"].items():
        out.text(f"leak: {count:,} × {kind.replace('_', ' ')}")
    for pair, count in document["split"].get("official_overlap", {}).items():
        out.text(f"leak: {count:,} pictures, patients or texts are in both official splits {pair}")
    if document["conflicts"]["pairs"]:
        out.text(
            f"conflicts: {document['conflicts']['pairs']} questions with different answers for the same picture, "
            f"{document['conflicts']['yes_against_no']} of them yes against no"
        )
    if document["near_duplicates"]:
        out.text(f"{document['near_duplicates']:,} pairs of nearly equal pictures, each pair in one split")
    if letters := document["option_letters"]:
        shares = ", ".join(f"{letter} {count:,}" for letter, count in letters["counts"].items())
        out.text(f"right option letters: {shares}; always naming the commonest earns {letters['share']:.0%}")
