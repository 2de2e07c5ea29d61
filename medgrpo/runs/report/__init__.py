"""The offline page of a comparison: one HTML file that needs no network and is readable without JavaScript."""

from __future__ import annotations

from medgrpo.runs.report.write import write_report

__all__ = ["write_report"]
