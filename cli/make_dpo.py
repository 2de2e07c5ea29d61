"""`medgrpo make-dpo`: preference pairs or best completions, from completions that exist or are sampled now."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken
from medgrpo.cli.typed import refuse_useless, typed
from medgrpo.errors import UsageError, typed_path

if TYPE_CHECKING:
    from medgrpo.preference.pairs import Candidate, PairSet
    from medgrpo.preference.sources import Candidates

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class From(StrEnum):
    """Where completions come from."""

    completions = "completions"
    sample = "sample"
    models = "models"


class Kind(StrEnum):
    """What is made of them."""

    dpo = "dpo"
    sft = "sft"


class Choose(StrEnum):
    """Which completions make a pair."""

    widest = "widest"
    nearest = "nearest"
    hard = "hard"


class Truncated(StrEnum):
    """What becomes of completions that were cut off."""

    keep = "keep"
    avoid = "avoid"
    drop = "drop"


class Format(StrEnum):
    """For whom the pairs are written."""

    medgrpo = "medgrpo"
    trl = "trl"
    llamafactory = "llamafactory"
    swift = "swift"
    jsonl = "jsonl"


@app.command()
def make_dpo(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, or completions of TRL, ms-swift or verl; with --from sample a model; with --from models "
            "prediction files."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the pairs.")] = Path("pairs"),
    origin: Annotated[
        From,
        typer.Option(
            "--from", help="completions: stored by GRPO; sample: drawn now; models: several models' outputs."
        ),
    ] = From.completions,
    kind: Annotated[
        Kind,
        typer.Option(help="dpo: pairs; sft: the best completion of each prompt, for train --method sft."),
    ] = Kind.dpo,
    data: Annotated[
        Path | None, typer.Option(help="Prepared dataset; default: the one the run trained on.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="Least difference of rewards in a pair.")] = 0.1,
    threshold: Annotated[
        float, typer.Option(help="Least reward of a best completion, with --kind sft.")
    ] = 0.8,
    per_prompt: Annotated[int, typer.Option(min=1, help="Most pairs of one prompt.")] = 1,
    choose: Annotated[
        Choose,
        typer.Option(
            help="widest: best and worst; nearest: best and the best one below the margin; hard: best and a wrong answer in "
            "the right form, one on the wrong side first."
        ),
    ] = Choose.widest,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="What a component gave: chosen:answer_match>=1, rejected:format>=1; repeat it."),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="FIRST:LAST", help="Only completions of these training steps.")
    ] = None,
    truncated: Annotated[
        Truncated,
        typer.Option(
            help="Completions that were cut off: avoid: rejected only where a prompt has no whole one."
        ),
    ] = Truncated.avoid,
    balance_length: Annotated[
        bool,
        typer.Option(
            "--balance-length", help="Leave pairs out until the chosen one is longer in 40 to 60 %."
        ),
    ] = False,
    balance_types: Annotated[
        bool,
        typer.Option("--balance-types", help="No type of question has more than an even share of the pairs."),
    ] = False,
    form: Annotated[
        Format, typer.Option("--format", help="medgrpo: a prepared dataset; else as that library loads it.")
    ] = Format.medgrpo,
    weights: Annotated[
        str,
        typer.Option(
            help="Weight set, or name=weight,…; for sample, models and other trainers' completions."
        ),
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
        Path | None,
        typer.Option(
            help="Write the pairs to this CSV for people to choose, with a page of the pictures beside it, and no dataset."
        ),
    ] = None,
    import_review: Annotated[
        list[Path] | None, typer.Option(help="Take the choices of this filled-in CSV; one a reviewer.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make preference pairs (prompt, images, chosen, rejected) for `train --method dpo`, with a card of what is in them.

    Example: medgrpo make-dpo latest --output pairs
    """
    out = Output(as_json=as_json, quiet=quiet)
    _refuse_useless(context, origin, kind, sources)
    if export_review is None and output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} exists and is not empty", hint="give a new folder with --output")
    for name, value in (("margin", margin), ("threshold", threshold)):
        if not math.isfinite(value):
            raise UsageError(f"--{name} {value}", expected="a number")
    if export_review is not None and export_review.suffix.lower() in (".html", ".htm"):
        raise UsageError(
            f"--export-review {export_review}",
            expected="a CSV file: the page of the pictures gets the same name with .html",
        )
    anew = weights if "weights" in typed(context) else None
    found = _candidates(out, sources, origin, data, weights, anew, prompt, samples, tokens, limit)
    for note in found.notes:
        out.note(note)
    for reason, count in found.left_out.items():
        out.warn(f"{count} left out: {reason}")
    from medgrpo.preference.pairs import Rule

    picked: dict[str, Any] = {
        "truncated": truncated.value,
        "rules": [Rule.parse(text) for text in rule or []],
        "steps": _steps(steps),
    }
    settings: dict[str, Any] = {
        "kind": kind.value,
        "choose": choose.value,
        "margin": margin,
        "per_prompt": per_prompt,
        "rules": rule or [],
    }
    settings |= {
        "steps": steps,
        "truncated": truncated.value,
        "balance_length": balance_length,
        "balance_types": balance_types,
    }
    if kind is Kind.sft:
        settings = {
            "kind": "sft",
            "threshold": threshold,
            "rules": rule or [],
            "steps": steps,
            "truncated": truncated.value,
        }
        _make_best(out, found, sources, output, form, threshold, picked, settings)
        return
    pairs = _pairs(found, choose.value, margin, per_prompt, picked, balance_length, balance_types)
    figures = None
    if import_review:
        from medgrpo.preference.review import import_reviews

        pairs, figures = import_reviews(import_review, pairs)
    if not pairs.pairs:
        dropped = (
            ", ".join(f"{count} {reason}" for reason, count in pairs.dropped.most_common())
            or "there were none"
        )
        raise UsageError(f"no pairs: {dropped}", hint="a smaller --margin, or a run that sampled more")
    target = export_review or output
    card = _card(found, pairs, sources, settings, figures)
    if export_review is not None:
        from medgrpo.preference.review import export_pictures
        from medgrpo.preference.review import export_review as write_sheet

        write_sheet(export_review, pairs.pairs, found.rows)
        page = export_review.with_suffix(".html")
        export_pictures(page, pairs.pairs, found.rows, found.dataset.image_path)
        out.note(f"the pictures beside it: {page}")
    else:
        from medgrpo.preference.dataset import write_pairs

        _write(out, output, form, found, sources, card, partial(write_pairs, pairs=pairs))
    _show(out, card, pairs, target, figures)
    if export_review is None:
        _say_next(out, "dpo", sources, output, form)


def _pairs(
    found: Candidates,
    choose: str,
    margin: float,
    per_prompt: int,
    picked: dict[str, Any],
    balance_length: bool,
    balance_types: bool,
) -> PairSet:
    from medgrpo.preference import pairs as choice
    from medgrpo.preference.card import type_of

    pairs = choice.choose_pairs(
        found.candidates, margin=margin, per_prompt=per_prompt, choose=choose, **picked
    )
    if balance_types:
        pairs = choice.balance_types(pairs, {row_id: type_of(row) for row_id, row in found.rows.items()})
    return choice.balance_length(pairs) if balance_length else pairs


def _card(
    found: Candidates,
    pairs: PairSet,
    sources: list[str],
    settings: dict[str, Any],
    review: dict[str, Any] | None = None,
    best: list[Candidate] | None = None,
) -> dict[str, Any]:
    from medgrpo.preference.card import card_of
    from medgrpo.preference.sources import agreement

    return card_of(
        pairs,
        found.rows,
        settings=settings,
        sources=sources,
        left_out=found.left_out,
        agreement=agreement(found.candidates) if len({one.source for one in found.candidates}) < 20 else None,
        review=review,
        best=best or [],
    )


def _make_best(
    out: Output,
    found: Candidates,
    sources: list[str],
    output: Path,
    form: Format,
    threshold: float,
    picked: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    from medgrpo.preference.dataset import write_best
    from medgrpo.preference.pairs import best_completions

    best, counted = best_completions(found.candidates, threshold=threshold, **picked)
    if not best:
        raise UsageError(
            f"no completion earned {threshold:g}: {', '.join(f'{count} {why}' for why, count in counted.dropped.items())}",
            hint="a smaller --threshold, or a run that sampled more",
        )
    card = _card(found, counted, sources, settings, best=best)
    _write(out, output, form, found, sources, card, partial(write_best, best=best))
    out.text(f"{len(best)} best completions of {sum(counted.prompts.values())} prompts in {output}")
    _show_dropped(out, counted)
    _say_next(out, "sft", sources, output, form)
    out.result({**card, "output": str(output)})


def _show_dropped(out: Output, counted: Any) -> None:
    rows = [(spoken(reason), count) for reason, count in counted.dropped.most_common()]
    out.table("Dropped", ["reason", "count"], rows)


def _say_next(out: Output, method: str, sources: list[str], output: Path, form: Format) -> None:
    if form is Format.medgrpo:
        model = (
            typed_path(sources[0])
            if len(sources) == 1 and (Path(sources[0]) / "config.toml").is_file()
            else "MODEL"
        )
        out.next(f"medgrpo train --method {method} --model {model} --data {typed_path(output)}")


def _write(
    out: Output,
    output: Path,
    form: Format,
    found: Candidates,
    sources: list[str],
    card: dict[str, Any],
    write: Any,
) -> None:
    """The dataset, or its export, with the card in it."""
    from medgrpo.data.prompts import recorded_template
    from medgrpo.preference.card import warnings_of
    from medgrpo.preference.exports import export

    make = partial(
        write,
        dataset=found.dataset,
        rows=found.rows,
        prompt_template=found.prompt_template,
        made_from=list(sources),
    )
    if form is Format.medgrpo:
        make(output, card=card)
    else:
        template = recorded_template(found.prompt_template)
        export(output, form.value, make, template=template, shows_title=found.shows_title, card=card)
    for warning in warnings_of(card):
        out.warn(warning)


def _show(
    out: Output, card: dict[str, Any], pairs: PairSet, target: Path, review: dict[str, Any] | None
) -> None:
    out.text(
        f"{len(pairs.pairs)} pairs in {target}; margin {' / '.join(f'{q:.2f}' for q in card['margin'])} (25, 50, 75 %)"
    )
    cut = card["truncation_bias"]
    known = (
        ""
        if cut["rejected"] is None
        else f"; cut off: {cut['chosen'] or 0:.0%} of the chosen, {cut['rejected']:.0%} of the rejected"
    )
    out.text(
        f"the chosen one is longer in {card['length_bias']['chosen_longer'] or 0.0:.0%} of the pairs{known}"
    )
    if review is not None and review["agreement_with_reward"] is not None:
        shown = "–" if review["kappa_with_reward"] is None else f"{review['kappa_with_reward']:.2f}"
        out.text(
            f"people agree with the reward in {review['agreement_with_reward']:.0%} of the pairs (kappa {shown})"
        )
        if review["kappa_between_reviewers"] is not None:
            out.text(
                f"{review['reviewers']} reviewers agree with each other with kappa {review['kappa_between_reviewers']:.2f}"
            )
        out.text(
            f"{len(review['disagreements'])} pairs on which a person preferred the other one (card.json lists them)"
        )
    models = card["agreement"] or {}
    if models.get("all_agree") is not None:
        out.text(
            f"the {len(models['models'])} models give the same answer to {models['all_agree']:.0%} of {models['prompts']} prompts"
        )
    _show_dropped(out, pairs)
    out.result(
        {
            **card,
            "human_agreement": None if review is None else review["agreement_with_reward"],
            "output": str(target),
        }
    )


SAMPLED = {"samples", "tokens", "limit"}
SCORED_NOW = {"weights", "prompt"}
OF_PAIRS = {
    "margin",
    "per_prompt",
    "choose",
    "balance_length",
    "balance_types",
    "export_review",
    "import_review",
}


def _refuse_useless(context: typer.Context, origin: From, kind: Kind, sources: list[str]) -> None:
    """Refuses what was typed and would be ignored."""
    if origin is not From.sample:
        refuse_useless(context, SAMPLED, f"is for --from sample; --from {origin} draws nothing")
    if origin is From.completions:
        why = (
            "is for --from sample and models: stored completions keep the reward that they earned in training"
        )
        from medgrpo.preference.rollouts import is_rollouts

        is_foreign = any(
            is_rollouts(Path(source)) and not (Path(source) / "config.toml").is_file() for source in sources
        )
        refuse_useless(context, {"prompt"} if is_foreign else SCORED_NOW, why)
    if "export_review" in typed(context):
        refuse_useless(context, {"output", "form"}, "is not written with --export-review FILE")
    if kind is Kind.sft:
        refuse_useless(context, OF_PAIRS, "is for --kind dpo; --kind sft makes no pairs")
    else:
        refuse_useless(context, {"threshold"}, "is for --kind sft; pairs have a --margin")


def _steps(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, separator, last = text.partition(":")
    if not separator or not all(part == "" or part.isdigit() for part in (first, last)):
        raise UsageError(f"--steps {text}", expected="FIRST:LAST, such as 100:500 or 100:")
    return int(first or 0), int(last) if last else 1 << 62


def _candidates(
    out: Output,
    sources: list[str],
    origin: From,
    data: Path | None,
    weights: str,
    anew: str | None,
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
        if anew is not None:
            grant(code_among(anew))
        return from_runs([Path(source) for source in sources], data, CompositeReward(anew) if anew else None)
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
            on_warning=out.warn,
        )
