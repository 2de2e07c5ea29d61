"""Puts the page together and writes it."""

from __future__ import annotations

import time
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from medgrpo.errors import missing_extra
from medgrpo.files import write_text
from medgrpo.pages.document import document
from medgrpo.pages.markup import label, script_json, text
from medgrpo.pages.palette import style
from medgrpo.runs.comparison import Comparison
from medgrpo.runs.report import answers, sections
from medgrpo.runs.report.curves import chart_data
from medgrpo.runs.store import read_rows
from medgrpo.runs.stories import Story, stories


def plotly_source() -> str:
    """plotly.js as the installed package `plotly` carries it, safe to stand in a script element.

    Raises:
        MedgrpoError: plotly is not installed.
    """
    if find_spec("plotly") is None:
        raise missing_extra("plotly", "report", "the HTML report")
    source = (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    return source.replace("</script", "<\\/script")


def write_report(comparison: Comparison, folder: Path, *, with_failed: bool = False) -> Path:
    """Writes `report.html` into the folder, made if absent; its path.

    Args:
        with_failed: draw the curves of failed runs too.
    Raises:
        MedgrpoError: plotly is not installed.
    """
    page = render(comparison, plotly_source(), with_failed=with_failed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_text(path, page)
    return path


def asset(name: str) -> str:
    """A file of the page's own style or script."""
    return (resources.files("medgrpo.runs.report") / "assets" / name).read_text("utf-8")


SECTIONS = (
    ("runs", "Runs", "运行"),
    ("health", "Health", "健康"),
    ("curves", "Curves", "曲线"),
    ("settings", "Settings", "设置"),
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


def render(comparison: Comparison, plotly: str, *, with_failed: bool = False) -> str:
    """The page as one string; failed runs have no curves unless asked for, where others have."""
    left_out = {} if with_failed else sections.failed(comparison)
    charts = chart_data(comparison.runs, left_out)
    looks = [style(index) for index in range(len(comparison.runs))]
    data = {
        "runs": [
            {"name": run.name, "colour": look.colour, "dark": look.dark, "dash": look.dash}
            for run, look in zip(comparison.runs, looks, strict=True)
        ],
        "charts": charts,
    }
    unreadable = "".join(
        f"<p>{label('left out', '未读取')}: <code>{text(path)}</code> — {text(why)}</p>"
        for path, why in comparison.unreadable
    )
    body = "".join(
        [
            sections.overview(comparison) if comparison.runs else "",
            f'<section id="runs">{sections.runs_table(comparison)}{unreadable}</section>'
            if comparison.runs
            else "",
            sections.health_section(comparison),
            f'<div class="stack">{sections.validation_table(comparison)}{sections.components_table(comparison)}</div>',
            sections.curves_section(comparison, charts, left_out),
            sections.settings_section(comparison),
            answers.predictions_section(comparison.predictions),
            answers.stories_section(_stories(comparison)),
        ]
    )
    title = _title(comparison)
    links = "".join(
        f'<a href="#{name}">{label(en, zh)}</a>' for name, en, zh in SECTIONS if f'id="{name}"' in body
    )
    written = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    page = f"""<a class="skip" href="#runs">{label("Skip to the table", "跳到表格")}</a>
<div class="top">
<strong>medgrpo compare</strong>
<nav aria-label="sections">{links}</nav>
{LANGUAGES}
{THEMES}
</div>
<main>
<h1>{text(title)}</h1>
{body}
<footer>{label("Written", "生成于")} {written} UTC · medgrpo compare · {label("this file needs no network", "本文件无需网络")}</footer>
</main>"""
    scripts = (
        f'<script type="application/json" id="data">{script_json(data)}</script>\n'
        f"<script>{plotly}</script>\n<script>{asset('report.js')}</script>\n"
    )
    return document(title, asset("report.css"), page, scripts=scripts)


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


def _title(comparison: Comparison) -> str:
    names = [run.name for run in comparison.runs] or (
        comparison.predictions.models if comparison.predictions else []
    )
    kind = "runs" if comparison.runs else "models"
    if len(names) == 1:
        return names[0]
    return " · ".join(names) if len(names) <= 3 else f"{len(names)} {kind}"
