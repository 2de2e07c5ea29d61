"""Puts the page together and writes it."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path

from medgrpo.files import kind_of, write_text
from medgrpo.foreign import reading
from medgrpo.pages.document import document
from medgrpo.pages.markup import label, script_json, text
from medgrpo.pages.palette import style
from medgrpo.pictures import within
from medgrpo.places import found_place
from medgrpo.run_files import has_fingerprint
from medgrpo.runs.before_after import Answered, kept_answers
from medgrpo.runs.comparison import Comparison, compare_runs
from medgrpo.runs.report import answers, sections
from medgrpo.runs.report.curves import chart_data, clock, prompts_per_step
from medgrpo.runs.report.overlays import overlays_section
from medgrpo.runs.store import read_rows
from medgrpo.runs.stories import Story, stories


def write_report(comparison: Comparison, folder: Path, *, with_failed: bool = False) -> Path:
    """Writes `report.html` into the folder, made if absent; its path.

    Args:
        with_failed: draw the curves of failed runs too.
    """
    with reading([run.record.path or run.name for run in comparison.runs], "training logs"):
        page = render(comparison, with_failed=with_failed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_text(path, page)
    return path


def write_run_page(run: Path) -> Path:
    """Writes the page of one run into its folder: curves, before and after, answers with their pictures; its path."""
    path = run / "report.html"
    write_text(path, render(compare_runs([run])))
    return path


def set_aside(folder: Path) -> Path | None:
    """Where an earlier page of the folder is kept from now on; None where there was none."""
    earlier = folder / "report.html"
    if not earlier.is_file():
        return None
    made = time.strftime("%Y%m%d-%H%M%S", time.localtime(earlier.stat().st_mtime))
    kept = folder / f"report-{made}.html"
    number = 2
    while kept.exists():
        kept = folder / f"report-{made}-{number}.html"
        number += 1
    earlier.rename(kept)
    return kept


def asset(name: str) -> str:
    """A file of the page's own style or script."""
    return (resources.files("medgrpo.runs.report") / "assets" / name).read_text("utf-8")


SECTIONS = (
    ("runs", "Runs", "运行"),
    ("health", "Health", "健康"),
    ("before-after", "Before and after", "训练前后"),
    ("curves", "Curves", "曲线"),
    ("settings", "Settings", "设置"),
    ("overlays", "Masks", "分割"),
    ("predictions", "Predictions", "预测"),
    ("answers", "Answers", "回答"),
    ("completions", "Completions", "采样"),
)


LANGUAGES = """<fieldset class="switch"><legend>Language 语言</legend>
<input type="radio" name="lang" id="lang-en" value="en" checked><label for="lang-en">English</label>
<input type="radio" name="lang" id="lang-zh" value="zh"><label for="lang-zh">中文</label></fieldset>"""
THEMES = f"""<fieldset class="switch"><legend>Theme 主题</legend>
<input type="radio" name="theme" id="theme-auto" value="auto" checked><label for="theme-auto">{label("auto", "自动")}</label>
<input type="radio" name="theme" id="theme-light" value="light"><label for="theme-light">{label("light", "浅色")}</label>
<input type="radio" name="theme" id="theme-dark" value="dark"><label for="theme-dark">{label("dark", "深色")}</label></fieldset>"""


def render(comparison: Comparison, *, with_failed: bool = False) -> str:
    """The page as one string; failed runs have no curves unless asked for, where others have."""
    left_out = {} if with_failed else sections.failed(comparison)
    charts = chart_data(comparison.runs, left_out)
    looks = [style(index) for index in range(len(comparison.runs))]
    data = {
        "runs": [
            {
                "name": run.name,
                "colour": look.colour,
                "dark": look.dark,
                "dash": look.dash,
                "prompts": prompts_per_step(run),
                "clock": clock(run),
            }
            for run, look in zip(comparison.runs, looks, strict=True)
        ],
        "charts": charts,
    }
    unreadable = "".join(
        f"<p>{label('left out', '未读取')}: <code>{text(path)}</code> — {text(why)}</p>"
        for path, why in comparison.unreadable
    )
    pictures, elsewhere = _picture_folders(comparison)
    unreadable += "".join(
        f"<p>{label('pictures left out', '未显示图像')}: <code>{text(name)}</code> — "
        + label(
            "the dataset that it names is not the one that it was trained on",
            "它所指的数据集不是它训练时所用的",
        )
        + "</p>"
        for name in elsewhere
    )
    body = "".join(
        [
            sections.overview(comparison) if comparison.runs else "",
            f'<section id="runs">{sections.runs_table(comparison)}{unreadable}</section>'
            if comparison.runs
            else "",
            sections.health_section(comparison),
            f'<div class="stack">{sections.validation_table(comparison)}{sections.components_table(comparison)}</div>',
            answers.before_after_section(_kept(comparison), pictures),
            sections.curves_section(comparison, charts, left_out),
            sections.settings_section(comparison),
            overlays_section(
                [
                    (i, run.name, run.record.folder)
                    for i, run in enumerate(comparison.runs)
                    if run.record.folder
                ]
            ),
            answers.predictions_section(comparison.predictions),
            answers.stories_section(_stories(comparison), pictures),
        ]
    )
    title = _title(comparison)
    links = "".join(
        f'<a href="#{name}">{label(en, zh)}</a>' for name, en, zh in SECTIONS if f'id="{name}"' in body
    )
    written = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    page = f"""<a class="skip" href="#runs">{label("Skip to the table", "跳到表格")}</a>
<div class="top">
<strong>medgrpo</strong>
<nav aria-label="sections">{links}</nav>
{LANGUAGES}
{THEMES}
</div>
<main>
<h1>{title}</h1>
{_names(comparison)}
{body}
<footer>{label("Written", "生成于")} {written} UTC · medgrpo · {label("this file needs no network", "本文件无需网络")}</footer>
</main>"""
    scripts = (
        f'<script type="application/json" id="data">{script_json(data)}</script>\n'
        f"<script>{asset('chart.js')}</script>\n<script>{asset('report.js')}</script>\n"
    )
    return document(_plain_title(comparison), asset("report.css"), page, scripts=scripts)


STORIES_IN_ALL = 24
"""Questions shown with their completions by step, over all runs: it bounds the size of the page."""


def _stories(comparison: Comparison) -> list[tuple[int, str, list[Story]]]:
    folders = [(i, run.name, run.record.folder) for i, run in enumerate(comparison.runs) if run.record.folder]
    each = max(1, STORIES_IN_ALL // max(1, len(folders)))
    found = [
        (i, name, stories(read_rows(folder), min(8, each)))
        for i, name, folder in folders[:STORIES_IN_ALL]
        if folder
    ]
    return [one for one in found if one[2]]


def _kept(comparison: Comparison) -> list[tuple[int, str, list[Answered]]]:
    """(place, name, answers) of the runs that kept some."""
    found = [
        (index, run.name, kept_answers(run.record.folder))
        for index, run in enumerate(comparison.runs[:STORIES_IN_ALL])
        if run.record.folder
    ]
    return [one for one in found if one[2]]


def _picture_folders(comparison: Comparison) -> tuple[dict[int, Path], list[str]]:
    """Place of a run -> the prepared dataset that it trained on, where that is still there; the runs that name another one."""
    found: dict[int, Path] = {}
    elsewhere = []
    for index, run in enumerate(comparison.runs):
        folder = run.record.folder
        if folder is None:
            continue
        data = run.record.config.get("data")
        path = data.get("path") if isinstance(data, dict) else None
        if not path:
            if within(folder, "demo/data/dataset.json") is not None:
                found[index] = folder / "demo" / "data"
            continue
        place = Path(found_place(str(path), folder))
        if kind_of(place / "dataset.json") is None and (place / "dataset.json").is_file():
            if has_fingerprint(place, folder):
                found[index] = place
            else:
                elsewhere.append(run.name)
    return found, elsewhere


def _title(comparison: Comparison) -> str:
    """The heading, in both languages."""
    if comparison.runs:
        count = len(comparison.runs)
        if count == 1:
            return text(comparison.runs[0].name)
        return label(f"{count} runs compared", f"{count} 次运行的比较")
    count = len(comparison.predictions.models) if comparison.predictions else 0
    return label(f"{count} models compared", f"{count} 个模型的比较")


def _names(comparison: Comparison) -> str:
    names = _all_names(comparison)
    if len(comparison.runs) == 1:
        return f'<p class="lead">{label("One run", "一次运行")}</p>'
    shown = " · ".join(text(name) for name in names[:8]) + (f" · … ({len(names)})" if len(names) > 8 else "")
    return f'<p class="lead names">{shown}</p>'


def _plain_title(comparison: Comparison) -> str:
    names = _all_names(comparison)
    return (
        names[0]
        if len(names) == 1
        else f"medgrpo compare: {', '.join(names[:3])}"
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    )


def _all_names(comparison: Comparison) -> list[str]:
    return [run.name for run in comparison.runs] or (
        comparison.predictions.models if comparison.predictions else []
    )
