"""Measure a few real training steps on this machine, largest rows first, and correct the estimate by phase."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Estimate, Facts, estimate
from medgrpo.estimate.from_run import actual_phases
from medgrpo.estimate.history import Calibration
from medgrpo.estimate.interval import PROBED
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import phases
from medgrpo.estimate.workload import Workload
from medgrpo.run_files import log_entries, training_info

MEASURED_BATCHES = 3
WARM_UP_BATCHES = 1  # the first step compiles kernels and fills caches


def measure(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """The estimate's document, corrected by what three steps took after one that warms up.

    Their rows are the largest of the data, so that what does not fit fails here; each phase is compared with the
    estimate for just these rows, and the whole run is estimated with what came out.

    Args:
        config: as it would be trained, with the model's and the dataset's real path.

    Raises:
        UsageError: no model or no prepared dataset is named.
    """
    if facts.model is None or facts.data is None:
        raise UsageError(
            "--probe trains a few steps, so it needs a model and a dataset",
            hint="--model MODEL --data DATASET",
        )
    found = estimate(config, facts, calibrated=False)
    with tempfile.TemporaryDirectory(prefix="medgrpo-probe-") as folder:
        entries, peak = _train(config, facts, found.work, Path(folder))
    each = found.work.plan.steps_per_batch
    batches = [entries[start : start + each] for start in range(0, len(entries), each)]
    kept = [entry for batch in batches[WARM_UP_BATCHES:] or batches for entry in batch]
    measured = [sum(entry["s_per_prompt"] for entry in batch) for batch in batches]
    probed = _as_measured(config, facts, found.work, kept)
    calibration = Calibration(_factors(probed, kept, measured, each))
    corrected = replace(
        found, work=replace(found.work, completion_share=probed.completion_share), calibration=calibration
    )
    return _document(corrected, probed, measured, len(entries), peak)


def _train(
    config: RunConfig, facts: Facts, work: Workload, folder: Path
) -> tuple[list[dict[str, Any]], float | None]:
    """The log's lines of a short run, and its most memory in GiB."""
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.reporter import SilentReporter

    steps = (WARM_UP_BATCHES + MEASURED_BATCHES) * work.plan.steps_per_batch
    training = config.training.model_copy(update={"max_steps": steps, "save_steps": steps * 10})
    validation = config.validation.model_copy(update={"before_and_after": False, "steps": 0})
    sizes = _has_sizes(facts.data)
    curriculum = (
        {"by": "column:image_tokens", "schedule": "sorted", "easy": "high"} if sizes else {"by": None}
    )
    probe = config.model_copy(
        update={
            "training": training,
            "curriculum": config.curriculum.model_copy(update=curriculum),  # no pass over all rows
            "validation": validation,
            "stages": {},
            "data": config.data.model_copy(update={"path": str(facts.data)}),
            "model": config.model.model_copy(update={"path": facts.model}),
            "logging": config.logging.model_copy(update={"report_to": ()}),
        }
    )
    output = folder / "run"
    train(probe, name="probe", reporter=SilentReporter(), output=output, logs=None)
    peak = training_info(output).get("peak_memory_gib")
    return [entry for entry in log_entries(output / "log.jsonl") if "s_per_prompt" in entry], peak


def _has_sizes(data: Path | None) -> bool:
    """Whether the rows say how large their pictures are."""
    from medgrpo.data.mixture import open_data

    dataset = open_data(str(data))
    return any(row.get("image_tokens") for row in dataset.rows("train", limit=50))


def _as_measured(config: RunConfig, facts: Facts, work: Workload, kept: list[dict[str, Any]]) -> Workload:
    """The workload of the probe's own rows: their pictures, and completions as long as they were."""
    longest = config.rollout.max_completion_length
    lengths = [entry["completions/mean_length"] for entry in kept if entry.get("completions/mean_length")]
    share = min(1.0, mean(lengths) / longest) if lengths else work.completion_share
    if work.image_tokens and _has_sizes(facts.data):
        from medgrpo.data.mixture import open_data
        from medgrpo.models.families import image_family
        from medgrpo.models.image_tokens import image_tokens

        tokens = sorted(
            (row.get("image_tokens") or 0 for row in open_data(str(facts.data)).rows("train")), reverse=True
        )
        warm = work.plan.prompts_per_step * WARM_UP_BATCHES
        counted = tokens[warm : warm + work.plan.prompts_per_step * MEASURED_BATCHES] or tokens
        factor, family = image_family("qwen2.5-vl").factor, image_family(work.shape.family)
        sides = [round(count**0.5 * factor) for count in counted if count]
        limits = (config.model.max_pixels, config.model.min_pixels)
        seen = sum(image_tokens(side, side, family, *limits) for side in sides)
        return replace(work, completion_share=share, image_tokens=round(seen / len(counted)))
    return replace(work, completion_share=share)


def _factors(
    probed: Workload, kept: list[dict[str, Any]], measured: list[float], each: int
) -> dict[str, float]:
    """Measured over estimated by phase; one factor for all where the log has no phases."""
    modelled = phases(probed)
    by_phase = modelled.of_the_log()
    took = median(measured[WARM_UP_BATCHES:] or measured)
    actual = actual_phases(kept)
    if not actual:
        return dict.fromkeys(by_phase, took / modelled.total)
    actual = {name: seconds * each for name, seconds in actual.items()}
    # A phase that the model has no time for goes with the update, so that the sum is what was measured.
    known = {name: seconds for name, seconds in actual.items() if by_phase[name] > 0}
    rest = took - sum(known.values()) + known.get("update", 0.0)
    known["update"] = max(rest, 1e-9)
    factors = {name: seconds / by_phase[name] for name, seconds in known.items()}
    return {name: factors.get(name, 0.0) for name in by_phase}


def _document(
    corrected: Estimate, probed: Workload, measured: list[float], steps: int, peak: float | None
) -> dict[str, Any]:
    document = corrected.document()
    memory = Memory(probed).torch_peak / GIB
    if peak is not None and memory:
        scale = peak / memory
        document["memory_gib"]["peak"] *= scale
        document["fits"] = document["memory_gib"]["peak"] <= 0.95 * corrected.work.gpu.memory_gib
        document["verdict"] = (
            f"{'fits' if document['fits'] else 'does NOT fit'}: the largest rows held {peak:.1f} GiB here"
        )
    return document | {
        "source": "probe",
        "hours_low": document["hours"] * PROBED[0],
        "hours_high": document["hours"] * PROBED[1],
        "range_source": f"{steps} real steps on this machine",
        "probe": {
            "steps": steps,
            "s_per_prompt": measured,
            "peak_memory_gib": peak,
            "image_tokens": probed.image_tokens,
            "completion_share": probed.completion_share,
            "factors": corrected.calibration.factors,
        },
    }
