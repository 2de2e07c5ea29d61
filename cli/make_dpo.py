"""`medgrpo make-dpo`: preference pairs, from completions that exist or are sampled now."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption
from medgrpo.cli.typed import refuse_useless, typed
from medgrpo.errors import UsageError

if TYPE_CHECKING:
    from medgrpo.preference.sources import Candidates

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class From(StrEnum):
    """Where completions come from."""

    completions = "completions"
    sample = "sample"
    models = "models"


@app.command()
def make_dpo(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(help="Run folders; with --from sample a model; with --from models prediction files."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the pairs.")] = Path("pairs"),
    origin: Annotated[
        From,
        typer.Option(
            "--from", help="completions: stored by GRPO; sample: drawn now; models: several models' outputs."
        ),
    ] = From.completions,
    data: Annotated[
        Path | None, typer.Option(help="Prepared dataset; default: the one the run trained on.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="Least difference of rewards in a pair.")] = 0.1,
    per_prompt: Annotated[int, typer.Option(min=1, help="Most pairs of one prompt.")] = 1,
    weights: Annotated[
        str, typer.Option(help="Weight set, or name=weight,…; for sample and models.")
    ] = "balanced",
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Prompt template, for sample and models. Default: the model's (medgrpo.json), else the dataset's."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Completions per prompt with --from sample.")] = 8,
    tokens: Annotated[
        int, typer.Option(min=1, help="Longest completion with --from sample, in tokens.")
    ] = 256,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N rows with --from sample.")] = None,
    export_review: Annotated[
        Path | None, typer.Option(help="Write the pairs to this CSV for people to choose, and no dataset.")
    ] = None,
    import_review: Annotated[
        Path | None, typer.Option(help="Take the choices of this filled-in CSV.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make preference pairs (prompt, images, chosen, rejected) for `train --method dpo`.

    Example: medgrpo make-dpo runs/balanced-2026-01-31-1 --output pairs
    """
    from medgrpo.preference.dataset import write_pairs
    from medgrpo.preference.pairs import choose_pairs
    from medgrpo.preference.review import export_review as write_sheet
    from medgrpo.preference.review import import_review as read_sheet

    out = Output(as_json=as_json, quiet=quiet)
    _refuse_useless(context, origin)
    if export_review is None and output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} exists and is not empty", hint="give a new folder with --output")
    found = _candidates(out, sources, origin, data, weights, prompt, samples, tokens, limit)
    pairs = choose_pairs(found.candidates, margin=margin, per_prompt=per_prompt)
    agreement = None
    if import_review is not None:
        pairs, agreement = read_sheet(import_review, pairs)
    if not pairs.pairs:
        dropped = (
            ", ".join(f"{count} {reason}" for reason, count in pairs.dropped.most_common())
            or "there were none"
        )
        raise UsageError(f"no pairs: {dropped}", hint="a smaller --margin, or a run that sampled more")
    target = export_review or output
    if export_review is not None:
        write_sheet(export_review, pairs.pairs, found.rows)
    else:
        write_pairs(
            output,
            pairs,
            found.dataset,
            found.rows,
            prompt_template=found.prompt_template,
            made_from=list(sources),
        )
    bias = pairs.length_bias()
    quartiles = pairs.margin_quartiles()
    out.text(
        f"{len(pairs.pairs)} pairs in {target}; margin {' / '.join(f'{q:.2f}' for q in quartiles)} (25, 50, 75 %)"
    )
    longer = bias["chosen_longer"] or 0.0
    out.text(f"the chosen one is longer in {longer:.0%} of the pairs")
    if abs(longer - 0.5) > 0.2:
        out.warn("chosen and rejected differ in length: DPO may learn length instead of content")
    if agreement is not None:
        out.text(f"people agree with the reward in {agreement:.0%} of the pairs")
    out.table("Dropped", ["reason", "count"], pairs.dropped.most_common())
    out.result(
        {
            "pairs": len(pairs.pairs),
            "dropped": dict(pairs.dropped),
            "margin": quartiles,
            "length_bias": bias,
            "human_agreement": agreement,
            "output": str(target),
        }
    )


SAMPLED = {"samples", "tokens", "limit"}
SCORED_NOW = {"weights", "prompt"}


def _refuse_useless(context: typer.Context, origin: From) -> None:
    """Refuses what was typed and would be ignored."""
    if origin is not From.sample:
        refuse_useless(context, SAMPLED, f"is for --from sample; --from {origin} draws nothing")
    if origin is From.completions:
        why = (
            "is for --from sample and models: stored completions keep the reward that they earned in training"
        )
        refuse_useless(context, SCORED_NOW, why)
    if "export_review" in typed(context):
        refuse_useless(context, {"output"}, "is not written with --export-review FILE")


def _candidates(
    out: Output,
    sources: list[str],
    origin: From,
    data: Path | None,
    weights: str,
    prompt: str | None,
    samples: int,
    tokens: int,
    limit: int | None,
) -> Candidates:
    from medgrpo.preference.sources import from_files, from_runs, from_sampling
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.contained import TIMEOUT_S
    from medgrpo.rewards.registry import code_among
    from medgrpo.rewards.trust import grant

    if origin is From.completions:
        return from_runs([Path(source) for source in sources], data)
    if data is None:
        raise UsageError(f"--from {origin} needs the dataset of the prompts", hint="--data DATASET")
    grant(code_among(weights))
    reward = CompositeReward(weights, timeout_s=TIMEOUT_S)
    if origin is From.models:
        return from_files([Path(source) for source in sources], data, reward, prompt)
    if len(sources) != 1:
        raise UsageError(f"--from sample takes one model, not {len(sources)}")
    with out.progress("sampling", limit) as advance:
        return from_sampling(
            sources[0],
            data,
            reward,
            prompt=prompt,
            samples=samples,
            limit=limit,
            max_new_tokens=tokens,
            on_rows=advance,
        )
