"""The estimate as one HTML page: the headline, where time and memory go, and the alternatives in a small plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medgrpo.pages.document import document as whole_page
from medgrpo.pages.markup import number, table, text

STYLE = """
:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; } td, th { padding: .15rem .6rem; border-bottom: 1px solid #8884; text-align: left; }
.num { text-align: right; font-variant-numeric: tabular-nums; } caption { text-align: left; font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui; fill: currentColor; } .axis { stroke: currentColor; stroke-width: 1; }
.no { fill: none; stroke: #D55E00; } .yes { fill: #0072B2; } .best { fill: #009E73; } .now { stroke: currentColor; stroke-width: 2; }
"""
WIDTH, HEIGHT, MARGIN = 640, 320, 48


def page(found: Mapping[str, Any], duration: Any) -> str:
    """The page of an estimate's document.

    Args:
        duration: hours as words.
    """
    title = f"{found['model']} on {found['gpus']} × {found['gpu']}"
    parts = [
        f"<h1>{text(title)}</h1>",
        f"<p><strong>{text(duration(found['hours']))}</strong> (between {text(duration(found['hours_low']))} and "
        f"{text(duration(found['hours_high']))}: {text(found['range_source'])}). {text(found['verdict'])}.</p>",
        f"<p>{found['steps']} steps of {found['prompts_per_step']} prompts × {found['generations']} completions, "
        f"{number(found['s_per_prompt'])} s a prompt.</p>",
        _pairs("Seconds of a prompt", found["phases"]),
        _pairs("GiB of one GPU", found["memory_gib"]),
    ]
    if found["advice"]:
        rows = [(text(one["change"]), text(one["saving"]), text(one["costs"])) for one in found["advice"]]
        parts.append(table(("change", "saves", "costs"), rows, caption="What would save most"))
    if found.get("alternatives"):
        parts += [plot(found["alternatives"]), _choices(found["alternatives"], duration)]
    parts += [f"<p>{text(note)}</p>" for note in found["notes"]]
    return whole_page(f"Estimate: {title}", STYLE, "\n".join(parts))


def _pairs(caption: str, values: Mapping[str, float]) -> str:
    rows = [(text(name), number(value)) for name, value in values.items()]
    return table(("", ""), rows, numeric=(1,), caption=text(caption))


def _choices(entries: Sequence[Mapping[str, Any]], duration: Any) -> str:
    rows = [
        (
            text(entry["change"]),
            text(duration(entry["hours"])),
            number(entry["peak_gib"]),
            "yes" if entry["fits"] else "no",
            "★" if entry["pareto"] else "",
        )
        for entry in entries
    ]
    caption = "Alternatives; ★: nothing that sees as much is both faster and smaller"
    return table(("change", "time", "peak GiB", "fits", "★"), rows, numeric=(2,), caption=caption)


def plot(entries: Sequence[Mapping[str, Any]]) -> str:
    """Hours against GiB of every alternative, as inline SVG; rings do not fit, green ones nothing beats."""
    most_hours = max(entry["hours"] for entry in entries) * 1.08 or 1.0
    most_gib = max(entry["peak_gib"] for entry in entries) * 1.08 or 1.0

    def place(entry: Mapping[str, Any]) -> tuple[float, float]:
        across = MARGIN + (WIDTH - 2 * MARGIN) * entry["hours"] / most_hours
        return across, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * entry["peak_gib"] / most_gib

    marks = []
    for entry in entries:
        across, down = place(entry)
        look = "no" if not entry["fits"] else "best" if entry["pareto"] else "yes"
        look += " now" if entry["is_this"] else ""
        tip = f"{entry['change']}: {entry['hours']:.2f} h, {entry['peak_gib']:.1f} GiB"
        marks.append(
            f'<circle class="{look}" cx="{across:.1f}" cy="{down:.1f}" r="6"><title>{text(tip)}</title></circle>'
        )
    axes = (
        f'<line class="axis" x1="{MARGIN}" y1="{HEIGHT - MARGIN}" x2="{WIDTH - MARGIN}" y2="{HEIGHT - MARGIN}"/>'
        f'<line class="axis" x1="{MARGIN}" y1="{MARGIN}" x2="{MARGIN}" y2="{HEIGHT - MARGIN}"/>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 14}" text-anchor="end">hours, to {most_hours:.3g}</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 14}">peak GiB, to {most_gib:.3g}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="hours and memory of the alternatives">'
        f"{axes}{''.join(marks)}</svg>"
    )
