"""Health of a run: the verdict over a whole log, and a monitor that is fed step by step during training."""

from __future__ import annotations

from typing import Any

from medgrpo.foreign import reads
from medgrpo.methods import SAMPLING
from medgrpo.runs.findings import ORDER, Finding, Health, Severity, judge
from medgrpo.runs.metric_names import JUDGED, canonical_entry
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules import end_of, findings_of
from medgrpo.runs.said import say

__all__ = ["Finding", "Health", "HealthMonitor", "assess"]

MEASUREMENTS = ("loss", "reward", "eval_loss", "eval_reward")
LIVE_PATIENCE = {"reward_trend": 100, "supervised_loss": 50}
"""Entries that a rule waits for in a live run before it warns that nothing has happened yet."""


@reads("run", "a training log whose entries are numbers by name")
def assess(run: RunRecord, *, completions: bool = False) -> Health:
    """The verdict on a run, with every finding.

    Args:
        run: the run.
        completions: look at the completions in its run folder too, for repetition; takes half a second.
    """
    if not run.history and any(remark.template == "wandb_binary" for remark in run.remarks):
        return Health("not_understood", findings_of(run))
    if run.history and not run.keys & JUDGED and not run.components:
        return judge(ended, 0) if (ended := end_of(run)) else Health("not_understood", [])
    entries = sum(any(key in entry for key in MEASUREMENTS[:2]) for entry in run.history)
    return judge([*findings_of(run), *(_stored_findings(run) if completions else [])], entries)


def _stored_findings(run: RunRecord) -> list[Finding]:
    """What the completions in the run folder show; nothing without a run folder."""
    if run.folder is None or run.method not in SAMPLING:
        return []
    from medgrpo.runs.store import read_recent_rows
    from medgrpo.runs.stories import variety

    found = variety(read_recent_rows(run.folder))
    if found is None or found.distinct >= 0.3:
        return []
    said = [say("mostly_same", share=1 - found.distinct, groups=found.groups)]
    severity: Severity = "abnormal" if found.distinct < 0.15 else "warning"
    if found.repeated_reward is not None and found.repeated_reward >= 0.8:
        severity = "info"
        said.append(say("repeats_are_right", share=found.repeated_reward))
    return [Finding("repetition", severity, tuple(said), "repetition", run.steps)]


class HealthMonitor:
    """Judges a run while it trains: feed it every log entry, it answers with what is new.

    Rules look at the whole history, so they are run at every entry at first and then each time the history
    has grown by a twentieth: the cost stays linear in the number of steps. NaN is looked for at every entry.

    Args:
        method: grpo, sft, dpo or masks; guessed from the metrics if None.
        config: the resolved configuration; the KL rule reads `beta` from it.

    Example:
        >>> monitor = HealthMonitor(method="grpo")
        >>> [finding.rule for finding in monitor.update({"step": 1, "loss": float("nan")})]
        ['nan']
    """

    def __init__(self, *, method: str | None = None, config: dict[str, Any] | None = None) -> None:
        self._method = method
        self._config = config or {}
        self._history: list[dict[str, Any]] = []
        self._reported: dict[str, str] = {}
        self._next_look = 1

    @property
    def record(self) -> RunRecord:
        """The run as it stands."""
        return RunRecord("live", "live", self._config, self._history, method_hint=self._method)

    def update(self, entry: dict[str, Any]) -> list[Finding]:
        """Takes one log entry in; the findings that are new or worse than before, infos left out.

        Entries of an earlier step than the last are taken as a resumed run: what came after that step goes.
        """
        entry = canonical_entry(entry)
        entry.setdefault("step", self._history[-1]["step"] + 1 if self._history else 1)
        while self._history and self._history[-1]["step"] > entry["step"]:
            self._history.pop()
        self._history.append(entry)
        broken = any(entry.get(key, 0.0) - entry.get(key, 0.0) != 0 for key in MEASUREMENTS)
        if len(self._history) < self._next_look and not broken:
            return []
        self._next_look = len(self._history) + max(1, len(self._history) // 20)
        return [finding for finding in findings_of(self.record) if self._is_news(finding)]

    def _is_news(self, finding: Finding) -> bool:
        if finding.severity == "warning" and len(self._history) < LIVE_PATIENCE.get(finding.rule, 0):
            return False
        before = self._reported.get(finding.rule, "info")
        if ORDER[finding.severity] <= ORDER[before]:
            return False
        self._reported[finding.rule] = finding.severity
        return True

    def report(self) -> Health:
        """The verdict on everything fed so far."""
        return assess(self.record)
