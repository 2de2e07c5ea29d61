"""GiB that a run's folder takes while it is written: checkpoints, best and final weights, of each stage."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from medgrpo.estimate.memory import GIB, OPTIMIZER_BYTES, Memory
from medgrpo.estimate.time import trained_parameters
from medgrpo.estimate.workload import Workload

PAGED_BYTES = {"paged_adamw_8bit": 2.2, "paged_adamw_32bit": 8.0}
"""Of each trained weight: a checkpoint holds what the GPU leaves to the host."""
FLOAT32 = 4.0
BEST_COPIES = 2
"""Of the best weights: they, and those that they replaced until the next checkpoint; a third while they are written."""


@dataclass(frozen=True)
class Disk:
    """What a run writes, in bytes; `peak` is what must be free before it begins."""

    work: Workload

    @property
    def weights(self) -> float:
        """One folder of weights: the adapter in float32, or the whole model."""
        work = self.work
        return FLOAT32 * trained_parameters(work) if work.has_lora else Memory(work).base

    @property
    def checkpoint(self) -> float:
        """One checkpoint: weights and optimiser; DeepSpeed writes float32 weights and the module's own beside them."""
        work, trained = self.work, trained_parameters(self.work)
        optim = work.config.training.optim
        states = trained * PAGED_BYTES.get(optim, OPTIMIZER_BYTES.get(optim, 8.0))
        if work.config.launch.deepspeed:
            states += FLOAT32 * trained
            states += 0.0 if work.shares_weights else self.weights
        return self.weights + states

    @property
    def saves(self) -> int:
        """Checkpoints that the main stage writes, one of them at its end."""
        return -(-self.work.plan.steps // self.work.config.training.save_steps)

    @property
    def kept(self) -> int:
        """Checkpoints that stay."""
        return min(self.saves, self.work.config.training.save_total_limit)

    @property
    def left(self) -> float:
        """By the main stage, at its end."""
        best = self.weights if self.work.config.validation.steps else 0.0
        return self.kept * self.checkpoint + best + self.weights

    @property
    def peak_of_stage(self) -> float:
        """While the main stage is trained: the oldest checkpoint goes when the new one is whole."""
        most = min(self.saves, self.work.config.training.save_total_limit + 1)
        best = BEST_COPIES * self.weights if self.work.config.validation.steps else 0.0
        writes_best = self.kept * self.checkpoint + best + (self.weights if best else 0.0)
        return max(most * self.checkpoint + best, writes_best, self.left)

    @property
    def peak(self) -> float:
        """Most at once over all stages; what the stages before left stays."""
        left, most = 0.0, 0.0
        for stage in [*self._before, self]:
            most = max(most, left + stage.peak_of_stage)
            left += stage.left
        return most

    @property
    def _before(self) -> list[Disk]:
        unmeasured = {"steps": 0}  # validation is the main stage's
        return [
            Disk(
                replace(
                    work,
                    config=work.config.model_copy(
                        update={"validation": work.config.validation.model_copy(update=unmeasured)}
                    ),
                )
            )
            for work in self.work.warm_up
        ]

    def with_training(self, **changes: int) -> Disk:
        """The same run with other settings of `training` in its main stage."""
        config = self.work.config
        training = config.training.model_copy(update=changes)
        return Disk(replace(self.work, config=config.model_copy(update={"training": training})))


def free_bytes(folder: Path) -> int:
    """Room on the disk where a folder is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def room_warning(work: Workload, folder: Path) -> str | None:
    """That the run will not fit on its disk, and what to set; None where it does.

    Args:
        folder: of the run; what it holds already (a run that is resumed) counts as room.
    """
    disk = Disk(work)
    written = [file for file in folder.rglob("*") if file.is_file() and "abandoned-" not in file.as_posix()]
    free = free_bytes(folder) + sum(file.stat().st_size for file in written)
    if disk.peak <= free:
        return None
    is_more = min(disk.saves, disk.kept + 1) > disk.kept
    kept = f"{disk.kept} checkpoint{'s' if disk.kept > 1 else ''} of {disk.checkpoint / GIB:,.1f} GiB"
    return (
        f"the run needs up to {disk.peak / GIB:,.1f} GiB on the disk of {folder} ({kept}"
        f"{', one more while it is written' if is_more else ''}, weights of {disk.weights / GIB:,.1f} GiB), and {free / GIB:,.1f} GiB "
        f"are free: {_what_fits(disk, free)}"
    )


def _what_fits(disk: Disk, free: float) -> str:
    """The settings with which the run fits: fewer checkpoints kept, one at the end; or that none is enough."""
    last = disk.work.plan.steps
    for words, changes in (
        ("--set training.save_total_limit=1", {"save_total_limit": 1}),
        (f"--set training.save_steps={last} (one checkpoint, at the end)", {"save_steps": last}),
    ):
        peak = disk.with_training(**changes).peak
        if peak <= free and peak < disk.peak:
            return f"{words} needs {peak / GIB:,.1f} GiB"
    return "make room, or --output on another disk"
