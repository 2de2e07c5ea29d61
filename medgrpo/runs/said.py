"""A clause of a finding: which wording, and the figures in it; put into words in any language."""

from __future__ import annotations

from collections.abc import Iterable
from string import Formatter
from typing import Any, NamedTuple

from medgrpo.runs.trend import Trend
from medgrpo.runs.words import EVIDENCE, Language


class Clause(NamedTuple):
    """One thing that is said: the name of its wording in `words.EVIDENCE`, and its figures."""

    template: str
    figures: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"template": self.template, "figures": self.figures}


def say(template: str, **figures: Any) -> Clause:
    """The clause of that wording.

    Raises:
        KeyError: there is no such wording.
    """
    EVIDENCE[template]
    return Clause(template, figures)


def moved(trend: Trend, template: str = "moved", **figures: Any) -> Clause:
    """How a curve moved: `0.18 → 0.62 (fitted change +0.41 ± 0.06)`; ± is one standard error."""
    line = {"first": trend.first, "last": trend.last, "change": trend.change, "error": trend.error}
    return say(template, **line, **figures)


class _Figures(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return percent(value) if format_spec == "percent" else str(super().format_field(value, format_spec))


def in_words(clauses: Iterable[Clause], language: Language = "en") -> str:
    """The clauses as text."""
    words = _Figures()
    return "".join(
        words.vformat(getattr(EVIDENCE[clause.template], language), (), clause.figures) for clause in clauses
    )


def percent(value: float) -> str:
    """0.123 -> "12 %"; one decimal below 10 %."""
    return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"
