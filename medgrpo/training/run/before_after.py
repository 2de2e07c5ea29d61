"""Validation before and after the main stage, and the blind baseline; told and kept in the run's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgrpo.runs.before_after import keep_answers
from medgrpo.training.run.context import gathered
from medgrpo.training.run.validation import Measures, Validator, choose_rows
from medgrpo.training.run.weight_folders import best_name, final_name

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.training.run.context import StageContext
    from medgrpo.training.run.state import Run
    from medgrpo.training.trainers.policy import Policy


def say_what_is_kept(run: Run, settings: RunConfig, validator: Validator | None) -> None:
    """Whether there will be best weights: they need validations during training."""
    if validator is None or not settings.validation.steps:
        why = "no validation in between" if run.dataset.count("validation") else "no validation rows"
        run.reporter.note(
            f"{final_name(settings)}/ will hold the last weights; no {best_name(settings)}/: {why}"
            + (" (--set validation.steps=N keeps the best of every N steps)" if "between" in why else "")
        )


def stage_validator(run: Run, settings: RunConfig, policy: Policy) -> Validator | None:
    """What measures the main stage; None where nothing is to be measured, or there are no rows for it."""
    if not run.dataset.count("validation") or not (
        settings.validation.before_and_after or settings.validation.steps
    ):
        return None
    rows = choose_rows(run.dataset.view("validation"), settings.validation.rows, settings.run.seed)
    if not settings.data.use_image_title:
        rows = [{**row, "image_title": None} for row in rows]
    return Validator(
        run.dataset,
        [policy.coordinates.place(row) for row in rows],
        run.checks.template,
        run.checks.composite,
        settings.validation.metric,
        settings.rollout.max_completion_length,
    )


def measure_before(run: Run, validator: Validator, policy: Policy) -> None:
    """The blind baseline and the start of the main stage; once, also over resumes."""
    import torch

    if gathered("before" in run.validation)[0]:  # what the main process knows
        return
    run.reporter.doing(f"validation before training, {len(validator.rows)} rows")
    if torch.cuda.is_available():
        policy.model.to("cuda")
    # All processes share the rows: one alone would keep the others waiting, past the time that collectives allow.
    measures = validator.measure(policy.model, policy.processor)
    if not run.is_main_process:
        return
    keep_answers(run.writer.path, "before", validator.rows, getattr(validator, "said", []))
    run.validation["blind"] = validator.blind_baseline(run.rows)
    run.validation["before"] = measures
    run.writer.update_info(validation=run.validation)
    run.reporter.note(
        f"validation ({len(validator.rows)} rows, greedy): {_in_words('blind baseline', run.validation['blind'])}"
    )
    run.reporter.note(
        f"validation: {_in_words('before ' + run.config.training.method, run.validation['before'])}"
    )


def keep_after(
    run: Run, context: StageContext, last: tuple[int, Measures] | None, validator: Validator | None = None
) -> None:
    """The last validation of the main stage, with its step, as the one after it, and some of its answers."""
    run.best = context.best
    if last is None or not run.is_main_process:
        return
    if validator is not None:
        keep_answers(run.writer.path, "after", validator.rows, getattr(validator, "said", []))
    run.validation["after"] = last[1]
    run.writer.update_info(validation=run.validation)
    run.reporter.note(f"validation: {_in_words('after ' + run.config.training.method, last[1])}")


def _in_words(what: str, measures: Measures) -> str:
    return f"{what}: " + ", ".join(
        f"{name} {one['value']:.3f}" for name, one in measures.items() if one["value"] is not None
    )
