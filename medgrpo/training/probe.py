"""Measure a few real training steps on this machine, the largest rows first, and correct the estimate by phase."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import mean, median
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Estimate, Facts, estimate
from medgrpo.estimate.history import Calibration
from medgrpo.estimate.interval import probed_range
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import phases
from medgrpo.estimate.workload import Workload
from medgrpo.run_files import log_entries, training_info

LEAST_BATCHES, MOST_BATCHES = 3, 40
SECONDS = 30.0
"""What is measured should take about so long: steps of one second differ by a tenth."""
WARM_UP_BATCHES = 1
"""The first step compiles kernels, fills caches, and is of the largest rows: what does not fit fails there."""


def measure(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """The estimate's document, corrected by what three steps (up to forty where they are short) took after one that warms up.

    The rows of the first are the largest of the data, so that what does not fit fails here. Those of the others are drawn
    as training draws them; each phase is compared with the estimate for just these rows, and the whole run is
    estimated with what came out.

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
    count = WARM_UP_BATCHES + measured_batches(found.work)
    with tempfile.TemporaryDirectory(prefix="medgrpo-probe-") as folder:
        steps = count * found.work.plan.steps_per_batch
        entries, peak = _train(config, facts, count, steps, Path(folder))
    batches = _batches(entries, found.work)
    share = _completion_share(config, [entry for batch in batches for entry in batch.entries], found.work)
    probed = [
        replace(found.work, completion_share=share, image_tokens=tokens)
        for tokens in _tokens_of(config, facts, found.work, batches)
    ]
    first = WARM_UP_BATCHES if len(batches) > WARM_UP_BATCHES else 0
    calibration = Calibration(factors(probed[first:], batches[first:]))
    apart = ratios(probed[first:], batches[first:], calibration.factors)
    corrected = replace(found, work=replace(found.work, completion_share=share), calibration=calibration)
    average = replace(probed[0], image_tokens=round(mean(work.image_tokens for work in probed[first:])))
    measured = [batch.s_per_prompt for batch in batches]
    return _document(corrected, average, measured, apart, len(entries), peak)


def measured_batches(work: Workload) -> int:
    """How many batches are worth measuring, by what the estimate says of one."""
    plan = work.plan
    each = phases(work).total * plan.prompts_per_step
    return max(LEAST_BATCHES, min(MOST_BATCHES, ceil(SECONDS / max(each, 1e-9))))


@dataclass(frozen=True)
class Batch:
    """What a batch of prompts took, with all steps that learned from it."""

    entries: list[dict[str, Any]]
    """Its lines of the log."""
    prompts: int

    @property
    def s_per_prompt(self) -> float:
        """Seconds for each of its prompts."""
        return float(sum(entry["s_per_prompt"] for entry in self.entries))

    def seconds(self, phase: str) -> float:
        """The same of a phase of the log."""
        return sum(float(entry.get(f"time/{phase}") or 0.0) for entry in self.entries) / self.prompts


def _batches(entries: list[dict[str, Any]], work: Workload) -> list[Batch]:
    each, prompts = work.plan.steps_per_batch, work.plan.prompts_per_step
    return [Batch(entries[start : start + each], prompts) for start in range(0, len(entries), each)]


def _train(
    config: RunConfig, facts: Facts, batches: int, steps: int, folder: Path
) -> tuple[list[dict[str, Any]], float | None]:
    """The log's lines of a run of so many batches in so many steps, and its most memory in GiB."""
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.reporter import SilentReporter

    training = config.training.model_copy(update={"max_steps": steps, "save_steps": steps * 10})
    validation = config.validation.model_copy(update={"before_and_after": False, "steps": 0})
    sizes = _has_sizes(facts.data)
    curriculum = largest_first(batches) if sizes else {"by": None}
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


def largest_first(batches: int) -> dict[str, Any]:
    """The curriculum in which the first of so many batches is of the largest rows, and all others are drawn of all."""
    return {
        "by": "column:image_tokens",
        "easy": "high",
        "schedule": "staged",
        "start": 1e-9,  # no more rows than a batch has
        "full_at": WARM_UP_BATCHES / batches,
        "drop": (),
    }


def _has_sizes(data: Path | None) -> bool:
    """Whether the rows say how large their pictures are."""
    from medgrpo.data.mixture import open_data

    dataset = open_data(str(data))
    return any(row.get("image_tokens") for row in dataset.rows("train", limit=50))


def _completion_share(config: RunConfig, entries: list[dict[str, Any]], work: Workload) -> float:
    """Mean length of the completions, as a share of the limit."""
    lengths = [entry["completions/mean_length"] for entry in entries if entry.get("completions/mean_length")]
    longest = config.rollout.max_completion_length
    return min(1.0, mean(lengths) / longest) if lengths else work.completion_share


def _tokens_of(config: RunConfig, facts: Facts, work: Workload, batches: list[Batch]) -> list[int]:
    """Image tokens of a prompt in each of the batches, on average: those of the largest rows in the first, and by the log's
    count of tokens in the others."""
    if not (work.image_tokens and _has_sizes(facts.data)):
        return [work.image_tokens] * len(batches)
    largest = _tokens_of_the_largest(config, facts, work)
    if largest == work.image_tokens:  # all of one size: what differs is text
        return [largest] * len(batches)
    prompts = prompt_tokens(batches, work)
    if prompts is None:
        return [largest, *[work.image_tokens] * (len(batches) - 1)]
    text = prompts[0] - largest
    return [largest, *(min(largest, max(0, round(tokens - text))) for tokens in prompts[1:])]


def prompt_tokens(batches: list[Batch], work: Workload) -> list[float] | None:
    """Tokens of a prompt in each batch, on average, with what SFT or DPO learn behind it; None: the log does not say."""
    sequences = work.plan.prompts_per_step * work.generations * work.method.sequences
    counts = [max(entry.get("num_tokens") or 0 for entry in batch.entries) for batch in batches]
    before = 0.0
    found = []
    for batch, count in zip(batches, counts, strict=True):
        if count <= before:
            return None
        lengths = [
            entry["completions/mean_length"]
            for entry in batch.entries
            if entry.get("completions/mean_length")
        ]
        found.append((count - before) / sequences - mean(lengths or [0.0]))
        before = count
    return found


def _tokens_of_the_largest(config: RunConfig, facts: Facts, work: Workload) -> int:
    """Image tokens of a prompt of the largest rows, as many as a batch has, on average."""
    from medgrpo.data.mixture import open_data
    from medgrpo.models.families import image_family
    from medgrpo.models.image_tokens import image_tokens

    factor, family = image_family("qwen2.5-vl").factor, image_family(work.shape.family)

    def seen(count: int) -> int:
        """Of a picture of so many tokens, as the dataset counts, with the limits on pixels."""
        side = round(count**0.5 * factor)
        return image_tokens(side, side, family, config.model.max_pixels, config.model.min_pixels)

    stored = [row.get("image_tokens") or 0 for row in open_data(str(facts.data)).rows("train")]
    largest = sorted(stored, reverse=True)[: work.plan.prompts_per_step]
    return round(mean(facts.images * seen(count) if count else 0 for count in largest))


def factors(probed: list[Workload], batches: list[Batch]) -> dict[str, float]:
    """Measured over estimated by phase, each batch beside the estimate for its own rows.

    A phase that the model has no time for goes with the update. The sum is right for the middle batch: one that
    something disturbed does not count.
    """
    modelled = [phases(work).of_the_log() for work in probed]
    sums = {name: sum(one[name] for one in modelled) for name in modelled[0]}
    took = {name: sum(batch.seconds(name) for batch in batches) for name in sums if sums[name] > 0}
    whole = sum(batch.s_per_prompt for batch in batches)
    took["update"] = max(whole - sum(took.values()) + took.get("update", 0.0), 1e-9)
    found = {name: took[name] / sums[name] if name in took else 0.0 for name in sums}
    middle = median(ratios(probed, batches, found))
    return {name: factor * middle for name, factor in found.items()}


def ratios(probed: list[Workload], batches: list[Batch], corrections: dict[str, float]) -> list[float]:
    """Of each batch, seconds measured over those that the corrected estimate says of its rows."""
    return [
        batch.s_per_prompt
        / sum(corrections[name] * seconds for name, seconds in phases(work).of_the_log().items())
        for batch, work in zip(batches, probed, strict=True)
    ]


def _document(
    corrected: Estimate,
    probed: Workload,
    measured: list[float],
    apart: list[float],
    steps: int,
    peak: float | None,
) -> dict[str, Any]:
    document = corrected.document()
    low, high = probed_range(apart)
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
        "hours_low": document["hours"] * low,
        "hours_high": document["hours"] * high,
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
