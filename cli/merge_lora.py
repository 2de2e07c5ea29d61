"""`medgrpo merge-lora`: an adapter becomes a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def merge_lora(
    adapter: Annotated[
        Path, typer.Argument(help="Adapter folder, or a run folder (its best_lora, else final_lora).")
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", "--base_model", help="Base model; default: the one that the adapter names."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New folder of the merged model; default: ADAPTER-merged."),
    ] = None,
    verify: Annotated[
        int, typer.Option(min=0, help="Prompts on which merged model and adapter are compared; 0: none.")
    ] = 4,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Merge a LoRA adapter into its base model, and check that the logits stay the same.

    Example: medgrpo merge-lora runs/balanced-2026-01-31-1 --output merged
    """
    from medgrpo.models.merge import adapter_folder, merge_adapter

    out = Output(as_json=as_json, quiet=quiet)
    folder = adapter_folder(adapter)
    target = output or folder.with_name(f"{folder.name}-merged")
    out.note(f"merging {folder} …")
    merge = merge_adapter(folder, target, base=base, verify=verify)
    out.table(
        "", ["tower", "changed tensors"], [(tower, count) for tower, count in merge.changed_tensors.items()]
    )
    if merge.max_logit_difference is not None and merge.top1_agreement is not None:
        out.text(
            f"largest logit difference {merge.max_logit_difference:.2g}, "
            f"same next token at {merge.top1_agreement:.1%} of positions ({verify} prompts)"
        )
    out.text(f"merged model in {merge.output}")
    out.result(
        {
            "changed_tensors": merge.changed_tensors,
            "max_logit_difference": merge.max_logit_difference,
            "top1_agreement": merge.top1_agreement,
            "base": merge.base,
            "output": str(merge.output),
        }
    )
