"""The health rules: what to look for in a run, as a table (`RULES`) over small checks by theme."""

from __future__ import annotations

from medgrpo.runs.rules.table import RULES, Rule, findings_of

__all__ = ["RULES", "Rule", "findings_of"]
