"""The run record: what a training log says, whoever wrote it.

`read_run(path)` finds the format by looking at the content, never at the name alone, and gives one
shape for all: flat entries with TRL's keys, each step once.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medgrpo.foreign import reads
from medgrpo.runs.metric_names import DPO_REWARDS, is_understood, reward_components
from medgrpo.runs.readers import read
from medgrpo.runs.readers.parsed import Overlap, Stage
from medgrpo.runs.said import Clause, in_words
from medgrpo.runs.status import Status

__all__ = ["Overlap", "RunRecord", "Stage", "method_of", "read_run", "settle"]

Entry = dict[str, Any]

EARLIER_KEYS = {"step", "epoch", "total_steps", "elapsed_s", "stage", "event"}
"""Keys that say where an entry stands, not what was measured."""


@dataclass(frozen=True)
class RunRecord:
    """One run: its name, where it came from, and its history.

    `history` holds flat entries with TRL's keys, in step order, each step's measurements once: where a
    resumed run repeats steps, the later attempt counts and the earlier one stands in `overlaps`.
    """

    name: str
    source_format: str
    config: dict[str, Any]
    history: list[Entry]
    stages: list[Stage] = field(default_factory=list)
    finished: bool | None = None
    """Whether the run reached its end; None where the log cannot tell."""
    status: Status | None = None
    """How the run ended, or that it goes on; None where the log cannot tell."""
    error: str | None = None
    """Why the run failed."""
    path: Path | None = None
    total_steps: int | None = None
    overlaps: list[Overlap] = field(default_factory=list)
    remarks: list[Clause] = field(default_factory=list)
    """What the reader met on its way: unreadable lines, a cut last line, files joined."""
    method_hint: str | None = None
    folder: Path | None = None
    """The run folder, where there is one: it holds the completions."""
    validation: dict[str, Any] = field(default_factory=dict)
    """Held-out metrics before and after training, as the run recorded them."""

    @property
    def notes(self) -> list[str]:
        """The remarks in English."""
        return [in_words([remark]) for remark in self.remarks]

    @cached_property
    def keys(self) -> set[str]:
        """Every metric that some entry holds."""
        return {key for keys in set(map(tuple, self.history)) for key in keys} - EARLIER_KEYS

    @cached_property
    def unknown(self) -> list[str]:
        """Metrics that no rule and no curve knows by their name, in alphabetical order."""
        return sorted(key for key in self.keys if not is_understood(key))

    @property
    def steps(self) -> int:
        """The last step logged; 0 for an empty history."""
        return max((entry.get("step", 0) for entry in self.history), default=0)

    @cached_property
    def method(self) -> str:
        """`grpo`, `dpo`, `sft`, `masks`, or `unknown` where the log holds no metric that tells."""
        if self.method_hint:
            return self.method_hint
        return method_of(self.keys)

    @property
    def components(self) -> list[str]:
        """Names of the reward functions; one that only repeats a total that moves is left out."""
        names = reward_components(self.keys)
        total = self.series("reward")[1]
        if len(names) == 1 or len(set(total)) == 1:  # all 0: a gate that nothing passes is no repetition
            return list(names)
        return [name for name in names if self.series(f"rewards/{name}/mean")[1] != total]

    def series(self, key: str, *, finite: bool = True) -> tuple[list[int], list[float]]:
        """Steps and values of a metric, in step order.

        Args:
            key: TRL's name of it.
            finite: leave out NaN and infinity.
        """
        steps, values = self._series.get(key, ([], []))
        if finite and not all(map(math.isfinite, values)):
            kept = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
            return [step for step, _ in kept], [value for _, value in kept]
        return steps, values

    @cached_property
    def _series(self) -> dict[str, tuple[list[int], list[float]]]:
        """Every metric's steps and values, gathered from stretches of entries with the same keys."""
        series: dict[str, tuple[list[int], list[float]]] = {key: ([], []) for key in self.keys}
        for keys, entries in itertools.groupby(self.history, key=tuple):
            stretch = list(entries)
            its_steps = [entry["step"] for entry in stretch]
            columns = zip(*map(dict.values, stretch), strict=True)
            for key, column in zip(keys, columns, strict=True):
                if key in series:
                    steps, values = series[key]
                    steps.extend(its_steps)
                    values.extend(column)
        return series


def method_of(keys: set[str]) -> str:
    """The training method whose metrics these are."""
    if any(key == f"rewards/{name}" for key in keys for name in DPO_REWARDS):
        return "dpo"
    if "reward" in keys or reward_components(keys):
        return "grpo"
    return "sft" if {"loss", "train_loss", "eval_loss"} & keys else "unknown"


def settle(entries: list[Entry]) -> tuple[list[Entry], list[Overlap]]:
    """The history with each step's measurements once, and the overlaps that were taken out.

    An entry whose step lies before one already seen means that the run went back to a checkpoint: what had
    been logged from that step on is abandoned. An entry that measures again what the entry before it
    measured at the same step is merged into it (several processes, or the same line twice).
    """
    history: list[Entry] = []
    overlaps: list[Overlap] = []
    for entry in entries:
        if "step" not in entry:
            entry = {**entry, "step": history[-1]["step"] if history else 0}  # noqa: PLW2901 - made whole
        step = entry["step"]
        if history and step < history[-1]["step"]:
            kept = len(history)
            while kept and history[kept - 1]["step"] >= step:
                kept -= 1
            overlaps.append(Overlap(step, history[-1]["step"], len(history) - kept))
            del history[kept:]
        elif history and step == history[-1]["step"]:
            position = _measured_before(history, entry)
            if position is not None:
                history[position] = {**history[position], **entry}
                continue
        history.append(entry)
    return history, overlaps


def _measured_before(history: list[Entry], entry: Entry) -> int | None:
    """Position of the entry of the same step that holds the same measurements, if there is one."""
    measured = entry.keys() - EARLIER_KEYS
    for position in range(len(history) - 1, -1, -1):
        if history[position]["step"] != entry["step"]:
            return None
        if measured and measured & (history[position].keys() - EARLIER_KEYS):
            return position
    return None


@reads("path", "a training log, or a run folder")
def read_run(path: str | Path) -> RunRecord:
    """The run record of a log file or a run folder.

    Reads our run folders, `./logs/<run>.json` and `log.jsonl`; TRL and Transformers `trainer_state.json`;
    ms-swift `logging.jsonl`; LLaMA-Factory `trainer_log.jsonl`; EasyR1 and verl JSONL; other JSONL of
    metrics; and captures of a console.

    Raises:
        UsageError: there is nothing at the path.
        MedgrpoError: the file holds no log that we can read.
    """
    parsed = read(Path(path))
    history, overlaps = settle(parsed.entries)
    totals = [entry["total_steps"] for entry in history if entry.get("total_steps")]
    total = parsed.total_steps or (int(totals[-1]) if totals else None)
    record = RunRecord(
        name=parsed.name,
        source_format=parsed.source_format,
        config=parsed.config,
        history=history,
        stages=[Stage(stage.name, settle(stage.history)[0], stage.method) for stage in parsed.stages],
        finished=parsed.finished,
        status=parsed.status,
        error=parsed.error,
        path=Path(path),
        total_steps=total,
        overlaps=[*parsed.overlaps, *overlaps],
        remarks=parsed.remarks,
        method_hint=parsed.method,
        folder=parsed.folder,
        validation=parsed.validation,
    )
    if record.finished is None and total:
        return _with_finished(record, total)
    return record


def _with_finished(record: RunRecord, total: int) -> RunRecord:
    from dataclasses import replace

    return replace(record, finished=record.steps >= total)
