"""What a health rule says: a finding with its severity, evidence and remedy; and the verdict over all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["info", "warning", "abnormal"]
Verdict = Literal["normal", "warning", "abnormal", "insufficient_data"]

ORDER: dict[str, int] = {"info": 0, "normal": 0, "insufficient_data": 0, "warning": 1, "abnormal": 2}
"""How bad a severity or verdict is."""

MIN_ENTRIES = 10
"""Below so many logged entries a clean log is called too short to judge, not normal."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found in a log."""

    rule: str
    severity: Severity
    evidence: str
    remedy: str
    step: int | None = None
    """The last step that the evidence speaks of."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "step": self.step,
        }


@dataclass(frozen=True)
class Health:
    """The verdict on a run and what it rests on, the worst first."""

    verdict: Verdict
    findings: list[Finding]

    @property
    def reason(self) -> str:
        """One line that says why the verdict is what it is."""
        if not self.findings:
            return "nothing stands out"
        return self.findings[0].evidence

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"verdict": self.verdict, "findings": [finding.as_dict() for finding in self.findings]}


def judge(findings: Iterable[Finding], entries: int) -> Health:
    """The verdict: the worst finding; without one above info, normal, or insufficient_data when short."""
    ordered = sorted(findings, key=lambda finding: -ORDER[finding.severity])
    worst = max((ORDER[finding.severity] for finding in ordered), default=0)
    if worst == ORDER["abnormal"]:
        return Health("abnormal", ordered)
    if worst == ORDER["warning"]:
        return Health("warning", ordered)
    return Health("normal" if entries >= MIN_ENTRIES else "insufficient_data", ordered)
