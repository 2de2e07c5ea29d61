"""How hard the rows of the main stage are: found once, kept in the run folder, and made into its curriculum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medgrpo.training.before.curriculum import (
    FILE_NAME,
    Curriculum,
    read_difficulty,
    row_difficulty,
    write_difficulty,
)
from medgrpo.training.before.pass_rate import cache_key, cached_pass_rates, measured_pass_rates
from medgrpo.training.before.stage_rows import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.models.weights import Weights
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.run.state import Run
    from medgrpo.training.trainers.policy import Policy


def stage_curriculum(
    run: Run,
    settings: RunConfig,
    plan: StagePlan,
    source: RowSource,
    policy: Policy,
    weights: Weights,
    dataset: PreparedDataset,
) -> Curriculum | None:
    """The main stage's curriculum; how hard the rows are is found once and kept in the run folder."""
    from accelerate import PartialState

    if settings.curriculum.by is None:
        return None
    path = run.writer.path / FILE_NAME
    steps_per_chunk = plan.steps_per_batch

    def rates() -> NDArray[np.float64]:
        progress = Progress(run.reporter, len(source.rows), "pass rate measured")
        return cached_pass_rates(
            cache_key(dataset.hash, source, weights, settings, run.checks.composite),
            source.rows,
            lambda: measured_pass_rates(
                policy,
                source,
                run.checks.composite,
                settings,
                image_path=dataset.image_path,
                on_block=progress,
            ),
            run.reporter.note,
        )

    if not path.is_file():
        difficulty = row_difficulty(source.rows, settings.curriculum, rates)
        if run.is_main_process:
            # A resumed run with more steps keeps the pace of this plan.
            about: dict[str, Any] = {
                "by": settings.curriculum.by,
                "chunks": -(-plan.steps // steps_per_chunk),
            }
            write_difficulty(path, source.rows, difficulty, about)
    PartialState().wait_for_everyone()
    difficulty, about = read_difficulty(path, len(source.rows))
    return Curriculum(
        difficulty,
        settings.curriculum,
        seed=settings.run.seed,
        chunk=plan.prompts_per_step,
        chunks=about["chunks"],
        steps_per_chunk=steps_per_chunk,
    )
