"""What this machine's processor can do: its cores, the threads that torch will use, its vectors and its clock."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANES = (("avx512f", 16, 1.5), ("avx2", 8, 2.0), ("avx", 8, 1.0), ("asimd", 4, 2.0), ("sse2", 4, 1.0))
"""Flag, float32 numbers of a vector, and fused multiply-adds of such vectors in a cycle: 512 bits are half as wide on many."""
GHZ = 2.6
"""Where the system does not say."""
GB_PER_CORE, MOST_GB = 12.0, 100.0
"""Memory bandwidth that one core can use, and a socket at best."""


@dataclass(frozen=True)
class Processor:
    """Attributes:
    threads: that a matrix product is shared by.
    cores: physical ones that they run on.
    vectors: the widest instruction set that is known here.
    tflops: in float32 at best, in TFLOP/s.
    gb_s: memory bandwidth, in GB/s.
    """

    threads: int
    cores: int
    vectors: str
    tflops: float
    gb_s: float

    def describe(self) -> str:
        """One line."""
        return f"{self.threads} thread(s) on {self.cores} core(s) of this machine, {self.vectors}"


def this_processor() -> Processor:
    """That of this machine, as far as this process may use it."""
    places = _allowed()
    cores = _physical(places)
    threads = _threads(cores)
    flags, ghz = _flags_and_clock()
    vectors, lanes, products = next((known for known in LANES if known[0] in flags), ("scalar", 2, 1.0))
    at_work = min(threads, cores)
    return Processor(
        threads,
        cores,
        vectors,
        at_work * lanes * products * 2 * ghz / 1e3,
        min(MOST_GB, GB_PER_CORE * at_work),
    )


def _allowed() -> list[int]:
    """Processors that this process may run on, no more than its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        found = sorted(os.sched_getaffinity(0))
    else:
        found = list(range(os.cpu_count() or 1))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        most = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # none, or "max"
        return found
    return found[:most]


def _physical(places: list[int]) -> int:
    """Cores behind these processors: two threads of one core share its arithmetic."""
    found = set()
    for place in places:
        topology = Path(f"/sys/devices/system/cpu/cpu{place}/topology")
        try:
            found.add((topology / "physical_package_id").read_text() + (topology / "core_id").read_text())
        except OSError:
            return len(places)
    return max(1, len(found))


def _threads(cores: int) -> int:
    """As torch chooses them: OMP_NUM_THREADS, else one for each core."""
    try:
        said = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    except ValueError:
        return cores
    return said if said > 0 else cores


@cache
def _flags_and_clock() -> tuple[frozenset[str], float]:
    """Instruction sets and GHz by /proc/cpuinfo; elsewhere only that 64 bits have some vectors."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset({"asimd" if platform.machine() in {"arm64", "aarch64"} else "avx2"}), GHZ
    said: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        said.setdefault(name.strip().lower(), value.strip())
    try:
        ghz = max(1.0, float(said.get("cpu mhz", "")) / 1e3)
    except ValueError:
        ghz = GHZ
    return frozenset((said.get("flags") or said.get("features") or "").split()), ghz
