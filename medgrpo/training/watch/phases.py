"""What a step's time went to: rows made ready, sampling, scoring, log probabilities, the update."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("prepare", "sync", "prefill", "rollout", "wait", "reward", "vision", "logprobs", "update")
"""Of a step, in this order; what is in none of the others is the update."""


class PhaseClock:
    """Seconds of the step under way, by phase. Each second counts once: a phase inside another stops that one.

    On CUDA work goes on after the call that asked for it: at each border the clock waits for the device, so
    that a phase pays for its own work. That costs next to nothing: sampling ends with tokens on the CPU and the
    log of a step reads its loss anyway; only scoring can no longer run beside the end of the forward passes
    for old and reference log probabilities.
    """

    def __init__(self, *, waits_for_device: bool = True) -> None:
        self._waits_for_device = waits_for_device
        self.start()

    def start(self) -> None:
        """Count from here."""
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phase = "update"
        self._since = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """Seconds in each phase since `start`; they add up to the time in between."""
        self.turn_to("update")
        return dict(self._seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside belongs to this phase, then to the one before again."""
        before = self.turn_to(name)
        try:
            yield
        finally:
            self.turn_to(before)

    def turn_to(self, name: str) -> str:
        """Book the time so far on the phase that ends; which one it was."""
        if self._waits_for_device:
            _wait_for_device()
        now = time.perf_counter()
        self._seconds[self._phase] += now - self._since
        ended, self._phase, self._since = self._phase, name, now
        return ended


def _wait_for_device() -> None:
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
