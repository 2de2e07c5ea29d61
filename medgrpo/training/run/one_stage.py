"""One stage of a run: from the weights it starts from to its final ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.models.weights import Weights
from medgrpo.runs.store import CompletionStore
from medgrpo.training.before.difficulty import stage_curriculum
from medgrpo.training.before.own_pairs import NoPairs
from medgrpo.training.before.stage_rows import plan_of_rows, row_source, stage_dataset
from medgrpo.training.methods import stage_method
from medgrpo.training.run.before_after import keep_after, measure_before, say_what_is_kept
from medgrpo.training.run.build import build_trainer
from medgrpo.training.run.checkpoints import publish_copy
from medgrpo.training.run.context import StageContext, gathered
from medgrpo.training.run.go_back import go_back
from medgrpo.training.run.metadata import stage_metadata
from medgrpo.training.run.resume import step_of
from medgrpo.training.run.state import MAIN, Run
from medgrpo.training.run.weight_folders import final_name, save_weights
from medgrpo.training.trainers.policy import trained_weights
from medgrpo.training.watch.phases import PhaseClock

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.runs.writer import StageFolder
    from medgrpo.training.watch.callbacks import Validation


def run_stage(run: Run, name: str | None, settings: RunConfig, stage: StageFolder, weights: Weights) -> bool:
    """Train one stage; whether it came to its end."""
    from medgrpo.training.trainers.largest_first import LargestFirst, is_wanted
    from medgrpo.training.watch.callbacks import Validation
    from medgrpo.training.watch.finite import non_finite_outputs_in_words

    method = stage_method(settings.training.method)
    try:
        dataset = stage_dataset(run, method.facts)
    except NoPairs as reason:
        _leave_out(run, settings, stage, weights, reason)
        return True
    run.reporter.doing(f"{name or 'main'}: loading {_short(weights)}")
    policy = method.load_policy(weights, settings)
    source = row_source(run, settings, policy, dataset)
    source, longest = method.fitting_rows(source, policy, settings, run.reporter)
    plan = plan_of_rows(run, name, settings, source, dataset)
    plan = method.fitting_plan(plan, settings, policy, source, longest)
    curriculum = None
    if name is MAIN:
        curriculum = stage_curriculum(run, settings, plan, source, policy, weights, dataset)
    context = StageContext(
        config=settings,
        plan=plan,
        stage=stage,
        writer=run.writer,
        store=CompletionStore(run.writer.path / "completions")
        if method.facts.samples and run.is_main_process
        else None,
        reporter=run.reporter,
        metadata=stage_metadata(run, settings, stage, weights, policy),
        data_folder=dataset.path,
        variation=source.variation,
        curriculum=curriculum,
        stop=run.stop,
        is_main_process=run.is_main_process,
        clock=PhaseClock(waits_for_device=run.is_main_process),
    )
    checkpoint = go_back(run, name, stage, context, weights)
    # Killed between the last checkpoint and the final weights.
    all_done = step_of(checkpoint) >= plan.steps or (checkpoint is not None and context.is_out_of_patience)
    if all_done:
        policy = method.load_policy(trained_weights(Path(str(checkpoint)), weights), settings)
    validator = method.validator(run, settings, policy) if name is MAIN else None
    if name is MAIN:
        say_what_is_kept(run, settings, validator)
    if validator is not None and settings.validation.before_and_after:
        measure_before(run, validator, policy)
        context.before = gathered(run.validation.get("before"))[0]  # what the main process knows
    trainer = build_trainer(context, policy, source, run.checks)
    measured = None
    if validator is not None:
        measured = Validation(context, validator, trainer)
        trainer.add_callback(measured)
    if is_wanted(context):
        trainer.add_callback(LargestFirst(context, trainer, longest))
    run.reporter.stage_begins(plan, step_of(checkpoint))
    try:
        if all_done:
            trainer.state.global_step = step_of(checkpoint)
        else:
            with non_finite_outputs_in_words(context, trainer):
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        run.reporter.stage_ends()
    if context.store is not None:
        context.store.close_part()
    if all_done and measured is not None and settings.validation.before_and_after:
        measured.measure_now()
    return _close_stage(run, context, trainer, measured)


def _close_stage(run: Run, context: StageContext, trainer: Any, measured: Validation | None) -> bool:
    """The final weights of a stage that came to its end; False where it did not."""
    from medgrpo.training.watch.finite import stop_error

    if context.is_sick:
        raise stop_error(context, trainer.state.global_step, context.is_sick)
    was_ended = trainer.state.global_step >= context.plan.steps or context.is_out_of_patience
    if context.was_stopped and not was_ended:
        return False
    if measured is not None:
        keep_after(run, context, measured.last, measured.validator)
    run.reporter.doing(f"{context.plan.name}: saving the weights")
    save_weights(trainer, context, context.stage.path / final_name(context.config))
    return True


def _short(weights: Weights) -> str:
    """The model's name, its folder's last two parts."""
    place = Path(weights.adapter or weights.base)
    return str(place) if len(place.parts) <= 2 else "/".join(place.parts[-2:])


def _leave_out(
    run: Run, settings: RunConfig, stage: StageFolder, weights: Weights, reason: Exception
) -> None:
    """Go past a stage that has nothing to learn from: its final weights are those that it would have begun with."""
    from accelerate import PartialState

    run.reporter.warn(
        f"the {stage.name} stage is left out: {reason}; the weights stay those of the stage before"
    )
    if run.is_main_process:
        final = stage.path / final_name(settings)
        publish_copy(weights.adapter or Path(weights.base), final, {"stage": stage.name, "left_out": True})
        entry = {"stage": stage.name, "reason": str(reason)}
        run.writer.update_info(left_out=[*run.writer.info.get("left_out", []), entry])
    PartialState().wait_for_everyone()
