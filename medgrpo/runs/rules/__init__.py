"""The health rules: small checks by theme, each theme with its table; `RULES` has them all."""

from __future__ import annotations

from medgrpo.runs.findings import Finding
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules import learning, log, machinery, policy, sampled
from medgrpo.runs.rules.rule import Rule

__all__ = ["RULES", "Rule", "findings_of"]

RULES: tuple[Rule, ...] = (
    *machinery.RULES,
    *learning.RULES,
    *policy.RULES,
    *sampled.RULES,
    *log.RULES,
)
"""Of equally bad findings those of the first rule here are told first."""


def end_of(run: RunRecord) -> list[Finding]:
    """That the run failed or was killed, whatever its log measures."""
    return [one for one in findings_of(run) if one.rule == "ended" and one.severity != "info"]


def findings_of(run: RunRecord) -> list[Finding]:
    """Everything that the rules for the run's method find."""
    return [
        Finding(rule.name, evidence.severity, evidence.said, evidence.remedy or rule.name, evidence.step)
        for rule in RULES
        if run.method in rule.methods
        for evidence in rule.check(run)
    ]
