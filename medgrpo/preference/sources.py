"""Where candidates come from: a run's stored completions, fresh samples of a model, several models' outputs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.schema import Row
from medgrpo.errors import UsageError
from medgrpo.models.folders import metadata_file
from medgrpo.preference.dataset import rows_by_id
from medgrpo.preference.pairs import Candidate
from medgrpo.rewards.composite import CompositeReward

SPLIT = "train"  # never test: pairs train a model


@dataclass(frozen=True)
class Candidates:
    """Scored completions, the dataset of their prompts, and the prompt template they answered."""

    candidates: list[Candidate]
    dataset: PreparedDataset
    rows: dict[str, Row]
    prompt_template: dict[str, Any] | None


def from_runs(runs: Sequence[Path], data: Path | None) -> Candidates:
    """Every stored completion of GRPO runs, with the reward that it earned then; nothing is sampled.

    Args:
        data: the dataset the runs trained on, where it has moved.

    Raises:
        UsageError: a folder is no run, stored no completions, or trained on another dataset than the first.
    """
    from medgrpo.training.completions import read_completions

    candidates: list[Candidate] = []
    datasets = set()
    for run in runs:
        if not (run / "config.toml").is_file():
            raise UsageError(
                f"{run} is no run folder: it holds no config.toml",
                expected="a folder that `medgrpo train` wrote",
            )
        table = read_completions(run)
        if not table.num_rows:
            raise UsageError(f"{run} stored no completions", expected="a run with --method grpo")
        datasets.add(data or dataset_of_run(run))
        columns = table.select(["prompt_id", "completion", "reward", "step", "stage"]).to_pylist()
        candidates += [
            Candidate(
                row["prompt_id"],
                row["completion"],
                float("nan") if row["reward"] is None else row["reward"],
                f"{run.name}:{row['stage']}:{row['step']}",
            )
            for row in columns
        ]
    if len(datasets) > 1:
        raise UsageError(
            "the runs trained on different datasets",
            expected="runs of one dataset",
            hint="make the pairs of each by themselves",
        )
    return _with_rows(candidates, PreparedDataset.open(datasets.pop()), _template_of(runs[0]))


def from_files(files: Sequence[Path], data: Path, reward: CompositeReward) -> Candidates:
    """Completions of several models for the rows of one dataset, scored now.

    Args:
        files: predictions of `medgrpo eval` (parquet) or JSON lines, with `id` and `completion`.
    """
    dataset = PreparedDataset.open(data)
    found = [
        (str(record["id"]), str(record["completion"]), file.stem)
        for file in files
        for record in _read_predictions(file)
    ]
    rows = rows_by_id(dataset, {row_id for row_id, _, _ in found})
    known = [item for item in found if item[0] in rows]
    if not known:
        raise UsageError(f"no `id` of {', '.join(map(str, files))} is a row of {data}")
    totals = _score(reward, [text for _, text, _ in known], [rows[row_id] for row_id, _, _ in known])
    candidates = [
        Candidate(row_id, text, total, source)
        for (row_id, text, source), total in zip(known, totals, strict=True)
    ]
    return Candidates(candidates, dataset, rows, None)


def from_sampling(
    model: Path | str,
    data: Path,
    reward: CompositeReward,
    *,
    samples: int,
    limit: int | None,
    max_new_tokens: int,
    on_rows: Callable[[int], None],
) -> Candidates:
    """Fresh completions of one model for the training rows of a dataset, at temperature 1, scored now."""
    from medgrpo.data.prompts import load_template, template_from_dict
    from medgrpo.evaluation.generate import Sampling, generate
    from medgrpo.models.loading import load_model

    dataset = PreparedDataset.open(data)
    rows = list(dataset.rows(SPLIT, limit))
    described = _template_of(Path(model))
    template = template_from_dict(described) if described else load_template("structured")
    loaded = load_model(str(model))
    candidates = []
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
        totals = _score(reward, made.completions, [made.row] * len(made.completions))
        candidates += [
            Candidate(made.row["id"], text, total, str(model))
            for text, total in zip(made.completions, totals, strict=True)
        ]
    return Candidates(candidates, dataset, {row["id"]: row for row in rows}, template.to_dict())


def dataset_of_run(run: Path) -> Path:
    """The prepared dataset that a run trained on, as its environment or configuration names it."""
    for name in ("environment.json", "training_info.json"):
        path = run / name
        if path.is_file():
            recorded = json.loads(path.read_text(encoding="utf-8")).get("data")
            if isinstance(recorded, Mapping):
                recorded = recorded.get("path")
            if recorded:
                return Path(recorded)
    configured = tomllib.loads((run / "config.toml").read_text(encoding="utf-8")).get("data", {}).get("path")
    if configured:
        return Path(configured)
    raise UsageError(f"{run} does not say which dataset it trained on", hint="--data DATASET")


def _with_rows(
    candidates: list[Candidate], dataset: PreparedDataset, template: dict[str, Any] | None
) -> Candidates:
    rows = rows_by_id(dataset, {candidate.prompt_id for candidate in candidates})
    missing = next((c.prompt_id for c in candidates if c.prompt_id not in rows), None)
    if missing is not None:
        raise UsageError(
            f"the dataset {dataset.path} has no row {missing!r} that the run trained on",
            hint="--data DATASET names the one it was trained on",
        )
    return Candidates(candidates, dataset, rows, template)


def _template_of(folder: Path) -> dict[str, Any] | None:
    file = metadata_file(folder)
    described = json.loads(file.read_text(encoding="utf-8")).get("prompt_template") if file else None
    return described if isinstance(described, dict) else None


def _score(reward: CompositeReward, completions: Sequence[str], rows: Sequence[Row]) -> list[float]:
    names = rows[0].keys()
    table = reward.score(list(completions), {name: [row[name] for row in rows] for name in names})
    return [float(total) for total in table.total]


def _read_predictions(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise UsageError(f"no predictions at {path}")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        records = pq.read_table(path).to_pylist()
    else:
        try:
            records = [
                json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
        except ValueError as error:
            raise UsageError(f"{path} is not JSON lines: {error}") from error
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict) or "id" not in record or "completion" not in record:
            raise UsageError(
                f"{path}, row {number}: no id or completion",
                expected="predictions of `medgrpo eval`, or rows with id and completion",
            )
        yield record
