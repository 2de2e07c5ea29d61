"""How often the start model gets a row right: the difficulty that a curriculum by pass rate is made of."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.hashing import combined_hash, file_hash, settings_hash
from medgrpo.errors import MedgrpoError
from medgrpo.files import cache_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medgrpo.config.sections import RunConfig
    from medgrpo.models.weights import Weights
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.trainers.policy import Policy

BLOCK = 128
"""Rows that are sampled and scored at once."""
BATCH = 64
"""Completions of one forward pass."""
WEIGHT_FILES = re.compile(r".*\.(safetensors|bin)|config\.json|tokenizer\.json")


def measured_pass_rates(
    policy: Policy,
    source: RowSource,
    composite: CompositeReward,
    config: RunConfig,
    *,
    image_path: Callable[[str], Path],
    on_block: Callable[[int], None],
) -> NDArray[np.float64]:
    """(rows,) mean total reward of `curriculum.samples` completions per row; NaN where nothing judged it.

    Where the reward is 0 or 1 this is the pass rate. Sampled as in training, but always with Transformers;
    the processes share the blocks of rows. The random state is left as it was.
    """
    import numpy as np
    import torch
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from medgrpo.generation.generate import Sampling, generate
    from medgrpo.training.trainers.scoring import row_columns

    process, rollout, samples = PartialState(), config.rollout, config.curriculum.samples
    sampling = Sampling(
        rollout.max_completion_length,
        rollout.temperature,
        rollout.top_p,
        rollout.top_k,
        samples,
        min_p=rollout.min_p,
        repetition_penalty=rollout.repetition_penalty,
    )
    if torch.cuda.is_available() and not getattr(policy.model, "is_quantized", False):
        policy.model.to("cuda")
    rates: list[tuple[int, list[float]]] = []
    starts = range(0, len(source.rows), BLOCK)[process.process_index :: process.num_processes]
    with torch.random.fork_rng():
        for start in starts:
            torch.manual_seed(config.run.seed * 1_000_003 + start)
            rows = [source.asked(number) for number in range(start, min(start + BLOCK, len(source.rows)))]
            answers: list[list[str]] = [[] for _ in rows]
            for done in generate(
                policy.model,
                policy.processor,
                rows,
                source.template,
                image_path=image_path,
                sampling=sampling,
                batch_size=BATCH,
            ):
                answers[done.index] = done.completions
            texts = [text for row in answers for text in row]
            copies = [row for row in rows for _ in range(samples)]
            total = composite.score(texts, row_columns(copies)).total.reshape(len(rows), samples)
            rates.append((start, _means(total).tolist()))
            on_block(start + len(rows))
    if process.num_processes > 1:
        rates = gather_object(rates)
    return np.concatenate([np.asarray(block, np.float64) for _, block in sorted(rates)])


def _means(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean of each line over what is not NaN; NaN where all is."""
    import numpy as np

    judged = ~np.isnan(total)
    counts = judged.sum(axis=1)
    sums = np.where(judged, total, 0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def cached_pass_rates(
    key: str, rows: Sequence[Any], measure: Callable[[], NDArray[np.float64]], tell: Callable[[str], None]
) -> NDArray[np.float64]:
    """The pass rates that an earlier run measured for `key`, or those measured now and kept for the next.

    They lie in `$MEDGRPO_CACHE/pass_rate` (`~/.cache/medgrpo/pass_rate`), a table of id and difficulty.
    """
    import numpy as np
    from accelerate import PartialState

    from medgrpo.training.before.curriculum import read_difficulty, write_difficulty

    path = cache_folder() / "pass_rate" / f"{key}.parquet"
    is_there = path.is_file()
    PartialState().wait_for_everyone()  # before one of them writes it
    if is_there:
        tell(f"pass rate: as measured before ({path})")
        return 1 - read_difficulty(path, len(rows))[0]
    started = time.perf_counter()
    rates = measure()
    if np.isnan(rates).all():
        raise MedgrpoError("no reward judged any row, so there is no pass rate to order them by")
    if PartialState().is_main_process:
        write_difficulty(path, rows, 1 - rates, {"by": "pass_rate"})
    tell(
        f"pass rate: {len(rows)} rows sampled in {time.perf_counter() - started:.0f} s; mean reward "
        f"{np.nanmean(rates):.3f}, {np.mean(rates <= 0):.0%} of the rows earn nothing"
    )
    return rates


def cache_key(
    data_hash: str, source: RowSource, weights: Weights, config: RunConfig, composite: CompositeReward
) -> str:
    """Hash of all that a pass rate depends on: data, rows, weights, prompt, rewards, sampling."""
    rollout = config.rollout
    once_dropped = (
        bool(rollout.min_p) or rollout.repetition_penalty != 1
    )  # rates kept before are of other answers
    plugins = {source.rpartition(":")[0] for source in composite.sources if ":" in source}
    return settings_hash(
        {
            "data": data_hash,
            "rows": combined_hash(row["id"] for row in source.rows),
            "weights": [_weights_hash(weights.base, config.model.revision)]
            + ([_weights_hash(str(weights.adapter), None)] if weights.adapter else []),
            "model": config.model.model_dump(mode="json", exclude={"path"}),
            "template": source.template.to_dict(),
            "use_image_title": source.use_image_title,
            "coordinates": None if source.coordinates is None else source.coordinates.to_dict(),
            "rewards": [config.rewards.model_dump(mode="json"), composite.weights],
            "plugins": [file_hash(Path(name)) for name in sorted(plugins) if Path(name).is_file()],
            **({"sampling": 2} if once_dropped else {}),
            "rollout": rollout.model_dump(
                mode="json", exclude={"num_generations", "engine", "dynamic_sampling"}
            ),
            "samples": config.curriculum.samples,
            "seed": config.run.seed,
        }
    )


def _weights_hash(path: str, revision: str | None) -> str:
    """Hash of the files of a model folder; a hub name stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{revision}"
    files = sorted(file for file in folder.iterdir() if WEIGHT_FILES.fullmatch(file.name))
    return settings_hash({file.name: file_hash(file) for file in files})
