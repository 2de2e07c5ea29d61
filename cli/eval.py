"""`medgrpo eval`: figures with intervals for a model, or for ready predictions, on a dataset."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import ForceBaseOption, JsonOption, Output, QuietOption, RevisionOption, TrustOption
from medgrpo.cli.typed import refuse_useless, typed
from medgrpo.errors import UsageError, typed_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.evaluation.evaluate import Evaluation
    from medgrpo.evaluation.targets import Target
    from medgrpo.models.weights import Weights
    from medgrpo.rewards.boxes import BoxFormat

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("eval")
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="Run folder, adapter, model folder or hub name; none with --predictions."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Prepared dataset. Default: the one MODEL was trained on."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    adapter: Annotated[Path | None, typer.Option(help="Adapter on top of MODEL.")] = None,
    force_base: ForceBaseOption = False,
    trust_remote_code: TrustOption = False,
    revision: RevisionOption = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these ready completions; no model is loaded.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of predicted masks for DATA, named after its images or ids; no model is loaded."
        ),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="File that holds the answers to --predictions, with --join.")
    ] = None,
    join: Annotated[
        str | None, typer.Option(metavar="row|KEY[=KEY]", help="How --predictions belong to the answers.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="completion=NAME,answer=NAME,… where the names are unusual.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows.")] = None,
    engine: Annotated[
        str, typer.Option(help="transformers, vllm, or the URL of an OpenAI-compatible server.")
    ] = "transformers",
    batch_size: Annotated[int, typer.Option(min=1, help="Completions in one forward pass.")] = 16,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest completion, in tokens. Default: as in training, else 256."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt template. Default: the one it was trained with (medgrpo.json).")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Also draw N completions a question: agreement, majority, calibration.")
    ] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Of --samples; the scored completion is greedy.")
    ] = 1.0,
    counterfactual: Annotated[
        str | None, typer.Option(help="blank,shuffle,noise: ask again with pictures that cannot help.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="TOML file of figures to reach, or stage1 or vessels.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the metric `reward`. Default: as in training, else balanced.")
    ] = None,
    trust_rewards: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Run the Python files that RUN names as rewards, for the metric `reward`."
        ),
    ] = None,
    box_format: Annotated[
        str | None,
        typer.Option(
            metavar="pixel|thousand|unit",
            help="How boxes are written: pixels of the picture, 0-1000 or 0-1 of its sides. Default: as recorded beside the weights, else as the model's family does.",
        ),
    ] = None,
    sam: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="SAM 2 or 3 that makes masks of the boxes and points in the completions. Default: as in training (masks.sam), "
            "else boxes are filled.",
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="A completion without tags is the answer itself. Default: seen from the completions.",
        ),
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(metavar="URL", help="OpenAI-compatible server whose model also judges the answers."),
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Model on that server. Default: its first.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for metrics.json, predictions.parquet, report.html, review.csv. "
            "Default: evaluation/MODEL-SPLIT; none with --predictions.",
        ),
    ] = None,
    review: Annotated[int, typer.Option(min=0, help="Rows of the review sheet for a physician.")] = 50,
    import_review: Annotated[
        Path | None, typer.Option(help="A review sheet that was filled in: agreement of human and scorer.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of everything drawn; a mixture's rows are those that MODEL was trained on.")
    ] = 0,
    show_all: Annotated[
        bool, typer.Option("--all", help="Also print what is measured by group, and what is taken for what.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model, or ready predictions, with an interval and a baseline beside each figure.

    Intervals are 95 %, clustered by image. The baseline is the commonest answer of the train split; the
    blind baseline knows the question's wording too, but no picture. An interrupted run goes on where it
    was. docs/evaluation.md says how each figure is defined.

    Example: medgrpo eval latest --limit 100 --counterfactual blank,shuffle
    """
    from medgrpo.cli.eval_tables import print_figures
    from medgrpo.evaluation.provenance import provenance
    from medgrpo.evaluation.targets import load_targets
    from medgrpo.locks import held

    out = Output(as_json=as_json, quiet=quiet)
    _refuse_useless(context)
    wanted = load_targets(targets) if targets else []
    form = _box_format(box_format)
    place = output
    with ExitStack() as stack:
        if output is not None:
            stack.enter_context(held(output))
        if masks is not None:
            result = _of_masks(data or model, masks, split, limit, wanted, seed)
        elif predictions is not None:
            result = _of_predictions(
                data or model,
                predictions,
                split,
                references,
                join,
                columns,
                limit,
                plain,
                weights,
                wanted,
                form,
                sam,
                seed,
            )
        elif model is None:
            raise UsageError(
                "eval needs a model and a dataset",
                expected="medgrpo eval MODEL DATA, or medgrpo eval --predictions FILE",
                hint="medgrpo preprocess SOURCE DATA makes a dataset",
            )
        else:
            result, output, place = _of_model(
                context,
                out,
                stack,
                model,
                data,
                adapter,
                batch_size=batch_size,
                plain=plain or None,
                plan={
                    "split": split,
                    "limit": limit,
                    "samples": samples,
                    "temperature": temperature,
                    "max_new_tokens": max_new_tokens,
                    "prompt": prompt,
                    "seed": seed,
                    "engine": engine,
                    "dtype": dtype,
                },
                counterfactual=counterfactual,
                output=output,
                weights=weights,
                trusted=trust_rewards or [],
                targets=wanted,
                box_format=form,
                sam=sam,
                force_base=force_base,
                trust_remote_code=trust_remote_code,
                revision=revision,
            )
        result.document |= provenance(seed, asks_a_model=masks is None and predictions is None)
        if judge is not None:
            from medgrpo.evaluation.judge import judge_answers

            with out.progress("judging", total=len(result.scored)) as advance:
                cache = output / "judged.jsonl" if output else None
                result.document["judge"] = judge_answers(
                    result.scored, judge, model=judge_model, cache=cache, advance=advance
                )
        if import_review is not None:
            from medgrpo.evaluation.review import read_review

            result.document["review"] = read_review(import_review, result.scored)
        if output is not None:
            from medgrpo.evaluation.outputs import write_outputs

            result.document["output"] = str(output)
            write_outputs(result, place or output, review_rows=review, seed=seed)
    for note in result.predictions.notes:
        out.note(f"note: {note}")
    print_figures(out, result, show_all=show_all)
    for warning in result.warnings:
        out.warn(warning)
    if output is not None:
        out.note(f"written: {output}/ (metrics.json, predictions.parquet, review.csv)")
        out.text(f"report: {output / 'report.html'}")
    out.result({**result.document, "warnings": result.warnings})


def _box_format(name: str | None) -> BoxFormat | None:
    from medgrpo.rewards.boxes import check_box_format

    return None if name is None else check_box_format(name)


OF_A_MODEL = {
    "adapter",
    "engine",
    "batch_size",
    "dtype",
    "max_new_tokens",
    "prompt",
    "samples",
    "temperature",
    "counterfactual",
    "force_base",
    "trust_remote_code",
    "revision",
    "trust_rewards",
}
"""Options that say which model is asked, and how."""
OF_A_FILE = {"references", "join", "columns"}
"""Options that say how ready completions are read."""
OF_SAMPLING = {
    *("engine", "batch_size", "max_new_tokens", "prompt", "samples", "temperature", "counterfactual"),
    "trust_rewards",
}
"""Options that say how a model that writes is asked; a model that draws is shown the picture."""
OF_ANSWERS = {"plain", "weights", "box_format", "sam", "judge", "judge_model"}
"""Options that say how completions are judged; masks are measured."""


def _refuse_useless(context: typer.Context) -> None:
    """Refuses what was typed and would be ignored.

    Raises:
        UsageError: names the option and what it belongs to.
    """
    given = typed(context)
    no_model = "asks a model, and {} loads none: what is ready is scored as it is"
    if "masks" in given:
        refuse_useless(
            context, OF_A_MODEL, no_model.format("--masks FOLDER"), "give MODEL instead of --masks"
        )
        refuse_useless(
            context, {"predictions", *OF_A_FILE}, "reads completions, and --masks FOLDER gives masks alone"
        )
        refuse_useless(context, OF_ANSWERS, "judges answers, and masks are measured by overlap alone")
    elif "predictions" in given:
        hint = "give MODEL and DATA instead of --predictions"
        refuse_useless(context, OF_A_MODEL, no_model.format("--predictions FILE"), hint)
    else:
        refuse_useless(context, OF_A_FILE, "belongs to --predictions FILE, which is not given")
    if {"masks", "predictions"} & given.keys():
        if {"model", "data"} <= given.keys():
            raise UsageError(
                f"{context.params['model']} is not asked anything: ready results need no model",
                expected="medgrpo eval DATA --masks FOLDER, or medgrpo eval DATA --predictions FILE",
            )
        if not {"model", "data"} & given.keys():
            refuse_useless(context, {"split"}, "chooses rows of DATA, which is not given")
        if "output" not in given:
            refuse_useless(context, {"review"}, "needs --output DIR, where the sheet is written")
    if "samples" not in given:
        refuse_useless(context, {"temperature"}, "is that of --samples N, which is not given")
    if "weights" in given:
        refuse_useless(
            context, {"trust_rewards"}, "trusts the rewards of training, and --weights names others"
        )
    if "judge" not in given:
        refuse_useless(context, {"judge_model"}, "belongs to --judge URL, which is not given")
    engine = context.params["engine"]
    if engine != "transformers":
        refuse_useless(context, {"batch_size"}, f"is for --engine transformers; {engine} batches by itself")
    if engine.startswith(("http://", "https://")):
        refuse_useless(context, {"dtype"}, f"cannot be chosen from here: {engine} holds the weights")


def _refuse_for_masks(context: typer.Context) -> None:
    """Refuses what was typed and has no meaning for a model that answers with masks."""
    why = "has no meaning for a model that answers with masks"
    refuse_useless(context, OF_SAMPLING, f"{why}: it is shown the picture, and draws once")
    refuse_useless(context, OF_ANSWERS, f"{why}: they are measured by overlap alone")


def _of_mask_model(
    out: Output,
    model: str,
    weights: Weights,
    dataset: PreparedDataset | None,
    plan: dict[str, Any],
    targets: list[Target],
    folder: Path,
    *,
    force_base: bool,
    trust_remote_code: bool,
) -> Evaluation:
    """Masks of a mask model: written beside the report, then measured like any."""
    from medgrpo.evaluation.evaluate import evaluate_predictions
    from medgrpo.evaluation.mask_files import MaskFiles
    from medgrpo.evaluation.predictions import Predictions
    from medgrpo.models.quiet import quiet_libraries
    from medgrpo.segmentation.predicting import overlays_of, predict_masks

    for stale in (folder / "masks", folder / "overlays"):
        shutil.rmtree(stale, ignore_errors=True)  # of an earlier evaluation
    split, limit = plan["split"], plan["limit"]
    dataset = _evaluated(out, dataset, Path(model).name, weights.metadata, plan["seed"])
    rows = [row for row in dataset.rows(split) if row.get("mask")][:limit]
    if not rows:
        raise UsageError(
            f"{dataset.path} has no reference masks in the split {split!r}", hint="--split train"
        )
    with quiet_libraries(), out.progress("segmenting", total=len(rows)) as advance:
        found = predict_masks(
            weights,
            dataset,
            split,
            folder / "masks",
            limit=limit,
            dtype=plan["dtype"],
            force_base=force_base,
            trust_remote_code=trust_remote_code,
            on_row=advance,
        )
    predictions = Predictions(
        rows=found.rows, completions=[""] * len(found.rows), source=model, notes=found.notes
    )
    files = MaskFiles(dataset.image_path, found.files)
    result = _in_dataset(
        evaluate_predictions(predictions, tags=(), targets=targets, masks=files), dataset, split
    )
    shown = overlays_of(found, dataset, folder / "overlays")
    result.document |= {
        "model": model,
        "base_model": weights.base,
        "adapter": str(weights.adapter) if weights.adapter else None,
        "threshold": found.threshold,
        "dice_ceiling": found.ceiling,
        "overlays": [str(path) for path in shown],
    }
    out.note(
        f"threshold {found.threshold:g}, as recorded beside the weights or 0.5; overlays in the folder of the results"
    )
    if found.ceiling is not None:
        out.note(f"ceiling of Dice by the resolution of the model's masks: {found.ceiling:.3f}")
    return result


def _of_masks(
    data: str | Path | None,
    masks: Path,
    split: str,
    limit: int | None,
    targets: list[Target],
    seed: int,
) -> Evaluation:
    from medgrpo.data.mixture import open_data
    from medgrpo.evaluation.evaluate import evaluate_predictions
    from medgrpo.evaluation.mask_files import MaskFiles, find_masks
    from medgrpo.evaluation.predictions import Predictions

    if data is None:
        raise UsageError(
            "--masks needs the dataset with the reference masks, and nothing else",
            expected="medgrpo eval DATA --masks FOLDER",
            hint="medgrpo preprocess SOURCE DATA makes a dataset",
        )
    dataset = open_data(data, seed=seed)
    rows = [row for row in dataset.rows(split) if row.get("mask")][:limit]
    if not rows:
        raise UsageError(
            f"{dataset.path} has no reference masks in the split {split!r}", hint="--split train"
        )
    found = Predictions(rows=rows, completions=[""] * len(rows), source=f"masks in {masks}")
    files = MaskFiles(dataset.image_path, find_masks(masks, rows))
    return _in_dataset(evaluate_predictions(found, tags=(), targets=targets, masks=files), dataset, split)


def _in_dataset(result: Evaluation, dataset: PreparedDataset, split: str) -> Evaluation:
    """The result with where its rows come from."""
    result.document |= {"data": str(dataset.path), "data_hash": dataset.info.get("hash"), "split": split}
    result.image_file = lambda row: dataset.image_path(row["images"][0]) if row.get("images") else None
    return result


def _of_predictions(
    data: str | Path | None,
    predictions: Path,
    split: str,
    references: Path | None,
    join: str | None,
    columns: str | None,
    limit: int | None,
    plain: bool,
    weights: str | None,
    targets: list[Target],
    box_format: BoxFormat | None,
    sam: str | None,
    seed: int,
) -> Evaluation:
    from medgrpo.data.mixture import open_data
    from medgrpo.evaluation.evaluate import evaluate_predictions
    from medgrpo.evaluation.mask_files import MaskFiles, own_mask
    from medgrpo.evaluation.predictions import read_predictions
    from medgrpo.evaluation.score import observed_tags
    from medgrpo.rewards.columns import parse_columns

    dataset = open_data(data, seed=seed) if data is not None else None
    found = read_predictions(
        predictions,
        rows=list(dataset.rows(split)) if dataset else None,
        columns=parse_columns(columns) or None,
        references=references,
        join=join,
    ).head(limit)
    if box_format is not None:
        found = replace(found, rows=[{**row, "box_format": box_format} for row in found.rows])
    train = list(dataset.rows("train")) if dataset and dataset.count("train") else []
    result = evaluate_predictions(
        found,
        plain=plain or None,
        reward=_reward(weights, observed_tags(found.completions)),
        learnt_from=train,
        targets=targets,
        masks=MaskFiles(
            dataset.image_path if dataset is not None else partial(own_mask, predictions.parent),
            found.masks or None,
            _prompted(sam),
        ),
    )
    return result if dataset is None else _in_dataset(result, dataset, split)


def _prompted(sam: str | None) -> Any | None:
    """What makes masks of boxes and points in words; None where they are taken as they are."""
    from medgrpo.segmentation.prompted import FrozenSam

    return None if sam is None else FrozenSam(sam)


def _default_folder(name: str, split: str) -> Path:
    return Path("evaluation") / f"{name.replace('/', '--')}-{split}"


def _of_model(
    context: typer.Context,
    out: Output,
    stack: ExitStack,
    model: str,
    data: Path | None,
    adapter: Path | None,
    *,
    batch_size: int,
    plain: bool | None,
    plan: dict[str, Any],
    counterfactual: str | None,
    output: Path | None,
    weights: str | None,
    trusted: list[Path],
    targets: list[Target],
    box_format: BoxFormat | None,
    sam: str | None,
    force_base: bool,
    trust_remote_code: bool,
    revision: str | None,
) -> tuple[Evaluation, Path, Path]:
    """What was measured, the folder of its results, and where they are written until that is replaced as one."""
    from medgrpo.data.mixture import open_data
    from medgrpo.evaluation.evaluate import evaluate_answers
    from medgrpo.files import folder_replaced
    from medgrpo.generation.ask_all import Plan, answer_rows
    from medgrpo.generation.engines import choose_engine
    from medgrpo.generation.other_pictures import parse_kinds
    from medgrpo.generation.subject import find_subject
    from medgrpo.locks import held
    from medgrpo.models.weights import at_revision, find_weights
    from medgrpo.segmentation.segmenters import is_mask_model

    kinds = parse_kinds(counterfactual)
    dataset = open_data(data) if data is not None else None
    if is_mask_model((found := find_weights(model, adapter)).base):
        _refuse_for_masks(context)
        if output is None:
            output = _default_folder(Path(model).name, plan["split"])
            stack.enter_context(held(output))
        place = stack.enter_context(folder_replaced(output))
        result = _of_mask_model(
            out, model, at_revision(found, revision), dataset, plan, targets, place,
            force_base=force_base, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        result.document["overlays"] = [
            str(output / Path(one).relative_to(place)) for one in result.document["overlays"]
        ]
        return result, output, place
    subject = replace(
        find_subject(
            model, adapter, force_base=force_base, trust_remote_code=trust_remote_code, revision=revision
        ),
        box_format=box_format,
    )
    dataset = _evaluated(out, dataset, subject.name, subject.metadata, plan["seed"])
    load = choose_engine(
        plan["engine"], subject, batch_size=batch_size, dtype=plan["dtype"], seed=plan["seed"]
    )
    for note in subject.notes:
        out.warn(note)
    template = subject.template(plan["prompt"], dataset.info.get("prompt_template"))
    folder = output or _default_folder(subject.name, plan["split"])
    if output is None:
        stack.enter_context(held(folder))
    reward = _reward_of_training(out, weights, subject.run_folder, template.tags, trusted)
    asked = Plan(**plan, counterfactuals=kinds)
    answers = answer_rows(subject, dataset, load, asked, out, output=folder)
    prompted = _prompted(sam or (subject.metadata.get("masks") or {}).get("sam"))
    result = evaluate_answers(
        answers, subject, dataset, reward=reward, plain=plain, targets=targets, prompted=prompted
    )
    return result, folder, folder


def _evaluated(
    out: Output, dataset: PreparedDataset | None, name: str, metadata: Mapping[str, Any], seed: int
) -> PreparedDataset:
    """The dataset that was named, else the one that the model was trained on; a mixture as it was drawn then."""
    from medgrpo.data.mixture import is_mixture, open_data
    from medgrpo.models.weights import data_seed

    if dataset is None:
        stated = (metadata.get("provenance") or {}).get("data")
        if not stated or not (Path(stated).is_dir() or is_mixture(stated)):
            raise UsageError(
                f"eval {name} needs a dataset",
                expected="medgrpo eval MODEL DATA",
                hint="medgrpo preprocess SOURCE DATA makes a dataset",
            )
        out.note(f"dataset: {stated}, which it was trained on")
        dataset = open_data(Path(stated), seed=data_seed(metadata) or 0)
        _check_trained_on(name, dataset, metadata)
    trained = data_seed(metadata)
    return dataset.drawn_by(seed if trained is None else trained)


def _check_trained_on(name: str, dataset: PreparedDataset, metadata: Mapping[str, Any]) -> None:
    """Refuse the dataset that a model names where its rows are not those that it recorded: a model of others may name one of yours."""
    before = (metadata.get("provenance") or {}).get("data_hash")
    if before != dataset.hash:
        raise UsageError(
            f"{name} names the dataset {dataset.location}, whose rows are not those that it was trained on",
            expected="medgrpo eval MODEL DATA",
            hint=f"if it is the right one: medgrpo eval MODEL {typed_path(dataset.path)}",
        )


def _reward(weights: str | None, tags: Sequence[str]) -> Any | None:
    """The reward that is typed, its files included."""
    from medgrpo.evaluation.reward import reward_of
    from medgrpo.rewards.registry import code_among
    from medgrpo.rewards.trust import grant

    grant(code_among(weights))
    return reward_of(weights, None, tags)


def _reward_of_training(
    out: Output, weights: str | None, run: Path | None, tags: Sequence[str], trusted: list[Path]
) -> Any | None:
    """The reward that is typed, else that of training; None where its Python is not trusted, which is said."""
    from medgrpo.evaluation.reward import reward_of
    from medgrpo.rewards.trust import ForeignReward

    if weights is not None or run is None:
        return _reward(weights, tags)
    try:
        return reward_of(None, run, tags, trusted=trusted, note=out.note)
    except ForeignReward as error:
        out.warn(f"the metric reward is left out: {error.problem}; {error.hint} (or --weights NAME)")
        return None
