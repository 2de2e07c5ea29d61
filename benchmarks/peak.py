"""Peak memory and seconds of one run among several in a process."""

import gc
import time
from dataclasses import dataclass

import torch


@dataclass
class Peak:
    """What a run took beside what was held before it began."""

    held: int = 0
    begin: float = 0.0

    def __post_init__(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated()
        self.begin = time.perf_counter()

    @property
    def gib(self) -> float | None:
        """GiB that torch had at most; None without a GPU."""
        if not torch.cuda.is_available():
            return None
        return round((torch.cuda.max_memory_allocated() - self.held) / 2**30, 2)

    @property
    def wall_s(self) -> float:
        """Seconds since the run began."""
        return round(time.perf_counter() - self.begin, 1)
