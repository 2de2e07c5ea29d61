"""Safe HTML from untrusted text: model outputs, run names and settings show as text, whatever they hold."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from medgrpo.files import finite
from medgrpo.terminal import CONTROLS, UNSEEN

_DANGEROUS = re.compile(f"(?!\r)[{CONTROLS}{UNSEEN}\ud800-\udfff]")
"""Control characters, what is not seen and lone surrogates: shown by their code instead of obeyed."""

MAX_CHARACTERS = 4000
"""Longest text shown in full; of a longer one the start and the end."""


def text(value: object, *, limit: int = MAX_CHARACTERS) -> str:
    """The value as HTML that shows it literally; a very long one cut in the middle, saying how much is left out."""
    shown = str(value)
    if len(shown) > limit:
        cut = len(shown) - limit
        head, end = shown[: limit * 3 // 4], shown[-(limit // 4) :]
        return f'{_literal(head)}<span class="cut"> … {cut:,} characters left out ({len(shown):,} in all) … </span>{_literal(end)}'
    return _literal(shown)


def _seen(value: str) -> str:
    return _DANGEROUS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value)


def _literal(value: str) -> str:
    return html.escape(_seen(value), quote=True)


def quoted(value: object, *, limit: int = MAX_CHARACTERS) -> str:
    """Foreign text in its own direction, kept apart from what stands around it."""
    return f'<bdi dir="auto" class="quoted">{text(value, limit=limit)}</bdi>'


def label(en: str, zh: str) -> str:
    """A label in both languages; the page's switch shows one."""
    return f'<span lang="en">{en}</span><span lang="zh">{zh}</span>'


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no `<`, no line separators, null for NaN; in its texts, which the script shows,
    what gives orders is shown by its code."""
    dumped = json.dumps(finite(value, _seen), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and ready values, those without a value left out."""
    items = "".join(f"<dt>{text(name)}</dt><dd dir='auto'>{value}</dd>" for name, value in pairs if value)
    return f"<dl>{items}</dl>"


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for a table cell: three significant digits, thousands grouped, a dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int) or (abs(value) >= 1000 and value == round(value)):
        return f"{value:,.0f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.{digits}g}"
        if abs(value) < 1e-4 and value
        else f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"
    )


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    caption: str = "",
    css: str = "",
    row_heads: bool = False,
    stacks: bool = False,
) -> str:
    """An HTML table of ready cells; the columns of `numeric` are set to the right.

    Args:
        caption: ready HTML.
        row_heads: the first cell of each row is its heading.
        stacks: each cell also holds its column's name, for a style that sets cells below each other on a phone.
    """
    names = [
        f'<small class="head" aria-hidden="true">{name}</small>' if stacks and name else "" for name in head
    ]

    def cell(tag: str, index: int, content: str) -> str:
        scope = "col"
        if tag == "td" and row_heads and index == 0:
            tag, scope = "th", "row"
        attributes = f' scope="{scope}"' if tag == "th" else ""
        attributes += ' class="num"' if index in numeric else ""
        return f"<{tag}{attributes}>{content}</{tag}>"

    header = "".join(cell("th", i, content) for i, content in enumerate(head))
    body = "\n".join(
        "<tr>"
        + "".join(cell("td", i, names[i] + content if content else "") for i, content in enumerate(row))
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region"><table class="{f"{css} stacks".strip() if stacks else css}">{title}'
        f"<thead><tr>{header}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )
