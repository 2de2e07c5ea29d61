"""The section of masks: the same held-out pictures at the first and the last validation of each run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medgrpo.errors import MedgrpoError
from medgrpo.pages.markup import label, table, text
from medgrpo.pages.palette import swatch
from medgrpo.pages.pictures import thumbnail
from medgrpo.pictures import opened_picture, within

PICTURES = 4
"""Pictures shown of a run."""
OVERLAY_PX = 320
"""Longer side of one, in pixels: it bounds the size of the page."""
RUNS = 8
"""Runs shown."""
_STEP = re.compile(r"step-(\d+)")


def overlays_of(folder: Path) -> dict[int, dict[str, Path]]:
    """Step -> name of a picture -> its file, as training wrote them; empty for a run without masks."""
    found = {}
    for inner in sorted((folder / "overlays").glob("step-*")):
        step = _STEP.fullmatch(inner.name)
        files = {file.stem: file for file in sorted(inner.glob("*.png")) if within(folder, file)}
        if step and files:
            found[int(step[1])] = files
    return found


def overlays_section(runs: Sequence[tuple[int, str, Path]]) -> str:
    """The overlays of the first and the last step of each run, a row a picture; empty where no run has any.

    Args:
        runs: (place of the run, its name, its folder).
    """
    parts = []
    for index, name, folder in runs[:RUNS]:
        steps = overlays_of(folder)
        if not steps:
            continue
        shown = sorted({min(steps), max(steps)})
        pictures = list(steps[shown[-1]])[:PICTURES]
        head = [label("Picture", "图像"), *(label(f"step {step:,}", f"第 {step:,} 步") for step in shown)]
        rows = [[text(one), *(_cell(steps[step].get(one)) for step in shown)] for one in pictures]
        parts.append(f"<h3>{swatch(index)}{text(name)}</h3>{table(head, rows)}")
    if not parts:
        return ""
    lead = label(
        "Held-out pictures with their masks at the first and the last validation: found white, missed orange, too much light "
        "blue, the prediction's skeleton dark blue.",
        "验证图像在首次与末次验证时的分割结果：正确为白色，漏检为橙色，多检为浅蓝色，预测骨架为深蓝色。",
    )
    return f'<section id="overlays"><h2>{label("Masks", "分割")}</h2><p class="lead">{lead}</p>{"".join(parts)}</section>'


def _cell(file: Path | None) -> str:
    if file is None:
        return "–"
    try:
        with opened_picture(file) as picture:
            return thumbnail(picture, OVERLAY_PX, alt=f"{file.parent.name} {file.stem}")
    except (MedgrpoError, OSError):
        return f"<code>{text(file.name)}</code> {label('cannot be read', '无法读取')}"
