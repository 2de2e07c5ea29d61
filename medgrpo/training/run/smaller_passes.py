"""A stage that runs out of memory, again in smaller passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgrpo.config.layers import to_toml
from medgrpo.config.plan import plan_stage, section_of, stage_settings, with_training
from medgrpo.files import write_text
from medgrpo.places import written_places
from medgrpo.training.run.one_stage import run_stage
from medgrpo.training.run.resume import ResumePoint
from medgrpo.training.watch.oom import is_out_of_memory, smaller_batch

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.models.weights import Weights
    from medgrpo.runs.writer import StageFolder
    from medgrpo.training.run.state import Run


def run_stage_that_fits(
    run: Run, name: str | None, settings: RunConfig, stage: StageFolder, weights: Weights
) -> bool:
    """Train one stage; out of memory, again from its last checkpoint in smaller passes, if that was allowed."""
    while True:
        try:
            return run_stage(run, name, settings, stage, weights)
        except Exception as error:
            size = _retry_size(run, name, settings, error)
            if size is None:
                raise
            what = str(error).splitlines()[0]
        # Here the error is gone, and with it the trainer that it held.
        _free_memory()
        run.config = with_training(
            run.config, name, per_device_train_batch_size=size, gradient_accumulation_steps=None
        )
        settings = stage_settings(run.config, name)
        run.resume = ResumePoint(run.writer.path)
        retry = {"stage": stage.name, "per_device_train_batch_size": size, "error": what}
        run.writer.update_info(retries=[*run.writer.info.get("retries", []), retry])
        write_text(run.writer.path / "config.toml", written_places(to_toml(run.config), run.writer.path))
        run.reporter.warn(
            f"{what}: going on with {section_of(name)}.per_device_train_batch_size = {size} (same result)"
        )


def _retry_size(run: Run, name: str | None, settings: RunConfig, error: Exception) -> int | None:
    # With several processes the others wait for the one that failed: the launcher has to end them.
    if not settings.training.retry_on_oom or run.world_size > 1 or not is_out_of_memory(error):
        return None
    return smaller_batch(plan_stage(run.config, len(run.rows), stage=name))


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
