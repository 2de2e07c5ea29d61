"""Going back to a stage's last checkpoint."""

from __future__ import annotations

from pathlib import Path

from medgrpo.files import read_json
from medgrpo.models.weights import Weights
from medgrpo.runs.writer import StageFolder
from medgrpo.training.run.checkpoints import discard, half_written, record_of, restore, set_aside
from medgrpo.training.run.context import StageContext, gathered
from medgrpo.training.run.resume import resume_checkpoint, step_of
from medgrpo.training.run.state import MAIN, Run
from medgrpo.training.run.weight_folders import best_name
from medgrpo.training.run.whole_checkpoint import check_checkpoint


def go_back(
    run: Run, name: str | None, stage: StageFolder, context: StageContext, weights: Weights
) -> Path | None:
    """The checkpoint to continue from, whole; log, completions and checkpoints after it are set aside."""
    from medgrpo.training.trainers.base import STATE_FILE

    if run.resume is None:
        return None
    wanted = run.resume.checkpoint if name is MAIN else None
    checkpoint, notes = resume_checkpoint(stage.checkpoints, wanted)
    for note in notes:
        run.reporter.note(note)
    step = step_of(checkpoint)
    if checkpoint is not None:
        for note in check_checkpoint(checkpoint, weights, force_base=context.config.model.force_base):
            run.reporter.warn(note)
        state = read_json(checkpoint / STATE_FILE)
        context.load_state_dict(state)
        if (before := state.get("rows", context.plan.rows)) != context.plan.rows:
            run.reporter.warn(
                f"{context.plan.rows} rows fit the context now and {before} did before: their order is another"
            )
    best, best_step = run.writer.path / best_name(context.config), (context.best or {}).get("step")
    if run.is_main_process:
        for path in half_written(stage.checkpoints):
            discard(path)
        set_aside(stage.checkpoints, step)  # first: a kill from here on goes back to the same step
        if name is MAIN:
            restore(best, best_step)
        moved = run.writer.cut(stage, step)
        lost = context.store.abandon(stage.name, step) if context.store is not None else 0
        run.reporter.note(
            f"resuming {stage.name} after step {step}; set aside: {moved} log lines, {lost} completions"
        )
    gathered(None)  # wait for the main process
    if best_step is not None and context.config.validation.steps and record_of(best).get("step") != best_step:
        run.reporter.note(
            f"the best weights, of step {best_step}, were replaced later: chosen anew from here"
        )
        context.best = None
    if name is MAIN and run.is_main_process:
        run.writer.update_info(best=context.best)
    return checkpoint
