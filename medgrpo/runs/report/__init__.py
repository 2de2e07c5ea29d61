"""The offline page of a comparison: one HTML file that needs no network and is readable without JavaScript."""

from __future__ import annotations

from medgrpo.runs.report.write import set_aside, write_report, write_run_page

__all__ = ["set_aside", "write_report", "write_run_page"]
