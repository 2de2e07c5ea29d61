"""The table of runs that were measured, by us or by others, and how far the estimate is from each.

python -m medgrpo.estimate.measured             # a table, as in BENCHMARKS.md
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from medgrpo.config.presets import resolve_run
from medgrpo.estimate.facts import Facts
from medgrpo.estimate.history import Calibration
from medgrpo.estimate.interval import spread_of
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import phases
from medgrpo.estimate.workload import Workload

COMMON = {"validation.before_and_after": "false"}


@dataclass(frozen=True)
class Measured:
    """One run that was measured: seconds a prompt, GiB of a GPU as torch or the driver gave them; None: not known."""

    name: str
    use: str
    """`fit`, `test`, or `older`: of a code path that is no longer run; `note` says which."""
    facts: Facts
    settings: tuple[str, ...]
    s_per_prompt: float | None
    gib: float | None
    source: str
    note: str
    phases: dict[str, float]
    """Seconds a prompt by phase of the log; empty where they were not kept."""
    mean_tokens: int | None = None
    """Image tokens of a prompt on average, where pictures are of several sizes; `facts.size` is the largest."""

    @property
    def is_own(self) -> bool:
        """Whether it is medgrpo that was measured."""
        return "BENCHMARKS" in self.source

    @property
    def is_fit(self) -> bool:
        """Whether constants were fitted to it."""
        return self.use == "fit"

    @property
    def is_older(self) -> bool:
        """Whether it is of code that is no longer run, so that it says nothing of a run today."""
        return self.use == "older"

    def work(self) -> Workload:
        """The workload that the estimate is asked for."""
        from medgrpo.estimate.facts import situation_of

        common = tuple(f"{key}={value}" for key, value in COMMON.items())
        resolved, _ = resolve_run("balanced", model="m", assignments=(*common, *self.settings))
        work = situation_of(resolved.config, self.facts).work
        return work if self.mean_tokens is None else replace(work, image_tokens=self.mean_tokens)


@dataclass(frozen=True)
class Residual:
    """A row beside its estimate; ratios are estimate over measured."""

    row: Measured
    s_per_prompt: float
    gib: float
    low: float
    high: float
    """The range of seconds that the estimate states."""

    @property
    def time_ratio(self) -> float | None:
        """None where no time was measured."""
        return self.s_per_prompt / self.row.s_per_prompt if self.row.s_per_prompt else None

    @property
    def memory_ratio(self) -> float | None:
        """None where no memory was measured."""
        return self.gib / self.row.gib if self.row.gib else None

    @property
    def is_inside(self) -> bool:
        """Whether the measured seconds lie in the stated range."""
        return self.row.s_per_prompt is None or self.low <= self.row.s_per_prompt <= self.high


def _settings(text: str) -> tuple[str, ...]:
    """`a=1;b=2` as words for `--set`; a `;` inside of braces does not occur."""
    return tuple(filter(None, text.split(";")))


@cache
def rows() -> tuple[Measured, ...]:
    """All rows of the table."""
    text = files("medgrpo.estimate").joinpath("measured.csv").read_text(encoding="utf-8")
    found = []
    for row in csv.DictReader(text.splitlines()):
        known = dict(word.split("=") for word in filter(None, row["facts"].split(";")))
        facts = Facts(
            model=row["model"],
            size=int(row["size"]) if row["size"] else None,
            samples=4096,
            gpu=row["card"],
            gpus=int(row["gpus"]),
            images=int(known.get("images", 1)),
            text_tokens=int(known["text"]) if "text" in known else None,
            completion_share=float(known["share"]) if "share" in known else None,
            target_tokens=int(known["target"]) if "target" in known else None,
            is_other_code=known.get("code") == "other",
            has_old_pass=known.get("old") == "pass",
            learns_past_tower=known.get("tower") == "back",
            fell_back=known.get("way") == "trl",
        )
        found.append(
            Measured(
                row["name"],
                row["use"],
                facts,
                _settings(row["settings"]),
                float(row["s_per_prompt"]) if row["s_per_prompt"] else None,
                float(row["gib"]) if row["gib"] else None,
                row["source"],
                row["note"],
                {
                    name: float(seconds)
                    for name, _, seconds in (
                        word.partition("=") for word in filter(None, (row["phases"] or "").split(";"))
                    )
                },
                int(known["mean"]) if "mean" in known else None,
            )
        )
    return tuple(found)


def residual(row: Measured) -> Residual:
    """The estimate of a row, nothing of this machine in it."""
    work = row.work()
    seconds = phases(work).total
    low, high = spread_of(work, Calibration()).factors
    memory = Memory(work)
    gib = (memory.torch_peak if row.is_own else memory.peak) / GIB  # others read the driver's
    return Residual(row, seconds, gib, seconds * low, seconds * high)


def share_within(ratios: list[float], limit: float) -> float:
    """Share of the ratios at most so far from 1, as a part of what was measured; 1 where there are none."""
    return sum(abs(ratio - 1) <= limit for ratio in ratios) / len(ratios) if ratios else 1.0


def summary(found: list[Residual]) -> dict[str, float]:
    """How many rows that nothing was fitted to lie how near; those of older code are counted apart."""
    test = [one for one in found if one.row.use == "test"]
    own = [one for one in test if one.row.is_own]
    older = [one for one in found if one.row.is_older]
    others = [one for one in test if not one.row.is_own]

    def times(part: list[Residual]) -> list[float]:
        return [one.time_ratio for one in part if one.time_ratio is not None]

    def memories(part: list[Residual]) -> list[float]:
        return [one.memory_ratio for one in part if one.memory_ratio is not None]

    timed = [one for one in test if one.time_ratio is not None]
    return {
        "rows": len(found),
        "test_rows": len(test),
        "own_test_rows": len(own),
        "own_time_within_25": share_within(times(own), 0.25),
        "older_rows": len(older),
        "older_time_within_25": share_within(times(older), 0.25),
        "own_memory_within_10": share_within(memories(own), 0.10),
        "published_time_within_40": share_within(times(others), 0.40),
        "published_memory_within_15": share_within(memories(others), 0.15),
        "inside_the_range": sum(one.is_inside for one in timed) / len(timed),
    }


def markdown(found: list[Residual]) -> str:
    """The tables of BENCHMARKS.md: rows of the code as it is, then those of older code with what it did otherwise."""
    lines = [
        "| run | used for | card | s a prompt | estimated | | GiB | estimated | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [f"| {one.row.name} | {one.row.use} {_figures(one)}" for one in found if not one.row.is_older]
    lines += [
        "",
        "| run with older code | what it did that is no longer done | card | s a prompt | estimated | | GiB | estimated | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [f"| {one.row.name} | {one.row.note} {_figures(one)}" for one in found if one.row.is_older]
    return "\n".join(lines)


def _figures(one: Residual) -> str:
    row = one.row
    card = f"{row.facts.gpus} × {row.facts.gpu}" if row.facts.gpus > 1 else row.facts.gpu
    return (
        f"| {card} | {_number(row.s_per_prompt)} | {_number(one.s_per_prompt)} | {_percent(one.time_ratio)} | "
        f"{_number(row.gib)} | {_number(one.gib)} | {_percent(one.memory_ratio)} |"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{100 * (ratio - 1):+.0f} %"


def main() -> None:
    """Print the table and its summary."""
    found = [residual(row) for row in rows()]
    print(markdown(found))
    print()
    print(json.dumps({name: round(value, 3) for name, value in summary(found).items()}, indent=1))


if __name__ == "__main__":
    main()
