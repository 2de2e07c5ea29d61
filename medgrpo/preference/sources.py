"""Where candidates come from: a run's stored completions, fresh samples of a model, several models' outputs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medgrpo.data.mixture import open_data
from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import PromptTemplate, load_template, recorded_template
from medgrpo.errors import MedgrpoError, UsageError, typed_path
from medgrpo.files import foreign_json, foreign_toml, read_json
from medgrpo.foreign import reads
from medgrpo.models.adapter_files import recorded_metadata
from medgrpo.models.weights import metadata_file
from medgrpo.places import found_place
from medgrpo.preference.pairs import Candidate, answer_of, are_alike
from medgrpo.preference.rollouts import HELD_OUT
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rows import Row, as_row, columns

if TYPE_CHECKING:
    from medgrpo.generation.subject import Subject

SPLIT = "train"
"""Never among the pairs: they train a model."""


@dataclass(frozen=True)
class Candidates:
    """Scored completions, the dataset of their prompts, and the prompt template they answered."""

    candidates: list[Candidate]
    dataset: PreparedDataset
    rows: dict[str, Row]
    prompt_template: dict[str, Any] | None
    left_out: Counter[str] = field(default_factory=Counter)
    """Completions that belong to no row, or to none for certain, by reason."""
    shows_title: bool = False
    """Whether the prompts named the picture's title."""
    notes: list[str] = field(default_factory=list)
    """What was taken for what, in sentences."""


@reads("runs", "run folders with their completions")
def from_runs(runs: Sequence[Path], data: Path | None, reward: CompositeReward | None = None) -> Candidates:
    """Every stored completion of runs, with the reward that it earned then; nothing is sampled.

    Args:
        runs: run folders of medgrpo, or what TRL (`completions/*.parquet`), ms-swift (`completions.jsonl`) and verl
            (`<step>.jsonl`) wrote.
        data: the dataset the runs trained on, where it has moved or the run does not say.
        reward: scores other trainers' completions anew; None: their own score, else the sum of their rewards.

    Raises:
        UsageError: a folder is no run, stored no completions, or trained on another dataset than the first; or the dataset that
            it names is another one by its fingerprint.
    """
    from medgrpo.preference.rollouts import (
        candidates_of_rollouts,
        is_rollouts,
        read_rollouts,
        summed_rewards,
    )

    candidates: list[Candidate] = []
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    datasets = set()
    rewarded: dict[str, str] = {}
    foreign = [run for run in runs if not (run / "config.toml").is_file()]
    for run in runs:
        if run in foreign:
            if not is_rollouts(run):
                raise UsageError(
                    f"{run} is no run folder: it holds no config.toml",
                    expected="a folder that `medgrpo train` wrote, or completions of TRL, ms-swift or verl",
                )
            if data is None:
                raise UsageError(
                    f"{run} does not say which rows its completions answer",
                    hint="--data DATASET, the one it was trained on",
                )
            datasets.add(data)
            rollouts = read_rollouts(run, left_out)
            names = summed_rewards(rollouts)
            rewarded[str(run)] = _in_words(reward.weights) if reward else " + ".join(names) or "its score"
            if reward is None and names:
                notes.append(
                    f"{run}: the reward is {' + '.join(names)}, all its columns of numbers; --weights scores the completions anew"
                )
            found, lost = candidates_of_rollouts(rollouts, open_data(data), run.name)
            left_out += lost
            if not found:
                reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
                raise UsageError(f"no completion of {run} belongs to a row of {data}: {reasons}")
            if reward is not None:
                found = _scored_anew(found, reward, open_data(data))
        else:
            datasets.add(data or dataset_of_run(run))
            rewarded[str(run)] = _rewarded_by(run)
            found = candidates_of_run(run)
        if not found:
            raise UsageError(
                f"{run} stored no completions",
                expected="a run with --method grpo",
                hint="medgrpo runs lists the runs that are here",
            )
        candidates += found
    if len(datasets) > 1:
        raise UsageError(
            "the runs trained on different datasets",
            expected="runs of one dataset",
            hint="make the pairs of each by themselves",
        )
    _refuse_differing(
        rewarded, "were rewarded differently", "one reward: a number of one says nothing beside another's"
    )
    asked = {str(run): _asked_by(run) for run in runs if run not in foreign}
    _refuse_differing(
        asked, "asked in different words", "one prompt template, whose answers can stand side by side"
    )
    described = _described(runs[0])
    config = runs[0] / "config.toml"
    configured = foreign_toml(config) if config.is_file() else {}
    seed = configured.get("run", {}).get("seed", 0)  # decides a mixture's hash
    dataset = open_data(datasets.pop(), seed=seed)
    if data is None:
        _check_fingerprints(runs, dataset)
    template = described.get("prompt_template")
    if not isinstance(template, dict):
        template = recorded_template(dataset.info.get("prompt_template")).to_dict() if foreign else None
    result = _with_rows(candidates, dataset, template)
    result.left_out.update(left_out)
    return replace(result, shows_title=bool(described.get("use_image_title")), notes=notes)


def _rewarded_by(run: Path) -> str:
    """What a run's rewards are made of, in words that are equal where they are."""
    from medgrpo.rewards.weights import normalised, resolve_weights

    settings = foreign_toml(run / "config.toml").get("rewards", {})
    said = _in_words(normalised(resolve_weights(settings.get("weights", "balanced"))))
    gate, how = settings.get("gate"), settings.get("aggregation", "sum")
    return said + (f", gated by {gate}" if gate else "") + (f" ({how})" if how != "sum" else "")


def _in_words(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in sorted(weights.items()))


def _asked_by(run: Path) -> str:
    """The prompt template of a run, in words that are equal where it is."""
    described = _described(run)
    template = described.get("prompt_template")
    name = template.get("name") if isinstance(template, dict) else template
    digest = blake2b(json.dumps(template, sort_keys=True).encode(), digest_size=3).hexdigest()
    return f"{name} {digest}" + (" with image titles" if described.get("use_image_title") else "")


def _refuse_differing(said: Mapping[str, str], what: str, expected: str) -> None:
    first = next(iter(said.items()), None)
    other = next((one for one in said.items() if first and one[1] != first[1]), None)
    if first and other:
        raise UsageError(
            f"the runs {what}: {first[0]} by {first[1]}; {other[0]} by {other[1]}",
            expected=expected,
            hint="make the pairs of each by themselves",
        )


def _scored_anew(
    found: list[Candidate], reward: CompositeReward, dataset: PreparedDataset
) -> list[Candidate]:
    rows = dataset.find(one.prompt_id for one in found)
    template = recorded_template(dataset.info.get("prompt_template"))
    reward = reward.with_settings(**template.reward_settings)
    table = _table(reward, [one.text for one in found], [rows[one.prompt_id] for one in found])
    return [
        replace(one, reward=total, components=parts) for one, (total, parts) in zip(found, table, strict=True)
    ]


@reads("run", "a run folder with its completions")
def candidates_of_run(run: Path) -> list[Candidate]:
    """Every stored completion of a run that counts, with its reward and what each component gave."""
    from medgrpo.runs.store import read_completions

    table = read_completions(run)
    parts = [name for name in table.column_names if name.startswith("rewards/")]
    if (kind := str(table.schema.field("completion").type)) not in ("string", "large_string"):
        raise MedgrpoError(f"{run}: the completions are of type {kind}", expected="texts")
    columns = table.select(
        ["prompt_id", "completion", "reward", "step", "stage", "tokens", "truncated", *parts]
    )
    return [
        Candidate(
            row["prompt_id"],
            row["completion"] or "",
            float("nan") if row["reward"] is None else row["reward"],
            f"{run.name}:{row['stage']}:{row['step']}",
            tokens=row["tokens"],
            truncated=row["truncated"],
            step=row["step"],
            components={name.removeprefix("rewards/"): row[name] for name in parts},
        )
        for row in columns.to_pylist()
    ]


@reads("files", "completions of several models")
def from_files(
    files: Sequence[Path], data: Path, reward: CompositeReward, prompt: str | None = None
) -> Candidates:
    """Completions of several models for the rows of one dataset, scored now.

    Rows of the test split are left out: pairs train a model.

    Args:
        files: predictions of `medgrpo eval`, or any file that `medgrpo score` reads, with an `id` a row.
        prompt: template that they answered; None: the dataset's.
    Raises:
        UsageError: no ids, none of them in the dataset, or all of them in its test split.
    """
    dataset = open_data(data)
    left_out: Counter[str] = Counter()
    found = [
        answer
        for file, source in zip(files, sources_of(files), strict=True)
        for answer in _answers(file, source)
    ]
    rows = dataset.find(answer.row_id for answer in found)
    known = [answer for answer in found if answer.row_id in rows]
    left_out["completion of no row of the dataset"] = len(found) - len(known)
    shown = ", ".join(map(str, files))
    if not known:
        raise UsageError(f"no `id` of {shown} is a row of {data}")
    held_out = {row["id"] for row in dataset.rows(HELD_OUT)} if dataset.count(HELD_OUT) else set()
    left_out["completion of a test row"] = sum(answer.row_id in held_out for answer in known)
    known = [answer for answer in known if answer.row_id not in held_out]
    if not known:
        raise UsageError(
            f"{shown} answers test questions only, and pairs train a model",
            expected="answers to the train split",
            hint=f"medgrpo eval MODEL {typed_path(data)} --split train",
        )
    template = load_template(prompt) if prompt else recorded_template(dataset.info.get("prompt_template"))
    reward = reward.with_settings(**template.reward_settings)
    scored = _table(
        reward,
        [answer.text for answer in known],
        [{**rows[answer.row_id], **answer.form} for answer in known],
    )
    candidates = [
        Candidate(
            answer.row_id,
            answer.text,
            total,
            answer.source,
            tokens=answer.tokens,
            truncated=answer.truncated,
            components=parts,
        )
        for answer, (total, parts) in zip(known, scored, strict=True)
    ]
    return Candidates(candidates, dataset, rows, template.to_dict(), +left_out)


def from_sampling(
    model: str,
    data: Path,
    reward: CompositeReward,
    *,
    samples: int,
    limit: int | None,
    max_new_tokens: int,
    on_rows: Callable[[int], None],
    on_warning: Callable[[str], None] = lambda _: None,
    prompt: str | None = None,
) -> Candidates:
    """Fresh completions of one model for the training rows of a dataset, at temperature 1, scored now.

    Args:
        model: as `medgrpo eval` takes it: run folder, adapter, model folder or hub name.
        reward: scored with the tags of the prompt.
        on_warning: told before the model is loaded which prompts leave no room, as far as its folder says so.
        prompt: template; None: the one the model was trained with, else the dataset's.
    Raises:
        MedgrpoError: no prompt leaves room for a completion.
    """
    from medgrpo.generation.generate import Sampling, generate
    from medgrpo.generation.subject import find_subject, load_subject

    subject = find_subject(model)
    dataset = open_data(data, seed=subject.data_seed or 0)
    template = subject.template(prompt, dataset.info.get("prompt_template"))
    reward = reward.with_settings(**template.reward_settings)
    rows = subject.shown(list(dataset.rows(SPLIT, limit)))
    if (short := _short_of_room(subject, rows, dataset.path, template, max_new_tokens)) is not None:
        on_warning(short)
    loaded = load_subject(subject)
    candidates, left_out = [], Counter[str]()
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=1.0, num_generations=samples)
    for made in generate(
        loaded.model,
        loaded.processor,
        rows,
        template,
        image_path=dataset.image_path,
        sampling=sampling,
        batch_size=max(16, samples),
        on_batch=on_rows,
    ):
        if made.failed is not None:
            left_out["prompt longer than the model's context"] += len(made.completions)
            continue
        scored = _table(reward, made.completions, [made.row] * len(made.completions))
        lengths: Sequence[int | None] = made.lengths or [None] * len(made.completions)
        candidates += [
            Candidate(
                made.row["id"], text, total, subject.name, tokens=length, truncated=cut, components=parts
            )
            for text, (total, parts), length, cut in zip(
                made.completions, scored, lengths, made.truncated, strict=True
            )
        ]
    return Candidates(candidates, dataset, {row["id"]: row for row in rows}, template.to_dict(), left_out)


def _short_of_room(
    subject: Subject, rows: Sequence[Row], folder: Path, template: PromptTemplate, max_new_tokens: int
) -> str | None:
    """What to say of prompts that leave less room than a completion may take; None where all do, or nothing is known."""
    from medgrpo.data.too_long import SHORTEST_ANSWER, Reader, count_too_long, none_has_room
    from medgrpo.models.context import UNSTATED, context_of_folder

    base = Path(subject.base).expanduser()
    if not base.is_dir():
        return None
    shown = {name: subject.metadata.get(name) for name in ("max_pixels", "min_pixels")}
    try:
        context = context_of_folder(base) or UNSTATED
        reader = Reader.of_folder(base, context, max_new_tokens, **shown)
        found = count_too_long(rows, folder, template, reader, use_image_title=True)  # `shown` has hidden it
    except (MedgrpoError, OSError, ValueError, TypeError):  # loading the model says what is wrong with it
        return None
    smaller = "smaller pictures: medgrpo preprocess SOURCE OUTPUT --model MODEL --over-budget downscale"
    if found.rows and found.full == found.rows:
        raise none_has_room(found, smaller)
    if not found.over:
        return None
    left = found.limit - found.prompt
    return (
        f"{found.over:,} of {found.rows:,} prompts leave less room than --tokens {max_new_tokens} in the {found.limit:,} tokens that "
        f"the model reads ({found.full:,} leave none and get no completion): {found.described()}; "
        f"{f'--tokens {left} / ' if left >= SHORTEST_ANSWER else ''}{smaller}"
    )


@reads("run", "a run folder that says which dataset it trained on")
def dataset_of_run(run: Path) -> Path:
    """The prepared dataset that a run trained on, as its environment or configuration names it."""
    for name in ("environment.json", "training_info.json"):
        path = run / name
        if path.is_file():
            recorded = foreign_json(path).get("data")
            if isinstance(recorded, Mapping):
                recorded = recorded.get("path")
            if recorded:
                return Path(found_place(str(recorded), run))
    configured = foreign_toml(run / "config.toml").get("data", {}).get("path")
    if configured:
        return Path(found_place(str(configured), run))
    raise UsageError(f"{run} does not say which dataset it trained on", hint="--data DATASET")


def _check_fingerprints(runs: Sequence[Path], dataset: PreparedDataset) -> None:
    """Refuse the dataset that runs name where its rows are not those that they recorded: a run of others may name one of yours."""
    for run in runs:
        before = read_json(run / "environment.json").get("data_hash")
        if before != dataset.hash:
            raise UsageError(
                f"{run} names the dataset {dataset.location}, whose rows are not those that it was trained on",
                expected=f"rows of hash {before!s:.64}"
                if before
                else "a run that records the hash of its rows",
                hint=f"if it is the right one: --data {typed_path(dataset.location)}",
            )


def _with_rows(
    candidates: list[Candidate], dataset: PreparedDataset, template: dict[str, Any] | None
) -> Candidates:
    rows = dataset.find(candidate.prompt_id for candidate in candidates)
    missing = next((c.prompt_id for c in candidates if c.prompt_id not in rows), None)
    if missing is not None:
        raise UsageError(
            f"the dataset {dataset.path} has no row {missing!r} that the run trained on",
            hint="--data DATASET names the one it was trained on",
        )
    return Candidates(candidates, dataset, rows, template)


def _described(folder: Path) -> dict[str, Any]:
    file = metadata_file(folder)
    described = recorded_metadata(file.parent) if file else {}
    return described


def _table(
    reward: CompositeReward, completions: Sequence[str], rows: Sequence[Row]
) -> list[tuple[float, dict[str, float | None]]]:
    """(total, what each component gave) of each completion."""
    names = rows[0].keys()
    table = reward.score(list(completions), {name: [columns(row)[name] for row in rows] for name in names})
    return [
        (float(total), {name: float(value) for name, value in zip(table.names, parts, strict=True)})
        for total, parts in zip(table.total, table.components, strict=True)
    ]


def agreement(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """How far several models give the same answer: over all prompts that each of them answered.

    Gives `models`, `prompts`, `all_agree` (share) and `pairs` (share by "a / b"); None where one source answered alone.
    """
    by_prompt: dict[str, dict[str, str]] = {}
    for one in candidates:
        by_prompt.setdefault(one.prompt_id, {}).setdefault(one.source, answer_of(one.text))
    models = sorted({one.source for one in candidates})
    shared = [answers for answers in by_prompt.values() if len(answers) == len(models)]
    if len(models) < 2 or not shared:
        return {"models": models, "prompts": len(shared), "all_agree": None, "pairs": {}}
    same = {
        f"{a} / {b}": sum(are_alike(answers[a], answers[b]) for answers in shared) / len(shared)
        for place, a in enumerate(models)
        for b in models[place + 1 :]
    }
    everyone = sum(all(are_alike(one, answers[models[0]]) for one in answers.values()) for answers in shared)
    return {"models": models, "prompts": len(shared), "all_agree": everyone / len(shared), "pairs": same}


def sources_of(files: Sequence[Path]) -> list[str]:
    """A name for each predictions file, no two alike: its own, or that of as many folders above as tells them apart."""
    parts = [
        (*file.parts[:-1], *([] if file.name == "predictions.parquet" else [file.stem])) for file in files
    ]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(set(files)):
            return names
    return [str(file) for file in files]


class _Answer(NamedTuple):
    """One completion of a predictions file."""

    row_id: str
    text: str
    source: str
    form: Row
    """Of its boxes."""
    tokens: int | None = None
    truncated: bool | None = None


def _answers(path: Path, source: str) -> Iterator[_Answer]:
    """Every completion of a predictions file, its further samples included."""
    from medgrpo.rewards.boxes import WRITTEN_FORM
    from medgrpo.rewards.completions_file import read_completions
    from medgrpo.rewards.text import completion_text

    found = read_completions(path, require_references=False)
    ids = found.columns.get("id")
    if ids is None or any(row_id is None for row_id in ids):
        raise UsageError(
            f"{path} has rows without an id",
            expected="predictions of `medgrpo eval`, or rows with id and completion",
        )

    def column(name: str) -> list[Any]:
        return list(found.columns.get(name, [None] * len(found)))

    forms = {name: column(name) for name in WRITTEN_FORM}
    samples, cut, lengths = column("samples"), column("truncated"), column("lengths")
    for place, (row_id, completion) in enumerate(zip(ids, found.completions, strict=True)):
        form = as_row({name: values[place] for name, values in forms.items()})
        yield _Answer(
            str(row_id),
            completion_text(completion),
            source,
            form,
            lengths[place] if isinstance(lengths[place], int) else None,
            None if cut[place] is None or cut[place] not in (0, 1) else bool(cut[place]),
        )
        for text in samples[place] if isinstance(samples[place], list) else []:
            yield _Answer(str(row_id), completion_text(text), source, form)
