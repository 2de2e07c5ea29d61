"""The estimate of one run: from a configuration and a few facts to hours, memory and advice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.estimate.advice import Advice, advise
from medgrpo.estimate.disk import Disk
from medgrpo.estimate.facts import DEFAULT_ROWS, DEFAULT_SIZE, Facts, situation_of
from medgrpo.estimate.history import Calibration, calibration_of
from medgrpo.estimate.interval import spread_of
from medgrpo.estimate.memory import GIB, Memory, fits, memory_gib
from medgrpo.estimate.time import Hours, Phases, hours, phases
from medgrpo.estimate.workload import DEAD_SHARE_HIGH, DEAD_SHARE_LOW, Workload

__all__ = ["DEFAULT_ROWS", "DEFAULT_SIZE", "Estimate", "Facts", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """An estimate and how it came about."""

    config: RunConfig
    facts: Facts
    work: Workload
    gpu_source: str
    notes: list[str]
    stored_tokens: int
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def phases(self) -> Phases:
        """Seconds per prompt of the main stage by phase, corrected by what runs on this machine took."""
        return phases(self.work).scaled(self.calibration.factors)

    @property
    def s_per_prompt(self) -> float:
        """Seconds per prompt of the main stage, all of its completions included."""
        return self.phases.total

    @property
    def hours(self) -> Hours:
        """Of the whole run."""
        spent = hours(self.work)
        factor = self.s_per_prompt / phases(self.work).total
        return Hours(*(part * factor for part in spent))

    @property
    def hours_range(self) -> tuple[float, float]:
        """Between which hours four of five runs end (`interval`)."""
        factor = self.s_per_prompt / phases(self.work).total
        least, most = (
            factor * sum(hours(replace(self.work, dead_share=share)))
            for share in (DEAD_SHARE_LOW, DEAD_SHARE_HIGH)
        )
        low, high = spread_of(self.work, self.calibration).factors
        return least * low, most * high

    @property
    def memory(self) -> Memory:
        """What it needs on the fullest GPU."""
        return Memory(self.work)

    def advice(self, *, is_short: bool | None = None) -> list[Advice]:
        """What would save most (`advise`)."""
        factor = sum(self.hours) / max(1e-12, sum(hours(self.work)))
        return advise(self.config, self.facts, self.work, is_short=is_short, factor=factor)

    def document(self, *, with_advice: bool = True) -> dict[str, Any]:
        """The JSON document of `medgrpo estimate-time`."""
        work, memory = self.work, self.memory
        spent, plan, per_phase = self.hours, work.plan, self.phases
        low, high = self.hours_range
        return {
            "hours": sum(spent),
            "hours_low": low,
            "hours_high": high,
            "range_source": spread_of(work, self.calibration).reason,
            "validation_hours": spent.validation,
            "pass_rate_hours": spent.pass_rate,
            "s_per_prompt": per_phase.total,
            "prompts_per_hour": 3600 / per_phase.total,
            "steps": plan.steps,
            "epochs": plan.epochs,
            "prompts_per_step": plan.prompts_per_step,
            "generations": work.generations,
            "rows": plan.rows,
            "image_tokens": work.image_tokens,
            "image_tokens_uncapped": self.stored_tokens,
            "memory_gib": memory_gib(work),
            "memory_by_phase_gib": {phase: held / GIB for phase, held in memory.by_phase.items()},
            "tightest_phase": memory.tightest,
            "host_memory_gib": memory.host_gib,
            "checkpoint_gib": Disk(work).checkpoint / GIB,
            "disk_gib": Disk(work).peak / GIB,
            "vllm_needs_gib": memory.vllm_needs / GIB,
            "fits": fits(work),
            "verdict": memory.verdict(),
            "advice": [advice.as_dict() for advice in self.advice()] if with_advice else [],
            "phases": vars(per_phase),
            "source": "model",
            "calibration": self.calibration.as_dict(),
            "model": work.shape.name,
            "parameters": work.shape.parameters,
            "gpu": work.gpu.name,
            "gpu_memory_gib": work.gpu.memory_gib,
            "gpu_source": self.gpu_source,
            "gpu_figures": work.gpu.source,
            "gpus": work.gpus,
            "method": work.config.training.method,
            "engine": work.config.rollout.engine,
            "notes": self.notes,
        }


def estimate(config: RunConfig, facts: Facts, *, calibrated: bool = True) -> Estimate:
    """What a run with this configuration costs.

    Args:
        calibrated: let finished runs of this machine correct it (`history`), where the GPU is this machine's.

    Raises:
        UsageError: an unknown model or GPU, no prepared dataset, or a batch that cannot be divided.
    """
    found = situation_of(config, facts)
    calibration = calibration_of(found.work) if calibrated and facts.gpu == "auto" else Calibration()
    notes = [*found.notes, *_assumptions(found.work)]
    if calibration.runs:
        notes.append(calibration.words())
    return Estimate(config, facts, found.work, found.gpu_source, notes, found.uncapped_tokens, calibration)


def _assumptions(work: Workload) -> list[str]:
    """What the hours take for granted of what only the run can tell."""
    notes = []
    if work.resampled:
        notes.append(
            f"rollout.dynamic_sampling = {len(work.resampled)}: {100 * work.dead_share:.0f} % of the groups are assumed to "
            f"be without spread and drawn again; the range spans {100 * DEAD_SHARE_LOW:.0f} to {100 * DEAD_SHARE_HIGH:.0f} %"
        )
    if work.draws_masks and not work.shape.widths:
        notes.append(
            "masks: Sa2VA is meant, with SAM 2's pass and the drawn masks; other mask models were never measured"
        )
    if work.draws_masks and not (work.config.masks.image_size or work.config.masks.patch_size):
        notes.append(
            f"masks.image_size is not set: pictures of {512 if work.shape.widths else 1024} px are taken"
        )
    curriculum = work.config.curriculum
    if curriculum.by == "pass_rate" or curriculum.drop:
        what = "curriculum.by = pass_rate" if curriculum.by == "pass_rate" else "curriculum.drop"
        notes.append(
            f"{what}: {work.plan.rows} rows × {curriculum.samples} completions are sampled "
            f"before training ({60 * hours(work).pass_rate:.0f} min, once: they are kept for later runs)"
        )
    if work.gpu.maker == "huawei":
        notes.append(
            f"{work.gpu.name}: an engine that medgrpo was never run on; whether it runs at all is not known"
        )
    elif work.gpu.maker == "amd":
        notes.append(f"{work.gpu.name}: figures by data sheet; medgrpo was never measured on ROCm")
    if work.gpu.is_cpu:
        notes.append("processor hours: rough; --probe measures a few steps here")
    return notes
