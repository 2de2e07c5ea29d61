"""Line colours that stay apart for colour-blind readers, with a dash pattern as a second cue."""

from __future__ import annotations

from dataclasses import dataclass

LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#3b3b3b", "#7A5195")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), orange darkened to be read on white."""
DARK = ("#4aa3e8", "#ff8a50", "#2fbf8f", "#e59ac3", "#f2c14e", "#9ad7ff", "#d9d9d9", "#b79be0")
DASHES = ("solid", "dash", "dot", "dashdot")
SVG_DASHES = {"solid": "", "dash": "9 4", "dot": "2 3", "dashdot": "9 3 2 3"}


@dataclass(frozen=True)
class Style:
    """How the curves of one run look."""

    colour: str
    dark: str
    dash: str


def style(index: int) -> Style:
    """The style of the run at this place: 8 colours, the dash changes every 4 runs, 32 runs differ."""
    return Style(LIGHT[index % 8], DARK[index % 8], DASHES[(index // 4 + index // 16) % 4])


def swatch(index: int) -> str:
    """A short piece of the run's line, as inline SVG."""
    look = style(index)
    return (
        '<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="26" y2="6" stroke="light-dark({look.colour}, {look.dark})" '
        f'style="stroke: light-dark({look.colour}, {look.dark})" stroke-dasharray="{SVG_DASHES[look.dash]}"/></svg>'
    )


def sparkline(values: list[float], smooth: list[float], index: int, title: str) -> str:
    """A small curve as inline SVG, raw behind smoothed; empty for fewer than 2 values.

    Args:
        values: at most some hundred points.
        smooth: as many, or none.
        index: the run's place, which decides the colour.
        title: what it shows, as ready HTML.
    """
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    reach = (high - low) or 1.0

    def path(points: list[float]) -> str:
        scale = 150 / (len(points) - 1)
        return " ".join(
            f"{i * scale:.1f},{34 - 30 * (value - low) / reach:.1f}" for i, value in enumerate(points)
        )

    look = style(index)
    lines = f'<polyline class="raw" points="{path(values)}"/>' if smooth else ""
    lines += (
        f'<polyline class="smooth" style="stroke: light-dark({look.colour}, {look.dark})" '
        f'points="{path(smooth or values)}"/>'
    )
    return f'<svg class="spark" viewBox="0 0 150 38" preserveAspectRatio="none" role="img"><title>{title}</title>{lines}</svg>'
