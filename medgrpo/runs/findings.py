"""What a health rule says: a finding with its severity, evidence and remedy; and the verdict over all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from medgrpo.runs.said import Clause, in_words
from medgrpo.runs.words import REMEDIES, Language

Severity = Literal["info", "warning", "abnormal"]
Verdict = Literal["normal", "warning", "abnormal", "insufficient_data", "not_understood"]

ORDER: dict[str, int] = {
    "info": 0,
    "normal": 0,
    "insufficient_data": 0,
    "not_understood": 0,
    "warning": 1,
    "abnormal": 2,
}
"""How bad a severity or verdict is."""

MIN_ENTRIES = 10
"""Below so many logged entries a clean log is called too short to judge, not normal."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found in a log: which wordings with which figures; the words are looked up by language."""

    rule: str
    severity: Severity
    said: tuple[Clause, ...]
    advice: str
    """Name of its remedy in `words.REMEDIES`."""
    step: int | None = None
    """The last step that the evidence speaks of."""

    @property
    def evidence(self) -> str:
        """What was found, in English."""
        return self.evidence_in("en")

    @property
    def remedy(self) -> str:
        """What to do about it, in English."""
        return self.remedy_in("en")

    def evidence_in(self, language: Language) -> str:
        """What was found."""
        return in_words(self.said, language)

    def remedy_in(self, language: Language) -> str:
        """What to do about it."""
        return str(getattr(REMEDIES[self.advice], language))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `said` are the wordings' names with their figures."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "step": self.step,
            "said": [clause.as_dict() for clause in self.said],
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
