"""`medgrpo merge-lora`: adapters become a plain model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgrpo.cli.output import ForceBaseOption, JsonOption, Output, QuietOption, TrustOption
from medgrpo.errors import UsageError, typed_path

if TYPE_CHECKING:
    from medgrpo.models.merge import Merge

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Dtype(StrEnum):
    """Types of the merged weights."""

    stored = "stored"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@app.command()
def merge_lora(
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER[=WEIGHT]...",
            help="Adapter or run folders (best_lora, else final_lora). Several are added, each times its WEIGHT (1).",
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", "--base_model", help="Base model; default: the one that the adapter names."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New folder of the merged model; default: ADAPTER-merged."),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Type of the merged weights; float32 keeps what bfloat16 rounds away.")
    ] = Dtype.stored,
    verify: Annotated[
        int, typer.Option(min=0, help="Prompts on which merged model and adapter are compared; 0: none.")
    ] = 4,
    force_base: ForceBaseOption = False,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Merge LoRA adapters into their base model, and check that the merged model is the same function.

    Works tensor by tensor, so that a model larger than the memory is merged. Nothing is written unless the check
    passes. docs/preferences.md says what is compared.

    A run with full tuning has no adapter: its best_model or final_model is a plain model already.

    Example: medgrpo train --method sft --set tuning.method=lora --set max_steps=4 --output runs/lora && medgrpo merge-lora runs/lora --output merged
    """
    from medgrpo.models.merge import adapter_folder, finished_merge, merge_adapters

    out = Output(as_json=as_json, quiet=quiet)
    weighted = [_weighted(text) for text in adapters]
    folder = adapter_folder(weighted[0][0])
    target = output or folder.with_name(f"{folder.name}-merged")
    if _is_of_masks(folder, base):
        _merge_masks(
            out, folder, base, target, weighted, dtype, verify,
            force_base=force_base, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return
    if (
        done := finished_merge(weighted, target, dtype=None if dtype is Dtype.stored else dtype.value)
    ) is not None:
        out.text(
            f"{target} is the finished merge of {', '.join(str(path) for path, _ in weighted)}: nothing to do"
        )
        out.result({**done, "output": str(target), "was_finished": True})
        return
    out.note(f"merging {', '.join(str(path) for path, _ in weighted)} …")
    with out.progress("writing", unit="tensors") as advance:
        merge = merge_adapters(
            weighted,
            target,
            base=base,
            dtype=None if dtype is Dtype.stored else dtype.value,
            verify=verify,
            force_base=force_base,
            trust_remote_code=trust_remote_code,
            on_tensor=advance,
        )
    _show(out, merge)


def _is_of_masks(folder: Path, base: str | None) -> bool:
    """Whether the adapter sits on a model that answers with masks."""
    from medgrpo.models.weights import find_weights
    from medgrpo.segmentation.segmenters import is_mask_model

    return is_mask_model(find_weights(str(folder), base=base).base)


def _merge_masks(
    out: Output,
    folder: Path,
    base: str | None,
    target: Path,
    weighted: list[tuple[Path, float]],
    dtype: Dtype,
    verify: int,
    *,
    force_base: bool,
    trust_remote_code: bool,
) -> None:
    from medgrpo.models.quiet import quiet_libraries
    from medgrpo.models.weights import find_weights
    from medgrpo.segmentation.merging import merge_mask_adapter

    if len(weighted) > 1 or weighted[0][1] != 1.0:
        raise UsageError(
            "adapters of mask models are merged one at a time, as they are", expected="one ADAPTER"
        )
    with quiet_libraries():
        merge = merge_mask_adapter(
            find_weights(str(folder), base=base),
            target,
            dtype="float32" if dtype is Dtype.stored else dtype.value,
            verify=verify,
            force_base=force_base,
            trust_remote_code=trust_remote_code,
        )
    out.text(
        f"{merge.changed_tensors} tensors changed; mask logits differ by at most {merge.max_logit_difference:.2g} from "
        f"base and adapter, {merge.pixel_agreement:.3%} of pixels on the same side"
    )
    out.text(f"merged model in {merge.output}")
    out.result(
        {
            "changed_tensors": merge.changed_tensors,
            "max_logit_difference": merge.max_logit_difference,
            "pixel_agreement": merge.pixel_agreement,
            "base": merge.base,
            "output": str(merge.output),
        }
    )


def _weighted(text: str) -> tuple[Path, float]:
    path, separator, weight = text.rpartition("=")
    if not separator or Path(text).expanduser().exists():
        return Path(text).expanduser(), 1.0
    try:
        value = float(weight)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no ADAPTER=WEIGHT", expected="a number after =", hint=f"{path}=0.5"
        ) from error
    if not abs(value) < 1e6 or value == 0:
        raise UsageError(f"the weight of {path} is {weight}", expected="a number other than 0")
    return Path(path).expanduser(), value


def _show(out: Output, merge: Merge) -> None:
    for note in merge.notes:
        out.warn(note)
    rows = [(tower, merge.changed_tensors[tower], named) for tower, named in merge.named_tensors.items()]
    out.table("", ["tower", "changed tensors", "named by the adapter"], rows)
    lost = sum(merge.named_tensors.values()) - sum(merge.changed_tensors.values())
    if lost:
        out.warn(
            f"{lost} tensors that the adapter names did not change: their updates are zero, or rounded away"
        )
    if (check := merge.check) is not None:
        out.text(
            f"largest change of a logit by the adapter {check.effect:.2g}, by rounding to {check.dtype} {check.rounding:.2g}; "
            f"same next token at {check.top1_agreement:.1%} of positions, same greedy answer on {check.equal_answers} of "
            f"{check.prompts} prompts"
        )
        if check.peft is not None:
            out.text(f"PEFT's own loading of base and adapter differs from the files by {check.peft:.2g}")
        if check.quantization is not None:
            out.text(
                f"the 4-bit base that it was trained on differs from the merged model by {check.quantization:.2g}"
            )
        if check.is_coarse:
            out.warn(
                f"rounding to {check.dtype} changes logits by {check.rounding_rms:.2g} (root mean square) where the adapter "
                f"itself changes them by {check.effect_rms:.2g}: --dtype float32 keeps the adapter's function"
            )
    out.text(f"merged model in {merge.output}")
    out.next(f"medgrpo eval {typed_path(merge.output)}")
    out.result(
        {
            "changed_tensors": merge.changed_tensors,
            "named_tensors": merge.named_tensors,
            "max_logit_difference": merge.max_logit_difference,
            "top1_agreement": merge.top1_agreement,
            "check": None if merge.check is None else merge.check.as_dict(),
            "dtype": merge.dtype,
            "base": merge.base,
            "notes": merge.notes,
            "output": str(merge.output),
        }
    )
