"""The rows that a stage trains on, and the steps that they make."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from medgrpo.config.plan import StagePlan, plan_stage, stage_settings, with_smaller_step
from medgrpo.errors import MedgrpoError
from medgrpo.models.context import context_of
from medgrpo.training.before.datasets import ChosenRows, RowSource, Variation, drop_long
from medgrpo.training.before.own_pairs import has_pairs, pairs_of_run

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.methods import Method
    from medgrpo.training.run.state import Run
    from medgrpo.training.trainers.policy import Policy
    from medgrpo.training.watch.reporter import Reporter


def stage_dataset(run: Run, method: Method) -> PreparedDataset:
    """The run's data, or for a method that needs pairs where it has none those of the run's own completions."""
    from accelerate import PartialState

    if not method.needs_pairs or has_pairs(run.dataset):
        return run.dataset
    with PartialState().main_process_first():
        template = run.checks.template.to_dict()
        pairs = pairs_of_run(run.writer.path, run.dataset, template, at_least=run.world_size)
    run.reporter.note(
        f"{method.name.upper()} on {pairs.count('train')} pairs of this run's own completions ({pairs.path}), "
        "the best and the worst of each prompt"
    )
    return pairs


def row_source(run: Run, settings: RunConfig, policy: Policy, dataset: PreparedDataset) -> RowSource:
    """The stage's rows and the words around them, before any is left out."""
    from medgrpo.data.augment import NAMED

    varied = NAMED[settings.data.augment]
    rows = run.rows if dataset is run.dataset else ChosenRows.first(dataset.view("train"), None)
    source = RowSource(
        rows[: settings.data.rows],
        dataset.path,
        run.checks.template,
        policy.is_vision,
        settings.data.use_image_title,
        None if varied is None else Variation(varied, settings.run.seed),
        policy.coordinates,
    )
    if not policy.is_vision and any(row.get("images") for row in islice(source.rows, 64)):
        run.reporter.warn("this model reads no pictures, and the data has some: it is asked without them")
    return source


def plan_of_rows(
    run: Run, name: str | None, settings: RunConfig, source: RowSource, dataset: PreparedDataset
) -> StagePlan:
    """The stage's steps over the rows that fit."""
    config, step, rows = run.config, settings.training.prompts_per_step, len(source.rows)
    if dataset is not run.dataset and rows < step:  # pairs of the run's own: nobody could have known
        config = with_smaller_step(config, rows, stage=name, world_size=run.world_size)
        smaller = stage_settings(config, name).training.prompts_per_step
        run.reporter.warn(f"{rows} pairs are fewer than the {step} of one step: steps of {smaller}")
    return plan_stage(config, rows, stage=name, world_size=run.world_size)


def rows_that_fit(
    method: Method, source: RowSource, policy: Policy, settings: RunConfig, reporter: Reporter
) -> tuple[RowSource, int]:
    """The rows whose prompts, and answers where they are learned, fit the context; and the longest one's number.

    Raises:
        MedgrpoError: none does.
    """
    room, limit = settings.model.context_length, "model.context_length"
    own = context_of(policy.model, policy.tokenizer)
    if own is not None and own < room:
        room, limit = own, "what the model reads"
    what = "prompts and answers"
    if method.samples_texts:
        room -= settings.rollout.max_completion_length
        what, limit = "prompts", f"{limit} - rollout.max_completion_length"
    progress = Progress(reporter, len(source.rows), "prompt lengths counted")
    worst = (0, 0)

    def on_long(number: int, length: int) -> None:
        nonlocal worst
        worst = max(worst, (length, -number))

    kept, dropped, longest = drop_long(
        source, policy.processor, room, progress, method=method.name, on_long=on_long
    )
    if dropped:
        reporter.warn(
            f"{dropped} of {len(source.rows)} rows have {what} over {room} tokens ({limit}) and are left out; "
            f"the longest, row {source.rows[-worst[1]]['id']!r}, has {worst[0]:,}"
        )
    if not kept:
        raise MedgrpoError(
            f"no row fits: all have {what} over {room} tokens",
            hint="a smaller model.max_pixels, or shorter completions"
            if own is not None and own <= settings.model.context_length
            else f"--set model.context_length={settings.model.context_length * 2}, or a smaller model.max_pixels",
        )
    return source.with_rows(kept), longest


class Progress:
    """Says how far a pass over the rows is, every so many seconds."""

    def __init__(self, reporter: Reporter, rows: int, what: str, every_s: float = 15.0) -> None:
        self.reporter, self.rows, self.what, self.every_s = reporter, rows, what, every_s
        self._told_at = time.perf_counter()

    def __call__(self, done: int) -> None:
        """So many rows are done."""
        if time.perf_counter() - self._told_at >= self.every_s:
            self._told_at = time.perf_counter()
            self.reporter.note(f"{self.what}: {done} of {self.rows} rows")
