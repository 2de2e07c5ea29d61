"""How hard the rows of the main stage are: found once, kept in the run folder, and made into its curriculum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medgrpo.training.before.curriculum import (
    FILE_NAME,
    Curriculum,
    all_at_once,
    read_difficulty,
    row_difficulty,
    without_rates,
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
    from medgrpo.rewards.composite import CompositeReward
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
    import numpy as np
    from accelerate import PartialState

    wanted = settings.curriculum
    if wanted.by is None and not wanted.drop:
        return None
    path = run.writer.path / FILE_NAME
    steps_per_chunk = plan.steps_per_batch

    def rates(judge: CompositeReward) -> NDArray[np.float64]:
        progress = Progress(run.reporter, len(source.rows), "pass rate measured")
        return cached_pass_rates(
            cache_key(dataset.hash, source, weights, settings, judge),
            source.rows,
            lambda: measured_pass_rates(
                policy, source, judge, settings, image_path=dataset.image_path, on_block=progress
            ),
            run.reporter.note,
        )

    if not path.is_file():
        composite = run.checks.composite
        if wanted.by is None:
            difficulty = np.zeros(len(source.rows))
        else:
            difficulty = row_difficulty(source.rows, wanted, lambda: rates(composite), source.folder)
        if wanted.drop:
            metric = settings.validation.metric
            judge = composite if metric == "reward" else composite.alone(metric)
            difficulty = without_rates(difficulty, rates(judge), wanted.drop, at_least=plan.prompts_per_step)
            gone = int(np.isinf(difficulty).sum())
            shares = ", ".join(f"{share:g}" for share in wanted.drop)
            run.reporter.note(
                f"curriculum.drop: {gone} of {len(difficulty)} rows have a pass rate ({metric}) of {shares} and are left out; "
                "an epoch keeps its steps, the other rows come again"
            )
        if run.is_main_process:
            # A resumed run with more steps keeps the pace of this plan.
            about: dict[str, Any] = {
                "by": wanted.by or "nothing",
                **({"drop": list(wanted.drop)} if wanted.drop else {}),
                "chunks": -(-plan.steps // steps_per_chunk),
            }
            write_difficulty(path, source.rows, difficulty, about)
    PartialState().wait_for_everyone()
    difficulty, about = read_difficulty(path, len(source.rows))
    return Curriculum(
        difficulty,
        wanted if wanted.by is not None else all_at_once(wanted),
        seed=settings.run.seed,
        chunk=plan.prompts_per_step,
        chunks=about["chunks"],
        steps_per_chunk=steps_per_chunk,
    )
